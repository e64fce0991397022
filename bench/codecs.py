"""Time per frame of codecs: ours, and four of diffusers, at 256x256 on CPU.

  python -m bench.codecs

All have random weights, which cost the same as trained ones, and run in float32. Ours streams as in
`regenerate`: 4 frames a call, with the cache of the call before. The other video codecs get a clip
of 17 frames at once (they take 1 + a multiple of 4 or 8), the image codecs a batch of 2 frames.
Nothing is downloaded.
"""

import dataclasses
import functools
import importlib
import os
import pathlib
import sys

import jax

from bench import timing
from configs import codec as codec_config
from vidregen_jax import cli, files
from vidregen_jax.errors import UserError
from vidregen_jax.models import codec

_SIDE = 256
_OURS_FRAMES = 16
_CLIP_FRAMES = 17
_IMAGES = 2

_BLOCKS = ('ResBlock', 'ResBlock', 'ResBlock', *3 * ('EfficientViTBlock',))

# As released. Where nothing is given, that is what diffusers' defaults are.
_OTHERS = {
  'ltx': ('LTX-Video 0.9.0', 'AutoencoderKLLTXVideo', {}),
  'wan': ('Wan 2.1', 'AutoencoderKLWan', {}),
  'dc_ae': ('DC-AE f32c32 (Sana 1.0)', 'AutoencoderDC', dict(
    latent_channels=32, attention_head_dim=32,
    encoder_block_types=_BLOCKS, decoder_block_types=_BLOCKS,
    encoder_block_out_channels=(128, 256, 512, 512, 1024, 1024),
    decoder_block_out_channels=(128, 256, 512, 512, 1024, 1024),
    encoder_layers_per_block=(2, 2, 2, 3, 3, 3), decoder_layers_per_block=(3, 3, 3, 3, 3, 3),
    encoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
    decoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
    upsample_block_type='interpolate', downsample_block_type='Conv',
    decoder_norm_types='rms_norm', decoder_act_fns='silu', scaling_factor=0.41407)),
  'sd': ('Stable Diffusion', 'AutoencoderKL', dict(
    in_channels=3, out_channels=3, latent_channels=4, layers_per_block=2, norm_num_groups=32,
    down_block_types=4 * ('DownEncoderBlock2D',), up_block_types=4 * ('UpDecoderBlock2D',),
    block_out_channels=(128, 256, 512, 512))),
}  # fmt: skip
_IMAGE_CODECS = ('dc_ae', 'sd')


@dataclasses.dataclass(frozen=True)
class Subject:
  """A codec that is timed.

  Attributes:
    name: as it is printed.
    parameters: how many numbers {'encode': ..., 'decode': ...} use.
    frames: what one call of `encode` or `decode` works on.
    encode, decode: functions without arguments; they return when their work is done.
  """
  name: str
  parameters: dict
  frames: int
  encode: object
  decode: object


def ours(size):
  """Our codec of one size in configs/codec.py, streaming.

  Raises:
    UserError: there is no such size.
  """
  try:
    config = codec.CodecConfig(**codec_config.get_config(size).model)
  except ValueError as error:
    raise UserError(f'--size: {error}') from error
  side, group = config.size, codec.TIME_FACTOR
  params = codec.init(config, jax.random.key(0))
  frames = jax.random.uniform(jax.random.key(1), (1, _OURS_FRAMES, side, side, 3), minval=-1)
  chunks = [frames[:, start:start + group] for start in range(0, _OURS_FRAMES, group)]
  encode_chunk = jax.jit(functools.partial(codec.encode, config))
  decode_chunk = jax.jit(functools.partial(codec.decode, config))

  def encode():
    cache, means = codec.init_encoder_cache(config, 1), []
    for chunk in chunks:
      (mean, _), cache = encode_chunk(params, chunk, cache)
      means.append(mean)
    return jax.block_until_ready(means)

  means = encode()

  def decode():
    cache = codec.init_decoder_cache(config, 1)
    for mean in means:
      decoded_frames, cache = decode_chunk(params, mean, cache)
    jax.block_until_ready(decoded_frames)

  count = {part: sum(x.size for x in jax.tree.leaves(params[part])) for part in params}
  return Subject(
    f'ours, {size} ({side} px)', {'encode': count['encoder'], 'decode': count['decoder']},
    _OURS_FRAMES, encode, decode)


