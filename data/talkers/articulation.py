"""From phonemes to a face: mouth, jaw and tongue curves with coarticulation.

Each phoneme has a target and a dominance for each of a few articulators; the curve of an
articulator is the dominance-weighted mean of the targets around (M. M. Cohen and D. W. Massaro,
"Modeling coarticulation in synthetic visual speech", 1993). Rounding reaches further ahead than
the jaw does. Over that lie hard constraints: the lips of m, b, p meet, the lower lip of f, v
touches the teeth, and the mouth rests closed in silence, whatever the neighbours want.

The result is a function of the phonemes and the speaker's style only: the same sound looks the
same, which is what makes a mouth readable from audio.
"""

import dataclasses
import unicodedata

import numpy as np

from data.talkers import mesh
from data.talkers.speech import SILENCE
from vidregen_jax import errors

GRID = 200  # Hz, on which curves are made before they are read at the frames' times

# The articulators, in the order of a target: jaw opened; lips open like a trumpet (funnel) or drawn
# together forwards (pucker); lips spread; upper lip raised; lower lip lowered; tongue tip up, out.
ARTICULATORS = ('jaw', 'funnel', 'pucker', 'spread', 'upper', 'lower', 'tongue_up', 'tongue_out')
# How far each reaches before and after its phoneme, in seconds.
REACH_BEFORE = np.array([0.055, 0.10, 0.11, 0.075, 0.055, 0.055, 0.045, 0.045])
REACH_AFTER = np.array([0.060, 0.08, 0.085, 0.07, 0.055, 0.055, 0.04, 0.04])


@dataclasses.dataclass(frozen=True)
class Viseme:
  """Targets of the articulators in 0..1 and how strongly the phoneme insists on them.

  `close`: lips together (m, b, p); `teeth`: lower lip against the upper teeth (f, v).
  """

  target: tuple[float, ...]
  insists: tuple[float, ...]
  close: float = 0.0
  teeth: float = 0.0


def _vowel(jaw, funnel=0.0, pucker=0.0, spread=0.0, upper=0.05, lower=0.1, weight=1.0):
  insists = np.array([1.0, 1.0, 1.0, 1.0, 0.6, 0.6, 0.25, 0.3]) * weight
  target = (jaw, funnel, pucker, spread, upper, lower, 0.05, 0.0)
  return Viseme(target, tuple(insists))


def _consonant(close=0.0, teeth=0.0, insists=None, **targets):
  """A consonant insists on the articulators it names (by default wholly) and hardly on others."""
  target = [targets.get(name, 0.06) for name in ARTICULATORS]
  target[-1] = targets.get('tongue_out', 0.0)
  weights = [(insists or {}).get(n, 1.0 if n in targets else 0.12) for n in ARTICULATORS]
  return Viseme(tuple(target), tuple(weights), close, teeth)


REST = Viseme((0.0,) * len(ARTICULATORS), (0.9, 0.5, 0.5, 0.5, 0.8, 0.8, 0.5, 0.8))

