"""Words are found where they are spoken, in every kind of transcript, once or not at all."""

import json

import numpy as np
import pytest

from vidregen_jax.errors import UserError
from vidregen_jax.media.timeline import transcripts

PHRASES = 4  # of each clip, one a kind of transcript less one


def spoken(path):
  """(word, start, stop) of a rendered clip, its truth: each word has its share of the sounds."""
  with np.load(path) as truth:
    words = json.loads(str(truth['plan']))['sentence'].split()
    sounds = [span for symbol, span in zip(truth['symbols'], truth['spans'].tolist(), strict=True)
              if symbol != '_']
  edges = np.linspace(0, len(sounds), len(words) + 1).round().astype(int)
  return [(word, sounds[a][0], sounds[b - 1][1])
          for word, a, b in zip(words, edges, edges[1:], strict=False)]


def clock(seconds, point):
  return (f'{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:06.3f}'
          ).replace('.', point)


def srt(words):
  return '\n'.join(f'{i}\n{clock(start, ",")} --> {clock(stop, ",")}\n{word}\n'
                   for i, (word, start, stop) in enumerate(words, start=1))


def vtt(words):
  said = ' '.join(f'<{clock(start, ".")}><c>{word}</c>' for word, start, _ in words)
  return (f'WEBVTT\n\nNOTE not a cue\n\n{clock(words[0][1], ".")} --> '
          f'{clock(words[-1][2], ".")} align:start\n{said}\n')


def whisperx(words):
  rows = [{'word': word, 'start': start, 'end': stop, 'score': .9} for word, start, stop in words]
  return json.dumps({'segments': [{'start': 0, 'end': 9, 'text': 'all of it', 'words': rows}],
                     'word_segments': rows})


def descript(words):
  return json.dumps({'words': [{'text': word, 'start': start, 'end': stop}
                               for word, start, stop in words]})


def text_grid(words, long=True):
  rows, at, end = [], 0.0, words[-1][2] + 1
  for word, start, stop in [*words, ('', end, end)]:
    if start > at:
      rows.append((at, start, ''))
    if stop > start:
      rows.append((start, stop, word.replace('"', '""')))
    at = stop
  name = lambda label: f'{label} = ' * long
  tier = [f'{name("class")}"IntervalTier"', f'{name("name")}"Ann - words"', f'{name("xmin")}0',
          f'{name("xmax")}{end}', f'{"intervals: size = " * long}{len(rows)}']
  for i, (start, stop, word) in enumerate(rows, start=1):
    tier += [f'intervals [{i}]:'] * long + [f'{name("xmin")}{start}', f'{name("xmax")}{stop}',
                                            f'{name("text")}"{word}"']
  return '\n'.join(['File type = "ooTextFile"', 'Object class = "TextGrid"', '',
                    f'{name("xmin")}0', f'{name("xmax")}{end}',
                    f'{"tiers? " * long}<exists>', f'{"size = " * long}2',
                    *['item []:', 'item [1]:'] * long,
                    f'{name("class")}"TextTier"', f'{name("name")}"clicks"', f'{name("xmin")}0',
                    f'{name("xmax")}{end}', f'{"points: size = " * long}1',
                    f'{name("number")}.5', f'{name("mark")}"click 1"', *['item [2]:'] * long,
                    *tier])


def align(words):
  return ''.join(f'{round(start * 25_000)} {round(stop * 25_000)} {word}\n'
                 for word, start, stop in [('sil', 0, words[0][1]), *words])


KINDS = {'srt': srt, 'vtt': vtt, 'json': whisperx, 'TextGrid': text_grid, 'align': align}


def written(folder, kind, text, encoding='utf-8'):
  path = folder / f'said.{kind}'
  path.write_text(text, encoding)
  return path


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('number', range(PHRASES))
def test_a_phrase_is_where_it_is_in_truth(kind, number, pack_folder, tmp_path):
  words = spoken(sorted((pack_folder / 'test').glob('*.npz'))[number])
  transcript = transcripts.read(written(tmp_path, kind, KINDS[kind](words)))
  first = number % (len(words) - 1)
  phrase = words[first:first + 2]
  found = transcript.find(' '.join(word for word, *_ in phrase).upper())
  (_, start, _), (_, _, stop) = phrase[0], phrase[-1]
  # An edge lies in the silence beside the phrase, and no further than a cue's next word.
  assert start - .0411 <= found.start <= start + 1e-3
  assert stop - 1e-3 <= found.stop <= max(stop + .0411, words[min(first + 2, len(words) - 1)][1])
  assert not found.estimated


