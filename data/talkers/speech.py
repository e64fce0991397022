"""Text to speech whose phoneme times are known: the voices of the embedded dataset.

Two engines, both from the `talkers` extra, both the same bit for bit on every call:

  'espeak:<voice>'   espeak-ng, more than a hundred languages and some ninety variants
                     ('espeak:en-us+f3'). GPL, so it runs in a process of its own, one per utterance
                     (espeak_worker.py).
  'hibari:<voice>'   hibari-tts, neural, English only. Its alignment is read from inside its graph.
"""

import dataclasses
import functools
import importlib.util
import json
import pathlib
import subprocess
import sys
from fractions import Fraction

import numpy as np
from scipy import signal

from vidregen_jax import errors

SILENCE = '_'
# A shorter gap between two phonemes is a closure or a word boundary: the mouth does not rest in it.
SHORTEST_SILENCE = 0.09
VOICELESS_STOPS = ('p', 't', 'k', 'q', 'c', 'ʈ')
SHORTEST_CLOSURE, LONGEST_CLOSURE = 0.03, 0.10
RELEASE = 0.015

# hibari's alphabet (misaki's) writes some phonemes with one capital letter.
HIBARI_IPA = {
  'A': 'eɪ', 'I': 'aɪ', 'W': 'aʊ', 'Y': 'ɔɪ', 'O': 'oʊ', 'Q': 'əʊ',
  'T': 'ɾ', 'ʧ': 'tʃ', 'ʤ': 'dʒ', 'ᵊ': 'ə', 'ᵻ': 'ɪ',
}  # fmt: skip
# Measured against the waveform's onsets: its labels run this late.
HIBARI_LATENESS = 0.05
HIBARI_ALIGNMENT = '/CumSum_output_0'


@dataclasses.dataclass(frozen=True)
class Speech:
  """An utterance.

  Attributes:
    samples: float32 [n] in [-1, 1], mono.
    sample_rate: Hz, the engine's own.
    phonemes: (IPA symbol, start, stop) in seconds, in order, without gaps from the first start to
      the end of the samples; `SILENCE` where nothing is said. A plosive begins with its closure
      and stops just after its release.
    words: (word, how many of the phonemes it has), silences not counted; () from an engine that
      does not tell.
  """

  samples: np.ndarray
  sample_rate: int
  phonemes: tuple[tuple[str, float, float], ...]
  words: tuple[tuple[str, int], ...] = ()

  @property
  def duration(self) -> float:
    return len(self.samples) / self.sample_rate


def speak(
  text: str, voice: str, rate: float = 1.0, pitch: int = 50, shift: float = 1.0, seed: int = 0
) -> Speech:
  """Says `text`.

  Args:
    text: one or a few sentences in the voice's language and script.
    voice: 'espeak:<voice>[+<variant>]' or 'hibari:<voice>'.
    rate: pace; 1 is 155 words a minute.
    pitch: espeak-ng's base pitch, 0 to 99; hibari has none.
    shift: every frequency times this (about .85 to 1.2), pitch and formants alike: another person.
      The pace stays.
    seed: of the engine's noise.

  Raises:
    UserError: no such voice, or the engine is not installed.
  """
  engine, _, name = voice.partition(':')
  engines = {'espeak': _espeak, 'hibari': _hibari}
  if engine not in engines or not name:
    raise errors.UserError(
      f"no speech engine for voice {voice!r}: write 'espeak:<voice>' or 'hibari:<voice>'"
    )
  speech = engines[engine](text, name, rate / shift, pitch, seed)
  if not speech.phonemes or all(symbol == SILENCE for symbol, _, _ in speech.phonemes):
    raise errors.UserError(f'voice {voice!r} found nothing to say in {text!r}')
  return _shifted(speech, shift)