_ALVEOLAR = dict(jaw=0.10, lower=0.22, tongue_up=0.85)
_SOFT = {'jaw': 0.45, 'lower': 0.5}
_SIBILANT = dict(jaw=0.05, spread=0.22, upper=0.14, lower=0.34, tongue_up=0.35)
_HUSH = dict(jaw=0.07, funnel=0.46, pucker=0.30, upper=0.14, lower=0.24, tongue_up=0.35)
_VELAR = dict(jaw=0.17)
_LABIAL = dict(jaw=0.06)
# Phonemes by shape; a letter may stand for any sound the eye cannot tell from it.
VISEMES = {
  # Open vowels.
  'aäɑɐ': _vowel(0.48, upper=0.12, lower=0.22),
  'æ': _vowel(0.42, spread=0.24, upper=0.16, lower=0.28),
  'ʌ': _vowel(0.36, upper=0.08, lower=0.16),
  'ɒ': _vowel(0.40, funnel=0.34, pucker=0.12),
  # Front vowels.
  'ɛ': _vowel(0.31, spread=0.26, upper=0.10, lower=0.24),
  'e': _vowel(0.22, spread=0.34, upper=0.08, lower=0.26),
  'ɪɨ': _vowel(0.17, spread=0.30, upper=0.07, lower=0.24),
  'i': _vowel(0.11, spread=0.50, upper=0.08, lower=0.30),
  # Central vowels give way to what is around them.
  'əɘɵᵻ': _vowel(0.20, spread=0.05, weight=0.55),
  'ɝɚ': _vowel(0.22, funnel=0.20, pucker=0.16, weight=0.8),
  'ɜ': _vowel(0.26, funnel=0.08, weight=0.8),
  # Rounded vowels.
  'ɔ': _vowel(0.31, funnel=0.50, pucker=0.30, upper=0.04),
  'o': _vowel(0.20, funnel=0.44, pucker=0.58, upper=0.02),
  'ʊ': _vowel(0.14, funnel=0.34, pucker=0.52, upper=0.02, lower=0.06),
  'uɯʉ': _vowel(0.08, funnel=0.26, pucker=0.86, upper=0.0, lower=0.04),
  'yʏ': _vowel(0.07, funnel=0.34, pucker=0.80, upper=0.02, lower=0.06),
  'ø': _vowel(0.17, funnel=0.46, pucker=0.52, upper=0.02),
  'œɞɶ': _vowel(0.27, funnel=0.48, pucker=0.34, upper=0.04),
  'ɤ': _vowel(0.22, spread=0.14, lower=0.18),
  # Lips.
  'mpbɓ': _consonant(close=1.0, insists={'jaw': 0.5}, **_LABIAL),
  'fvʋɱ': _consonant(teeth=1.0, insists={'jaw': 0.9}, jaw=0.09, upper=0.10, lower=0.0),
  'βɸ': _consonant(close=0.6, insists={'jaw': 0.5}, **_LABIAL),
  'wʍ': _consonant(jaw=0.07, funnel=0.24, pucker=0.92, upper=0.0, lower=0.02),
  'ɥ': _consonant(jaw=0.06, funnel=0.32, pucker=0.84, upper=0.0, lower=0.04),
  # Tongue tip.
  'tdnɾɗʈɖɳɽ': _consonant(insists=_SOFT, **_ALVEOLAR),
  'lɭɫɬɮɺ': _consonant(insists=_SOFT, jaw=0.17, lower=0.2, tongue_up=1.0),
  'r': _consonant(insists=_SOFT, jaw=0.15, lower=0.2, tongue_up=0.8),
  'θð': _consonant(jaw=0.15, upper=0.1, lower=0.26, tongue_out=0.7, tongue_up=0.45),
  'sz': _consonant(insists={'spread': 0.45}, **_SIBILANT),
  'ɕʑcɟ': _consonant(jaw=0.07, funnel=0.30, upper=0.12, lower=0.30, tongue_up=0.35, spread=0.1),
  'ʃʒʂʐ': _consonant(**_HUSH),
  'ɹɻ': _consonant(insists={'jaw': 0.5}, jaw=0.12, funnel=0.26, pucker=0.38),
  # Tongue back and throat: the mouth of the neighbours.
  'kɡgŋxɣχɲçɴqʁʀħʕɰʝɧɠʛʟ': _consonant(insists={'jaw': 0.3}, **_VELAR),
  'j': _consonant(insists={'jaw': 0.5, 'spread': 0.6}, jaw=0.12, spread=0.36, lower=0.2),
  'ʎ': _consonant(insists=_SOFT, jaw=0.14, lower=0.2, tongue_up=0.8),
  'hɦʔ': _consonant(insists={'jaw': 0.06}, jaw=0.2),
}
_BY_LETTER = {letter: viseme for letters, viseme in VISEMES.items() for letter in letters}
# Length, stress, tone, release and secondary articulation: not for the eye.
_MARKS = set('ˈˌː:ˑʰʲʷᵝˠˤʱ˞̩̯͡ˀˡⁿᵊ-|.ʼ"\'')
_MARKS |= set('0123456789˥˦˧˨˩↓↑→↗↘')


