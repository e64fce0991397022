"""Speech with phoneme times, sentences, and the mouth that follows them."""

import numpy as np
import pytest

from data.talkers import articulation, mesh, sentences, speech
from vidregen_jax import errors

VOICE = 'espeak:en-us+f3'


def _channel(face, name):
  return face[:, mesh.CHANNELS.index(name)]


def _say(*symbols, seconds=0.1, rest=0.4):
  """Phonemes of `seconds` each between two rests."""
  starts = rest + seconds * np.arange(len(symbols) + 1)
  spoken = [(s, a, a + seconds) for s, a in zip(symbols, starts, strict=False)]
  end = float(starts[-1])
  return [(speech.SILENCE, 0.0, rest), *spoken, (speech.SILENCE, end, end + rest)]


def test_speech_repeats_itself_bit_for_bit():
  first, second = (speech.speak('A purple moon.', VOICE, shift=1.1, seed=3) for _ in range(2))
  np.testing.assert_array_equal(first.samples, second.samples)
  assert first.phonemes == second.phonemes
  assert np.abs(first.samples).max() > 0.1


def test_phonemes_are_in_order_and_end_with_the_sound():
  said = speech.speak('Bob, my boy, may I come in?', VOICE)
  starts, stops = (np.array([p[i] for p in said.phonemes]) for i in (1, 2))
  assert (stops > starts).all()
  np.testing.assert_allclose(starts[1:], stops[:-1])
  assert stops[-1] == pytest.approx(said.duration)
  assert any(symbol == speech.SILENCE for symbol, _, _ in said.phonemes[1:-1])  # the comma


def test_a_plosive_begins_with_its_silent_closure():
  said = speech.speak('A happy puppy ate a pepper.', VOICE)
  loud = np.sqrt(np.mean(said.samples**2))
  closures = [
    said.samples[round(start * said.sample_rate) :][: round(0.02 * said.sample_rate)]
    for (symbol, start, _), before in zip(said.phonemes[1:], said.phonemes, strict=False)
    if symbol == 'p' and before[0] != speech.SILENCE
  ]
  assert len(closures) >= 4
  assert max(np.sqrt(np.mean(c**2)) for c in closures) < 0.25 * loud


def test_a_shift_moves_every_frequency_but_not_the_pace():
  plain = speech.speak('Mama may moan.', VOICE)
  high = speech.speak('Mama may moan.', VOICE, shift=1.18)
  assert high.duration == pytest.approx(plain.duration, rel=0.06)

  def centre(said):
    power = np.abs(np.fft.rfft(said.samples)) ** 2
    return np.average(np.fft.rfftfreq(len(said.samples), 1 / said.sample_rate), weights=power)

  assert centre(high) == pytest.approx(1.18 * centre(plain), rel=0.07)


def test_unknown_voices_are_one_clear_error():
  with pytest.raises(errors.UserError, match='no voice'):
    speech.speak('Hello.', 'espeak:nobody')
  with pytest.raises(errors.UserError, match='no speech engine'):
    speech.speak('Hello.', 'nobody')
  with pytest.raises(errors.UserError, match='nothing to say'):
    speech.speak(' ', VOICE)