def other(key):
  """A codec of diffusers, with random weights.

  Raises:
    UserError: the bench extra is not installed.
  """
  diffusers, torch = _installed('diffusers'), _installed('torch')
  name, model_class, fields = _OTHERS[key]
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.manual_seed(0)
  model = getattr(diffusers, model_class)(**fields).eval()
  shape = (_IMAGES, 3) if key in _IMAGE_CODECS else (1, 3, _CLIP_FRAMES)
  pixels = 2 * torch.rand((*shape, _SIDE, _SIDE)) - 1

  @torch.inference_mode()
  def encode():
    encoding = model.encode(pixels)
    return encoding.latent if key == 'dc_ae' else encoding.latent_dist.mode()

  latents = encode()

  @torch.inference_mode()
  def decode():
    decoded_frames = model.decode(latents).sample
    if decoded_frames.shape != pixels.shape:
      raise ValueError(f'{name} decoded {tuple(decoded_frames.shape)} from {tuple(pixels.shape)}')

  def count(*prefixes):
    return sum(x.numel() for n, x in model.named_parameters() if n.startswith(prefixes))

  return Subject(
    name, {'encode': count('encoder', 'quant_conv'), 'decode': count('decoder', 'post_quant')},
    _IMAGES if key in _IMAGE_CODECS else _CLIP_FRAMES, encode, decode)


def _installed(name):
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    raise UserError(f"{error.name} is not installed: pip install -e '.[bench]'") from error


def measure(subjects, rounds):
  """[{'codec', 'direction', 'parameters', 'frames', 'least_ms', 'median_ms', 'ratio'}, ...].

  Times are milliseconds a frame; the ratio is the median over that of the first subject.
  """
  runs = {(s.name, direction): getattr(s, direction)
          for s in subjects for direction in ('encode', 'decode')}
  times, rows = timing.interleaved(runs, rounds), []
  for subject in subjects:
    for direction in ('encode', 'decode'):
      least, median = (1e3 * x / subject.frames for x in times[subject.name, direction])
      first = times[subjects[0].name, direction][1] * 1e3 / subjects[0].frames
      rows.append({'codec': subject.name, 'direction': direction,
                   'parameters': subject.parameters[direction], 'frames': subject.frames,
                   'least_ms': least, 'median_ms': median, 'ratio': median / first})
  return rows


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.codecs', description=__doc__)
  flags.add_argument('--rounds', type=cli.whole(1), default=3,
                     help='how often each is timed (default %(default)s)')
  flags.add_argument('--size', default='256',
                     help='size of ours, as in configs/codec.py (default %(default)s)')
  flags.add_argument('--only', type=cli.several(str), default=list(_OTHERS),
                     help='only these of diffusers: ltx, wan, dc_ae, sd; default: all')
  flags.add_argument('--json', help='file for all figures')
  return flags


def run(flags):
  """Does what the flags say.

  Raises:
    UserError: no such size or codec, or the bench extra is not installed.
  """
  if unknown := [key for key in flags.only if key not in _OTHERS]:
    raise UserError(f'--only: there is no {unknown[0]!r}: choose from {", ".join(_OTHERS)}')
  cores = len(os.sched_getaffinity(0))
  others = [other(key) for key in flags.only]
  rows = measure([ours(flags.size), *others], flags.rounds)
  print(f'{cores} cores, JAX on {jax.default_backend()}, {flags.rounds} rounds in turn; '
        'milliseconds a frame')
  print(f'{"codec":24} {"":8} {"params":>8} {"frames":>6} {"least":>8} {"median":>8} {"ratio":>7}')
  for row in rows:
    print(f'{row["codec"]:24} {row["direction"]:8} {row["parameters"] / 1e6:6.1f} M '
          f'{row["frames"]:6} {row["least_ms"]:8.1f} {row["median_ms"]:8.1f} {row["ratio"]:6.1f}x')
  if flags.json:
    files.write_json(pathlib.Path(flags.json), {'cores': cores, 'rows': rows})


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))
