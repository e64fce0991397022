"""The output's sound: the source's sound, with the new words in place of the old ones."""

import dataclasses
import math

import numpy as np

from vidregen_jax.editing import audio_diff, voice_placement
from vidregen_jax.errors import UserError
from vidregen_jax.media.audio import aac, channels, lazy, packet_splice, sound_file, waveform
from vidregen_jax.media.timeline import retimed_video as films
from vidregen_jax.media.timeline import retiming as timelines
from vidregen_jax.media.timeline import spans as spanning


@dataclasses.dataclass(frozen=True)
class Patch:
  """A piece of sound that replaces a span of seconds.

  Attributes:
    start, stop: of the span.
    path: of the file.
    begin: second of the file at which the piece begins, which is then as long as the span; None for
      all of the file, of any length, to which the picture is retimed.
  """

  start: float
  stop: float
  path: str
  begin: float | None = None


@dataclasses.dataclass(frozen=True)
class Composed:
  """The output's sound, and the film and spans that follow from it.

  Attributes:
    track: all of the sound, as samples; what the mouth follows.
    written: passed to the writer: the track, or the source's packets with some replaced.
    film: the source, retimed to the sound.
    spans: merged (start, stop) seconds of the film in which the mouth is regenerated.
    why_all_is_encoded: why `written` is not packets; None if it is.
    cut: seconds of the new sound that lie past the video's end.
    changed: (first, last) samples of the track that are new, where packets may be replaced.
    notes: what was decided about the sound, in words.
    edits: (start, stop) seconds of each edit, before any margin.
  """

  track: aac.Soundtrack
  written: aac.Soundtrack | packet_splice.Patched
  film: films.Film
  spans: list[tuple[float, float]]
  why_all_is_encoded: str | None = None
  cut: float = 0.0
  changed: tuple[tuple[int, int], ...] = ()
  notes: tuple[str, ...] = ()
  edits: tuple[tuple[float, float], ...] = ()


def check_samples(info, new_audio='', patches=()) -> None:
  """Checks all sound that will be read for invalid samples.

  Args:
    info: VideoInfo of the source; the others as of `compose`.

  Raises:
    UserError: as `waveform.check`.
  """
  for path in (*[info.path] * info.has_audio, *[new_audio] * bool(new_audio),
               *dict.fromkeys(patch.path for patch in patches)):
    waveform.check(path)


def compose(info, new_audio='', spans=(), patches=(), fit='') -> Composed:
  """Composes the requested sound, as samples, and the film that goes with it.

  Args:
    info: VideoInfo of the source.
    new_audio: path of the new soundtrack; '' with patches.
    spans: (start, stop) seconds of the spans in which it is heard; empty for the whole video.
    patches: Patch of each; empty where there is a new soundtrack.
    fit: as of `compose_whole`.

  Raises:
    UserError: as of what it calls.
  """
  film = films.Film.of(info)
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  if patches:
    spanning.check([(patch.start, patch.stop) for patch in patches], begin, end, info.path)
    if all(patch.begin is not None for patch in patches):
      return compose_pieces(film, patches)
    return compose_patches(film, patches)
  if not spans:
    return compose_whole(film, new_audio, fit)
  spans = spanning.merge(spans)
  spanning.check(spans, begin, end, info.path)
  return compose_spans(film, new_audio, spans)


def patched(composed: Composed) -> Composed:
  """The same, written as the source's own packets where nothing has changed, if possible."""
  if not composed.changed:
    return composed
  written = packet_splice.patch(composed.film.source.path, composed.track, composed.changed)
  if isinstance(written, str):
    return dataclasses.replace(composed, why_all_is_encoded=written)
  return dataclasses.replace(composed, written=written, why_all_is_encoded=None)


def _read(path, until, rate) -> sound_file.Recording:
  """Opens a soundtrack that must last at least until a time.

  Raises:
    UserError: it ends earlier.
  """
  new = sound_file.Recording(path)
  have = float(new.start) + new.shape[1] / new.rate
  # One frame of slack: a video's last frame often ends a little after its sound.
  if have < until - float(1 / rate) - 1e-6:
    raise UserError(f'{path} ends at {have:.3f} s but is needed until {until:.3f} s: give the '
                    f'whole new soundtrack, or --span up to {have:.2f}')
  return new


def compose_whole(film, new_audio, fit='') -> Composed:
  """A whole video with a new soundtrack.

  Args:
    film: the source.
    new_audio: path.
    fit: one of retiming.FITS, how the picture is fitted to longer or shorter sound; '' to cut
      longer sound at the picture's end.

  Raises:
    UserError: there is no sound, too little of it, or too much while `fit` is 'trim'.
  """
  info = film.info
  if fit:
    new = _read(new_audio, 0.0, info.rate)
    lasts = float(new.start) + new.shape[1] / new.rate - float(info.start_time)
    ticks = round(lasts / info.time_base)
    # A difference of less than half a frame needs no fitting.
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


