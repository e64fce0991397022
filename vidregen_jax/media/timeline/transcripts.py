"""Transcripts with times: the spans in which words are spoken.

  transcript = read('take.srt')
  transcript.find('two soon')            # Found(start=2.12, stop=2.78, ...)

A file's kind follows from its name:

  .srt .vtt    subtitles; times are of cues, so those of words within a cue are estimated, unless
               the cue has one word, or the words have times of their own (<00:00:01.200> in WebVTT,
               a highlighted <u>word</u>)
  .json        what Whisper, WhisperX, Descript and speech services write: objects with a word, its
               start and its end in seconds, or in whole milliseconds
  .TextGrid    Praat's, of aligners: the tier of words
  .align       of the GRID corpus, in 1/25000 s
"""

import dataclasses
import difflib
import html
import json
import os
import pathlib
import re
import statistics
import unicodedata

from vidregen_jax import files
from vidregen_jax.errors import UserError

SUFFIXES = ('.srt', '.vtt', '.json', '.textgrid', '.align')
_MOST_BYTES = 2**26
# Seconds. Aligners err by about this; the silence beside a phrase may be replaced with it.
_EDGE = .04
_ALIGN_UNIT = 25_000  # in a second
_SILENT = ('', 'sil', 'sp', 'spn', '<eps>', '<unk>')  # what aligners write where nothing is said
_CLOCK = r'(?:(\d+):)?(\d+):(\d+)[.,](\d{1,3})'
_CUE = re.compile(rf'\s*{_CLOCK}\s*-->\s*{_CLOCK}')
_INLINE = re.compile(rf'<{_CLOCK}>')
_WORD, _START, _STOP = ('word', 'text', 'value'), ('start', 'ts', 'start_time'), (
  'end', 'stop', 'end_ts', 'end_time')
# Fields that hold words, or what holds them, the best first.
_LISTS = ('words', 'word_timestamps', 'elements', 'segments', 'monologues', 'utterances', 'results',
          'channels', 'alternatives', 'sentences', 'paragraphs')
_SHORTEST_IN_MS = 10  # a word that lasts so long lasts milliseconds
_SHOWN = 5  # places that a message lists


@dataclasses.dataclass(frozen=True)
class Word:
  """A word as it is written, when it begins and ends in seconds, and whether that is estimated."""

  text: str
  start: float
  stop: float
  estimated: bool = False


@dataclasses.dataclass(frozen=True)
class Found:
  """Where words are spoken.

  Attributes:
    start, stop: seconds; of the silence on either side up to .04 s belong to them.
    text: as the transcript writes them.
    estimated: whether the transcript has no times of its own for the first or the last of them.
  """

  start: float
  stop: float
  text: str
  estimated: bool


@dataclasses.dataclass(frozen=True)
class Transcript:
  """All words of a recording, in order."""

  path: str
  words: tuple[Word, ...]

  def find(self, phrase: str) -> Found:
    """The one place where a phrase is spoken.

    Letters count, but not their case, punctuation, and where words are joined. 'two#2' is the
    second 'two'.

    Raises:
      UserError: it is not there, or more than once.
    """
    wanted, which = phrase, None
    if match := re.fullmatch(r'(.+)#(\d+)', phrase.strip()):
      wanted, which = match[1], int(match[2])
    letters = _letters(wanted)
    if not letters:
      raise UserError(f'--words {phrase!r} holds no word')
    places = self._places(letters)
    if not places:
      raise UserError(f'"{wanted}" is not in {self.path}{self._nearest(letters)}')
    if which is None and len(places) > 1:
      times = ', '.join(f'{self.words[first].start:.2f}' for first, _ in places[:_SHOWN])
      more = ', ...' * (len(places) > _SHOWN)
      raise UserError(f'"{wanted}" is in {self.path} {len(places)} times, at {times}{more} s: give '
                      f'more of the words around it, or its number, as "{wanted}#2"')
    if which is not None and not 1 <= which <= len(places):
      raise UserError(f'"{wanted}" is in {self.path} {len(places)} times, and so there is no '
                      f'#{which}')
    return self._found(*places[(which or 1) - 1])

  def _places(self, letters) -> list[tuple[int, int]]:
    """(first, last) words of each place where some letters are spoken."""
    each = [_letters(word.text) for word in self.words]
    places = []
    for first in range(len(each)):
      if not each[first] or not letters.startswith(each[first]):
        continue
      said, last = each[first], first
      while len(said) < len(letters) and last + 1 < len(each):
        last += 1
        said += each[last]
      if said == letters:
        places.append((first, last))
    return places

  def _found(self, first, last) -> Found:
    begin, end = self.words[first], self.words[last]
    before = self.words[first - 1].stop if first else 0.0
    after = self.words[last + 1].start if last + 1 < len(self.words) else end.stop + _EDGE
    return Found(min(max(begin.start - _EDGE, before), begin.start),
                 max(min(end.stop + _EDGE, after), end.stop),
                 ' '.join(word.text for word in self.words[first:last + 1]),
                 begin.estimated or end.estimated)

  def _nearest(self, letters) -> str:
    """What a message says of the word that is most like a phrase's."""
    known = {_letters(word.text): word for word in reversed(self.words)}
    near = difflib.get_close_matches(letters, known, 1)
    if near:
      word = known[near[0]]
      return f': the nearest word is "{word.text}", at {word.start:.2f} s'
    said = ' '.join(word.text for word in self.words[:8])
    return f', which begins "{said}"' if said else ', in which nothing is said'


