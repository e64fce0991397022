"""Whether a mouth follows its sound: rendered clips are edited with other sound and read again.

Each edit is a real video, and the mouth in it is read with the bundled tracker.

  new      another clip's sound. A mouth that follows it correlates with that clip's truth, and with
           its own clip's no more than the two truths do with each other. Clips begin and end with
           closed lips, which correlates by itself, so the middle of each clip is measured too. The
           tracker's reading of real footage, against its truth, stands beside as the ceiling.
           Where the sound's words close the lips (p, b, m), they should be closed. The width of the
           mouth, which vowels round and spread, should follow as well.
  own      the clip's own sound, with the whole clip regenerated: also how far the mouth's opening
           and width are from those of the true film, read by the same tracker, and how near and how
           sharp the mouth is beside the true one (`mouth_quality`), at the film's own size.
  codec    nothing is generated: the true faces are encoded, decoded and pasted, and measured as
           `own`. No generator can be expected to do better.
  silence  no sound: the mouth should be closed, as often as the true films' are where they rest.
"""

import dataclasses
import pathlib
import zipfile
import zlib

import numpy as np

from vidregen_jax import files, terminal
from vidregen_jax.editing import editor, preparation
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import mouth_quality, sync_scorer
from vidregen_jax.evaluation.lip_gap_probe import correlation
from vidregen_jax.faces import tracks
from vidregen_jax.media.audio import waveform
from vidregen_jax.provenance import consent
from vidregen_jax.reporting import dataclass_json

SOUNDS = ('new', 'own', 'codec', 'silence')
# A mouth that is open, as the tracker reads it: of the true films' resting frames, 1 in 100 is.
OPEN = 0.027
_RATE = 16_000
_REST_FRAMES = 3  # at both ends of a film, before and after it speaks
_EDGE_SECONDS = 0.5  # left out at both ends for the middle
_STRESS = 'ˈˌ'  # marks before a symbol of the International Phonetic Alphabet
_CLOSED = 0.01  # a true gap; a labial's first and last moments have more
_LABIALS = ('p', 'b', 'm')  # said with closed lips


@dataclasses.dataclass(frozen=True)
class Clip:
  """A rendered clip: its film, and when its mouth was how open (eye distances).

  Attributes:
    path: of the film.
    times, lip_gap, tracked_gap: [F], of each frame: seconds, the true opening, and the one that the
      tracker reads in the film.
    mouth_width: [F], the true one.
    labials: [N, 2], begin and end of the sounds that are said with closed lips, seconds.
  """

  path: pathlib.Path
  times: np.ndarray
  lip_gap: np.ndarray
  tracked_gap: np.ndarray
  mouth_width: np.ndarray
  labials: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2)))

  @property
  def seconds(self):
    return float(self.times[-1] + self.times[1] - self.times[0])

  def truth(self, times):
    """The lip gap at other times."""
    return np.interp(times, self.times, self.lip_gap)

  def closes(self, times):
    """In which frames, at other times, a labial closes the lips: bool [N]."""
    within = (times[:, None] >= self.labials[:, 0]) & (times[:, None] < self.labials[:, 1])
    return within.any(1) & (self.truth(times) < _CLOSED)


