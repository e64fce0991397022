"""The output's sound, and the features of it that the mouth follows."""

import dataclasses
import math

import numpy as np

from vidregen_jax.editing import audio_diff as differing
from vidregen_jax.editing import voice_placement
from vidregen_jax.errors import UserError
from vidregen_jax.media.audio import aac, channels, lazy, packet_splice, waveform
from vidregen_jax.media.timeline import retimed_video as films
from vidregen_jax.media.timeline import retiming as timelines
from vidregen_jax.media.timeline import spans as spanning
from vidregen_jax.models import audio_timeline

_MARGIN = 1.0  # seconds of sound around a run that the audio encoder also hears


def differences(info, new_audio, margin) -> list[tuple[float, float]] | None:
  """Spans of the video in which a new soundtrack is not the old one; see `audio_diff.find`.

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
  old, new, first = _compared(info, new_audio)
  # Where the old sound ends before the new one does, it is silent.
  old = lazy.Cut(old, 0, max(old.shape[1], new.shape[1]))
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  found = [(max(start + first, begin), min(stop + first, end))
           for start, stop in differing.find(old, new, old.rate, margin)]
  found = [(start, stop) for start, stop in found if start < stop]
  return None if sum(b - a for a, b in found) > 0.9 * (end - begin) else found


def lag(info, new_audio) -> float:
  """Seconds by which a new soundtrack comes later than the old one; 0 where it is another.

  Args:
    info, new_audio: as of `differences`.
  """
  old, new, _ = _compared(info, new_audio)
  return differing.lag(old, new)


def _compared(info, new_audio):
  """The old and the new sound as the model hears them, on one clock, and that clock's start."""
  sounds = [lazy.Recording(path) for path in (info.path, new_audio)]
  first = float(min(recording.start for recording in sounds))
  old, new = (_led(lazy.mono_16k(recording), float(recording.start) - first)
              for recording in sounds)
  return old, new, first


def _led(heard, seconds):
  """A sound after so many seconds of silence."""
  lead = round(seconds * heard.rate)
  return lazy.Cut(heard, -lead, heard.shape[1])


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
    changed: (first, last) samples of the track that are new, where packets may be replaced.
    notes: what was decided about the sound, in words.
  """

  track: aac.Soundtrack
  written: aac.Soundtrack | packet_splice.Patched
  film: films.Film
  spans: list[tuple[float, float]]
  why_all_is_encoded: str | None = None
  cut: float = 0.0
  changed: tuple[tuple[int, int], ...] = ()
  notes: tuple[str, ...] = ()


def check_samples(info, new_audio='', patches=()) -> None:
  """Finds samples that are no sound, before anything is made of them.

  Args:
    info: VideoInfo of the source; the others as of `compose`.

  Raises:
    UserError: as `waveform.check`.
  """
  for path in (*[info.path] * info.has_audio, *[new_audio] * bool(new_audio),
               *dict.fromkeys(patch.path for patch in patches)):
    waveform.check(path)


def compose(info, new_audio='', wanted=(), patches=(), fit='') -> Composed:
  """The sound that is asked for, as samples, and the film that it is for.

  Args:
    info: VideoInfo of the source.
    new_audio: path of the new soundtrack; '' with patches.
    wanted: (start, stop) seconds of the spans in which it is heard; empty for the whole video.
    patches: Patch of each; empty where there is a new soundtrack.
    fit: as of `compose_whole`.

  Raises:
    UserError: as of what it calls.
  """
  film = films.Film.of(info)
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  if patches:
    spanning.check([(patch.start, patch.stop) for patch in patches], begin, end, info.path)
    return compose_patches(film, patches)
  if not wanted:
    return compose_whole(film, new_audio, fit)
  wanted = spanning.merge(wanted)
  spanning.check(wanted, begin, end, info.path)
  return compose_spans(film, new_audio, wanted)


def patched(composed: Composed) -> Composed:
  """The same with the source's own packets where nothing has changed, if that can be."""
  if not composed.changed:
    return composed
  written = packet_splice.patch(composed.film.source.path, composed.track, composed.changed)
  if isinstance(written, str):
    return dataclasses.replace(composed, why_all_is_encoded=written)
  return dataclasses.replace(composed, written=written, why_all_is_encoded=None)


