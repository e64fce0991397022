"""The output's sound, and the features of it that the mouth follows."""

import dataclasses

import numpy as np

from vidregen_jax import differences as differing
from vidregen_jax import film as films
from vidregen_jax import spans as spanning
from vidregen_jax import timeline as timelines
from vidregen_jax.errors import UserError
from vidregen_jax.media import aac, patches, sound
from vidregen_jax.models import whisper

_MARGIN = 1.0  # seconds of sound around a run that the audio encoder also hears


def differences(info, new_audio, margin) -> list[tuple[float, float]] | None:
  """Spans of the video in which a new soundtrack is not the old one; see `differences.find`.

  Args:
    info: VideoInfo of the source.
    new_audio: path.
    margin: seconds by which a span may be widened to where it is quietest.

  Returns:
    Seconds on the video's clock; None where there is no old soundtrack to compare with, or where
    all but a tenth of it differs.
  """
  if not info.has_audio:
    return None
  sounds = [sound.Recording(path) for path in (info.path, new_audio)]
  first = float(min(recording.start for recording in sounds))
  old, new = (_led(sound.mono_16k(recording), float(recording.start) - first)
              for recording in sounds)
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  found = [(max(start + first, begin), min(stop + first, end))
           for start, stop in differing.find(old, new, old.rate, margin)]
  found = [(start, stop) for start, stop in found if start < stop]
  return None if sum(b - a for a, b in found) > 0.9 * (end - begin) else found


def _led(heard, seconds):
  """A sound after so many seconds of silence."""
  lead = round(seconds * heard.rate)
  return sound.Cut(heard, -lead, heard.shape[1])


@dataclasses.dataclass(frozen=True)
class Patch:
  """A piece of sound for a span of seconds, as long as it is."""

  start: float
  stop: float
  path: str


@dataclasses.dataclass(frozen=True)
class Composed:
  """What the output sounds like, and what that asks of the picture.

  Attributes:
    track: all of its sound, as samples; what the mouth follows.
    written: what a writer is given: the track, or the source's packets with some replaced.
    film: the source, as long as the sound asks for.
    spans: merged (start, stop) seconds of the film in which the mouth is made anew.
    why_all_is_encoded: why `written` is not packets; None where it is.
    cut: seconds of the new sound that lie past the video's end.
  """

  track: aac.Soundtrack
  written: aac.Soundtrack | patches.Patched
  film: films.Film
  spans: list[tuple[float, float]]
  why_all_is_encoded: str | None = None
  cut: float = 0.0


def _read(path, until, rate) -> sound.Recording:
  """A soundtrack that lasts at least until a time.

  Raises:
    UserError: it does not.
  """
  new = sound.Recording(path)
  have = float(new.start) + new.shape[1] / new.rate
  # A frame's length of slack: a video's last frame often ends a little after its sound.
  if have < until - float(1 / rate) - 1e-6:
    raise UserError(f'{path} ends at {have:.3f} s but is needed until {until:.3f} s: give the '
                    f'whole new soundtrack, or --span up to {have:.2f}')
  return new


def compose_whole(film, new_audio, fit='') -> Composed:
  """All of a video with a new soundtrack.

  Args:
    film: the source.
    new_audio: path.
    fit: of timeline.FITS, what the picture does where the sound is longer or shorter; '' for
      nothing: longer sound is cut at the picture's end.

  Raises:
    UserError: no sound, too little of it, or too much and `fit` is 'trim'.
  """
  info = film.info
  if fit:
    new = _read(new_audio, 0.0, info.rate)
    lasts = float(new.start) + new.shape[1] / new.rate - float(info.start_time)
    ticks = round(lasts / info.time_base)
    # Within half a frame it fits.
    if abs(ticks * info.time_base - info.duration) > 1 / (2 * info.rate):
      film = dataclasses.replace(film, timeline=timelines.fit(film.timeline, ticks, fit))
      info = film.info
  else:
    new = _read(new_audio, float(info.start_time + info.duration), info.rate)
  length = round((float(info.start_time + info.duration) - float(new.start)) * new.rate)
  track = aac.Soundtrack(sound.Cut(new, 0, min(length, new.shape[1])), new.rate, float(new.start),
                         _bit_rate(info))
  return Composed(track, track, film, [(float(info.start_time),
                                        float(info.start_time + info.duration))],
                  'it is new from end to end', max(new.shape[1] - length, 0) / new.rate)