def _espeak(text, name, rate, pitch, seed):
  _need('espeakng_loader', 'espeakng-loader')
  request = dict(
    text=text, voice=name, rate=round(155 * rate), pitch=pitch, pitch_range=50, seed=seed
  )
  worker = pathlib.Path(__file__).with_name('espeak_worker.py')
  done = subprocess.run(
    [sys.executable, str(worker)],
    input=json.dumps(request).encode(), capture_output=True, check=False,
  )  # fmt: skip
  header, _, pcm = done.stdout.partition(b'\n')
  if not header:
    raise errors.UserError(f'espeak-ng died: {done.stderr.decode(errors="replace").strip()[-200:]}')
  header = json.loads(header)
  if 'error' in header:
    raise errors.UserError(header['error'])
  samples = np.frombuffer(pcm, '<i2').astype(np.float32) / 32768
  sample_rate = header['sample_rate']
  # '(en)' marks a change of language inside the text and lasts no time worth a mouth shape.
  events = [(number, symbol, ms / 1000) for number, (symbol, ms) in enumerate(header['events'])
            if not symbol.startswith('(')]
  stops = [start for *_, start in events[1:]] + [len(samples) / sample_rate]
  lasting = [(number, symbol or SILENCE, start, stop)
             for (number, symbol, start), stop in zip(events, stops, strict=True) if stop > start]
  segments = [segment for _, *segment in lasting]
  spoken = [number for number, symbol, *_ in lasting if symbol != SILENCE]
  starts = np.searchsorted(spoken, [before for *_, before in header['words']] + [np.inf])
  words = tuple((text[first:first + length], count) for (first, length, _), count in zip(
    header['words'], np.diff(starts).tolist(), strict=True))
  return Speech(samples, sample_rate, _tidy(segments, samples, sample_rate), words)


@functools.cache
def _hibari_session(name):
  """(hibari voice, session whose last output is the alignment, id -> symbol)."""
  _need('hibari', 'hibari-tts')
  import hibari
  import onnxruntime

  try:
    voice = hibari.Hibari(voice=name)
  except KeyError as error:
    raise errors.UserError(f'hibari has no voice {name!r}') from error
  # The alignment is computed inside the graph but is not an output. Protobuf messages merge when
  # their bytes are joined, so an output is added by appending ModelProto{graph{output{name}}}.
  field = lambda number, body: bytes([number << 3 | 2, len(body)]) + body
  output = field(7, field(12, field(1, HIBARI_ALIGNMENT.encode())))
  model = pathlib.Path(voice.model_path).read_bytes() + output
  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = options.inter_op_num_threads = 1  # sums in one order
  options.log_severity_level = 3
  session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
  return voice, session, {number: symbol for symbol, number in voice.vocab.items()}


def _hibari(text, name, rate, pitch, seed):
  del pitch  # it has one; `shift` moves it
  voice, session, symbols = _hibari_session(name)
  from hibari import dsp

  pieces, segments, clock = [], [], 0.0
  for sentence in voice.phonemize(text):
    ids = voice.ids(sentence)
    *sources, alignment = session.run(
      None, {'ids': np.array([ids], np.int64), 'speed': np.array([rate], np.float32)}
    )
    wave = dsp.synth(*(source[0] for source in sources), np.random.default_rng(seed))
    ends = alignment.ravel() * 2 * 0.0125  # the alignment counts pairs of 12.5 ms frames
    stressed = None
    for i, start, stop in zip(ids, np.r_[0, ends[:-1]], ends, strict=True):
      symbol = symbols.get(i, '') if i else ''
      if symbol in ('ˈ', 'ˌ'):
        stressed = start  # a stress mark's time is the first part of its vowel
        continue
      if symbol == 'ː' and segments:
        segments[-1] = (*segments[-1][:2], clock + stop)
        continue
      start, stressed = start if stressed is None else stressed, None
      spoken = symbol.strip() and symbol not in '.,!?;:—…"“”()'
      segments.append(
        (HIBARI_IPA.get(symbol, symbol) if spoken else SILENCE, clock + start, clock + stop)
      )
    pieces.append(wave)
    clock += len(wave) / voice.sample_rate
  if not pieces:
    return Speech(np.zeros(0, np.float32), voice.sample_rate, ())
  samples = np.concatenate(pieces).astype(np.float32)
  early = [
    (s, max(float(a) - HIBARI_LATENESS, 0.0), max(float(b) - HIBARI_LATENESS, 0.0))
    for s, a, b in segments
  ]
  duration = len(samples) / voice.sample_rate
  early.append((SILENCE, early[-1][2], duration))
  early = [(s, a, min(b, duration)) for s, a, b in early if b > a]
  # Its last phoneme lasts to the end of the sentence's silence.
  loudness, step = _loudness(samples, voice.sample_rate)
  loud = np.flatnonzero(loudness > 0.01)
  spoken = [i for i, (symbol, _, _) in enumerate(early) if symbol != SILENCE]
  if len(loud) and spoken:
    symbol, start, stop = early[spoken[-1]]
    end = max(min(stop, (loud[-1] + 2) * step), start + 0.03)
    early[spoken[-1] :] = [(symbol, start, end), (SILENCE, end, duration)]
  return Speech(samples, voice.sample_rate, _tidy(early, None, voice.sample_rate))