def read(path: str | os.PathLike) -> Transcript:
  """Reads a transcript.

  Raises:
    UserError: it cannot be read, is of no known kind, or has no words with times.
  """
  path = pathlib.Path(path)
  suffix = path.suffix.lower()
  if suffix not in SUFFIXES:
    raise UserError(f'--transcript {path}: its kind is not known by its name: known are '
                    f'{", ".join(SUFFIXES)}')
  text = _decoded(path, files.read_bytes(path, '--transcript', _MOST_BYTES))
  parse = {'.srt': _cues, '.vtt': _cues, '.json': _objects, '.textgrid': _text_grid,
           '.align': _align}[suffix]
  try:
    words = [word for word in parse(text) if word.text.casefold() not in _SILENT]
  except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
    why = str(error) if isinstance(error, UserError) else f'is no {suffix[1:]} file'
    raise UserError(f'--transcript {path}: {why}') from error
  if not words:
    raise UserError(f'--transcript {path}: has no words with times')
  for word in words:
    if not 0 <= word.start <= word.stop < 1e7:
      raise UserError(f'--transcript {path}: "{word.text}" lasts from {word.start:g} to '
                      f'{word.stop:g} s')
  return Transcript(str(path), tuple(sorted(words, key=lambda word: (word.start, word.stop))))


