"""What is said of a codec is of all frames, of the mouth apart, and of what it knows too early."""

import dataclasses
import json

import cv2
import fake_codec
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import codec_quality, image_metrics
from vidregen_jax.exports import model_folder
from vidregen_jax.inference import streaming_codec
from vidregen_jax.media import image_grid, video
from vidregen_jax.models import codec, i3d, perceptual, pixels

SIZE = 32
BOX = np.float32([0.25, 0.5, 0.75, 0.875])  # rows 16 to 28, columns 8 to 24


def clip(length, seed=0, **changes):
  """Smooth colours that move, in 4 x 4 pixels of one colour each."""
  rng = np.random.default_rng(seed)
  colours = np.cumsum(rng.integers(-9, 10, (length, 8, 8, 3)), axis=0) + 128
  frames = colours.clip(0, 255).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
  return {'clip_id': b'clip-%d' % seed, 'frames': frames, 'times': np.arange(length) / 25,
          'mouth_box': np.tile(BOX, (length, 1)), 'lip_gap': rng.uniform(size=length)} | changes


@pytest.fixture
def export(monkeypatch):
  """The stand-in codec, that keeps each cell's mean colour over 4 frames and forgets the past."""
  monkeypatch.setattr(streaming_codec, 'codec', fake_codec)
  monkeypatch.setattr(fake_codec, 'encode', lambda config, params, frames, cache: (
    (forgetful(config, params, frames), None), cache))
  w = np.eye(3, 4, dtype=np.float32)
  return model_folder.Export(
    'codec', {'size': SIZE, 'latent_channels': 4, 'cells': 8},
    {'encoder': {'w': w}, 'decoder': {'w': w.T}},
    {'latent_mean': np.zeros(4, np.float32), 'latent_std': np.ones(4, np.float32)}, 'abc')


def forgetful(config, params, frames):
  batch, length = frames.shape[:2]
  x = frames.reshape(batch, length // 4, 4, config.cells, 4, config.cells, 4, 3)
  return x.mean((2, 4, 6)) @ params['encoder']['w']


def made_of(frames):
  """What the stand-in codec makes of frames."""
  filled = np.concatenate([frames] + (-len(frames) % 4) * [frames[-1:]]).astype(np.float64)
  groups = filled.reshape(-1, 4, *frames.shape[1:]).mean(1)
  return groups.repeat(4, axis=0)[:len(frames)].round()


def test_figures_are_of_every_frame_and_of_the_mouth_apart(export):
  clips = [clip(10), clip(7, seed=1)]
  inside = np.zeros((10, SIZE, SIZE), bool)
  inside[:, 16:28, 8:24] = True
  for one in clips:  # in every other frame the mouth is 8 pixels to the right
    one['mouth_box'][::2, ::2] += 0.25
  inside[::2] = np.roll(inside[::2], 8, axis=2)
  scores, shown = codec_quality.measure(export, clips)
  for part, mask in (('', np.ones_like(inside)), ('_mouth', inside)):
    db, ratio, errors, changes = [], [], [], []
    for one, made in shown:
      pair = made.astype(np.float64), one['frames'].astype(np.float64)
      assert np.abs(pair[0] - made_of(pair[1])).max() <= 1  # a mean at .5 goes to either side
      errors.append(np.square(pair[0] - pair[1])[mask[:len(made)]])
      changes.append([np.abs(np.diff(x, axis=0))[mask[1:len(made)]].sum() for x in pair])
      db.append(10 * np.log10(255**2 / errors[-1].mean()))
      ratio.append(changes[-1][0] / changes[-1][1])
    pooled = 10 * np.log10(255**2 / np.concatenate([x.ravel() for x in errors]).mean())
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=0.006)  # of two digits
    close(scores[f'psnr{part}'], pooled)
    # The middle of two that are rounded, rounded once more.
    np.testing.assert_allclose(scores['medians'][f'psnr{part}'], np.median(db), atol=0.011)
    close([row[f'psnr{part}'] for row in scores['rows']], db)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=0.0006)  # of three
    close(scores[f'flicker{part}'], np.divide(*np.sum(changes, axis=0)))
    np.testing.assert_allclose(scores['medians'][f'flicker{part}'], np.median(ratio), atol=0.0011)
  assert scores['psnr'] != scores['psnr_mouth']
  assert (scores['clips'], scores['frames']) == (2, 17)
  assert [row['clip'] for row in scores['rows']] == ['clip-0', 'clip-1']