@dataclasses.dataclass(frozen=True)
class Style:
  """How one speaker moves: factors around 1."""

  jaw: float = 1.0
  rounding: float = 1.0
  spread: float = 1.0
  lips: float = 1.0
  lopsided: float = 0.0
  forward: float = 0.0

  @classmethod
  def draw(cls, seed: int) -> 'Style':
    """A speaker between mumbling (about .8 of the usual movement) and over-clear (1.2)."""
    random = np.random.default_rng([seed, 0x57])
    effort = random.uniform(0.82, 1.18)
    near = lambda width: effort * random.uniform(1 - width, 1 + width)
    return cls(
      jaw=near(0.08), rounding=near(0.1), spread=near(0.15), lips=near(0.15),
      lopsided=random.uniform(-0.12, 0.12), forward=random.uniform(-0.02, 0.05),
    )  # fmt: skip


def visemes(symbol: str) -> list[Viseme]:
  """The visemes of one IPA symbol; diphthongs and affricates have two.

  >>> len(visemes('ˈaɪ')), len(visemes('tʃ')), len(visemes('mʲ'))
  (2, 2, 1)

  Raises:
    UserError: a letter has no viseme.
  """
  if symbol == SILENCE:
    return [REST]
  found = []
  for letter in unicodedata.normalize('NFD', symbol):
    if letter in _MARKS or unicodedata.combining(letter):
      continue
    if letter not in _BY_LETTER:
      raise errors.UserError(f'no mouth shape for {letter!r} in the phoneme {symbol!r}')
    found.append(_BY_LETTER[letter])
  return found


def curves(phonemes, times: np.ndarray, style: Style | int = 0) -> np.ndarray:
  """The face at each time.

  Args:
    phonemes: (IPA symbol, start, stop) in seconds, as `speech.Speech.phonemes`.
    times: float [F], seconds, of any spacing.
    style: the speaker, or the seed of one.

  Returns:
    float32 [F, len(mesh.CHANNELS)].
  """
  if isinstance(style, int):
    style = Style.draw(style)
  times = np.asarray(times, np.float64)
  segments = _segments(phonemes)
  if not segments:
    return np.zeros((len(times), len(mesh.CHANNELS)), np.float32)
  # The grid is fixed in time: a frame's face does not depend on which other frames there are.
  first = np.floor(min(times.min(initial=0.0), segments[0][1]) - 0.5)
  last = np.ceil(max(times.max(initial=0.0), segments[-1][2]) + 0.5)
  grid = first + np.arange(round((last - first) * GRID) + 1) / GRID
  motion = _smoothed(_dominance(segments, grid))
  close = _held(_closures(segments), grid)
  teeth = _held(_contacts(segments), grid)
  face = _channels(motion, close, teeth, style)
  read = np.stack([np.interp(times, grid, channel) for channel in face.T], axis=1)
  return read.astype(np.float32)


def _segments(phonemes):
  """(viseme, start, stop); the parts of a diphthong or an affricate share its time."""
  segments = []
  for symbol, start, stop in phonemes:
    parts = visemes(symbol)
    edges = np.linspace(start, stop, len(parts) + 1)
    segments += [(v, a, b) for v, a, b in zip(parts, edges[:-1], edges[1:], strict=True)]
  if not segments:
    return []
  # Before the first and after the last phoneme the mouth rests, without a seam to a given rest.
  first, last = segments[0][1], segments[-1][2]
  merged = []
  for viseme, start, stop in [(REST, first - 2, first), *segments, (REST, last, last + 2)]:
    if merged and viseme is REST and merged[-1][0] is REST:
      start = merged.pop()[1]
    merged.append((viseme, start, stop))
  return merged


def _dominance(segments, grid):
  """[grid, articulators]: Cohen and Massaro's weighted mean of the targets."""
  total = np.full((len(grid), len(ARTICULATORS)), 1e-6)
  weighted = np.zeros_like(total)
  for viseme, start, stop in segments:
    # Full dominance over the middle third; a vowel's edges already move to its neighbours.
    margin = (stop - start) / 3 if viseme is not REST else min(0.08, (stop - start) / 3)
    before = np.maximum(start + margin - grid, 0)[:, None] / REACH_BEFORE
    after = np.maximum(grid - stop + margin, 0)[:, None] / REACH_AFTER
    dominance = np.array(viseme.insists) * np.exp(-(before**1.25) - after**1.25)
    total += dominance
    weighted += dominance * np.array(viseme.target)
  return weighted / total