def test_a_missing_engine_names_the_extra(monkeypatch):
  monkeypatch.setattr(speech.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(errors.UserError, match=r'vidregen-jax\[talkers\]'):
    speech.speak('Hello.', VOICE)


def test_the_neural_voice_gives_phonemes_where_its_sound_is():
  said = speech.speak('Papa may buy a boat.', 'hibari:heart', seed=1)
  spoken = [p for p in said.phonemes if p[0] != speech.SILENCE]
  assert [s for s, _, _ in spoken][:3] == ['p', 'ɑ', 'p']
  begin, end = (round(t * said.sample_rate) for t in (spoken[0][1], spoken[-1][2]))
  inside, outside = said.samples[begin:end], np.r_[said.samples[:begin], said.samples[end:]]
  assert np.sqrt(np.mean(outside**2)) < 0.05 * np.sqrt(np.mean(inside**2))
  for symbol, _, _ in spoken:
    assert articulation.visemes(symbol)


def test_every_sentence_has_one_split_and_every_split_has_all_languages():
  random = np.random.default_rng(0)
  seen = {
    split: {sentences.draw(lang, split, random) for lang in sentences.GRAMMARS for _ in range(40)}
    for split in sentences.SPLITS
  }
  assert not seen['train'] & seen['test'] and not seen['train'] & seen['validation']
  assert not seen['validation'] & seen['test']
  assert len(seen['train']) > 0.9 * 40 * len(sentences.GRAMMARS)
  assert not any('{' in sentence or '  ' in sentence for sentence in seen['train'])


@pytest.mark.parametrize(
  ('language', 'voice'),
  [('en', 'en-us'), ('en', 'en-gb-scotland'), ('de', 'de'), ('fr', 'fr'), ('pl', 'pl'),
   ('hi', 'hi'), ('ja', 'ja'), ('cmn', 'cmn')],
)  # fmt: skip
def test_every_phoneme_of_our_sentences_has_a_mouth_shape(language, voice):
  random = np.random.default_rng(1)
  text = ' '.join(sentences.draw(language, 'train', random) for _ in range(5))
  said = speech.speak(text, f'espeak:{voice}', rate=1.5)
  assert len({symbol for symbol, _, _ in said.phonemes}) > 12
  articulation.curves(said.phonemes, np.arange(5) / 25)


def test_an_unknown_letter_is_named():
  with pytest.raises(errors.UserError, match='☃'):
    articulation.visemes('a☃')


@pytest.mark.parametrize('rate', [24, 25, 30000 / 1001, 50, 60])
@pytest.mark.parametrize('style', [1, 2, 3])
def test_lips_meet_at_every_m_b_p_between_open_vowels(rate, style):
  phonemes = _say('a', 'p', 'a', 'm', 'o', 'b', 'æ', 'p', 'u', seconds=0.07)
  times = np.arange(0, phonemes[-1][2], 1 / rate)
  face = articulation.curves(phonemes, times, style)
  # What the head model needs to bring the lips together, and nothing else that parts them.
  shut = _channel(face, 'mouthClose') - 0.84 * _channel(face, 'jawOpen') > 0.015
  for name in ('mouthFunnel', 'mouthUpperUp_L', 'mouthLowerDown_R'):
    shut &= _channel(face, name) < 0.02
  for symbol, start, stop in phonemes:
    inside = (times >= start) & (times <= stop)
    if symbol in 'mpb':
      assert shut[inside].any(), (symbol, start)
    elif symbol == 'a':
      assert not shut[inside].all()


def test_the_mouth_rests_closed_within_120_ms_of_the_last_sound():
  phonemes = _say('a', 'ɔ')
  end = phonemes[-1][1]
  times = np.arange(0, phonemes[-1][2], 0.01)
  jaw = _channel(articulation.curves(phonemes, times), 'jawOpen')
  close = _channel(articulation.curves(phonemes, times), 'mouthClose')
  resting = (times > end + 0.12) | (times < 0.25)
  assert (0.84 * jaw < close)[resting].all()
  assert jaw[(times > 0.42) & (times < end - 0.02)].min() > 0.15


def test_vowels_have_their_shapes():
  middle = lambda vowel: articulation.curves(_say('t', vowel, 't', seconds=0.15), [0.625])
  a, i, u, o = (middle(vowel) for vowel in 'aiuo')
  assert _channel(a, 'jawOpen') > 2 * _channel(i, 'jawOpen')
  assert _channel(i, 'mouthStretch_L') > 5 * _channel(u, 'mouthStretch_L')
  assert _channel(u, 'mouthPucker') > 0.5 > 10 * _channel(i, 'mouthPucker')
  assert _channel(o, 'mouthFunnel') > _channel(u, 'mouthFunnel')


def test_rounding_is_anticipated_further_than_the_jaw():
  rise = lambda vowel, name: _channel(
    articulation.curves(_say('t', 's', vowel), times := np.arange(0.3, 0.7, 0.005)), name
  ) / max(_channel(articulation.curves(_say('t', 's', vowel), times), name))  # fmt: skip
  rounding, opening = rise('u', 'mouthPucker'), rise('a', 'jawOpen')
  assert (rounding > 0.5).argmax() < (opening > 0.5).argmax()


def test_a_face_depends_on_its_time_alone():
  phonemes = _say('m', 'aɪ', 'b', 'oʊ', 't')
  dense = articulation.curves(phonemes, np.arange(0, 1.2, 0.005), 7)
  sparse = articulation.curves(phonemes, np.arange(0, 1.2, 0.005)[3::17], 7)
  np.testing.assert_allclose(dense[3::17], sparse, atol=1e-6)
  shuffled = articulation.curves(phonemes, [0.9, 0.5], 7)
  np.testing.assert_allclose(
    shuffled, articulation.curves(phonemes, [0.5, 0.9], 7)[::-1], atol=1e-6
  )


def test_speakers_differ_in_effort_and_a_style_is_repeatable():
  efforts = np.array([articulation.Style.draw(seed).jaw for seed in range(200)])
  assert 0.7 < efforts.min() < 0.85 and 1.15 < efforts.max() < 1.3
  assert articulation.Style.draw(5) == articulation.Style.draw(5)
  times = np.arange(0, 1, 0.02)
  mumbled, clear = (
    articulation.curves(_say('t', 'a', 'k'), times, articulation.Style(jaw=jaw))
    for jaw in (0.8, 1.2)
  )
  ratio = _channel(clear, 'jawOpen').max() / _channel(mumbled, 'jawOpen').max()
  assert ratio == pytest.approx(1.5, abs=0.05)


def test_curves_stay_in_range_and_are_smooth():
  phonemes = _say('p', 'a', 'f', 'u', 'm', 'ʃ', 'i', 'w', 'θ', seconds=0.06)
  face = articulation.curves(phonemes, np.arange(0, 1.3, 0.01), 11)
  assert face.dtype == np.float32 and face.shape == (130, len(mesh.CHANNELS))
  assert face.min() >= -0.03 and face.max() <= 1.25
  assert np.abs(np.diff(face, axis=0)).max() < 0.3  # of a channel's range in 10 ms


def test_words_have_all_phonemes_in_order():
  said = speech.speak('Well, my friend, the baker saw it.', VOICE, shift=1.1)
  assert ' '.join(word for word, _ in said.words) == 'Well my friend the baker saw it'
  assert all(count > 0 for _, count in said.words)
  assert sum(count for _, count in said.words) == sum(
    symbol != speech.SILENCE for symbol, *_ in said.phonemes)
