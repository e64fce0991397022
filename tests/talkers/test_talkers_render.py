"""The renderer of the embedded dataset: converter, motion, truth of the mouth, pictures.

Tests that need the head model run only where VIDREGEN_HEAD names one.
"""

import json
import os

import numpy as np
import pytest

from data.talkers import (
  appearance,
  clip,
  convert_ict,
  make_pack,
  make_speech,
  mesh,
  motion,
  render,
  truth,
)
from vidregen_jax import errors

TIMES = np.arange(50) / 25


@pytest.fixture(scope='module')
def head():
  if not os.environ.get('VIDREGEN_HEAD'):
    pytest.skip('the renderer on a real head: VIDREGEN_HEAD names no head model')
  return mesh.load()


def _write_kit(folder):
  """A kit of one square in two materials, one expression, two identities."""
  corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0]], float)
  faces = 'vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl M_Face\nf 1/1 2/2 3/3 4/4\n'
  faces += 'usemtl M_Teeth\nf 2 5 3\n'
  for name, shift in ((convert_ict.NEUTRAL[:-4], 0), ('jawOpen', -1), ('identity000', 0.5),
                      ('identity001', 0.25)):  # fmt: skip
    lines = ''.join('v {} {} {}\n'.format(*(p + [0, shift, 0])) for p in corners)
    (folder / f'{name}.obj').write_text(lines + faces)


def test_converter_keeps_shapes_materials_and_cuts_polygons(tmp_path):
  _write_kit(tmp_path)
  convert_ict.convert(tmp_path, tmp_path / 'head.npz')
  with np.load(tmp_path / 'head.npz') as made:
    assert made['tri'].tolist() == [[0, 1, 2], [0, 2, 3], [1, 4, 2]]
    assert made['tuv'][:2].tolist() == [[0, 1, 2], [0, 2, 3]]
    assert [made['mats'][m] for m in made['tri_mat']] == ['M_Face', 'M_Face', 'M_Teeth']
    assert made['expr_names'].tolist() == ['jawOpen']
    np.testing.assert_array_equal(made['expr'][0, :, 1], -1)
    np.testing.assert_array_equal(made['ident'][:, 0, 1], [0.5, 0.25])


def test_converter_says_what_is_wrong_with_a_kit(tmp_path, capsys):
  assert convert_ict.main(['--kit', str(tmp_path), '--out', str(tmp_path / 'h.npz')]) == 2
  assert 'FaceXModel' in capsys.readouterr().err
  _write_kit(tmp_path)
  (tmp_path / 'jawOpen.obj').write_text('v 0 0 0\n')
  with pytest.raises(errors.UserError, match='1 vertices'):
    convert_ict.convert(tmp_path, tmp_path / 'h.npz')
  assert not (tmp_path / 'h.npz').exists()


def test_missing_head_is_a_user_error(monkeypatch, tmp_path):
  monkeypatch.delenv('VIDREGEN_HEAD', raising=False)
  with pytest.raises(errors.UserError, match='--head'):
    mesh.load()
  with pytest.raises(errors.UserError, match='no such head'):
    mesh.load(tmp_path / 'none.npz')


def test_motion_is_a_function_of_time_whatever_the_frame_rate():
  slow, fast = motion.perform(3, TIMES), motion.perform(3, np.arange(99) / 50)
  # The gaze and blink schedule is drawn up to the last frame, which both reach.
  for name in ('yaw', 'pitch', 'roll', 'shift'):
    np.testing.assert_allclose(getattr(slow, name), getattr(fast, name)[::2], atol=1e-6)
  np.testing.assert_allclose(slow.face, fast.face[::2], atol=1e-6)


def test_motion_stays_within_what_a_tracker_can_follow():
  for seed in range(40):
    acted = motion.perform(seed, np.arange(150) / 30)
    assert np.abs(np.degrees(acted.yaw)).max() < 26
    assert np.abs(np.degrees(acted.pitch)).max() < 22
    assert acted.face.min() >= 0
    assert acted.face.max() <= 1.2


def test_performance_leaves_the_jaw_to_speech():
  face = motion.perform(1, TIMES).face
  moved = {name for name, on in zip(mesh.CHANNELS, np.abs(face).max(0) > 0, strict=True) if on}
  assert not [n for n in moved if n.startswith(('jaw', 'tongue'))]
  assert {n for n in moved if n.startswith('mouth')} <= {'mouthSmile_L', 'mouthSmile_R'}