def test_an_error_in_the_last_frames_is_seen(export):
  still = clip(10)
  still['frames'][:] = still['frames'][:1]
  broken = still | {'frames': still['frames'].copy()}
  broken['frames'][9] ^= 128  # beyond the last multiple of 4
  same, worse = (codec_quality.measure(export, [x])[0] for x in (still, broken))
  assert worse['psnr'] < 30
  # What cannot be had is None: a perfect reconstruction's PSNR, a still film's flicker.
  assert same['psnr'] is None and same['flicker'] is None and same['medians']['flicker'] is None
  assert same['ssim'] == 1.0
  json.dumps(same, allow_nan=False)


def test_structure_and_distance_are_measured_in_the_mouth(export):
  rng = np.random.default_rng(0)
  noisy = clip(8)
  noisy['frames'][:, 17:27, 9:23] ^= rng.integers(0, 64, (8, 10, 14, 3), dtype=np.uint8)
  plain = clip(8)
  vgg16 = {'convolutions': [[(rng.normal(size=(3, 3, c, 4)).astype(np.float32), np.zeros(4))]
                            for c in (3, 4, 4, 4, 4)], 'heads': 5 * [np.ones(4, np.float32)]}
  far, _ = codec_quality.measure(export, [noisy], vgg16)
  near, [(_, made)] = codec_quality.measure(export, [plain], vgg16)
  for name, sign in (('ssim', -1), ('lpips', 1)):
    harm = {part: sign * (far[name + part] - near[name + part]) for part in ('', '_mouth')}
    assert harm['_mouth'] > 2 * harm[''] > 0
  assert 'lpips' not in codec_quality.measure(export, [plain])[0]
  # Of every fifth frame; figures have four digits.
  made, source = (pixels.to_float(x[::5]) for x in (made, plain['frames']))
  mouth = np.asarray(pixels.box_mask(plain['mouth_box'][::5], SIZE))[..., 0]
  for weight, part in ((np.ones_like(mouth), ''), (mouth, '_mouth')):
    wanted = np.mean(jax.jit(perceptual.lpips)(vgg16, made, source, weight))
    np.testing.assert_allclose(near[f'lpips{part}'], wanted, atol=1e-4)
  places = jax.jit(image_metrics.ssim_map)(made, source)
  np.testing.assert_allclose(near['ssim'], places.mean(), atol=1e-4)
  np.testing.assert_allclose(near['ssim_mouth'], places[:, 11:23, 3:19].mean(), atol=1e-4)


def test_a_place_of_the_map_of_ssim_is_its_window():
  a, b = np.random.default_rng(0).uniform(-1, 1, (2, 2, 24, 20, 3)).astype(np.float32)
  ssim_map = jax.jit(image_metrics.ssim_map)
  found = np.asarray(ssim_map(a, b))
  assert found.shape == (2, 14, 10)
  # One pixel is seen by the windows around it and by no other.
  other = b.copy()
  other[0, 12, 9] += 0.5
  seen = np.argwhere(np.abs(ssim_map(a, other) - found) > 1e-5)
  assert seen[:, 0].max() == 0
  np.testing.assert_array_equal(seen.min(0)[1:], [2, 0])
  np.testing.assert_array_equal(seen.max(0)[1:], [12, 9])


def test_a_frame_without_a_mouth_counts_for_the_whole_only(export):
  seen = clip(16)
  boxes = seen['mouth_box'].copy()
  boxes[4:] = 0
  some, every = (codec_quality.measure(export, [x])[0]
                 for x in (seen | {'mouth_box': boxes}, seen))
  assert some['ssim'] == every['ssim'] and some['psnr'] == every['psnr']
  only, _ = codec_quality.measure(
    export, [{name: x if name == 'clip_id' else x[:4] for name, x in seen.items()}])
  assert some['ssim_mouth'] == only['ssim_mouth'] and some['psnr_mouth'] == only['psnr_mouth']
  boxes[:] = 0
  assert codec_quality.measure(export, [seen | {'mouth_box': boxes}])[0]['psnr_mouth'] is None


# 34 frames end in a chunk of their own; 64 have their middle where a chunk begins.
@pytest.mark.parametrize('length', [5, 34, 64])
def test_a_codec_that_streams_does_not_leak_and_group_norm_does(length):
  config = codec.CodecConfig(8, (8, 8), (0, 1), (0, 1), (1, 2), 4)
  frames = np.random.default_rng(0).integers(0, 256, (length, 8, 8, 3), dtype=np.uint8)
  for norm in ('rms', 'group'):
    model = dataclasses.replace(config, norm=norm)
    sides = (model, codec.init(model, jax.random.key(0)), np.zeros(4), np.ones(4))
    found = codec_quality.leak(streaming_codec.Encoder(*sides), streaming_codec.Decoder(*sides),
                               frames)
    if norm == 'rms':
      assert found == (0.0, 0.0)
    else:
      assert min(found) > 1e-4


