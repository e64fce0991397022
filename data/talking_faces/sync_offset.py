"""How late or early sound is against a mouth, in seconds.

Two judges say how well mouth and sound agree at each lag, and the offset is where the sum of their
curves is highest. One is the scorer of lip sync, in `scorer_curve`. The other is here: a linear
filter predicts from the sound's spectrum how a mouth opens, widens and moves, and the prediction is
correlated with the mouth that was tracked. `python -m bench.sync_offsets` compares the two and the
sum: of real people it is right about as often as the scorer, and less often wrong where certain.

The filter, `sync_filter.npz`, is a ridge regression on the rendered clips, whose sound is exact:

  python -m data.talking_faces.sync_offset --pack data/talkers/pack

fits it and prints how far off the largest peak is in each split.
"""

import dataclasses
import functools
import pathlib
import sys

import numpy as np
from scipy import ndimage

from vidregen_jax import cli, outputs, terminal
from vidregen_jax.media.audio import waveform

RATE = 100  # a second: of bands, of lips, of lags
SEARCH = 0.6  # seconds of lag to either side
# The scorer's curve times this is added to the filter's: with less, fewer offsets of real people
# are right; with more, more of them are wrong though they are certain.
_WEIGHT = 2.0
# What is unrelated agrees by chance, the less the more seconds there are, with their root: so all
# bounds are multiples of one over it. Below the first no lips move with the sound; most sound is
# hardly late, so there less is enough. `bench.sync_offsets` counts who reaches them.
_MOVES = 0.9
_NEAR, _MOVES_NEAR = 0.1, 0.7  # the first in seconds
# What a lag needs to be believed: its agreement, and how far all but its neighbours are below.
_SURE_AGREEMENT, _SURE_LEAD = 1.4, 0.8
_FILTER = pathlib.Path(__file__).with_name('sync_filter.npz')
_BANDS, _LOW, _HIGH = 16, 80.0, 7600.0  # mel bands, Hz
_WINDOW, _HOP = 400, waveform.MODEL_RATE // RATE  # samples
_FLOOR = 1e-5  # of the loudest band: less is silence
_CALM, _SPEED_CALM = 0.04, 0.06  # seconds of smoothing, of lips and of their speed
_SLOW = 0.8  # seconds; slower changes show that somebody speaks, not when
_REACH, _STRIDE = 20, 4  # the filter sees .2 s to either side, every 40 ms
_RIDGE = 0.1
_NEIGHBOUR = 0.12  # seconds; a peak's own flanks
_LEAST_OVERLAP = 1.0  # seconds
_CHUNK = 30  # seconds of sound at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
  """How well lips and sound agree at each lag.

  Attributes:
    agreement: float64 [2 * SEARCH * RATE + 1], a mean over time; the middle one is of no lag.
    seconds: of lips that it was computed from, by which curves are weighted.
  """

  agreement: np.ndarray
  seconds: float


@dataclasses.dataclass(frozen=True)
class Offset:
  """The lag of a curve's peak.

  Attributes:
    seconds: by which the sound is late; negative if it is early.
    agreement: the curve there.
    lead: by how much it exceeds that of all lags that are not its neighbours.
    moves: whether lips move with the sound at all.
    sure: whether both are large enough to move the sound by it.
    evidence: agreement times the root of the seconds, by which faces are compared.
  """

  seconds: float
  agreement: float
  lead: float
  moves: bool
  sure: bool
  evidence: float