def read_truth(path):
  """The clip whose truth is in an .npz beside its .mp4.

  Raises:
    UserError: it is damaged, or holds no truth.
  """
  files.check_readable(path)
  try:
    with np.load(path) as arrays:
      rows = [arrays[name] for name in ('times', 'lip_gap', 'tracked_gap', 'mouth_width')]
      symbols, said = arrays['symbols'], arrays['spans']
  except (EOFError, KeyError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
    raise UserError(f'{path}: holds no truth of a clip ({error}): get the pack again') from error
  if any(row.shape != (len(rows[0]),) or row.dtype.kind != 'f' for row in rows) or len(
      rows[0]) < 2:
    raise UserError(f'{path}: holds no truth of a clip, one number a frame: get the pack again')
  if symbols.dtype.kind != 'U' or said.dtype.kind != 'f' or said.shape != (*symbols.shape, 2):
    raise UserError(f'{path}: holds no truth of a clip, begin and end of each symbol: get the pack '
                    'again')
  labial = [symbol.lstrip(_STRESS).startswith(_LABIALS) for symbol in symbols]
  return Clip(path.with_suffix('.mp4'), *rows, said[np.array(labial, bool)])


def read_clips(pack, split):
  """The clips of a split, by name.

  Raises:
    UserError: there are none.
  """
  clips = [read_truth(path) for path in sorted((pathlib.Path(pack) / split).glob('*.npz'))]
  if len(clips) < 2:
    raise UserError(f'{pack} has no clips of split {split!r}: render a pack with '
                    'python -m data.talkers.make_pack, or name another --pack')
  return clips


def pair(clips):
  """For each clip the next one, whose sound it is edited with: every sound is used once.

  Where the sound is shorter than the clip, the clip is edited for as long as it lasts.
  """
  return list(zip(clips, clips[1:] + clips[:1], strict=True))


def listening(machine, pairs, seed, overrides, folder, sounds=('new',), fit_face=False,
              judges=None, vgg16=None):
  """Edits each clip with each kind of sound and reads the mouth.

  Args:
    machine: pipeline.System.
    pairs: list of (clip, other).
    seed: of the noise.
    overrides: SamplerConfig fields to change, (name, value) pairs.
    folder: for the edited videos.
    sounds: of SOUNDS.
    fit_face: whether the model is fitted to each clip's own frames first.
    judges: of `sync_scorer`, by name. They score each edit that has a sound, and beside it the film
      that the sound is from.
    vgg16: of `perceptual.load`; without it there is no LPIPS of `own` and `codec`.

  Returns:
    A list of dicts, one a clip and kind of sound.

  Raises:
    UserError: there is no such kind of sound.
  """
  for sound in sounds:
    if sound not in SOUNDS:
      raise UserError(f'there is no sound {sound!r} to hear: choose of {", ".join(SOUNDS)}')
  rows, folder = [], pathlib.Path(folder)
  for clip, other in terminal.progress(pairs, 'clip', 'listening'):
    for sound in sounds:
      source = {'new': other, 'silence': _silent(clip, folder)}.get(sound, clip)
      stop = min(clip.seconds, source.seconds)
      spans = () if source.seconds >= clip.seconds else ((0.0, stop - 1e-3),)
      out = folder / f'{clip.path.stem}_{sound}.mp4'
      edit = preparation.Edit(
          str(clip.path), consent.of('rendered people'), str(out), str(source.path), spans,
          seed=seed, overrides=overrides, fit_face=fit_face, reconstruct=sound == 'codec')
      report = editor.regenerate(edit, machine)
      track = tracks.track_file(out)
      inside = track.times < stop - 1e-3
      gap = track.lip_gap[inside]
      row = {'clip': clip.path.stem, 'sound': sound, 'audio': source.path.stem,
             'frames': int(inside.sum()), 'lost_faces': int((~np.isfinite(gap)).sum()),
             'seconds': report.seconds, 'stages': dataclass_json.to_json(report.stages),
             'peak_memory_mb': report.peak_memory_mb}
      if sound == 'silence':
        row['open'] = float(np.mean(gap[np.isfinite(gap)] > OPEN))
        rest = np.r_[clip.tracked_gap[:_REST_FRAMES], clip.tracked_gap[-_REST_FRAMES:]]
        row['open_in_truth'] = float(np.mean(rest > OPEN))
      else:
        row |= _follows(clip, source, track.times[inside], gap, stop)
        row |= _rounds(clip, source, track.times[inside], track.mouth_width[inside])
        row |= _closures(source, track.times[inside], gap)
      if sound in ('own', 'codec'):
        true_track = tracks.track_file(clip.path)
        row |= _mouth_error(track, true_track, inside)
        row |= mouth_quality.of_videos(out, clip.path, true_track, np.flatnonzero(inside), vgg16)
      if judges and sound != 'silence':
        films = {'generated': (out, track), 'truth': (source.path, None)}
        row['sync'] = {name: {what: dataclasses.asdict(
          sync_scorer.of_video(judge, path, track=of).score(stop=stop))
          for what, (path, of) in films.items()} for name, judge in judges.items()}
      rows.append(row)
  return rows


def _silent(clip, folder):
  """A silent soundtrack of the clip's length, as a Clip whose mouth is closed."""
  path = folder / f'{clip.path.stem}_silence.wav'
  waveform.write_wav(path, np.zeros((1, round(clip.seconds * _RATE)), np.float32), _RATE)
  closed = np.zeros_like(clip.times)
  return Clip(path, clip.times, closed, closed, clip.mouth_width)


def _follows(clip, source, times, gap, stop):
  """Correlations over the whole edit and over its middle, without half a second at both ends."""
  new, old = source.truth(times), clip.truth(times)
  middle = (times >= _EDGE_SECONDS) & (times < stop - _EDGE_SECONDS)
  return {name: {
    'new': correlation(gap[part], new[part]),
    'old': correlation(gap[part], old[part]),
    'truths': correlation(new[part], old[part]),
    'tracker_on_truth': correlation(source.tracked_gap, source.lip_gap),
    'opening': float(np.nanstd(gap[part]) / max(new[part].std(), 1e-6)),
    'opening_of_truth': float(np.nanstd(source.tracked_gap) / max(source.lip_gap.std(), 1e-6)),
  } for name, part in (('whole', np.ones(len(times), bool)), ('middle', middle))}


def _rounds(clip, source, times, width):
  """As `_follows`, of the mouth's width; what the tracker reads of the true film is read here."""
  at = lambda film: np.interp(times, film.times, film.mouth_width)
  new, old, true = at(source), at(clip), tracks.track_file(source.path).mouth_width
  return {'width': {
    'new': correlation(width, new), 'old': correlation(width, old),
    'truths': correlation(new, old), 'tracker_on_truth': correlation(true, source.mouth_width),
    'change': float(np.nanstd(width) / max(new.std(), 1e-6)),
    'change_of_truth': float(np.nanstd(true) / max(source.mouth_width.std(), 1e-6))}}


def _closures(source, times, gap):
  """The share of a labial's frames in which lips are closed, and how many frames there are.

  Beside it, that of the true film, by the same tracker. A frame without a face counts as open.
  """
  closes, closes_in_truth = source.closes(times), source.closes(source.times)
  share = lambda gaps: float(np.mean(gaps <= OPEN)) if len(gaps) else float('nan')
  return {'labial_frames': int(closes.sum()), 'closed': share(gap[closes]),
          'closed_in_truth': share(source.tracked_gap[closes_in_truth])}


def _mouth_error(track, true_track, inside):
  """Mean distance of (opening, width) from the true film's, pixels at 100 between the eyes.

  Beside it, that of a mouth that is always the true film's mean.
  """
  shape = lambda track: np.stack([track.lip_gap, track.mouth_width], 1)[:len(inside)][inside]
  output, truth = shape(track), shape(true_track)
  distance = lambda shapes: float(100 * np.nanmean(np.linalg.norm(shapes - truth, axis=1)))
  return {'mouth_error': distance(output), 'mouth_error_of_mean': distance(np.nanmean(truth, 0))}


def medians(rows):
  """By kind of sound and part, the median of each figure over the clips.

  Of errors and shares, it is the mean; of closed lips, that over all frames.
  """
  summary = {}
  for sound in dict.fromkeys(row['sound'] for row in rows):
    of = [row for row in rows if row['sound'] == sound]
    summary[sound] = {
      part: {name: round(float(np.nanmedian([row[part][name] for row in of])), 3)
             for name in of[0][part]} for part in ('whole', 'middle', 'width') if part in of[0]}
    for judge in of[0].get('sync', {}):
      summary[sound][judge] = {what: {name: round(float(np.nanmedian(
        [row['sync'][judge][what][name] for row in of])), 3)
        for name in ('confidence', 'distance', 'offset', 'fit')}
        for what in ('generated', 'truth')}
    for name in ('mouth_error', 'mouth_error_of_mean', 'open', 'open_in_truth', 'sharpness',
                 'lpips'):
      if name in of[0]:
        summary[sound][name] = round(float(np.mean([row[name] for row in of])), 3)
    for name in ('closed', 'closed_in_truth'):
      if frames := sum(row.get('labial_frames', 0) for row in of):
        summary[sound][name] = round(
          sum(row[name] * row['labial_frames'] for row in of if row['labial_frames']) / frames, 3)
  return summary
