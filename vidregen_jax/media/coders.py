"""Which encoder makes a file's pictures, and with what settings."""

import dataclasses
import os

import av

from vidregen_jax import errors
from vidregen_jax.media import containers, video

os.environ.setdefault('SVT_LOG', '1')  # else SVT-AV1 tells all of its settings on stderr

_CODECS = {'libx264': 'h264', 'libx265': 'hevc', 'libvpx-vp9': 'vp9', 'libsvtav1': 'av1',
           'ffv1': 'ffv1'}
_LOSSLESS = {'libx264': {'qp': '0'}, 'libx265': {'x265-params': 'lossless=1'},
             'libvpx-vp9': {'lossless': '1'}, 'ffv1': {}}
_ALWAYS = {
  # Threads for frames, not for slices: less work, and encoding does not wait for them.
  'libx264': {'x264-params': 'sliced-threads=0'},
  'libx265': {'preset': 'veryfast', 'x265-params': 'log-level=none'},
  'libvpx-vp9': {'deadline': 'good', 'cpu-used': '5', 'row-mt': '1'},
  'libsvtav1': {'preset': '8'},
  'ffv1': {'level': '3', 'slicecrc': '1', 'g': '1'},
}
# What this preset of x264 leaves out, though it halves the bytes of a calm picture in no time.
_PRESETS = {'superfast': {'x264-params': 'mbtree=1:rc-lookahead=10'}}
# By encoder, the option that takes what display HDR was mastered on.
_HDR = {'libx264': 'x264-params', 'libx265': 'x265-params', 'libsvtav1': 'svtav1-params'}
_EVEN = ('libx264', 'libx265')  # of sides, where chroma is not as large as luma
# What FFmpeg decodes to 4:2:0, though it is grey.
_READ_AS_COLOUR = (('libx264', 'gray'), ('libx264', 'gray10le'))
# x264's rate factor in another measure, for about the same distance from the source.
_SCALES = {'libvpx-vp9': 0.7, 'libsvtav1': 0.7}


@dataclasses.dataclass(frozen=True)
class Coder:
  """An encoder by FFmpeg's name, the pixel format to give it, and its options."""

  encoder: str
  pix_fmt: str
  options: dict[str, str]


def require(encoder: str, pix_fmt: str) -> None:
  """Raises ValueError: the encoder does not take such pixels."""
  if pix_fmt not in _formats(encoder):
    raise ValueError(f'its pixels are {pix_fmt}, which {encoder} does not encode')


def settings(encoder: str, crf: float, preset: str, *more: dict[str, str]) -> dict[str, str]:
  """An encoder's options.

  Args:
    encoder: FFmpeg's name.
    crf: x264's constant rate factor, or what is about the same: 0 lossless, 16 hard to tell from
      the source, 51 worst.
    preset: x264's preset: speed against file size.
    more: further options; lists of parameters of one name are put behind each other.
  """
  options = {'crf': f'{crf * _SCALES.get(encoder, 1):g}'} if crf else dict(_LOSSLESS[encoder])
  of_preset = {}
  if encoder == 'libx264':
    options['preset'], of_preset = preset, _PRESETS.get(preset, {})
  for further in (_ALWAYS[encoder], of_preset, *more):
    for name, value in further.items():
      listed = name.endswith('-params') and name in options
      options[name] = f'{options[name]}:{value}' if listed else value
  return options


def choose(info: video.VideoInfo, path: str | os.PathLike, crf: float, preset: str) -> Coder:
  """What a whole video is encoded with, so that it keeps the source's depth, chroma and colours.

  That is H.264; for more than 8 bits HEVC, which more players take; VP9 or AV1 in WebM; and FFV1
  where nothing may be lost and the file is a Matroska.

  Args:
    info: of the source.
    path: where it shall be.
    crf, preset: As for `settings`.

  Raises:
    UserError: depth or, if nothing may be lost, any sample would change.
  """
  container, deep = containers.of(path), _depth(info.pix_fmt) > 8
  square = info.sample_aspect_ratio in (None, 1)
  if container.muxer == 'webm':
    encoders = ('libvpx-vp9', 'libsvtav1')
  elif crf == 0:
    encoders = ('ffv1', ) if container.muxer == 'matroska' else (*_EVEN, 'libvpx-vp9')
  else:
    encoders = ('libx265' if deep else 'libx264', )
  odd = bool(info.width % 2 or info.height % 2)
  for pix_fmt in _alike(info.pix_fmt, deep, lossless=crf == 0):
    for encoder in encoders:
      codec = _CODECS[encoder]
      if (pix_fmt in _formats(encoder) and codec in container.video
          and (crf or encoder in _LOSSLESS and (encoder, pix_fmt) not in _READ_AS_COLOUR)
          and (not odd or encoder not in _EVEN or _is_full(pix_fmt))
          and (square or containers.keeps_shape(path, codec))):
        return Coder(encoder, pix_fmt, settings(encoder, crf, preset, _static_hdr(info, encoder)))
  pixels = f'{info.pix_fmt} pixels' if square else f'{info.pix_fmt} pixels, which are not square,'
  way = {'matroska': 'convert them first', 'webm': 'choose an .mp4 or .mkv'}
  raise errors.UserError(f'{path}: the {pixels} of {info.path} cannot be kept: '
                         + way.get(container.muxer, 'choose an .mkv'))


def _alike(pix_fmt, deep, lossless):
  """Formats to encode a format as, best first."""
  if lossless:
    return (pix_fmt, 'bgr0') if pix_fmt == 'gbrp' else (pix_fmt, )  # the same in another order
  own = (pix_fmt, pix_fmt.replace('420', '444').replace('422', '444'))
  plain = () if deep else ('yuv420p', 'yuv444p')
  return own + plain if pix_fmt.startswith('yuv') else plain


def _formats(encoder):
  return {f.name for f in av.Codec(encoder, 'w').video_formats}


def _depth(pix_fmt):
  return av.VideoFormat(pix_fmt).components[0].bits


def _is_full(pix_fmt):
  """Whether chroma is as large as luma, or there is none."""
  return not any(x in pix_fmt for x in ('420', '422', '440', '411', '410'))


def says_hdr(encoder: str) -> bool:
  """Whether what an encoder makes can say what display HDR was mastered on."""
  return encoder in _HDR


def _static_hdr(info, encoder):
  """Options that say what display a video was mastered on, and how light it is."""
  if not says_hdr(encoder):
    return {}
  said = []
  if info.mastering:
    # CIE 1931 is counted in 1/50000, light in 1/10000 candela a square metre; SVT-AV1 counts in 1.
    units = (1, 1) if encoder == 'libsvtav1' else (50_000, 10_000)
    at = [f'{float(x * units[0]):.10g}' for x in info.mastering[:8]]
    low, high = (f'{float(x * units[1]):.10g}' for x in info.mastering[8:])
    red, green, blue, white = (f'({",".join(at[i:i + 2])})' for i in range(0, 8, 2))
    name = 'master-display' if encoder == 'libx265' else 'mastering-display'
    said.append(f'{name}=G{green}B{blue}R{red}WP{white}L({high},{low})')
  if info.light_level:
    name = {'libx264': 'cll', 'libx265': 'max-cll', 'libsvtav1': 'content-light'}[encoder]
    said.append(f'{name}={info.light_level[0]},{info.light_level[1]}')
  return {_HDR[encoder]: ':'.join(said)} if said else {}
