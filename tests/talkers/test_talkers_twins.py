"""The twins: two takes that differ in the words, and transcripts that say when each is said."""

import shutil

import numpy as np
import pytest
from conftest import ROOT

import demo
from data.talkers import make_twins, speech, truth
from vidregen_jax.errors import UserError
from vidregen_jax.media.timeline import transcripts

TWINS = ROOT / 'data' / 'talkers' / 'pack' / 'twins'


def test_their_transcripts_are_what_the_voice_says(tmp_path):
  for name in make_twins.TAKES:
    shutil.copy(TWINS / f'{name}.npz', tmp_path)
  make_twins.transcribe(tmp_path)
  for name in make_twins.TAKES:
    assert (tmp_path / f'{name}.TextGrid').read_text() == (TWINS / f'{name}.TextGrid').read_text()


@pytest.mark.parametrize('name', make_twins.TAKES)
def test_a_transcript_has_the_words_of_the_sentence_between_the_rests(name):
  known = truth.Truth.load(TWINS / f'{name}.npz')
  said = transcripts.read(TWINS / f'{name}.TextGrid').words
  assert ' '.join(word.text for word in said) == known['sentence'].replace(',', '').rstrip('.')
  spoken = [row for row in known.phonemes if row[0] != speech.SILENCE]
  edges = {round(time, 4) for _, *times in spoken for time in times}
  assert {round(time, 4) for word in said for time in (word.start, word.stop)} <= edges
  assert (np.diff([word.start for word in said]) > .05).all()


def test_a_sentence_that_is_spoken_otherwise_is_refused(tmp_path, monkeypatch):
  known = truth.Truth.load(TWINS / 'source.npz')
  changed = speech.speak('Bob wrote five poems.', known['voice'])
  monkeypatch.setattr(speech, 'speak', lambda *args, **options: changed)
  with pytest.raises(UserError, match='render the clip again'):
    make_twins.words(known)


def test_the_demo_finds_its_words_and_the_new_ones_fit_in_the_place_of_the_old():
  old, new = (transcripts.read(path.with_suffix('.TextGrid')).find(words) for path, words in (
    (ROOT / demo.SOURCE, demo.OLD_WORDS), (ROOT / demo.TRUTH, demo.NEW_WORDS)))
  assert new.stop - new.start <= old.stop - old.start