def _smoothed(motion, seconds=0.014):
  """Muscles have no corners: a Gaussian of this standard deviation along the grid."""
  reach = np.arange(-round(4 * seconds * GRID), round(4 * seconds * GRID) + 1) / GRID
  kernel = np.exp(-0.5 * (reach / seconds) ** 2)
  kernel /= kernel.sum()
  padded = np.pad(motion, ((len(reach) // 2,) * 2, (0, 0)), mode='edge')
  return np.stack([np.convolve(channel, kernel, 'valid') for channel in padded.T], axis=1)


def _closures(segments):
  """(amount, hold start, hold stop, seconds to meet, seconds to part) of lips that meet."""
  holds = []
  shuts = lambda i: 0 <= i < len(segments) and segments[i][0].close == 1.0
  for i, (viseme, start, stop) in enumerate(segments):
    if viseme is REST:
      # The lips part shortly before the voice begins and meet within 100 ms of its end, and do not
      # part at all on the way from or to an m, b or p.
      meet, part = min(0.10, 0.55 * (stop - start)), min(0.085, 0.45 * (stop - start))
      begin = start if shuts(i - 1) else start + meet
      end = stop if shuts(i + 1) else stop - part
      holds.append((1.0, begin, end, meet, part))
    elif viseme.close:
      holds.append((viseme.close, *_held_span(start, stop), 0.065, 0.055))
  return holds


def _contacts(segments):
  return [(v.teeth, *_held_span(a, b), 0.065, 0.06) for v, a, b in segments if v.teeth]


def _held_span(start, stop):
  """The held part of a contact: its middle two thirds, never less than a frame at 24 a second."""
  middle, half = (start + stop) / 2, max((stop - start) / 3, 0.0235)
  return middle - half, middle + half


def _held(holds, grid):
  """[grid]: the strongest of the holds, each rising and falling like a raised cosine."""
  held = np.zeros(len(grid))
  for amount, begin, end, meet, part in holds:
    away = np.maximum((begin - grid) / meet, (grid - end) / part)
    ease = 0.5 + 0.5 * np.cos(np.pi * np.clip(away, 0, 1))
    held = np.maximum(held, amount * ease)
  return held


def _channels(motion, close, teeth, style):
  """[grid, CHANNELS] from articulators and contacts.

  The constants are measured on the head model: lips that stay together while the jaw opens by j
  need mouthClose = .84 j, and every other channel that parts the lips ends with the closure.
  """
  jaw, funnel, pucker, spread, upper, lower, tongue_up, tongue_out = motion.T
  free = 1 - close
  loose = free * (1 - teeth)
  jaw = style.jaw * jaw * (1 - 0.55 * close) * (1 - 0.5 * teeth)
  funnel = style.rounding * funnel
  pucker = style.rounding * pucker
  left, right = 1 + style.lopsided, 1 - style.lopsided
  face = np.zeros((len(motion), len(mesh.CHANNELS)))
  put = lambda name, value: face.__setitem__((slice(None), mesh.CHANNELS.index(name)), value)

  def put_pair(name, value):
    put(f'{name}_L', value * left)
    put(f'{name}_R', value * right)

  put('jawOpen', jaw)
  put('jawForward', style.forward * free * (jaw > 0) + 0.12 * funnel * loose)
  put('mouthClose', 0.84 * jaw * close + 0.022 * close)
  put('mouthFunnel', funnel * loose)
  put('mouthPucker', np.minimum(pucker + 0.35 * funnel * close, 1.0))
  put_pair('mouthStretch', 0.55 * style.spread * spread)
  put_pair('mouthSmile', 0.35 * style.spread * spread)
  put_pair('mouthUpperUp', style.lips * upper * loose + 0.26 * teeth * free)
  put_pair('mouthLowerDown', style.lips * lower * loose)
  pressed = close * np.clip(jaw / 0.05, 0, 1)  # lips at rest only touch
  put_pair('mouthPress', 0.35 * pressed)
  put('mouthRollLower', 0.45 * teeth * free + 0.06 * pressed)
  put('mouthShrugLower', 0.10 * teeth * free)
  put('tongueUp', tongue_up * free)
  put('tongueOut', tongue_out * free)
  return face
