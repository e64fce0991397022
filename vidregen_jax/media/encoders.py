"""Which encoder makes a file's pictures, and with what settings."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator

import av

from vidregen_jax import errors
from vidregen_jax.media import containers, video

os.environ.setdefault('SVT_LOG', '1')  # otherwise SVT-AV1 prints all of its settings to stderr

_CODECS = {'libx264': 'h264', 'libx265': 'hevc', 'libvpx-vp9': 'vp9', 'libsvtav1': 'av1',
           'ffv1': 'ffv1'}
_LOSSLESS = {'libx264': {'qp': '0'}, 'libx265': {'x265-params': 'lossless=1'},
             'libvpx-vp9': {'lossless': '1'}, 'ffv1': {}}
_ALWAYS = {
  # Threads by frame, not by slice: less work, and the caller does not wait for them.
  'libx264': {'x264-params': 'sliced-threads=0'},
  'libx265': {'preset': 'veryfast', 'x265-params': 'log-level=none'},
  'libvpx-vp9': {'deadline': 'good', 'cpu-used': '5', 'row-mt': '1'},
  'libsvtav1': {'preset': '8'},
  'ffv1': {'level': '3', 'slicecrc': '1', 'g': '1'},
}
# The preset leaves this out, though it halves the size of a calm picture at hardly any cost.
_PRESETS = {'superfast': {'x264-params': 'mbtree=1:rc-lookahead=10'}}
# By encoder, the option that takes the mastering display of HDR.
_HDR = {'libx264': 'x264-params', 'libx265': 'x265-params', 'libsvtav1': 'svtav1-params'}
_EVEN = ('libx264', 'libx265')  # they need even sides where chroma is subsampled
# Chroma subsampling, as powers of two across and down.
_CHROMA = {(0, 0): '444', (0, 1): '440', (1, 0): '422', (1, 1): '420', (2, 0): '411', (2, 2): '410'}
_STEPS = (8, 10, 12)  # bit depths that players decode; all others are left to FFV1
# Formats that are neither YUV nor RGB, or not of integers: no encoder here keeps them.
_STRANGE = re.compile('xyz|bayer|.*f(16|32)[lb]e')
# Grey formats that FFmpeg decodes as 4:2:0.
_READ_AS_COLOUR = (('libx264', 'gray'), ('libx264', 'gray10le'))
# Formats of VP9 that the container cannot signal, so that players do not open the file.
_UNSAID = {'mp4': ('yuv440p', )}
# Factors from x264's crf to another encoder's, for about the same distance from the source.
_SCALES = {'libvpx-vp9': 0.7, 'libsvtav1': 0.7}


@dataclasses.dataclass(frozen=True)
class Coder:
  """An encoder by FFmpeg's name, the pixel format to give it, and its options."""

  encoder: str
  pix_fmt: str
  options: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Pixels:
  """The samples of a pixel format, whatever their order in memory.

  Attributes:
    family: 'yuv', 'rgb' or 'gray'.
    bits: of a sample.
    chroma: subsampling, as powers of two across and down.
    alpha: whether it has transparency.
  """

  family: str
  bits: int
  chroma: tuple[int, int] = (0, 0)
  alpha: bool = False

  @classmethod
  def of(cls, pix_fmt: str) -> 'Pixels | None':
    """The samples of a format by FFmpeg's name; None if it belongs to no family."""
    side = 16
    kind = av.VideoFormat(pix_fmt, side, side)
    if kind.has_palette:
      return cls('rgb', 8)
    colours = [each for each in kind.components if not each.is_alpha]
    if _STRANGE.match(pix_fmt) or len(colours) not in (1, 3):
      return None
    family = 'rgb' if kind.is_rgb else 'gray' if len(colours) == 1 else 'yuv'
    coarser = (side // kind.chroma_width(side), side // kind.chroma_height(side))
    return cls(family, max(each.bits for each in colours),
               tuple(by.bit_length() - 1 for by in coarser), len(kind.components) > len(colours))

  @property
  def same(self) -> tuple[str, ...]:
    """The formats that hold exactly these samples, planar ones first."""
    depth, alpha = '' if self.bits <= 8 else f'{self.bits}le', 'a' * self.alpha
    if self.family == 'yuv':
      return (f'yuv{alpha}{_CHROMA[self.chroma]}p{depth}', )
    if self.family == 'gray':
      return () if self.alpha else (f'gray{depth}', )
    packed = () if depth else ('bgra', ) if self.alpha else ('bgr0', )
    return f'gbr{alpha}p{depth}', *packed

  @property
  def larger(self) -> tuple[str, ...]:
    """YUV formats that hold at least as much, except alpha, smallest first."""
    across, down = (1, 1) if self.family == 'gray' else self.chroma
    depths = _STEPS[:1] if self.bits <= 8 else [bits for bits in _STEPS if bits >= self.bits]
    finer = [one for one in ((1, 1), (1, 0), (0, 0)) if one[0] <= across and one[1] <= down]
    return tuple(f'yuv{_CHROMA[chroma]}p' + ('' if bits == 8 else f'{bits}le')
                 for bits in depths for chroma in finer)


def require(encoder: str, pix_fmt: str) -> None:
  """Raises ValueError if the encoder does not take such pixels."""
  pixels = Pixels.of(pix_fmt)
  if pixels and pixels.alpha:
    raise ValueError('it is transparent')
  if pix_fmt not in _formats(encoder):
    raise ValueError(f'its pixels are {pix_fmt}, which {encoder} does not encode')


def settings(encoder: str, crf: float, preset: str, *more: dict[str, str]) -> dict[str, str]:
  """An encoder's options.

  Args:
    encoder: FFmpeg's name.
    crf: x264's constant rate factor, or what is about the same: 0 lossless, 16 hard to tell from
      the source, 51 worst.
    preset: x264's preset: speed against file size.
    more: further options; lists of parameters under the same name are concatenated.
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

  That is H.264; for more than 8 bits HEVC, which more players decode; VP9 or AV1 in WebM; and FFV1
  in Matroska where nothing may be lost or there are more than 12 bits. `lost` says what is lost.

  Args:
    info: of the source.
    path: of the output.
    crf, preset: As for `settings`.

  Raises:
    UserError: bit depth or chroma cannot be kept or, with crf 0, any sample.
  """
  container, pixels = containers.of(path), Pixels.of(info.pix_fmt)
  square = info.sample_aspect_ratio in (None, 1)
  odd = bool(info.width % 2 or info.height % 2)
  for pix_fmt, encoder in _ways(info.pix_fmt, pixels, container, crf == 0) if pixels else ():
    codec = _CODECS[encoder]
    if (pix_fmt in _formats(encoder) and codec in container.video
        and pix_fmt not in _UNSAID.get(container.muxer, ())
        and (crf or encoder in _LOSSLESS and (encoder, pix_fmt) not in _READ_AS_COLOUR)
        and (not odd or encoder not in _EVEN or _is_full(pix_fmt))
        and (square or containers.keeps_shape(path, codec))):
      options = settings(encoder, 0 if encoder == 'ffv1' else crf, preset,
                         _static_hdr(info, encoder))
      return Coder(encoder, pix_fmt, options)
  words = f'{info.pix_fmt} pixels' if square else f'{info.pix_fmt} pixels, which are not square,'
  way = {'matroska': 'convert them first', 'webm': 'choose an .mp4 or .mkv'}
  raise errors.UserError(f'{path}: the {words} of {info.path} cannot be kept: '
                         + way.get(container.muxer, 'choose an .mkv'))


def lost(pix_fmt: str, coder: Coder) -> list[str]:
  """What is lost of pixels of a format when they are encoded, in words."""
  before, after = Pixels.of(pix_fmt), Pixels.of(coder.pix_fmt)
  losses = []
  if before.alpha and not after.alpha:
    losses.append('transparency')
  if av.VideoFormat(pix_fmt).has_palette:
    losses.append('the palette, and transparency where it has any')
  if before.family == 'rgb' and after.family == 'yuv':
    losses.append(f'RGB samples (they became YUV {":".join(_CHROMA[after.chroma])}, '
                  f'{after.bits} bits)')
  return losses


def _ways(pix_fmt, pixels, container, lossless):
  """Yields (format, encoder) to try for a format, best first; not all pairs exist.

  Transparency is left to FFV1: hardly any player reads what the others write of it.
  """
  if container.muxer == 'webm':
    usual = ('libvpx-vp9', 'libsvtav1')
  elif lossless:
    usual = () if container.muxer == 'matroska' else (*_EVEN, 'libvpx-vp9')
  else:
    usual = ('libx265' if pixels.bits > 8 else 'libx264', )
  own = () if pixels.family != 'yuv' or pixels.alpha else (pix_fmt, )
  same = () if pixels.alpha else pixels.same
  for each in (*own, *(same if lossless else pixels.larger)):
    for encoder in usual:
      yield each, encoder
  for each in pixels.same:
    yield each, 'ffv1'


def _formats(encoder):
  return {f.name for f in av.Codec(encoder, 'w').video_formats}


def _is_full(pix_fmt):
  """Whether chroma is not subsampled, or absent."""
  return not any(x in pix_fmt for x in ('420', '422', '440', '411', '410'))


@contextlib.contextmanager
def scheduled_as_before() -> Iterator[None]:
  """Keeps the scheduling of the process's threads while an encoder is opened.

  Run by root, SVT-AV1 gives its own threads and the one that opens it real-time priority, which
  their children inherit: everything else on the computer then waits for them.
  """
  if not hasattr(os, 'sched_setscheduler') or os.sched_getscheduler(0) != os.SCHED_OTHER:
    yield  # not Linux, or the caller chose the scheduling
    return
  try:
    yield
  finally:
    for thread in map(int, os.listdir('/proc/self/task')):
      with contextlib.suppress(ProcessLookupError):  # it has ended
        if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
          os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def says_hdr(encoder: str) -> bool:
  """Whether an encoder can write the mastering display of HDR."""
  return encoder in _HDR


def _static_hdr(info, encoder):
  """Options for the mastering display and the light levels of HDR."""
  if not says_hdr(encoder):
    return {}
  parts = []
  if info.mastering:
    # CIE 1931 is counted in 1/50000, light in 1/10000 candela a square metre; SVT-AV1 counts in 1.
    units = (1, 1) if encoder == 'libsvtav1' else (50_000, 10_000)
    at = [f'{float(x * units[0]):.10g}' for x in info.mastering[:8]]
    low, high = (f'{float(x * units[1]):.10g}' for x in info.mastering[8:])
    red, green, blue, white = (f'({",".join(at[i:i + 2])})' for i in range(0, 8, 2))
    name = 'master-display' if encoder == 'libx265' else 'mastering-display'
    parts.append(f'{name}=G{green}B{blue}R{red}WP{white}L({high},{low})')
  if info.light_level:
    name = {'libx264': 'cll', 'libx265': 'max-cll', 'libsvtav1': 'content-light'}[encoder]
    parts.append(f'{name}={info.light_level[0]},{info.light_level[1]}')
  return {_HDR[encoder]: ':'.join(parts)} if parts else {}