def _read(path, until, rate) -> lazy.Recording:
  """A soundtrack that lasts at least until a time.

  Raises:
    UserError: it does not.
  """
  new = lazy.Recording(path)
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
    fit: of retiming.FITS, what the picture does where the sound is longer or shorter; '' for
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
  track = aac.Soundtrack(lazy.Cut(new, 0, min(length, new.shape[1])), new.rate, float(new.start),
                         _bit_rate(info, new.shape[0]))
  return Composed(track, track, film, [(float(info.start_time),
                                        float(info.start_time + info.duration))],
                  'it is new from end to end', max(new.shape[1] - length, 0) / new.rate,
                  notes=_guesses(new))


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
  own, start, padded = _own(info, wanted[0][0], wanted[-1][1])
  end, pieces, notes = start + own.shape[1] / own.rate, [], list(_guesses(own, new))
  for begin, stop in wanted:
    begin, stop = (min(max(x, start), end) for x in (begin, stop))
    first, last = (round((x - float(new.start)) * new.rate) for x in (begin, stop))
    piece = lazy.at_rate(lazy.Cut(new, first, last), own.rate)
    first, last = (round((x - start) * own.rate) for x in (begin, stop))
    piece, note = _placed(own, first, last, lazy.Cut(piece, 0, last - first, hold=True))
    pieces.append((first, last, piece))
    notes.append(note)
  return _spliced(film, own, start, pieces, wanted, padded, notes)


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
  patches = sorted(patches, key=lambda patch: patch.start)
  own, start, padded = _own(info, patches[0].start, max(patch.stop for patch in patches))
  rate, notes = own.rate, list(_guesses(own))
  for before, after in zip(patches, patches[1:], strict=False):
    if after.start < before.stop:
      raise UserError(f'the patches {before.path} and {after.path} overlap: {after.start:g} s '
                      f'comes before {before.stop:g} s')
  spans, pieces, moved, shift = [], [], 0.0, 0  # moved in seconds, shift in samples
  for patch in patches:
    begin, stop = patch.start + moved, patch.stop + moved
    new = lazy.Recording(patch.path)
    shown, base = film.timeline, info.time_base
    first, last = np.searchsorted(film.times, (begin - 1e-6, stop - 1e-6)).tolist()
    old_end = shown.end
    film = dataclasses.replace(film, timeline=timelines.retime(
        shown, first, last, max(round(new.shape[1] / new.rate / base), 1)))
    longer = float((film.timeline.end - old_end) * base)
    edges = np.r_[shown.pts, shown.end]
    begin, stop = (float(info.seconds(int(edges[i]))) for i in (first, last))
    need = round((stop + longer - begin) * rate)
    # A frame may last a little longer than the sound does.
    first, last = (min(max(round((x - start) * rate) - shift, 0), own.shape[1])
                   for x in (begin, stop))
    piece, note = _placed(own, first, last, lazy.Cut(lazy.at_rate(new, rate), 0, need))
    pieces.append((first, last, piece))
    notes += [*_guesses(new), note]
    spans.append((begin, stop + longer))
    shift += need - (last - first)
    moved += longer
  return _spliced(film, own, start, pieces, spans, padded, notes)


def _placed(own, first, last, piece):
  """New sound among the channels of the old, which it takes the place of from `first` to `last`.

  Where the old sound stays beside it and the new is longer, what follows is heard there already.

  Returns:
    Sound, and what was decided.
  """
  if piece.places == own.places:
    return piece, ''
  made = voice_placement.choose(voice_placement.measure(own, first, last), own.places, piece.places)
  heard = lazy.Mixed(piece, own.places, made.gives)
  if not made.keeps.any():
    return heard, made.note
  old = lazy.Cut(own, first, first + piece.shape[1])
  return lazy.Sum(heard, lazy.Mixed(old, own.places, made.keeps)), made.note


def _spliced(film, own, start, pieces, spans, padded, notes):
  """The old sound with new pieces, of which packets may be replaced where nothing has moved."""
  spliced = lazy.Spliced(own, pieces)
  track = aac.Soundtrack(spliced, own.rate, start, _bit_rate(film.info, own.shape[0]))
  why, changed = '', tuple(spliced.changed)
  if not film.is_the_source:
    why, changed = 'what follows a patch has moved', ()
  elif padded:
    why, changed = 'the new sound is also where the old one has not begun or has ended', ()
  return Composed(track, track, film, spans, why, changed=changed,
                  notes=tuple(dict.fromkeys(filter(None, notes))))


def _guesses(*recordings):
  """What is said of recordings that do not say where their channels are."""
  return tuple(f'{recording.path} does not say where its {recording.shape[0]} channels are: taken '
               f'as {_layout(recording)}'
               for recording in recordings if not recording.places_are_said)


def _layout(recording):
  known = channels.are_known(recording.places)
  return ', '.join(recording.places) if known else 'equal parts of one'


def with_margin(composed, margin) -> Composed:
  """The same with spans widened by at most so many seconds, to where it is quietest.

  There the mouth rests, and old and new picture meet best. The sound stays what it is.
  """
  track, info = composed.track, composed.film.info
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  widened = differing.widen(composed.spans, lazy.voice(track.samples),
                            float(track.start), margin)
  return dataclasses.replace(composed, spans=spanning.merge(
      (max(start, begin), min(stop, end)) for start, stop in widened))


def _own(info, first, last):
  """The source's own sound, with silence around it as far as it is needed.

  Args:
    info: VideoInfo of the source.
    first, last: seconds from which and to which there shall be sound. Up to a frame of it may be
      missing: pictures and sound seldom begin and end at once.

  Returns:
    Sound, its start in seconds, and whether there is more of it than before.
  """
  if not info.has_audio:
    raise UserError(f'{info.path} has no soundtrack to keep outside the spans: regenerate the '
                    'whole video with --whole')
  own = lazy.Recording(info.path)
  start, count, rate = float(own.start), own.shape[1], own.rate
  frame = float(1 / info.rate)
  lead = math.ceil((start - first) * rate) if first < start - frame else 0
  tail = math.ceil((last - start) * rate) - count if last > start + count / rate + frame else 0
  if not lead and not tail:
    return own, start, False
  return _Padded(own, lead, tail), start - lead / rate, True


class _Padded(lazy.Cut):
  """A recording with silence before and after it."""

  def __init__(self, recording, lead, tail):
    super().__init__(recording, -lead, recording.shape[1] + tail)
    self.path, self.places_are_said = recording.path, recording.places_are_said


def _bit_rate(info, count):
  """Bits a second for so many channels, and no fewer than the source's."""
  return max(info.audio_bit_rate, 192_000, 64_000 * min(count, 8))


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
  heard = lazy.mono_16k(lazy.Cut(track.samples, first, min(last, track.samples.shape[1])))
  yield from audio_timeline.sample_stream(hear(heard), heard.shape[1], np.asarray(times) - begin,
                                   durations)
