"""How often the offset of sound and the speaker are found: by filter, by scorer, by their sum.

  python -m bench.sync_offsets
  python -m bench.sync_offsets --real=FOLDER    # and clips of people, in pieces of 2 to 10 s

These are the judges of `data.talking_faces`, on the pack's clips of a split and on clips of a
folder, cut into pieces with nothing of picture or sound left around them. Each piece is heard as it
is, twice with its sound moved by up to .4 s, and with the sound of others:

  right     the offset found is within a frame (40 ms) of the true one
  certain   its lead over all other lags is larger than that of 98 % of pieces with another's sound,
            one bound for each kind of clips and judge; and how many of these are wrong
  speaker   a face with its own sound has more evidence than another face with that sound; 'the
            editor' is `editing.active_speaker`

What is true of people is what the sum says of the whole clip, less by which the sound was moved.
'the build' is the sum by the bounds of `sync_offset`. Seconds are of a processor, by minute of
video. The last line is a JSON object.
"""

import collections
import dataclasses
import itertools
import json
import pathlib
import sys
import time

import numpy as np

from data.talkers import truth
from data.talking_faces import probing, scorer_curve, speaker, sync_offset
from vidregen_jax import cli, terminal
from vidregen_jax.editing import active_speaker
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import sync_scorer
from vidregen_jax.faces import tracks
from vidregen_jax.media.audio import waveform

PACK = pathlib.Path('data/talkers/pack')
JUDGES = ('filter', 'scorer', 'sum')
_MOST_SHIFT = 0.4  # seconds
_LENGTHS = (2, 3, 5, 10)  # seconds of a clip of people, each half a length after the last
_BINS = (0, 2.5, 4, 8, 60)  # seconds of pieces that are counted together
_RIGHT = 0.04  # seconds
_BELIEVED = 0.98  # share of pieces with another's sound that are not certain
_RATE = waveform.MODEL_RATE


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
  """Some seconds of a clip, as the judges see them.

  Attributes:
    clip: its name.
    times, gap, width: [F], of lips; nan where unknown.
    mouth: as the scorer sees it, with nothing of what is outside the piece.
    sound: of these seconds.
  """

  clip: str
  times: np.ndarray
  gap: np.ndarray
  width: np.ndarray
  mouth: sync_scorer.Mouth
  sound: probing.Sound

  @property
  def seconds(self) -> float:
    return float(self.times[-1] - self.times[0])


def pieces(path, spent: collections.Counter, lengths=()) -> list[Piece]:
  """A clip's pieces, the whole one first.

  Args:
    path: of the clip; its largest face counts.
    spent: to which processor seconds are added.
    lengths: of the others, in seconds; longer ones than the clip are left out.

  Raises:
    UserError: the clip has no face or no sound.
  """
  try:
    info = probing.pictures(path)
    sound = probing.sound(info)
  except probing.LeftOut as left:
    raise UserError(f'{path}: {left}') from left
  faces = tracks.follow_parts(info, [(0, info.frame_count)])
  if not faces.pieces:
    raise UserError(f'{path}: no face was found')
  face = max(faces.pieces, key=lambda one: one.area.sum())
  began = time.process_time()
  # All of it, and not only as much as the build looks at.
  mouth = sync_scorer.look(scorer_curve.scorer(), path, face.track, face.start, stamps=info.stamps)
  spent['scorer'] += time.process_time() - began
  times = face.track.times
  spent['minutes'] += float(times[-1] - times[0]) / 60
  begin, end = float(times[0]), float(times[-1]) + 1e-3
  spans = [(begin, end)]
  for length in lengths:
    for at in np.arange(begin, end - length + 0.05, length / 2):
      spans.append((float(at), float(at) + length))
  return [_cut(path, face.track, mouth, sound, *span) for span in spans]


def _cut(path, track, mouth, sound, begin, end):
  inside = (track.times >= begin) & (track.times < end)
  gap, width = (np.where(track.valid, x, np.nan)[inside]
                for x in (track.lip_gap, track.mouth_width))
  seen = (mouth.times >= begin - 1e-6) & (mouth.times < end)
  known, reach = mouth.known[seen].copy(), scorer_curve.scorer().reach
  known[:reach] = known[-reach:] = False  # these see frames of outside
  low, high = (max(round((at - sound.start) * _RATE), 0) for at in (begin, end))
  return Piece(pathlib.Path(path).stem, track.times[inside], gap, width,
               sync_scorer.Mouth(mouth.times[seen], mouth.vectors[seen], known),
               probing.Sound(sound.samples[low:high], sound.start + low / _RATE, 1))


def _late(sound, seconds):
  """Sound that is so much later, as long as before."""
  count, samples = round(abs(seconds) * _RATE), sound.samples
  moved = (np.pad(samples, (count, 0))[:len(samples)] if seconds >= 0
           else np.pad(samples[count:], (0, min(count, len(samples)))))
  return dataclasses.replace(sound, samples=moved)


def judged(piece: Piece, sound: probing.Sound, spent: collections.Counter) -> dict:
  """sync_offset.Offset by judge, and the editor's agreement as 'editor'."""
  began = time.process_time()
  predicted = sync_offset.prediction(sync_offset.bands(sound.samples))
  filtered = sync_offset.curve(piece.times, piece.gap, piece.width, predicted, sound.start)
  middle = time.process_time()
  scored = scorer_curve.curve(piece.mouth, sound)
  spent['filter, sound'] += middle - began
  spent['scorer, sound'] += time.process_time() - middle
  spent['minutes of sound'] += piece.seconds / 60
  curves = (filtered, scored, sync_offset.together(filtered, scored))
  loud = active_speaker.loudness(sound.samples[None].astype(np.float32) / 32768, _RATE)
  return {name: sync_offset.estimate(curve) for name, curve in zip(JUDGES, curves, strict=True)} | {
    'editor': active_speaker.agreement(piece.times, piece.gap, piece.width, loud, sound.start)}


