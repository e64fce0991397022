"""The output's sound, and the features of it that the mouth follows."""

import dataclasses

import numpy as np

from vidregen_jax.differences import find as find_differences
from vidregen_jax.errors import UserError
from vidregen_jax.media import aac, audio
from vidregen_jax.models import whisper

_MARGIN = 1.0  # seconds of sound around a run that the audio encoder also hears


def differences(info, new_audio) -> list[tuple[float, float]] | None:
  """Spans of the video in which a new soundtrack is not the old one; see `differences.find`.

  Args:
    info: VideoInfo of the source.
    new_audio: path.

  Returns:
    Seconds on the video's clock; None where there is no old soundtrack to compare with, or where
    all but a tenth of it differs.
  """
  if not info.has_audio:
    return None
  sounds = [(audio.mono_16k(samples, rate), float(start))
            for samples, rate, start in (audio.read(info.path), audio.read(new_audio))]
  first = min(start for _, start in sounds)
  lead = lambda start: round((start - first) * audio.MODEL_RATE)
  old, new = (np.pad(samples, (lead(start), 0)) for samples, start in sounds)
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  found = [(max(start + first, begin), min(stop + first, end))
           for start, stop in find_differences(old, new, audio.MODEL_RATE)]
  found = [(start, stop) for start, stop in found if start < stop]
  return None if sum(b - a for a, b in found) > 0.9 * (end - begin) else found


@dataclasses.dataclass(frozen=True)
class Composed:
  """The output's sound.

  Attributes:
    track: all of it, as samples; what the mouth follows.
    written: what a writer is given: the track, or the source's packets with some replaced.
    why_all_is_encoded: why not the latter; None where it is.
    cut: seconds of the new sound that lie past the video's end.
  """

  track: aac.Soundtrack
  written: aac.Soundtrack | aac.Patched
  why_all_is_encoded: str | None = None
  cut: float = 0.0


def compose(info, new_audio, wanted, whole) -> Composed:
  """The output's sound.

  Args:
    info: VideoInfo of the source.
    new_audio: path.
    wanted: merged spans, seconds on the video's clock.
    whole: whether the whole video is regenerated.

  Raises:
    UserError: no sound where it is needed, or too little.
  """
  new, rate, new_start = audio.read(new_audio)
  new_start = float(new_start)
  have, need = new_start + new.shape[1] / rate, max(stop for _, stop in wanted)
  # A frame's length of slack: a video's last frame often ends a little after its sound.
  if have < need - float(1 / info.rate) - 1e-6:
    raise UserError(f'{new_audio} ends at {have:.3f} s but is needed until {need:.3f} s: give the '
                    f'whole new soundtrack, or --span up to {have:.2f}')
  bit_rate = max(info.audio_bit_rate, 192_000)
  if whole:
    length = round((float(info.start_time + info.duration) - new_start) * rate)
    track = aac.Soundtrack(new[:, :length], rate, new_start, bit_rate)
    return Composed(track, track, 'it is new from end to end', max(new.shape[1] - length, 0) / rate)
  if not info.has_audio:
    raise UserError(f'{info.path} has no soundtrack to keep outside the spans: leave --span out to '
                    'regenerate the whole video with the new one')
  samples, own_rate, start = audio.read(info.path)
  start, end = float(start), float(start) + samples.shape[1] / own_rate
  changed = []
  for begin, stop in wanted:
    # A span may reach past the sound's last sample, or begin before its first: sound is what
    # there is of it.
    begin, stop = max(begin, start), min(stop, end)
    first, last = (round((x - new_start) * rate) for x in (begin, stop))
    patch = np.pad(new, [(0, 0), (0, max(last - new.shape[1], 0))])[:, max(first, 0):last]
    patch = audio.resample(patch, rate, own_rate)
    span = tuple(round((x - start) * own_rate) for x in (begin, stop))
    length = span[1] - span[0]
    patch = np.pad(patch, [(0, 0), (0, max(length - patch.shape[1], 0))], mode='edge')[:, :length]
    samples = audio.splice(samples, own_rate, patch, own_rate, begin - start, stop - start)
    changed.append(span)
  track = aac.Soundtrack(samples, own_rate, start, bit_rate)
  written = aac.patch(info.path, track, changed)
  if isinstance(written, str):
    return Composed(track, track, written)
  return Composed(track, written)


def listen(track, times, durations, listener):
  """The audio features of latent frames.

  Args:
    track: aac.Soundtrack that the mouth follows.
    times, durations: [4T] seconds.
    listener: System.listen.

  Returns:
    [T, 16, layers, channels].
  """
  begin = max(times[0] - _MARGIN, float(track.start))
  end = times[-1] + durations[-1] + _MARGIN
  first, last = (round((x - float(track.start)) * track.rate) for x in (begin, end))
  heard = audio.mono_16k(track.samples[:, first:last], track.rate)
  return whisper.sample_at(listener(heard), np.asarray(times) - begin, durations)