def bands(sound) -> np.ndarray:
  """Log energy in mel bands, 100 times a second, float64 [n, 16].

  Args:
    sound: int16 or float32 [samples] at 16 kHz.
  """
  spectra = []
  count = -(-len(sound) // _HOP)
  for first in range(0, count, _CHUNK * RATE):
    last = min(first + _CHUNK * RATE, count)
    begin, end = first * _HOP - _WINDOW // 2, (last - 1) * _HOP + _WINDOW // 2
    part = np.asarray(sound[max(begin, 0):end], np.float64)
    part = np.pad(part, (max(-begin, 0), max(end - max(begin, 0) - len(part), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(part, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), 512)) ** 2
    spectra.append(power @ _mel_filters().T)
  energy = np.concatenate(spectra) if spectra else np.zeros((0, _BANDS))
  return np.log(energy + _FLOOR * energy.max(initial=0) + 1e-12)


@functools.cache
def _mel_filters():
  """Triangles between equal steps of 2595 log10(1 + f / 700), [16, 257]."""
  mel = lambda hertz: 2595 * np.log10(1 + hertz / 700)
  edges = 700 * (10 ** (np.linspace(mel(_LOW), mel(_HIGH), _BANDS + 2) / 2595) - 1)
  at = np.fft.rfftfreq(512, 1 / waveform.MODEL_RATE)
  low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
  return np.maximum(0, np.minimum((at - low) / (middle - low), (high - at) / (high - middle)))


def _calm(x, seconds):
  return ndimage.gaussian_filter1d(x, seconds * RATE, axis=0)


def _brisk(x):
  return x - _calm(x, _SLOW)


def _context(spectra):
  """The bands around each moment without their slow changes, [n, bands * lags]."""
  spectra = _calm(spectra, 0.02)
  padded = np.pad(spectra - spectra.mean(0), ((_REACH, _REACH), (0, 0)), mode='edge')
  return _brisk(np.concatenate([padded[at:at + len(spectra)]
                                for at in range(0, 2 * _REACH + 1, _STRIDE)], 1))


def prediction(spectra: np.ndarray) -> np.ndarray:
  """What lips should do by the sound, [n, 4]: opening, width, their speed, opening's velocity.

  Args:
    spectra: of `bands`.
  """
  if not len(spectra):
    return np.zeros((0, 4))
  return _context(spectra) @ _weights()


@functools.cache
def _weights():
  with np.load(_FILTER, allow_pickle=False) as file:
    return file['weights'].astype(np.float64)


def _movement(times, lip_gap, mouth_width):
  """(seconds [n] 100 times a second, what lips do then [n, 4]); empty without a second of lips."""
  known = np.isfinite(lip_gap) & np.isfinite(mouth_width)
  when = np.asarray(times, np.float64)[known]
  if known.sum() < 3 or when[-1] - when[0] < _LEAST_OVERLAP:
    return np.zeros(0), np.zeros((0, 4))
  clock = np.arange(when[0], when[-1], 1 / RATE)
  gap, width = (_calm(np.interp(clock, when, np.asarray(x, np.float64)[known]), _CALM)
                for x in (lip_gap, mouth_width))
  speed = _calm(np.hypot(np.gradient(gap), np.gradient(width)), _SPEED_CALM)
  return clock, _brisk(np.stack([gap, width, speed, np.gradient(gap)], 1))


def curve(times, lip_gap, mouth_width, predicted, start) -> Curve:
  """The filter's curve of a mouth: mean correlations.

  Args:
    times: seconds [F], ascending.
    lip_gap, mouth_width: [F]; nan where unknown.
    predicted: of `prediction`.
    start: seconds of its first value.
  """
  lags = np.arange(-round(SEARCH * RATE), round(SEARCH * RATE) + 1)
  clock, moves = _movement(times, lip_gap, mouth_width)
  agreement = np.zeros(len(lags))
  place = np.rint((clock - start) * RATE).astype(int)
  for number, lag in enumerate(lags.tolist()):
    both = (place + lag >= 0) & (place + lag < len(predicted))
    if both.sum() < _LEAST_OVERLAP * RATE:
      continue
    seen, heard = moves[both], predicted[place[both] + lag]
    seen, heard = seen - seen.mean(0), heard - heard.mean(0)
    size = np.sqrt((seen**2).sum(0) * (heard**2).sum(0))
    agreement[number] = ((seen * heard).sum(0) / np.maximum(size, 1e-9)).mean()
  return Curve(agreement, len(clock) / RATE)


def together(filtered: Curve, scored: Curve) -> Curve:
  """The sum of both judges' curves of a mouth.

  Args:
    filtered: of `curve`.
    scored: of `scorer_curve.curve`, which may be of fewer seconds: then it counts for less.
  """
  if not filtered.seconds:
    return filtered
  weight = _WEIGHT * np.sqrt(scored.seconds / filtered.seconds)
  return Curve(filtered.agreement + weight * scored.agreement, filtered.seconds)


def pooled(curves: list[Curve]) -> Curve:
  """One curve of several mouths that were recorded with one sound."""
  seconds = sum(each.seconds for each in curves)
  total = sum((each.seconds * each.agreement for each in curves),
              np.zeros(2 * round(SEARCH * RATE) + 1))
  return Curve(total / max(seconds, 1e-9), seconds)


def estimate(found: Curve) -> Offset:
  """The offset that a curve shows."""
  peak = int(found.agreement.argmax())
  lags = np.arange(len(found.agreement))
  far = np.abs(lags - peak) > _NEIGHBOUR * RATE
  highest = float(found.agreement[peak])
  lead = highest - float(found.agreement[far].max())
  inside = 0 < peak < len(lags) - 1  # at an end the true peak may lie beyond it
  root = np.sqrt(max(found.seconds, 1e-9))
  late = round((peak - len(lags) // 2) / RATE, 2)
  return Offset(late, round(highest, 4), round(lead, 4),
                bool(highest * root >= (_MOVES_NEAR if abs(late) <= _NEAR else _MOVES)),
                bool(inside and highest * root >= _SURE_AGREEMENT and lead * root >= _SURE_LEAD),
                round(float(highest * root), 4))


# ------------------------------------------------------------------------------------------------
# Fitting the filter
# ------------------------------------------------------------------------------------------------


def fit(clips) -> np.ndarray:
  """The filter's weights, float32 [bands * lags, 4].

  Args:
    clips: (spectra, start, times, lip_gap, mouth_width) of each.
  """
  gram = cross = 0.0
  for spectra, start, times, lip_gap, mouth_width in clips:
    clock, moves = _movement(times, lip_gap, mouth_width)
    heard = _context(spectra)
    place = np.rint((clock - start) * RATE).astype(int)
    both = (place >= 0) & (place < len(heard))
    seen, heard = moves[both] / moves[both].std(0), heard[place[both]]
    gram, cross = gram + heard.T @ heard, cross + heard.T @ seen
  size = len(gram)
  return np.linalg.solve(gram + _RIDGE * np.trace(gram) / size * np.eye(size), cross
                         ).astype(np.float32)


def _read_pack(pack):
  from data.talkers import truth

  for clip in terminal.progress(truth.read_index(pack)['clips'], 'clip', 'reading'):
    path = pathlib.Path(pack) / clip['split'] / clip['clip_id']
    known = truth.Truth.load(path.with_suffix('.npz'))
    samples, rate, start = waveform.read(path.with_suffix('.mp4'))
    gap = np.where(known.valid, known.tracked_gap, np.nan)
    yield clip['split'], (bands(waveform.mono_16k(samples, rate)), float(start), known.times, gap,
                          known.mouth_width)


def _run(given):
  clips = list(_read_pack(given.pack))
  with outputs.whole_file(_FILTER) as part:
    np.savez_compressed(part, weights=fit([clip for split, clip in clips if split == 'train']))
  for split in ('train', 'validation', 'test'):
    found = [estimate(curve(*clip[2:], prediction(clip[0]), clip[1]))
             for name, clip in clips if name == split]
    near = [abs(each.seconds) <= 0.04 for each in found]
    terminal.say(f'{split}: the filter alone is within 40 ms in {sum(near)} of {len(near)}')


def main(argv=None) -> int:
  """Fits the filter and says how well it does."""
  parser = cli.Parser(prog='python -m data.talking_faces.sync_offset', description=__doc__)
  parser.add_argument('--pack', default='data/talkers/pack', metavar='DIR',
                      help='the rendered clips (default %(default)s)')
  return cli.command(parser, _run, 'the filter stays as it was', argv)


if __name__ == '__main__':
  sys.exit(main())