def test_without_clips_or_windows_there_is_nothing_to_measure(export):
  with pytest.raises(UserError, match='no clips'):
    codec_quality.measure(export, [])
  with pytest.raises(UserError, match='hold 1 windows of 16 frames.* needs 2'):
    codec_quality.measure(export, [clip(31), clip(15)], network={})


def test_the_video_distance_is_between_all_windows(export, monkeypatch):
  """The network is tested elsewhere; here windows are known by their mean colours."""
  monkeypatch.setattr(codec_quality, '_logits', lambda network, x: jnp.mean(x, (1, 2, 3)) * network)
  clips = [clip(50), clip(20, seed=1)]
  scores, _ = codec_quality.measure(export, clips, network=100.0)
  assert scores['fvd_windows'] == 4
  gaussians = []
  for kind in (lambda x: x, made_of):
    colours = [kind(one['frames'].astype(np.float64))[i : i + 16].mean((0, 1, 2)) / 127.5 - 1
               for one in clips for i in range(0, len(one['frames']) - 15, 16)]
    x = 100 * np.array(colours)
    gaussians += [x.mean(0), np.cov(x, rowvar=False)]
  # The root of a nearly singular matrix: SciPy's versions differ by .02.
  np.testing.assert_allclose(scores['fvd'], i3d.frechet_distance(*gaussians), atol=0.05)
  assert 'fvd' not in codec_quality.measure(export, clips)[0]


def test_a_folder_shows_the_widest_mouths_and_the_clips_side_by_side(export, tmp_path):
  gap = np.zeros(10)
  gap[7] = 1
  clips = [clip(10, lip_gap=gap)] + [clip(5, seed=i) for i in range(1, 6)]
  scores, shown = codec_quality.measure(export, clips)
  assert len(shown) == codec_quality.SHOWN
  codec_quality.write(tmp_path / 'out', scores, shown)
  codec_quality.write(tmp_path / 'out', scores, shown)  # an earlier evaluation is replaced
  assert json.loads((tmp_path / 'out' / 'scores.json').read_text()) == scores

  sheet = cv2.imread(str(tmp_path / 'out' / 'sheet.png'))[:, :, ::-1]
  assert sheet.shape == (4 * 192, 6 * 192, 3)
  tiles = sheet.reshape(4, 192, 6, 192, 3).swapaxes(1, 2)
  source, made = clips[0]['frames'][7], made_of(clips[0]['frames'])[7]
  np.testing.assert_array_equal(tiles[0, 0, ::6, ::6], source)
  assert np.abs(tiles[0, 1, ::6, ::6] - made).max() <= 1
  # The mouth's box is 16 x 12 pixels: the square of 16 around it, each pixel 12 times.
  np.testing.assert_array_equal(tiles[0, 3, ::12, ::12], source[14:30, 8:24])

  frames = [frame.image for frame in video.frames(tmp_path / 'out' / 'video.mp4')]
  assert len(frames) == 10 + 3 * 5 and frames[0].shape == (192, 384, 3)
  assert video.probe(tmp_path / 'out' / 'video.mp4').rate == 25
  # H.264 takes a few grey levels, and more where colours meet.
  assert np.abs(frames[7][::6, :192:6].astype(int) - source).mean() < 6
  assert np.abs(frames[7][::6, 192::6].astype(int) - made).mean() < 6


def test_other_things_in_the_folder_are_not_lost(export, tmp_path):
  (tmp_path / 'notes.txt').write_text('mine')
  (tmp_path / 'scores.json').write_text('{}')
  for folder in (tmp_path, tmp_path / 'notes.txt'):
    with pytest.raises(UserError, match='holds other things than an evaluation'):
      codec_quality.write(folder, {}, [])
  with pytest.raises(UserError, match='cannot be written'):
    codec_quality.write(tmp_path / 'notes.txt' / 'out', {}, [])
  assert (tmp_path / 'notes.txt').read_text() == 'mine'


def test_a_square_stays_in_the_picture_and_shows_its_pixels():
  picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
  for box, rows, columns in (([0.25, 0.5, 0.75, 0.75], (3, 7), (2, 6)),
                             ([-0.2, 0.9, 0.2, 1.1], (4, 8), (0, 4)),
                             ([0, 0, 0, 0], (0, 1), (0, 1))):
    part = picture[slice(*rows), slice(*columns)]
    found = image_grid.square(picture, box, 8)
    np.testing.assert_array_equal(found, part.repeat(8 // len(part), 0).repeat(8 // len(part), 1))
