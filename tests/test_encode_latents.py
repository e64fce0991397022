import fake_codec
import fake_talkers
import jax
import numpy as np
import pytest

from vidregen_jax import encode_latents, input_pipeline, latents, pixels, weights
from vidregen_jax.errors import UserError

MODEL = fake_codec.CodecConfig(size=16, latent_channels=4)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return fake_talkers.build(tmp_path_factory.mktemp('data'))


@pytest.fixture
def encoder(monkeypatch):
  monkeypatch.setattr(latents, 'codec', fake_codec)
  w = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
  params = {'encoder': {'w': w}, 'decoder': {'w': w.T}}
  statistics = {'latent_mean': np.float32([0.1, 0, 0, 0]), 'latent_std': np.float32([2, 1, 1, 1])}
  config = {'size': 16, 'latent_channels': 4}
  return latents.Encoder.of(
    weights.Export('codec', config, params, statistics, digest='abc')
  )


def listen(samples):
  """States that tell their own index: 50 a second."""
  return np.arange(-(-len(samples) // 320), dtype=np.float32)[:, None, None].repeat(3, axis=1)


def first_clip(dataset):
  return input_pipeline.talker_clips(dataset, 'train', 16)[0]


def reference(encoder, frames):
  """The latents of one whole stream, encoded in one piece: uint8 [F, S, S, 3] -> [T, H, W, C]."""
  (mean, _), _ = fake_codec.encode(
    MODEL, encoder._params, pixels.to_float(frames[None]), fake_codec.init_encoder_cache(MODEL, 1)
  )
  return (np.asarray(mean[0]) - encoder._mean) / encoder._std


def test_latents_are_those_of_the_clip_encoded_in_one_piece(dataset, encoder):
  clip = first_clip(dataset)
  frames = clip['frames'][: len(clip['frames']) // 4 * 4]
  record, mirrored = encode_latents.encode_clip(clip, encoder, listen, flip=True)
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3, rtol=1e-3)  # float16
  close(record['target'], reference(encoder, frames))
  close(record['context'], reference(encoder, pixels.hide_lower_face(frames)))
  close(mirrored['target'], reference(encoder, frames[:, :, ::-1]))
  assert (mirrored['flipped'], record['flipped']) == (True, False)
  for t in range(len(frames) // 4):
    close(record['cold'][t], reference(encoder, frames[4 * t : 4 * t + 4])[0])
  for latent, frame in zip(record['stills'], record['still_frames'], strict=True):
    close(latent, reference(encoder, frames[frame, None].repeat(4, axis=0))[0])
  # A latent frame with a past is not the one without: the stand-in codec remembers.
  assert np.abs(record['cold'][1:] - record['target'][1:]).max() > 0.01


def test_what_goes_with_the_latents_is_aligned_with_them(dataset, encoder):
  clip = first_clip(dataset)
  record, mirrored = encode_latents.encode_clip(clip, encoder, listen, flip=True)
  t = len(record['target'])
  assert t == len(clip['frames']) // 4
  np.testing.assert_array_equal(record['times'], clip['times'][: 4 * t])
  np.testing.assert_array_equal(record['lip_gap'], clip['lip_gap'][: 4 * t])
  assert record['audio'].shape == (-(-len(clip['audio']) // 320), 3, 1)
  assert record['mouth_box'].shape == (t, 4)
  np.testing.assert_allclose(record['mouth_box'][0], [0.25, 0.6, 0.7, 0.9])
  np.testing.assert_allclose(mirrored['mouth_box'][0], [0.3, 0.6, 0.75, 0.9])


def write(folder, dataset, encoder, **inputs):
  encode_latents.write_dataset(
    folder, dataset, encoder, listen, True, {'codec': 'abc', 'flip': True} | inputs,
    ('train', 'validation', 'test'),
  )


def test_a_stopped_run_goes_on_with_the_shard_it_was_at(
  dataset, encoder, tmp_path, monkeypatch
):
  monkeypatch.setattr(encode_latents, '_SHARD', 2)
  write(tmp_path / 'whole', dataset, encoder)
  clips = input_pipeline.latent_clips(tmp_path / 'whole', 'train')
  assert [clips[i]['flipped'] for i in range(len(clips))] == [False, True] * 5
  names = {clips[i]['clip_id'] for i in range(len(clips))}
  assert names == {f'train-{i}' for i in range(5)}

  encode, done = encode_latents.encode_clip, []

  def stopping(clip, *rest):
    if len(done) == 3:
      raise KeyboardInterrupt
    done.append(clip['clip_id'])
    return encode(clip, *rest)

  with monkeypatch.context() as patch:
    patch.setattr(encode_latents, 'encode_clip', stopping)
    with pytest.raises(KeyboardInterrupt):
      write(tmp_path / 'stopped', dataset, encoder)
  with pytest.raises(UserError, match='no finished dataset of latents'):
    input_pipeline.latent_clips(tmp_path / 'stopped', 'train')
  assert not list((tmp_path / 'stopped').glob('*.part*'))
  done.clear()
  monkeypatch.setattr(
    encode_latents, 'encode_clip', lambda clip, *rest: done.append(1) or encode(clip, *rest)
  )
  write(tmp_path / 'stopped', dataset, encoder)
  assert len(done) == 3 + 2 + 1, 'the finished shard of two clips was encoded again'
  again = input_pipeline.latent_clips(tmp_path / 'stopped', 'train')
  for i in range(len(clips)):
    jax.tree.map(np.testing.assert_array_equal, clips[i], again[i])


def test_latents_of_two_codecs_are_never_mixed(dataset, encoder, tmp_path):
  write(tmp_path, dataset, encoder)
  info = input_pipeline.latent_info(tmp_path)
  assert info['codec'] == 'abc' and info['latent_shape'] == [2, 2, 4]
  assert info['splits']['validation'] == {
    'files': ['validation-00000-of-00001.array_record'], 'clips': 2, 'records': 4
  }
  with pytest.raises(UserError, match="made with codec 'abc', not 'xyz': give another --out"):
    write(tmp_path, dataset, encoder, codec='xyz')
  with pytest.raises(UserError, match="no split 'dev'"):
    input_pipeline.latent_clips(tmp_path, 'dev')