def test_people_are_repeatable_and_differ():
  assert appearance.Identity.draw(4) == appearance.Identity.draw(4)
  people = [appearance.Identity.draw(seed) for seed in range(120)]
  assert {p.hair_style for p in people} == set(appearance.HAIR_STYLES)
  assert {p.glasses for p in people} == {'none', 'round', 'square'}
  assert np.ptp([p.skin[0] for p in people]) > 0.4
  assert 5 < sum(p.beard > 0 for p in people) < 60


def test_lip_gap_is_scale_and_turn_free_and_zero_for_overlapping_lips():
  points = np.zeros((68, 2), np.float32)
  points[36], points[45], points[62], points[66] = (0, 0), (10, 0), (5, 8), (5, 10)
  assert clip.lip_gap(points) == pytest.approx(0.2)
  turn = np.array([[0, 1], [-1, 0]], np.float32)
  assert clip.lip_gap(3 * points @ turn + 7) == pytest.approx(0.2, abs=1e-6)
  points[66] = (5, 7.5)
  assert clip.lip_gap(points) == 0


def test_nearer_triangle_wins_and_back_faces_are_unseen():
  screen = np.array([[0, 0, 0.1], [0, 8, 0.1], [8, 0, 0.1], [0, 0, 0.2], [0, 4, 0.2], [4, 0, 0.2]],
                    np.float32)  # fmt: skip
  depth, which = np.empty((8, 8), np.float32), np.empty((8, 8), np.int32)
  box = np.array([0, 0, 7, 7])
  for order, seen in (((0, 1, 2), 0), ((0, 2, 1), -1)):
    triangles = np.array([order, [3, 4, 5]], np.int32)
    render.raster(
      screen, triangles, np.zeros(2, np.uint8), np.zeros((2, 3, 2), np.float32),
      np.zeros(6, np.float32), box, depth, which,
    )  # fmt: skip
    assert which[1, 1] == 1
    assert which[1, 5] == seen
    assert which[7, 7] == -1


def test_landmarks_follow_the_jaw_and_lips_meet_on_closure(head):
  person, scene = appearance.Identity.draw(1), appearance.Scene.draw(1)
  mouths = np.stack([clip.channels(**clip.MOUTHS[m]) for m in ('a', 'm b p', 'u')])
  points = np.array([p for _, p in clip.render_clip(head, person, scene, mouths, TIMES[:3], 96, 1)])
  gap, width = clip.lip_gap(points), clip.mouth_width(points)
  assert gap[0] > 0.15
  assert gap[1] < 0.02
  assert width[2] < 0.85 * width[1]


def test_pictures_do_not_depend_on_threads(head):
  person, scene = appearance.Identity.draw(2), appearance.Scene.draw(2)
  curves = clip.chatter(TIMES)[:5]
  one, two = (
    [image for image, _ in clip.render_clip(head, person, scene, curves, TIMES[:5], 48, 2, threads)]
    for threads in (1, 2)
  )
  np.testing.assert_array_equal(one, two)
  assert np.std(one[0]) > 10


def test_wrong_curves_are_refused(head):
  with pytest.raises(ValueError, match='channels'):
    clip.render_clip(head, None, None, np.zeros((4, 3)), TIMES[:4], 32, 0)


def test_lips_of_who_is_not_rendered_move_as_those_of_who_is(head, pack_folder):
  """Beside the pack's truth, which a camera saw."""
  for name in ('test_00003', 'test_00020'):
    known = truth.Truth.load(pack_folder / 'test' / f'{name}.npz')
    plan = make_pack.Plan(**{field: value for field, value in json.loads(known.plan).items()
                             if field != 'voice_name'})
    lips = make_speech.lips(head, plan, known.phonemes, known.times)
    for field, least in (('lip_gap', .99), ('mouth_width', .97)):
      made, seen = lips[field], getattr(known, field)
      assert np.corrcoef(made, seen)[0, 1] > least
      assert made.std() == pytest.approx(seen.std(), rel=.15)


def test_every_tenth_that_is_heard_rests_long():
  numbers = make_speech.indices(100)
  assert len(numbers['train']) == 100 and len(numbers['validation']) == 2
  assert sum(number >= make_pack.FIRST_RESTING for number in numbers['train']) == 10
  assert len(set(numbers['train'])) == 100
