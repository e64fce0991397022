"""Small source videos in any codec and container, for the tests of written files."""

from fractions import Fraction

import av
import numpy as np

from vidregen_jax.media import encoders

COUNT, GROUP = 36, 12
QUARTER = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
HALF = (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30)
_GROUPS = f'keyint={GROUP}:min-keyint={GROUP}:scenecut=0'
_OPTIONS = {
  'libx264': {'x264-params': _GROUPS},
  'libx265': {'x265-params': f'{_GROUPS}:log-level=none', 'preset': 'fast'},
  'libvpx-vp9': {'g': str(GROUP), 'lag-in-frames': '10', 'auto-alt-ref': '1', 'cpu-used': '5'},
  'libsvtav1': {'g': str(GROUP), 'preset': '10'},
}
ASS = b'''[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour
Style: Default,Arial,16,&Hffffff
[Events]
Format: Layer, Start, End, Style, Text
'''


def picture(index, height, width):
  """Frame `index` of a smooth moving pattern, uint8 [H, W, 3]."""
  y, x = np.mgrid[:height, :width] / max(height, width)
  waves = [np.sin(6 * x + 4 * y + .3 * index), np.cos(8 * y - 3 * x), np.sin(5 * x - .2 * index)]
  return np.uint8(128 + 90 * np.stack(waves, -1))


def make(path, encoder='libx264', *, pix_fmt='yuv420p', size=(96, 80), stamps=None, base='1/12800',
         tags=(1, 1, 1, 1), turned=None, shape=None, sound=(), tag=None, more='', options=None):
  """Writes a source of 36 frames with a key frame every 12.

  Args:
    stamps: timestamps of the frames in units of `base`; without them, 25 frames a second.
    tags: code points of colour range, matrix, primaries and transfer function.
    turned: display matrix.
    shape: pixel aspect ratio, width over height.
    sound: (encoder, rate, layout) of each soundtrack.
    tag: name of the sample entry.
    more: further parameters for x264 or x265.
  """
  base = Fraction(base)
  settings = dict(_OPTIONS.get(encoder, {'g': str(GROUP)}))
  for name in settings:
    if more and name.endswith('-params'):
      settings[name] += f':{more}'
  mp4 = path.suffix in ('.mp4', '.mov')
  scale = {'video_track_timescale': str(base.denominator)} if mp4 else {}
  with (encoders.scheduled_as_before(),
        av.open(str(path), 'w', options=scale | (options or {})) as out):
    stream = out.add_stream(encoder, rate=25, options=settings)
    stream.width, stream.height = size
    stream.pix_fmt = pix_fmt
    context = stream.codec_context
    context.time_base = stream.time_base = base
    context.color_range, context.colorspace, context.color_primaries, context.color_trc = tags
    if shape:
      context.sample_aspect_ratio = shape
    if tag:
      context.codec_tag = tag
    if turned:
      stream.set_display_matrix(turned)
    tracks = [out.add_stream(name, rate=rate, layout=layout) for name, rate, layout in sound]
    for track in tracks:
      channels = track.layout.nb_channels
      wave = np.sin(np.arange(round(1.44 * track.rate)) * np.arange(.05, .05 * (channels + 1), .05
                                                                    )[:channels, None]) * .3
      frame = av.AudioFrame.from_ndarray(np.float32(wave), 'fltp', track.layout.name)
      frame.sample_rate, frame.pts = track.rate, 0
      out.mux([*track.encode(frame), *track.encode(None)])
    step = round(1 / (25 * base))
    for index, stamp in enumerate(stamps or range(0, COUNT * step, step)):
      frame = av.VideoFrame.from_ndarray(picture(index, size[1], size[0]), 'rgb24').reformat(
        format=pix_fmt, dst_color_range=tags[0])
      frame.pts, frame.time_base = stamp, base
      out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
  return path


def remade(source, path, change=lambda data, pts: data, shift=0):
  """Copies the first two tracks of a file.

  Args:
    change: function of the content and the time of a video packet, which returns its new content.
    shift: by how much video is earlier; an edit list then hides what is before 0.
  """
  with av.open(str(source)) as old, av.open(str(path), 'w') as new:
    streams = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
    for packet in old.demux():
      if packet.size:
        shown = packet.stream.type == 'video'
        copy = av.Packet(change(bytes(packet), packet.pts) if shown else bytes(packet))
        copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
        if shown:
          copy.pts -= shift
          copy.dts = None if packet.dts is None else packet.dts - shift
        copy.time_base, copy.is_keyframe = packet.time_base, packet.is_keyframe
        copy.stream = streams[packet.stream_index]
        new.mux(copy)
  return path


def packets(path, kind='video', track=0):
  """(pts, content) of each packet of a track."""
  with av.open(str(path)) as container:
    return [(p.pts, bytes(p)) for p in container.demux(getattr(container.streams, kind)[track])
            if p.size]
