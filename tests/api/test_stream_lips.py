"""The bundled model in a stream: lips open as is heard, in the person's own size of face."""

import numpy as np
import pytest

import vidregen_jax
from vidregen_jax.api import streaming
from vidregen_jax.editing import live
from vidregen_jax.evaluation import lip_gap_probe, lip_sync
from vidregen_jax.faces import tracks
from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import waveform

CONSENT = 'a rendered person; nobody had to be asked'


@pytest.fixture(scope='module')
def model():
  return vidregen_jax.load('talkers')


@pytest.fixture(scope='module')
def clips(pack_folder):
  return lip_sync.read_clips(pack_folder, 'test')[4:6]


def test_lips_open_as_is_heard(clips, model, tmp_path):
  """As decoded, in small crops, they would open half as far."""
  shown, heard = clips
  images = [frame.image for frame in video.frames(shown.path)]
  samples, rate, _ = waveform.read(heard.path)
  sound = waveform.resample(waveform.mono_16k(samples, rate), 16_000, streaming.SAMPLE_RATE)
  times = np.arange(min(len(images), int(heard.seconds * 25))) / 25
  made = list(vidregen_jax.stream(images[:len(times)], [sound], model=model, rate=25,
                                  stills=images[:2], consent=CONSENT))
  video_writer.write_clip(tmp_path / 'made.mp4', made, 25)
  found, truth = tracks.track_file(tmp_path / 'made.mp4').lip_gap, heard.truth(times)
  assert lip_gap_probe.correlation(found, truth) > .85
  assert np.nanstd(found) > .55 * truth.std()


def test_the_person_is_known_by_as_many_images_as_there_are(clips, model):
  machine = model.system
  images = [frame.image for frame in video.frames(clips[0].path, 0, 40)]
  affine = tracks.track_file(clips[0].path).affine
  stills = [(images[i], affine[i]) for i in (0, 30)]
  few = live._known(machine, stills)
  many = live._known(machine, stills, [(images[i], affine[i]) for i in range(0, 40, 3)])
  np.testing.assert_array_equal(few.references, many.references)
  assert len(few.references) == 2
  assert machine.models.codec.size < few.size <= 192 and few.mouth.lips is not None
  assert live._known(machine, []) is None


def test_what_is_in_a_mouth_is_learned_when_it_opens(clips, model):
  """Stills with closed lips show nothing of it; of images with less, nothing is taken."""
  machine, track = model.system, tracks.track_file(clips[0].path)
  images = [frame.image for frame in video.frames(clips[0].path)]
  order = np.argsort(track.lip_gap)
  seen = lambda frames: ([images[i] for i in frames], track.at(np.array(frames)))
  closed, widest = order[:2].tolist(), order[-8:].tolist()
  shut = live._known(machine, [(images[i], track.affine[i]) for i in closed])
  assert shut.mouth.interior is None
  assert live._seen_again(shut, *seen(closed)).mouth is shut.mouth
  more = live._seen_again(shut, *seen(widest))
  assert more.mouth.interior.teeth > 0 and more.mouth.lips is shut.mouth.lips
  assert live._seen_again(more, *seen(widest)).mouth is more.mouth