def test_the_words_of_a_real_alignment():
  text = '0 12250 sil\n12250 19250 set\n36000 43250 two\n43250 55250 soon\n55250 74500 sil\n'
  words = list(transcripts._align(text))
  assert words[-2] == transcripts.Word('soon', 1.73, 2.21)


@pytest.mark.parametrize(('kind', 'text'), [
  ('json', descript([('bin', .1, .2), ('blue', .3, .4)])),
  ('json', json.dumps([{'text': 'bin', 'start': 100, 'end': 200},
                       {'text': 'blue', 'start': 300, 'end': 400}])),
  ('json', json.dumps({'monologues': [{'elements': [
    {'type': 'text', 'value': 'bin', 'ts': .1, 'end_ts': .2}, {'type': 'punct', 'value': ', '},
    {'type': 'text', 'value': 'blue', 'ts': .3, 'end_ts': .4}]}]})),
  ('TextGrid', text_grid([('bin', .1, .2), ('blue', .3, .4)], long=False)),
  ('srt', '1\r\n00:00:00,100 --> 00:00:00,200\r\n<u>Bin</u> blue\r\n\r\n2\r\n'
          '00:00:00,300 --> 00:00:00,400\r\nBin <u>blue</u>\r\n'),
])
def test_other_forms_of_the_same(kind, text, tmp_path):
  words = transcripts.read(written(tmp_path, kind, text)).words
  assert [(word.text.lower(), word.start, word.stop) for word in words] == [
    ('bin', pytest.approx(.1), pytest.approx(.2)), ('blue', pytest.approx(.3), pytest.approx(.4))]


def test_praat_may_write_utf_16(tmp_path):
  path = written(tmp_path, 'TextGrid', text_grid([('Bäcker', .1, .2)]), 'utf-16')
  assert transcripts.read(path).find('bäcker').text == 'Bäcker'


def test_times_within_a_cue_are_estimated_and_it_is_said(tmp_path):
  path = written(tmp_path, 'srt', '1\n00:00:01,000 --> 00:00:02,000\nbin blue, <i>at</i> f\n')
  found = transcripts.read(path).find('blue at')
  assert found.estimated and 1.2 < found.start < 1.4 and 1.7 < found.stop < 1.95
  rows = [{'word': 'bin', 'start': 1., 'end': 1.2}, {'word': '2'}, {'word': 'now', 'start': 1.6,
                                                                    'end': 2.}]
  found = transcripts.read(written(tmp_path, 'json', json.dumps(rows))).find('2')
  assert found.estimated and (found.start, found.stop) == (1.2, 1.6)


def test_a_phrase_that_is_not_there_or_is_there_twice_is_one_clear_line(tmp_path):
  path = written(tmp_path, 'align', '0 100 two\n200 300 soon\n400 500 two\n600 700 too\n')
  transcript = transcripts.read(path)
  for phrase, cause in [('tow soon', 'is not in .*: the nearest word is "soon", at 0.01 s'),
                        ('zzz', 'which begins "two soon two too"'),
                        ('two', 'is in .* 2 times, at 0.00, 0.02 s: give more .* as "two#2"'),
                        ('two#3', 'there is no #3'), ('...', 'holds no word')]:
    with pytest.raises(UserError, match=cause) as told:
      transcript.find(phrase)
    assert '\n' not in str(told.value)
  assert transcript.find('two#2').start == pytest.approx(.012)
  assert transcript.find('soon two').text == 'soon two'


@pytest.mark.parametrize(('name', 'text', 'cause'), [
  ('said.txt', 'bin blue', 'not known by its name'),
  ('said.json', '{"words": [', 'is no json file'),
  ('said.json', '{"text": "bin blue"}', 'has no words with times|has no objects'),
  ('said.srt', 'bin blue', 'has no words with times'),
  ('said.align', '0 bin', 'is no align file'),
  ('said.TextGrid', 'File type = "ooTextFile"', 'is no textgrid file'),
  ('said.TextGrid', text_grid([('bin', .1, .2)]).replace('Ann - words', 'Ann'), None),
  ('said.align', '200 100 bin', 'lasts from 0.008 to 0.004 s'),
])
def test_what_is_no_transcript_is_one_line(name, text, cause, tmp_path):
  (tmp_path / name).write_text(text)
  if cause is None:  # the only tier of intervals
    assert transcripts.read(tmp_path / name).words
    return
  with pytest.raises(UserError, match=cause) as told:
    transcripts.read(tmp_path / name)
  assert '\n' not in str(told.value)
