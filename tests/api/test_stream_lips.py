"""The bundled model in a stream: lips open as is heard, in the person's own size of face."""

import numpy as np
import pytest

import vidregen_jax
from vidregen_jax.api import streaming
from vidregen_jax.compositing import jaw_line
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


def test_lips_open_as_is_heard(clips, model, tmp_path, monkeypatch):
  """As decoded, in small crops, they would open half as far. Each face ends at its image's jaw."""
  shown, heard = clips
  met, jaws = jaw_line.met, []
  monkeypatch.setattr(jaw_line, 'met', lambda crop, points, jaw: (
    jaws.append(jaw), met(crop, points, jaw))[1])
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
  assert len(jaws) == len(made)
  chins, own = np.array(jaws)[:, 11, 1], tracks.track_file(shown.path).jaw[:len(jaws), 11, 1]
  assert np.abs(chins - own).max() < .3 * np.ptp(own)


def test_the_person_is_known_by_as_many_images_as_there_are(clips, model):
  machine = model.system
  images = [frame.image for frame in video.frames(clips[0].path, 0, 40)]
  affine = tracks.track_file(clips[0].path).affine
  stills = [(images[i], affine[i]) for i in (0, 30)]
  few = live._known(machine, stills)
  many = live._known(machine, stills, [(images[i], affine[i]) for i in range(0, 40, 3)])
  np.testing.assert_array_equal(few.references, many.references)
  assert len(few.references) == 2
  assert machine.models.codec.size < few.size <= 192 and few.mouth.appearance is not None
  assert live._known(machine, []) is None


def test_a_mouth_is_learned_from_what_comes(clips, model):
  """Stills with closed lips show nothing of what is within; less of it is not taken later on.

  How the mouth looks is learned from every image, and so is its pace.
  """
  machine, track = model.system, tracks.track_file(clips[0].path)
  images = [frame.image for frame in video.frames(clips[0].path)]
  order = np.argsort(track.lip_gap)
  seen = lambda frames: ([images[i] for i in frames], track.at(np.array(frames)))
  closed, widest = order[:2].tolist(), order[-8:].tolist()
  shut = live._known(machine, [(images[i], track.affine[i]) for i in closed])
  assert shut.mouth.interior is None
  known = live._seen_again(shut, *seen(closed))
  assert known.mouth.interior is None
  more = live._seen_again(known, *seen(widest))
  assert more.mouth.interior.teeth > 0
  high = [each.mouth.appearance.high[0] for each in (shut, more)]
  assert high[0] < .02 and high[1] == pytest.approx(track.lip_gap.max(), abs=.02)
  assert live._seen_again(more, *seen(widest)).mouth.interior is more.mouth.interior
  assert len(more.gaps) == 2 + 8 and more.gaps[2:] == pytest.approx(track.lip_gap[widest])


def test_a_stream_moves_lips_in_the_persons_manner(clips, model, monkeypatch):
  """It is told by all images so far, and by what was heard."""
  images = [frame.image for frame in video.frames(clips[0].path, 0, 40)]
  told, paces, usual = [], [], live.lip_motion.paced
  monkeypatch.setattr(live.speaking_manner, 'of_images', lambda gaps, heard, rate: (
    told.append((len(gaps), len(heard), rate)),
    live.speaking_manner.Manner(.5, len(gaps) / 100, 1.))[1])
  monkeypatch.setattr(live.lip_motion, 'paced', lambda coming, before, step: (
    paces.append(25 * step), usual(coming, before, step))[1])
  sound = np.random.default_rng(0).normal(0, .1, 32_000).astype(np.float32)
  list(live.frames(images, [sound], model.system, rate=25, seed=0, stills=images[:2]))
  assert [each[0] for each in told[:3]] == [8, 16, 24] and {each[2] for each in told} == {25}
  assert told[1][1] == told[0][1] + 8
  np.testing.assert_allclose(paces[:4], [.08, .08, .16, .16])
  told.clear()
  list(live.frames(images, [sound], model.system, rate=25, seed=0))
  assert told[0][0] == 32  # the first second too