def compose_spans(film, new_audio, spans) -> Composed:
  """A video in which spans of a new, synchronous soundtrack replace the old sound.

  Args:
    film: the source.
    new_audio: path.
    spans: merged spans, seconds on the video's clock.

  Raises:
    UserError: the new sound is missing or too short.
  """
  info = film.info
  new = _read(new_audio, max(stop for _, stop in spans), info.rate)
  own, start, padded = _own(info, spans[0][0], spans[-1][1])
  end, pieces, notes = start + own.shape[1] / own.rate, [], list(_guesses(own, new))
  for begin, stop in spans:
    begin, stop = (min(max(x, start), end) for x in (begin, stop))
    first, last = (round((x - float(new.start)) * new.rate) for x in (begin, stop))
    piece = lazy.at_rate(lazy.Cut(new, first, last), own.rate)
    first, last = (round((x - start) * own.rate) for x in (begin, stop))
    piece, note = _placed(own, first, last, lazy.Cut(piece, 0, last - first, hold=True))
    pieces.append((first, last, piece))
    notes.append(note)
  return _spliced(film, own, start, pieces, spans, padded, notes)


def compose_pieces(film, patches) -> Composed:
  """A video in which parts of files, each as long as its span, replace the old sound.

  Args:
    film: the source.
    patches: list of Patch that say where in their files they begin.

  Raises:
    UserError: there is no soundtrack, patches overlap, or a file ends too early.
  """
  patches = sorted(patches, key=lambda patch: patch.start)
  own, start, padded = _own(film.info, patches[0].start, max(patch.stop for patch in patches))
  _check_apart(patches)
  end, pieces, notes = start + own.shape[1] / own.rate, [], list(_guesses(own))
  for patch in patches:
    new = sound_file.Recording(patch.path)
    have, need = new.shape[1] / new.rate, patch.begin + patch.stop - patch.start
    if have < need - float(1 / film.info.rate):
      raise UserError(f'{patch.path} lasts {have:.3f} s, and is needed up to {need:.3f} s for the '
                      f'edit at {patch.start:.2f} s')
    first, last = (round((min(max(x, start), end) - start) * own.rate)
                   for x in (patch.start, patch.stop))
    begin = round(patch.begin * new.rate)
    part = lazy.at_rate(lazy.Cut(new, begin, begin + -(-(last - first) * new.rate // own.rate)),
                        own.rate)
    piece, note = _placed(own, first, last, lazy.Cut(part, 0, last - first, hold=True))
    pieces.append((first, last, piece))
    notes += [*_guesses(new), note]
  spans = [(patch.start, patch.stop) for patch in patches]
  return _spliced(film, own, start, pieces, spans, padded, notes)


def compose_patches(film, patches) -> Composed:
  """A video in which pieces of sound replace spans of another length.

  The picture of a span is retimed to its new sound, and everything after it, sound and picture, is
  shifted. New sound is padded with silence to whole frames.

  Args:
    film: the source.
    patches: list of Patch.

  Raises:
    UserError: there is no soundtrack, a patch is empty or outside it, or patches overlap.
  """
  info = film.info
  patches = sorted(patches, key=lambda patch: patch.start)
  own, start, padded = _own(info, patches[0].start, max(patch.stop for patch in patches))
  rate, notes = own.rate, list(_guesses(own))
  _check_apart(patches)
  spans, pieces, moved, shift = [], [], 0.0, 0  # moved in seconds, shift in samples
  for patch in patches:
    begin, stop = patch.start + moved, patch.stop + moved
    new = sound_file.Recording(patch.path)
    timeline, base = film.timeline, info.time_base
    first, last = np.searchsorted(film.times, (begin - 1e-6, stop - 1e-6)).tolist()
    old_end = timeline.end
    film = dataclasses.replace(film, timeline=timelines.retime(
        timeline, first, last, max(round(new.shape[1] / new.rate / base), 1)))
    longer = float((film.timeline.end - old_end) * base)
    edges = np.r_[timeline.pts, timeline.end]
    begin, stop = (float(info.seconds(int(edges[i]))) for i in (first, last))
    need = round((stop + longer - begin) * rate)
    # The last frame may end a little after the sound.
    first, last = (min(max(round((x - start) * rate) - shift, 0), own.shape[1])
                   for x in (begin, stop))
    piece, note = _placed(own, first, last, lazy.Cut(lazy.at_rate(new, rate), 0, need))
    pieces.append((first, last, piece))
    notes += [*_guesses(new), note]
    spans.append((begin, stop + longer))
    shift += need - (last - first)
    moved += longer
  return _spliced(film, own, start, pieces, spans, padded, notes)


def _check_apart(patches):
  for before, after in zip(patches, patches[1:], strict=False):
    if after.start < before.stop - 1e-6:
      raise UserError(f'the patches {before.path} and {after.path} overlap: the second starts '
                      f'at {after.start:g} s, before the first ends at {before.stop:g} s')


def _placed(own, first, last, piece):
  """Places new sound among the channels of the old sound that it replaces from `first` to `last`.

  If the new sound is longer, channels that keep the old sound already play what follows the span.

  Returns:
    Sound, and a note on what was decided.
  """
  if piece.places == own.places:
    return piece, ''
  placing = voice_placement.choose(voice_placement.measure(own, first, last), own.places,
                                   piece.places)
  voice = lazy.Mixed(piece, own.places, placing.gives)
  if not placing.keeps.any():
    return voice, placing.note
  old = lazy.Cut(own, first, first + piece.shape[1])
  return lazy.Sum(voice, lazy.Mixed(old, own.places, placing.keeps)), placing.note


def _spliced(film, own, start, pieces, spans, padded, notes):
  """The old sound with new pieces; packets can be replaced only if nothing was shifted."""
  spliced = lazy.Spliced(own, pieces)
  track = aac.Soundtrack(spliced, own.rate, start, _bit_rate(film.info, own.shape[0]))
  why, changed = '', tuple(spliced.changed)
  if not film.is_the_source:
    why, changed = 'what follows a patch is shifted', ()
  elif padded:
    why, changed = 'the new sound extends beyond the old one', ()
  return Composed(track, track, film, spans, why, changed=changed,
                  notes=tuple(dict.fromkeys(filter(None, notes))))


def _guesses(*recordings):
  """Notes on recordings that do not declare their channel layout."""
  return tuple(f'{recording.path} does not declare the layout of its {recording.shape[0]} '
               f'channels: taken as {_layout(recording)}'
               for recording in recordings if not recording.places_are_said)


def _layout(recording):
  named = channels.are_known(recording.places)
  return ', '.join(recording.places) if named else 'equal parts of one'


def muted(composed, spans) -> Composed:
  """The same, with a track for the mouth to follow in which nothing is said in some spans."""
  track, pieces = composed.track, []
  samples, start = track.samples, float(track.start)
  for span in spans:
    first, last = (min(max(round((x - start) * track.rate), 0), samples.shape[1]) for x in span)
    nothing = np.zeros((len(samples.places), ) * 2)
    pieces.append((first, last, lazy.Mixed(lazy.Cut(samples, first, last), samples.places,
                                           nothing)))
  return dataclasses.replace(composed, track=dataclasses.replace(
    track, samples=lazy.Spliced(samples, pieces)))


def with_margin(composed, margin) -> Composed:
  """The same with each span widened by at most `margin` seconds, to the quietest moments.

  There the mouth is at rest, so old and new picture match best. The sound does not change.
  """
  track, info = composed.track, composed.film.info
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  widened = audio_diff.widen(composed.spans, lazy.voice(track.samples),
                            float(track.start), margin)
  return dataclasses.replace(composed, spans=spanning.merge(
      (max(start, begin), min(stop, end)) for start, stop in widened))


def _own(info, first, last):
  """The source's own sound, padded with silence as far as needed.

  Args:
    info: VideoInfo of the source.
    first, last: seconds between which sound is needed. Up to one frame may be missing, as picture
      and sound rarely begin and end at exactly the same time.

  Returns:
    Sound, its start in seconds, and whether it was padded.
  """
  if not info.has_audio:
    raise UserError(f'{info.path} has no soundtrack to keep outside the spans: regenerate the '
                    'whole video with --whole')
  own = sound_file.Recording(info.path)
  start, count, rate = float(own.start), own.shape[1], own.rate
  frame = float(1 / info.rate)
  lead = math.ceil((start - first) * rate) if first < start - frame else 0
  tail = math.ceil((last - start) * rate) - count if last > start + count / rate + frame else 0
  if not lead and not tail:
    return own, start, False
  return _Padded(own, lead, tail), start - lead / rate, True


class _Padded(lazy.Cut):
  """A recording padded with silence."""

  def __init__(self, recording, lead, tail):
    super().__init__(recording, -lead, recording.shape[1] + tail)
    self.path, self.places_are_said = recording.path, recording.places_are_said


def _bit_rate(info, count):
  """Bits per second for `count` channels, and no fewer than the source has."""
  return max(info.audio_bit_rate, 192_000, 64_000 * min(count, 8))
