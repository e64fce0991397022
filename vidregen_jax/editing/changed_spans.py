"""Finds the spans in which a new soundtrack differs from a video's own sound."""

from vidregen_jax.editing import audio_diff
from vidregen_jax.media.audio import lazy, sound_file


def differences(info, new_audio, margin) -> list[tuple[float, float]] | None:
  """Spans of the video in which a new soundtrack differs from the old one; see `audio_diff.find`.

  Args:
    info: VideoInfo of the source.
    new_audio: path.
    margin: seconds by which a span may be widened, to the quietest moment.

  Returns:
    (start, stop) seconds on the video's clock; None if there is no old soundtrack to compare with,
    or if more than nine tenths of it differ.
  """
  if not info.has_audio:
    return None
  old, new, first = _compared(info, new_audio)
  # After its end the old sound counts as silence.
  old = lazy.Cut(old, 0, max(old.shape[1], new.shape[1]))
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  spans = [(max(start + first, begin), min(stop + first, end))
           for start, stop in audio_diff.find(old, new, old.rate, margin)]
  spans = [(start, stop) for start, stop in spans if start < stop]
  return None if sum(b - a for a, b in spans) > 0.9 * (end - begin) else spans


def lag(info, new_audio) -> float:
  """Seconds by which a new soundtrack lags behind the old one; 0 if they are different sounds.

  Args:
    info, new_audio: as of `differences`.
  """
  old, new, _ = _compared(info, new_audio)
  return audio_diff.lag(old, new)


def _compared(info, new_audio):
  """The old and the new sound as the model hears them, on one clock, and that clock's start."""
  sounds = [sound_file.Recording(path) for path in (info.path, new_audio)]
  first = float(min(recording.start for recording in sounds))
  old, new = (_led(lazy.mono_16k(recording), float(recording.start) - first)
              for recording in sounds)
  return old, new, first


def _led(sound, seconds):
  """A sound preceded by `seconds` of silence."""
  lead = round(seconds * sound.rate)
  return lazy.Cut(sound, -lead, sound.shape[1])
