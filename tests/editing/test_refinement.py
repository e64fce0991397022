"""One span of an edit is made again, and nothing else: the others stay as they were made."""

import numpy as np
import pytest

import vidregen_jax
from vidregen_jax.errors import UserError
from vidregen_jax.media import video

CONSENT = 'a rendered person; nobody had to be asked'
FIRST, SECOND = (.3, .5), (.9, 1.2)


@pytest.fixture(scope='module')
def clip(pack_folder):
  return sorted((pack_folder / 'test').glob('*.mp4'))[0]


def decoded(path):
  return np.stack([frame.image for frame in video.frames(path)]).astype(int)


def edit(source, spans, model, out, **options):
  return vidregen_jax.edit(source, spans=spans, model=model, consent=CONSENT, fit_face=False,
                           page=False, out=out, **options)


def test_the_other_span_stays_and_the_refined_one_is_made_from_real_frames(tiny_model, clip,
                                                                           tmp_path):
  both, again, once = (tmp_path / f'{name}.mp4' for name in ('both', 'again', 'once'))
  edit(clip, [FIRST, SECOND], tiny_model, both, audio=clip)
  report = edit(both, [SECOND], tiny_model, again, audio=clip, original=clip, seed=1)
  edit(clip, [SECOND], tiny_model, once, audio=clip, seed=1)
  assert report.original.path == str(clip) and report.source.path == str(both)
  real, edited, refined, alone = map(decoded, (clip, both, again, once))
  times = np.arange(len(real)) / 25
  first, second = ((times >= a) & (times < b) for a, b in (FIRST, SECOND))
  near = lambda a, b: np.abs(a - b).mean()
  assert near(refined[first], edited[first]) < 1 < near(refined[first], real[first])
  # As if that span alone had been made, and not as a second mouth over the first.
  assert near(refined[second], alone[second]) < .5 * near(refined[second], edited[second])
  assert vidregen_jax.inspect(again).valid
  assert vidregen_jax.inspect(again).ingredients[0]['title'] == 'both.mp4'


def test_what_is_not_its_original_is_refused(tiny_model, clip, pack_folder, tmp_path):
  other = sorted((pack_folder / 'test').glob('*.mp4'))[1]
  with pytest.raises(UserError, match='has other frames than'):
    edit(clip, [SECOND], tiny_model, tmp_path / 'out.mp4', audio=clip, original=other)
  with pytest.raises(UserError, match='cannot be given with an edit that moves frames'):
    vidregen_jax.edit(clip, patches=[(.9, 1.2, clip)], original=clip, model=tiny_model,
                      consent=CONSENT, out=tmp_path / 'out.mp4')