def compose_spans(film, new_audio, wanted) -> Composed:
  """A video with spans of a new soundtrack, which is in time with it.

  Args:
    film: the source.
    new_audio: path.
    wanted: merged spans, seconds on the video's clock.

  Raises:
    UserError: no sound where it is needed, or too little.
  """
  info = film.info
  new = _read(new_audio, max(stop for _, stop in wanted), info.rate)
  own, start = _own(info)
  end, patches = start + own.shape[1] / own.rate, []
  for begin, stop in wanted:
    # A span may reach past the sound's last sample, or begin before its first: sound is what
    # there is of it.
    begin, stop = max(begin, start), min(stop, end)
    first, last = (round((x - float(new.start)) * new.rate) for x in (begin, stop))
    patch = sound.at_rate(sound.Cut(new, max(first, 0), last), own.rate)
    span = tuple(round((x - start) * own.rate) for x in (begin, stop))
    patches.append((*span, sound.Cut(patch, 0, span[1] - span[0], hold=True)))
  spliced = sound.Spliced(own, patches)
  return _patched(film, aac.Soundtrack(spliced, own.rate, start, _bit_rate(info)), wanted,
                  spliced.changed)


def compose_patches(film, patches) -> Composed:
  """A video in which pieces of sound replace spans of another length.

  The picture of a span is retimed to its new sound, and all after it moves, sound and picture
  alike. New sound is brought to whole frames with silence.

  Args:
    film: the source.
    patches: list of Patch.

  Raises:
    UserError: no soundtrack, a patch outside it or empty, or patches that overlap.
  """
  info = film.info
  own, start = _own(info)
  rate = own.rate
  patches = sorted(patches, key=lambda patch: patch.start)
  for before, after in zip(patches, patches[1:], strict=False):
    if after.start < before.stop:
      raise UserError(f'the patches {before.path} and {after.path} overlap: {after.start:g} s '
                      f'comes before {before.stop:g} s')
  spans, spliced, moved, shift = [], [], 0.0, 0  # moved in seconds, shift in samples
  for patch in patches:
    begin, stop = patch.start + moved, patch.stop + moved
    new = sound.Recording(patch.path)
    shown, base = film.timeline, info.time_base
    first, last = np.searchsorted(film.times, (begin - 1e-6, stop - 1e-6)).tolist()
    old_end = shown.end
    film = dataclasses.replace(film, timeline=timelines.retime(
        shown, first, last, max(round(new.shape[1] / new.rate / base), 1)))
    longer = float((film.timeline.end - old_end) * base)
    edges = np.r_[shown.pts, shown.end]
    begin, stop = (float(info.seconds(int(edges[i]))) for i in (first, last))
    need = round((stop + longer - begin) * rate)
    piece = sound.Cut(sound.at_rate(new, rate), 0, need)
    first, last = (round((x - start) * rate) - shift for x in (begin, stop))
    spliced.append((first, last, piece))
    spans.append((begin, stop + longer))
    shift += need - (last - first)
    moved += longer
  samples = sound.Spliced(own, spliced)
  track = aac.Soundtrack(samples, rate, start, _bit_rate(info))
  if not film.is_the_source:
    return Composed(track, track, film, spans, 'what follows a patch has moved')
  return _patched(film, track, spans, samples.changed)


def with_margin(composed, margin) -> Composed:
  """The same with spans widened by at most so many seconds, to where it is quietest.

  There the mouth rests, and old and new picture meet best. The sound stays what it is.
  """
  track, info = composed.track, composed.film.info
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  widened = differing.widen(composed.spans, sound.with_channels(track.samples, 1),
                            float(track.start), margin)
  return dataclasses.replace(composed, spans=spanning.merge(
      (max(start, begin), min(stop, end)) for start, stop in widened))


def _own(info):
  """The source's own sound, and its start in seconds."""
  if not info.has_audio:
    raise UserError(f'{info.path} has no soundtrack to keep outside the spans: regenerate the '
                    'whole video with --whole')
  own = sound.Recording(info.path)
  return own, float(own.start)


def _bit_rate(info):
  return max(info.audio_bit_rate, 192_000)


def _patched(film, track, wanted, changed):
  written = patches.patch(film.source.path, track, changed)
  if isinstance(written, str):
    return Composed(track, track, film, wanted, written)
  return Composed(track, written, film, wanted)


def listen(track, times, durations, hear):
  """Yields the audio features of latent frames, in order, as far as they are asked for.

  Args:
    track: aac.Soundtrack that the mouth follows.
    times, durations: [4T] seconds.
    hear: System.hear.

  Yields:
    [16, layers, channels] T times.
  """
  begin = max(times[0] - _MARGIN, float(track.start))
  end = times[-1] + durations[-1] + _MARGIN
  first, last = (round((x - float(track.start)) * track.rate) for x in (begin, end))
  heard = sound.mono_16k(sound.Cut(track.samples, first, min(last, track.samples.shape[1])))
  yield from whisper.sample_stream(hear(heard), heard.shape[1], np.asarray(times) - begin,
                                   durations)