def _decoded(path, data) -> str:
  """Text in UTF-8 or, as Praat writes it, UTF-16 with a byte order mark."""
  encoding = 'utf-16' if data[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8-sig'
  try:
    return data.decode(encoding)
  except UnicodeDecodeError as error:
    raise UserError(f'--transcript {path}: is not text in UTF-8') from error


def _letters(text) -> str:
  """The letters and digits of a text, without case and marks of punctuation."""
  return ''.join(c for c in unicodedata.normalize('NFKC', text).casefold() if c.isalnum())


def _seconds(hours, minutes, seconds, thousandths) -> float:
  return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(
    thousandths.ljust(3, '0')) / 1000


def _cues(text):
  """Yields the words of SubRip and WebVTT."""
  for block in re.split(r'\n\s*\n', text.replace('\r\n', '\n')):
    lines = block.split('\n')
    at = next((i for i, line in enumerate(lines) if _CUE.match(line)), None)
    if at is None:
      continue
    clock = _CUE.match(lines[at]).groups()
    start, stop = _seconds(*clock[:4]), _seconds(*clock[4:])
    said = ' '.join(lines[at + 1:])
    if len(shown := re.findall(r'<u>(.*?)</u>', said)) == 1:
      said = shown[0]
    times = [start, *(_seconds(*match.groups()) for match in _INLINE.finditer(said)), stop]
    parts = _INLINE.sub('\0', said).split('\0')
    for part, begin, end in zip(parts, times[:-1], times[1:], strict=True):
      yield from _shared(html.unescape(re.sub(r'<[^>]*>|\{\\[^}]*\}', '', part)), begin, end)


def _shared(text, start, stop):
  """Yields the words of a text, which share its time by their letters."""
  words = [word for word in text.split() if _letters(word)]
  total, at = sum(map(len, words)), start
  for word in words:
    until = at + (stop - start) * len(word) / total
    yield Word(word, at, until, estimated=len(words) > 1)
    at = until


def _objects(text):
  """The words of a JSON document: of all its lists, those whose objects are words with times."""
  document = json.loads(text)
  rows = list(_rows(document))
  times = [time for row in rows for time in row[1:3] if time is not None]
  lasting = [row[2] - row[1] for row in rows if None not in row]
  if not lasting:
    raise UserError('has no objects with a word, a start and an end in seconds')
  if all(isinstance(time, int) for time in times) and (
      statistics.median(lasting) >= _SHORTEST_IN_MS):
    rows = [(word, *(None if time is None else time / 1000 for time in at), estimated)
            for word, *at, estimated in rows]
  return _timed(rows)


def _rows(value):
  """Yields (text, start, stop), times None where they are missing, in the order of a document."""
  if isinstance(value, list):
    for item in value:
      yield from _rows(item)
    return
  if not isinstance(value, dict):
    return
  inner = next((name for name in _LISTS if isinstance(value.get(name), list | dict)
                and value[name]), None)
  if inner:  # the first alone: many list all words again, by sentence or speaker
    yield from _rows(value[inner])
    return
  word = next((value[name] for name in _WORD if isinstance(value.get(name), str)), None)
  times = [next((value[name] for name in names if _is_number(value.get(name))), None)
           for names in (_START, _STOP)]
  if word is None or not _letters(word):
    return
  parts = word.split()
  if len(parts) > 1 and None not in times:
    for each in _shared(word, *times):
      yield each.text, each.start, each.stop, True
  else:
    yield word.strip(), *times, False


def _is_number(value) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


def _timed(rows):
  """Yields the words; those without times share what lies between their neighbours'."""
  i = 0
  while i < len(rows):
    text, start, stop, estimated = rows[i]
    if start is not None and stop is not None:
      yield Word(text, float(start), float(stop), estimated)
      i += 1
      continue
    first = i
    while i < len(rows) and None in rows[i][1:3]:
      i += 1
    begin = rows[first - 1][2] if first else 0.0
    end = rows[i][1] if i < len(rows) else begin
    yield from (dataclasses.replace(word, estimated=True) for word in _shared(
      ' '.join(row[0] for row in rows[first:i]), float(begin), float(max(begin, end))))


def _text_grid(text):
  """The words of a TextGrid, in Praat's long or short form, which differ by labels alone."""
  quoted = r'"(?:[^"]|"")*"'
  unlabelled = re.sub(rf'({quoted})|\[\s*\d*\s*\]', lambda match: match[1] or ' ', text)
  tokens = re.findall(rf'{quoted}|<exists>|[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?', unlabelled)
  if tokens[:2] != ['"ooTextFile"', '"TextGrid"']:
    raise ValueError
  at, tiers = tokens.index('<exists>') + 2, {}
  for _ in range(int(tokens[at - 1])):
    kind, name, count = _unquoted(tokens[at]), _unquoted(tokens[at + 1]), int(tokens[at + 4])
    at, width = at + 5, 3 if kind == 'IntervalTier' else 2
    rows = [tokens[at + width * i:at + width * (i + 1)] for i in range(count)]
    at += width * count
    if kind == 'IntervalTier':
      tiers[name] = [(_unquoted(label), float(start), float(stop)) for start, stop, label in rows]
  named = [name for name in tiers if re.search(r'\bwords?$', name, re.IGNORECASE)]
  chosen = named or (list(tiers) if len(tiers) == 1 else [])
  if not chosen:
    raise UserError(f'has no tier of words: name one "words" (it has {", ".join(tiers) or "none"})')
  for name in chosen:
    for label, start, stop in tiers[name]:
      yield from _shared(label, start, stop)


def _unquoted(token) -> str:
  return token[1:-1].replace('""', '"')


def _align(text):
  """The words of GRID's alignments: start, stop and word in a line."""
  for line in text.splitlines():
    if line.strip():
      start, stop, word = line.split()
      yield Word(word, int(start) / _ALIGN_UNIT, int(stop) / _ALIGN_UNIT)
