"""Spans are found where another word is said, and nowhere else."""

import numpy as np
import pytest

from vidregen_jax.editing import audio_diff
from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import aac, lazy, waveform

RATE = 16_000


def word(seconds, pitch, seed):
  """A voiced sound that rises from and falls to nothing."""
  t = np.arange(round(seconds * RATE)) / RATE
  rng = np.random.default_rng(seed)
  tone = sum(rng.uniform(0.3, 1) * np.sin(2 * np.pi * pitch * k * t + rng.uniform(0, 6))
             for k in range(1, 12))
  return np.float32(0.1 * tone * np.sin(np.pi * t / seconds) ** 0.5)


def sentence(second):
  """Three words of half a second with rests of .1 s; the second is `second`."""
  rest = np.zeros(round(0.1 * RATE), np.float32)
  x = np.concatenate([rest, word(0.8, 140, 1), rest, second, rest, word(0.9, 130, 3), rest])
  return x + np.random.default_rng(9).normal(0, 1e-4, len(x)).astype(np.float32)


OLD, NEW = sentence(word(0.5, 150, 2)), sentence(word(0.5, 185, 7))


def check(spans):
  (start, stop), = spans
  # From rest to rest: no word of the old is left in, none of its neighbours taken.
  assert 0.88 <= start <= 1.02 and 1.49 <= stop <= 1.64


def test_another_word_is_found_from_rest_to_rest():
  check(audio_diff.find(OLD, NEW, RATE))
  check(audio_diff.find(OLD, 0.4 * NEW, RATE))  # quieter as a whole
  resampled = [waveform.resample(x, RATE, 44_100) for x in (OLD, NEW)]
  check(audio_diff.find(*resampled, 44_100))


def test_nothing_is_found_where_nothing_was_said_anew():
  assert audio_diff.find(OLD, OLD, RATE) == []
  assert audio_diff.find(OLD, 2 * OLD, RATE) == []
  assert audio_diff.find(OLD, np.r_[OLD, NEW], RATE) == []  # what lies past the end is not asked
  clicked = OLD.copy()
  clicked[8000:8010] += 0.5
  assert audio_diff.find(OLD, clicked, RATE) == []
  assert audio_diff.find(OLD[:100], NEW[:100], RATE) == []


def test_a_soundtrack_from_another_coder_is_the_same(tmp_path):
  info = video.VideoInfo('', 32, 32, rate=25, time_base=1)
  path = tmp_path / 'coded.mp4'
  video_writer.write_clip(path, [np.zeros((32, 32, 3), np.uint8)] * 60, info.rate)
  track = aac.Soundtrack(OLD[None], RATE, bit_rate=48_000)
  with video_writer.Writer(tmp_path / 'again.mp4', video.probe(path), audio=track) as writer:
    for frame in video.frames(path):
      writer.copy(frame)
  coded = waveform.read(tmp_path / 'again.mp4')[0][0]
  assert audio_diff.find(OLD, coded, RATE) == []
  check(audio_diff.find(coded, NEW, RATE))


def test_sound_in_pieces_gives_the_same_spans(monkeypatch):
  whole = audio_diff.find(OLD, NEW, RATE)
  monkeypatch.setattr(audio_diff, '_AT_ONCE', 7)
  monkeypatch.setattr(lazy, 'BLOCK', 1000)
  assert audio_diff.find(lazy.Samples(OLD, RATE), lazy.Samples(NEW, RATE), RATE) == whole


@pytest.mark.parametrize('new', [-OLD, np.roll(OLD, 3000), np.zeros_like(OLD)])
def test_all_that_differs_is_found(new):
  spans = audio_diff.find(OLD, new, RATE)
  covered = sum(stop - start for start, stop in spans)
  assert covered > 0.8 * len(OLD) / RATE
  assert all(a[1] < b[0] for a, b in zip(spans, spans[1:], strict=False))


def test_two_words_are_two_spans_and_a_margin_widens_them():
  both = NEW.copy()
  first = slice(round(0.1 * RATE), round(0.9 * RATE))
  both[first] = word(0.8, 170, 11)
  narrow, wide = (audio_diff.find(OLD, both, RATE, margin) for margin in (0, 0.12))
  assert len(narrow) in (1, 2)
  total = lambda spans: sum(stop - start for start, stop in spans)
  assert total(wide) >= total(narrow)
  assert wide[0][0] <= narrow[0][0] and wide[-1][1] >= narrow[-1][1]


def test_a_span_is_widened_to_the_rests_within_its_margin():
  heard = lazy.Samples(OLD, RATE)  # words from .1, 1 and 1.6 s, rests between them
  (start, stop), = audio_diff.widen([(3.05, 3.45)], heard, 2.0, 0.12)
  assert 2.93 <= start <= 2.99 and 3.51 <= stop <= 3.57
  assert audio_diff.widen([(3.2, 3.3)], heard, 2.0, 0.001) == [(3.2, 3.3)]  # nothing to look at
  (start, stop), = audio_diff.widen([(2.0, 5.0)], heard, 2.0, 0.1)
  assert start == 2.0 and stop == 5.0  # before and after the sound there is none