def _loudness(samples, sample_rate):
  """(root mean square of each 5 ms or a little less, its exact length in seconds)."""
  hop = sample_rate // 200
  count = len(samples) // hop
  blocks = samples[: count * hop].reshape(count, hop)
  return np.sqrt(np.mean(blocks**2, axis=1)), hop / sample_rate


def _tidy(segments, samples, sample_rate):
  """Joins silences, gives short ones to their neighbours, and lets plosives begin with a closure.

  espeak-ng marks a voiceless stop at its release: the silent closure before it is counted with the
  phoneme before. Where `samples` are given, the stop's start is moved back over that silence.
  """
  joined = []
  for symbol, start, stop in segments:
    if symbol == SILENCE and joined and joined[-1][0] == SILENCE:
      joined[-1][2] = stop
    else:
      joined.append([symbol, start, stop])
  kept = []
  for i, (symbol, start, stop) in enumerate(joined):
    inner = 0 < i < len(joined) - 1
    if symbol == SILENCE and inner and stop - start < SHORTEST_SILENCE:
      if _is_voiceless_stop(joined[i + 1][0]):
        joined[i + 1][1] = start
      elif kept:
        kept[-1][2] = stop
    else:
      kept.append([symbol, start, stop])
  if samples is not None and len(samples):
    _begin_with_closure(kept, samples, sample_rate)
  return tuple((symbol, start, stop) for symbol, start, stop in kept)


def _is_voiceless_stop(symbol):
  return symbol.startswith(VOICELESS_STOPS)


def _begin_with_closure(segments, samples, sample_rate):
  loudness, step = _loudness(samples, sample_rate)
  quiet = loudness < 0.06 * np.percentile(loudness, 90)
  for i in range(1, len(segments)):
    before, here = segments[i - 1], segments[i]
    if not _is_voiceless_stop(here[0]) or before[0] == SILENCE:
      continue
    release = here[1]
    earliest = max(before[1] + 0.02, release - LONGEST_CLOSURE)
    frame = min(int((release - 0.01) / step), len(quiet) - 1)  # clear of the burst
    while frame > 0 and quiet[frame] and frame * step > earliest:
      frame -= 1
    closure = min((frame + 1) * step, release - SHORTEST_CLOSURE)
    here[1] = before[2] = min(max(closure, earliest), release)
    # What follows the release (aspiration) is breathed through the next phoneme's mouth.
    spoken_next = i + 1 < len(segments) and segments[i + 1][0] != SILENCE
    if spoken_next and len(here[0].strip('ʰː')) == 1:
      here[2] = segments[i + 1][1] = min(here[2], release + RELEASE)


def _shifted(speech, shift):
  if shift == 1.0:
    return speech
  ratio = Fraction(1 / shift).limit_denominator(100)
  samples = signal.resample_poly(speech.samples, ratio.numerator, ratio.denominator)
  scale = float(ratio)
  return Speech(
    samples.astype(np.float32),
    speech.sample_rate,
    tuple((s, a * scale, b * scale) for s, a, b in speech.phonemes),
    speech.words,
  )


def _need(module, package):
  if importlib.util.find_spec(module) is None:
    raise errors.UserError(
      f"speech needs {package}, which is not installed: pip install 'vidregen-jax[talkers]'"
    )