def trials(made: list[list[Piece]], seed: int, spent: collections.Counter
           ) -> tuple[list, list, list]:
  """Tries the judges on the pieces of clips.

  Returns:
    ((true offset, judged, seconds) of moved sound, judged of foreign sound, (own, other) with one
    sound).
  """
  rng = np.random.default_rng(seed)
  moved, foreign, pairs = [], [], []
  flat = [piece for each in made for piece in each]
  for each in terminal.progress(made, 'clip', 'judging'):
    true = judged(each[0], each[0].sound, spent)['sum'].seconds if len(each) > 1 else 0.0
    for piece in each:
      own = judged(piece, piece.sound, spent)
      moved.append((true, own, piece.seconds))
      for late in rng.uniform(-_MOST_SHIFT, _MOST_SHIFT, 2).round(2).tolist():
        if abs(true + late) < sync_offset.SEARCH:
          moved.append((true + late, judged(piece, _late(piece.sound, late), spent),
                        piece.seconds))
      others = [one for one in flat if one.clip != piece.clip
                and 0.8 * piece.seconds < one.seconds < 1.25 * piece.seconds]
      for at in rng.permutation(len(others))[:3].tolist():
        other = others[at]
        sound = dataclasses.replace(piece.sound, start=float(other.times[0])
                                    + piece.sound.start - float(piece.times[0]))
        found = judged(other, sound, spent)
        foreign.append(found)
        pairs.append((own, found))
  return moved, foreign, pairs


def figures(moved, foreign, pairs) -> dict:
  """Shares of `trials`, by judge."""
  share = lambda rows: round(float(np.mean(rows)), 3) if len(rows) else None
  out = {'pieces with own sound': len(moved), "with another's": len(foreign)}
  lead = lambda offset: offset.lead * offset.evidence / max(offset.agreement, 1e-9)
  for name in JUDGES:
    right = np.array([abs(row[name].seconds - true) <= _RIGHT + 1e-6 for true, row, _ in moved])
    bound = np.quantile([lead(row[name]) for row in foreign], _BELIEVED) if foreign else np.inf
    certain = np.array([lead(row[name]) > bound for _, row, _ in moved])
    out[name] = {'right': share(right), 'certain': share(certain),
                 'certain and wrong': f'{int((certain & ~right).sum())} of {int(certain.sum())}',
                 'speaker': share([own[name].evidence > other[name].evidence
                                   for own, other in pairs])}
  seconds = np.array([length for _, _, length in moved])
  sure = np.array([row['sum'].sure for _, row, _ in moved])
  right = np.array([abs(row['sum'].seconds - true) <= _RIGHT + 1e-6 for true, row, _ in moved])
  decided = [own['sum'].evidence > other['sum'].evidence for own, other in pairs
             if abs(own['sum'].evidence - other['sum'].evidence) >= speaker.LEAST_LEAD]
  out['the build'] = {
    'right, certain, by seconds': {
      f'{low} to {high}': [share(right[inside]), share(sure[inside])]
      for low, high in itertools.pairwise(_BINS)
      if (inside := (seconds >= low) & (seconds < high)).any()},
    'lips move': share([row['sum'].moves for _, row, _ in moved]), 'certain': share(sure),
    'certain and wrong': f'{int((sure & ~right).sum())} of {int(sure.sum())}',
    "lips move, another's sound": share([row['sum'].moves for row in foreign]),
    "certain, another's sound": share([row['sum'].sure for row in foreign]),
    'speaker decided': share([True] * len(decided) + [False] * (len(pairs) - len(decided))),
    'decided and wrong': f'{len(decided) - sum(decided)} of {len(decided)}'}
  out['the editor'] = {'speaker': share([
    np.nan_to_num(own['editor'], nan=-1) > np.nan_to_num(other['editor'], nan=-1)
    for own, other in pairs])}
  return out


def _run(given):
  spent = collections.Counter()
  clips = [PACK / clip['split'] / f'{clip["clip_id"]}.mp4'
           for clip in truth.read_index(PACK)['clips'] if clip['split'] == given.split]
  of = {'rendered': [pieces(path, spent) for path in
                     terminal.progress(clips[:given.clips], 'clip', 'following faces')]}
  if given.real:
    paths = [path for path in sorted(pathlib.Path(given.real).rglob('*'))
             if path.suffix in ('.mp4', '.mpg', '.mkv', '.mov')]
    of['real'] = [pieces(path, spent, _LENGTHS) for path in
                  terminal.progress(paths, 'clip', 'following faces')]
  result = {kind: figures(*trials(made, given.seed, spent)) for kind, made in of.items()}
  result['seconds for a minute'] = {
    'filter': round(spent['filter, sound'] / spent['minutes of sound'], 2),
    'scorer': round(spent['scorer, sound'] / spent['minutes of sound']
                    + spent['scorer'] / spent['minutes'], 2)}
  terminal.say_text(json.dumps(result, indent=2, ensure_ascii=False))


def main(argv=None) -> int:
  parser = cli.Parser(prog='python -m bench.sync_offsets', description=__doc__)
  parser.add_argument('--split', choices=('train', 'validation', 'test'), default='test',
                      help='of the pack (default %(default)s)')
  parser.add_argument('--clips', type=cli.whole(2), metavar='N',
                      help='how many of it (default: all)')
  parser.add_argument('--real', metavar='DIR', help='clips of people, to be measured as well')
  parser.add_argument('--seed', type=cli.whole(0), default=0, metavar='N')
  return cli.command(parser, _run, 'nothing was written', argv)


if __name__ == '__main__':
  sys.exit(main())
