"""Valid files of all kinds, made from a clip, for `mutations` and `hostile`."""

import itertools
import json
from fractions import Fraction

import av
import numpy as np

from vidregen_jax.media import encoders, video
from vidregen_jax.media.audio import waveform

_FRAMES = 30  # of the files
# Name of a file: (format, video codec, pixel format, sound codec, layout, pixel shape)
CONTAINERS = {
  'plain.mp4': ('mp4', 'libx264', 'yuv420p', 'aac', '', 1),
  'deep.mov': ('mov', 'libx264', 'yuv422p10le', 'aac', '', 1),
  'hevc.mp4': ('mp4', 'libx265', 'yuv420p', 'aac', '', 1),
  'vp9.webm': ('webm', 'libvpx-vp9', 'yuv420p', 'libopus', '', 1),
  'av1.mkv': ('matroska', 'libsvtav1', 'yuv420p', 'libopus', '', 1),
  'stream.mpg': ('mpeg', 'mpeg1video', 'yuv420p', 'mp2', '', 1),
  'camera.ts': ('mpegts', 'libx264', 'yuv420p', 'aac', '', 1),
  'disc.vob': ('vob', 'mpeg2video', 'yuv420p', 'ac3', '5.1', '4/3'),
  'wide.mp4': ('mp4', 'libx264', 'yuv420p', 'aac', '', 2),
  'film.mov': ('mov', 'libx264', 'yuv420p', 'aac', '7.1', 1),
  'grey.mp4': ('mp4', 'libx264', 'gray', 'aac', '', 1),
  'screen.mkv': ('matroska', 'libx264rgb', 'rgb24', 'flac', '7.1', 1),
  'old.avi': ('avi', 'mpeg4', 'yuv420p', 'libmp3lame', '', 1),
}
# Of new sound: (format, codec, layout)
SOUNDS = {
  'new.wav': ('wav', 'pcm_s16le', ''), 'new.mp3': ('mp3', 'libmp3lame', ''),
  'new.m4a': ('ipod', 'aac', ''), 'new.aac': ('adts', 'aac', ''), 'new.ac3': ('ac3', 'ac3', '5.1'),
  'new.flac': ('flac', 'flac', '7.1'), 'new.ogg': ('ogg', 'vorbis', 'stereo'),
  'new.opus': ('opus', 'libopus', ''), 'float.wav': ('wav', 'pcm_f32le', '7.1'),
}
PLAYLISTS = {
  'list.m3u8': '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n',
  'list.ffconcat': 'ffconcat version 1.0\nfile {}\n',
  'list.mp4': 'ffconcat version 1.0\nfile {}\n',
  'list.mpd': '<MPD><Period><AdaptationSet><Representation><BaseURL>{}</BaseURL></Representation>'
              '</AdaptationSet></Period></MPD>',
}


def make(clip, folder):
  """Writes the good files, which all show the clip's first frames, into a folder."""
  frames = list(itertools.islice(video.frames(clip), _FRAMES))
  samples, rate, _ = waveform.read(clip)
  samples = samples[:, :round(rate * (_FRAMES + 2) / 25)]
  waveform.write_wav(folder / 'word.wav', samples[:, :rate // 3], rate)
  for name, (kind, codec, layout) in SOUNDS.items():
    with av.open(str(folder / name), 'w', format=kind) as container:
      _write_sound(container, _sound_stream(container, codec, layout, samples, rate),
                   samples[:, ::-1], rate)
  for name, (kind, codec, pixels, sound, layout, shape) in CONTAINERS.items():
    with (encoders.scheduled_as_before(),
          av.open(str(folder / name), 'w', format=kind) as container):
      quiet = {'x265-params': 'log-level=none'} if codec == 'libx265' else {}
      stream = container.add_stream(codec, rate=25, options=quiet)
      sound_stream = _sound_stream(container, sound, layout, samples, rate)
      stream.width, stream.height, stream.pix_fmt = 128, 128, pixels
      stream.codec_context.sample_aspect_ratio = Fraction(shape)
      _write_pictures(container, stream, frames)
      _write_sound(container, sound_stream, samples, rate)
  for name, text in PLAYLISTS.items():
    (folder / name).write_text(text.format('plain.mp4'))
  (folder / 'edits.json').write_text(json.dumps({'edits': [
    {'start': 0.4, 'stop': 0.7, 'audio': 'word.wav'},
    {'start': 0.8, 'stop': 1.0, 'audio': 'word.wav'}]}))


def _sound_stream(container, codec, layout, samples, rate):
  """A stream for samples [channels, n], in a layout; '' for that of as many channels."""
  if codec in ('libopus', 'ac3', 'libmp3lame', 'mp2'):
    rate = 48_000
  experimental = {'strict': '-2'} if codec == 'vorbis' else {}
  return container.add_stream(codec, rate=rate, layout=layout or _layout(samples),
                              options=experimental)


def _layout(samples):
  return 'mono' if len(samples) == 1 else 'stereo'


def _write_pictures(container, stream, frames):
  for index, frame in enumerate(frames):
    picture = frame.source.reformat(128, 128, format=stream.pix_fmt)
    picture.pict_type, picture.pts, picture.time_base = 0, index, Fraction(1, 25)
    container.mux(stream.encode(picture))
  container.mux(stream.encode(None))


def _write_sound(container, stream, samples, rate):
  block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), 'fltp', _layout(samples))
  block.sample_rate, block.pts = rate, 0
  resampler = av.AudioResampler(stream.codec_context.format, stream.layout, stream.rate,
                                stream.codec_context.frame_size or None)
  for piece in (*resampler.resample(block), *resampler.resample(None)):
    container.mux(stream.encode(piece))
  container.mux(stream.encode(None))
