"""A stream gives a frame for each that comes, from what came alone."""

import itertools

import numpy as np
import pytest

import vidregen_jax
from examples import live as example
from vidregen_jax import files
from vidregen_jax.api import streaming
from vidregen_jax.errors import UserError
from vidregen_jax.media import video, video_writer

CONSENT = 'a rendered person; nobody had to be asked'
SECOND = streaming.SAMPLE_RATE


@pytest.fixture(scope='module')
def clip(pack_folder):
  return sorted((pack_folder / 'test').glob('*.mp4'))[0]


@pytest.fixture(scope='module')
def images(clip):
  return [frame.image for frame in video.frames(clip)][:44]


@pytest.fixture(scope='module')
def sound():
  return np.random.default_rng(0).normal(0, .1, 3 * SECOND).astype(np.float32)


def streamed(images, sound, model, size=800, **options):
  pieces = [sound[i:i + size] for i in range(0, len(sound), size)]
  return list(vidregen_jax.stream(images, pieces, model=model, consent=CONSENT, **options))


@pytest.fixture(scope='module')
def made(images, sound, tiny_model):
  return streamed(images, sound, tiny_model)


def test_the_first_second_comes_as_it_is_and_then_the_lower_face_changes(images, made):
  assert len(made) == len(images)
  change = [np.abs(a.astype(int) - b).mean((1, 2)) for a, b in zip(made, images, strict=True)]
  assert not np.any(change[:24]) and all(rows.any() for rows in change[24:])
  assert not np.any([rows[:len(rows) // 4] for rows in change])  # hair and background


def test_what_it_compiles_is_kept_when_it_has_ended_well(images, sound, tiny_model, monkeypatch):
  shared = []
  monkeypatch.setattr(streaming.compiled, 'share', lambda: shared.append(True))
  with pytest.raises(UserError):
    streamed([*images[:4], images[4][0]], sound, tiny_model)
  assert not shared
  streamed(images[:4], sound, tiny_model)
  assert shared == [True]


def test_it_does_not_matter_in_what_pieces_the_sound_comes(images, sound, tiny_model, made):
  for one, other in zip(streamed(images, sound, tiny_model, size=7001), made, strict=True):
    np.testing.assert_array_equal(one, other)


def test_a_frame_waits_for_no_more_sound_than_is_said(images, sound, tiny_model):
  """And it is the sound that makes the mouth, up to its end."""
  taken, block = [], 160

  def microphone():
    for i in range(0, len(sound), block):
      taken.append(i + block)
      yield sound[i:i + block]

  wait = streaming.delay(tiny_model)
  for number, _ in enumerate(vidregen_jax.stream(images, microphone(), model=tiny_model,
                                                 consent=CONSENT)):
    if number >= 24:
      assert taken[-1] / SECOND <= number / 25 + wait + block / SECOND
  assert taken


def test_stills_show_the_person_instead_and_without_a_face_frames_come_as_they_are(
    images, sound, tiny_model):
  blank = [np.zeros_like(images[0])] * 8
  made = streamed([*images[:16], *blank, *images[24:40]], sound, tiny_model, stills=images[:2])
  same = [np.array_equal(a, b) for a, b in zip(
    made, [*images[:16], *blank, *images[24:40]], strict=True)]
  assert not any(same[:16]) and all(same[16:24]) and not any(same[32:])


@pytest.mark.parametrize(('wrong', 'cause'), [
  (dict(consent=''), '--consent is empty'),
  (dict(rate=500.), 'rate 500'),
  (dict(frames=[np.zeros((8, 8), np.uint8)]), r'give uint8 \[H, W, 3\]'),
  (dict(frames=[np.zeros((64, side, 3), np.uint8) for side in (64, 65)]), '65 x 64 after'),
  (dict(stills=[np.zeros((64, 64, 3), np.uint8)]), 'no face was found in still 1'),
])
def test_a_mistake_is_one_line(wrong, cause, tiny_model):
  with pytest.raises(UserError, match=cause):
    list(vidregen_jax.stream(**dict(frames=[], sound=[], model=tiny_model, consent=CONSENT)
                             | wrong))


def test_the_example_runs_with_a_microphone_that_takes_its_time(clip, tiny_model, tmp_path,
                                                                monkeypatch, capsys):
  """And the page shows which frames were made, of what, and that nobody signed."""
  monkeypatch.setattr(vidregen_jax, 'load', lambda checkpoint: tiny_model)
  source, out = tmp_path / 'camera.mp4', tmp_path / 'live.mp4'
  images = [frame.image for frame in itertools.islice(video.frames(clip), 28)]
  video_writer.write_clip(source, images, 25)
  assert example.main([str(source), str(clip), '--consent', CONSENT, '--out', str(out),
                       '--page']) == 0
  assert '28 frames' in capsys.readouterr().out and out.exists()
  page = out.with_suffix('.html').read_text()
  assert '4 of 28 frames regenerated in 1 stretch' in page and CONSENT in page
  assert 'Not signed' in page and files.digest(out) in page and files.digest(source) in page
