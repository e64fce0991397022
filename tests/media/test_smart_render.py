"""Joined files: what was not asked for is the source's, packet by packet and bit by bit."""

from fractions import Fraction

import av
import numpy as np
import pytest
from small_videos import ASS

from vidregen_jax import errors
from vidregen_jax.media import planes, smart_render, smart_render_plan, video, video_writer
from vidregen_jax.media.audio import aac
from vidregen_jax.media.bitstreams import h264

COUNT, TOUCHED = 48, (17, 20)


def picture(index, height=48, width=64):
  y, x = np.mgrid[:height, :width]
  image = np.stack([x * 3 + 5 * index, y * 4 - 3 * index, 2 * (x + y) + index], -1)
  return (image % 256).astype(np.uint8)


def make(path, *, codec='libx264', pix_fmt='yuv420p', size=(64, 48), stamps=None, base='1/12800',
         sounding=False, rotated=False, tags=(1, 1), **params):
  """A source of 48 frames with a key frame every 12."""
  base = Fraction(base)
  settings = {'keyint': 12, 'min-keyint': 12, 'scenecut': 0} | {
    name.replace('_', '-'): value for name, value in params.items()}
  profile = settings.pop('profile', None)
  with av.open(str(path), 'w', options={'video_track_timescale': str(base.denominator)}) as out:
    options = {'x264-params': ':'.join(f'{k}={v}' for k, v in settings.items())}
    if codec != 'libx264':
      options = {'g': '12'}
    if profile:
      options['profile'] = profile
    stream = out.add_stream(codec, rate=25, options=options)
    stream.width, stream.height = size
    stream.pix_fmt = pix_fmt
    stream.codec_context.time_base = stream.time_base = base
    stream.codec_context.color_range, stream.codec_context.colorspace = tags
    if rotated:
      stream.set_display_matrix((0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
    tone = None
    if sounding:
      tone = out.add_stream('aac', rate=16_000, layout='mono')
      samples = np.sin(np.arange(32_000) * 0.1, dtype=np.float32)[None] * 0.3
      frame = av.AudioFrame.from_ndarray(samples, 'fltp', 'mono')
      frame.sample_rate, frame.pts = 16_000, 0
      out.mux(tone.encode(frame))
      out.mux(tone.encode(None))
    for index, stamp in enumerate(stamps or range(0, COUNT * 512, 512)):
      frame = av.VideoFrame.from_ndarray(picture(index, size[1], size[0]), 'rgb24').reformat(
        format=pix_fmt, dst_color_range=tags[0])
      frame.pts, frame.time_base = stamp, base
      out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
  return path


def edit(source, out, touched=(TOUCHED,), audio=None, keep=None, crf=12):
  """Inverts a corner of the touched frames; returns the plan."""
  info = video.probe(source)
  planned = smart_render_plan.plan(info, out, touched)
  assert isinstance(planned, smart_render_plan.Plan), planned
  with smart_render.Joined(out, info, planned, audio=audio, keep=keep, crf=crf) as writer:
    for start, stop in planned.regions:
      for frame in video.frames(source, start, stop):
        if any(a <= frame.index < b for a, b in touched):
          image = frame.image.copy()
          image[8:24, 8:24] = 255 - image[8:24, 8:24]
          writer.replace(frame, image)
        else:
          writer.copy(frame)
  return planned


def packets(path, kind='video'):
  with av.open(str(path)) as container:
    return [(p.pts, p.dts, p.duration, bytes(p))
            for p in container.demux(getattr(container.streams, kind)[0]) if p.size]


VFR = [0, 700, 1100, 1700, *range(2300, 2300 + 44 * 512, 512)]
SOURCES = {
  'plain': {},
  'no b-frames': dict(bframes=0),
  'pyramid': dict(bframes=5, b_pyramid='normal', b_adapt=0),
  'open groups': dict(open_gop=1, bframes=2, b_adapt=0),
  'baseline': dict(profile='baseline'),
  'main': dict(profile='main'),
  'ten bits': dict(pix_fmt='yuv420p10le', profile='high10'),
  '4:2:2': dict(pix_fmt='yuv422p', profile='high422'),
  'odd': dict(pix_fmt='yuv444p', size=(63, 47), profile='high444'),
  'full range, 601': dict(tags=(2, 5)),
  'variable rate': dict(stamps=VFR),
  'late': dict(stamps=list(range(640, 640 + COUNT * 512, 512))),
  'NTSC': dict(stamps=list(range(0, COUNT * 1001, 1001)), base='1/30000'),
  'rotated': dict(rotated=True),
  'slices': dict(slices=4),
  'another number': dict(sps_id=3),
}


@pytest.mark.parametrize('name', SOURCES)
@pytest.mark.parametrize('suffix', ['mp4', 'mov'])
def test_what_was_not_asked_for_is_the_sources(name, suffix, tmp_path):
  source = make(tmp_path / f'source.{suffix}', sounding=True, **SOURCES[name])
  out = tmp_path / f'out.{suffix}'
  (start, stop), = edit(source, out, audio=source).regions
  assert TOUCHED[0] - 8 <= start <= TOUCHED[0] and TOUCHED[1] <= stop
  assert stop < COUNT or name == 'open groups'
  before, after = packets(source), packets(out)
  assert before[:start] == after[:start] and before[stop:] == after[stop:]
  assert {p[0]: p[2] for p in before} == {p[0]: p[2] for p in after}
  assert packets(source, 'audio') == packets(out, 'audio')
  old, new = list(video.frames(source)), list(video.frames(out))
  assert [f.pts for f in old] == [f.pts for f in new]
  for a, b in zip(old, new, strict=True):
    if not start <= a.index < stop:
      assert planes.same(a.source, b.source), a.index
    elif not TOUCHED[0] <= a.index < TOUCHED[1]:
      assert np.abs(a.image.astype(int) - b.image).mean() < 2
    else:  # the corner's colours are turned round
      corner = b.image[10:22, 10:22].astype(int) + a.image[10:22, 10:22]
      assert np.abs(corner - 255).mean() < 12
  seen, made = video.probe(source), video.probe(out)
  for field in ('width', 'height', 'rate', 'time_base', 'codec', 'pix_fmt', 'frame_count',
                'duration', 'start_time', 'rotation', 'display_matrix', 'color_range',
                'color_space', 'audio_bit_rate'):
    assert getattr(seen, field) == getattr(made, field), field


def test_other_tracks_chapters_and_metadata_are_kept(tmp_path):
  source, full = make(tmp_path / 'source.mp4', sounding=True), tmp_path / 'full.mp4'
  with av.open(str(source)) as old, av.open(str(full), 'w') as new:
    new.metadata.update(title='A take', comment='keep me')
    new.set_chapters([dict(id=i, start=a, end=b, time_base=Fraction(1, 1000),
                           metadata={'title': name})
                      for i, (a, b, name) in enumerate([(0, 900, 'one'), (900, 1920, 'two')])])
    film, tone = (new.add_stream_from_template(s) for s in (old.streams.video[0],
                                                            old.streams.audio[0]))
    second = new.add_stream_from_template(old.streams.audio[0])
    second.metadata['language'] = 'deu'
    said = new.add_stream('mov_text')
    said.codec_context.subtitle_header = ASS
    said.metadata['language'] = 'eng'
    for packet in old.demux():
      if packet.size:
        again = av.Packet(bytes(packet))
        again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
        again.duration, again.is_keyframe = packet.duration, packet.is_keyframe
        for to in ([film] if packet.stream.type == 'video' else [tone, second]):
          again.stream = to
          new.mux(again)
    words = av.Packet(b'\0\5hello')
    words.pts = words.dts = 200
    words.duration, words.time_base, words.stream = 900, Fraction(1, 1000), said
    new.mux(words)
  out = tmp_path / 'out.mp4'
  quiet = aac.Soundtrack(np.zeros((1, 16_000), np.float32), 16_000)
  edit(full, out, audio=quiet, keep=full)
  with av.open(str(full)) as before, av.open(str(out)) as after:
    kinds = lambda container: [(s.type, s.metadata.get('language')) for s in container.streams
                               if s.type in ('video', 'audio', 'subtitle')]
    assert kinds(after) == kinds(before) and len(kinds(after)) == 4
    for key in ('title', 'comment'):
      assert after.metadata[key] == before.metadata[key]
    named = lambda container: [(c['start'] * c['time_base'], c['metadata']['title'])
                               for c in container.chapters()]
    assert named(after) == named(before) == [(0, 'one'), (Fraction(9, 10), 'two')]
    content = lambda container, i: [bytes(p) for p in container.demux(container.streams[i])
                                    if p.size]
  for index in (2, 3):
    with av.open(str(full)) as before, av.open(str(out)) as after:
      assert content(before, index) == content(after, index)
  assert packets(out, 'audio') != packets(full, 'audio')  # the first soundtrack is the new one


def test_without_loss_nothing_but_the_touched_pixels_changes(tmp_path):
  source, out = make(tmp_path / 'source.mp4', bframes=2), tmp_path / 'out.mp4'
  with video_writer.Writer(out, video.probe(source), crf=0) as writer:
    for frame in video.frames(source):
      image = frame.image.copy()
      if TOUCHED[0] <= frame.index < TOUCHED[1]:
        image[8:24, 8:24] = 255 - image[8:24, 8:24]
      writer.replace(frame, image)
  for a, b in zip(video.frames(source), video.frames(out), strict=True):
    if TOUCHED[0] <= a.index < TOUCHED[1]:
      old, new = planes._arrays(a.source), planes._arrays(b.source)
      luma = np.argwhere(old[0] != new[0])
      assert len(luma) > 200 and luma.min() >= 8 and luma.max() < 24
      for chroma in (1, 2):  # half the size; a scaler's taps reach two samples further
        at = np.argwhere(old[chroma] != new[chroma])
        assert at.min() >= 4 - 2 and at.max() < 12 + 2
    else:
      assert planes.same(a.source, b.source)


def test_regions_begin_late_end_early_and_are_merged():
  # Two groups of I P B B, shown 0 2 3 1 and 4 ..., then an open one, whose first B looks back.
  shown = np.array([0, 3, 1, 2, 4, 7, 5, 6, 9, 8, 10, 11])
  clean = np.zeros(12, bool)
  clean[[0, 4, 10]] = True
  packets = smart_render_plan.Packets(shown * 10, np.arange(12) * 10 - 10, np.full(12, 10), clean)
  assert packets.regions([(2, 3)]) == [(1, 4)]  # frame 1 needs nothing after it but the P
  assert packets.regions([(5, 6)]) == [(5, 10)]  # the group at 8 is open: it cannot be begun
  assert packets.regions([(1, 2), (3, 5)]) == [(1, 10)]
  assert packets.regions([(0, 12)]) == [(0, 12)]
  assert packets.regions([]) == [] and packets.regions([(3, 3)]) == []
  assert packets.regions([(1, 2), (11, 12)]) == [(1, 4), (11, 12)]


def test_a_header_comes_back_and_takes_more_sets():
  header = h264.Header(bytes([1, 100, 0, 31]), 4, (b'\x67\x64\0\x1f\xac', ), (b'\x68\xeb', ),
                       b'\xfd\xf8\xf8\0')
  assert h264.Header.parse(header.pack()) == header
  assert header.free_number() == 1  # both bear 0
  more = header.adding((b'\x67\x64\0\x28\x40', ), (b'\x68\x50', ))
  again = h264.Header.parse(more.pack())
  assert again == more and again.start[3] == 40 and len(again.sps) == len(again.pps) == 2
  for broken in (b'', b'\0' * 20, header.pack()[:9]):
    with pytest.raises(ValueError, match='avcC'):
      h264.Header.parse(broken)


@pytest.mark.parametrize(('options', 'out', 'reason'), [
  (dict(codec='mpeg4'), 'out.mp4', 'it is mpeg4, not h264'),
  (dict(tff=1), 'out.mp4', 'interlaced'),
  ({}, 'out.webm', '.webm does not hold h264'),
])
def test_what_cannot_be_joined_says_why(options, out, reason, tmp_path):
  source = make(tmp_path / 'source.mp4', **options)
  assert reason in smart_render_plan.plan(video.probe(source), tmp_path / out, [TOUCHED])


@pytest.mark.parametrize(('pixels', 'size', 'kept'), [
  ('yuv420p10le', (64, 48), 'yuv420p10le'), ('yuv422p', (64, 48), 'yuv422p'),
  ('yuv444p10le', (63, 47), 'yuv444p10le'), ('gbrp', (64, 48), 'yuv444p')])
def test_what_is_encoded_whole_keeps_depth_and_chroma(pixels, size, kept, tmp_path):
  source = make(tmp_path / 'source.mp4', codec='libx265', pix_fmt=pixels, size=size)
  info, out = video.probe(source), tmp_path / 'out.mp4'
  with video_writer.Writer(out, info, crf=8) as writer:
    for frame in video.frames(source):
      writer.copy(frame)
  assert video.probe(out).pix_fmt == kept
  for a, b in zip(video.frames(source), video.frames(out), strict=True):
    assert np.abs(a.image.astype(int) - b.image).mean() < 6


def test_frames_out_of_order_or_missing_are_refused_and_leave_nothing(tmp_path):
  source, out = make(tmp_path / 'source.mp4'), tmp_path / 'out.mp4'
  info = video.probe(source)
  planned = smart_render_plan.plan(info, out, [TOUCHED])
  frames = list(video.frames(source, *planned.regions[0]))
  with pytest.raises(ValueError, match='was to come next'), smart_render.Joined(out, info,
                                                                                planned) as w:
    w.copy(frames[1])
  with pytest.raises(ValueError, match='never written'), smart_render.Joined(out, info,
                                                                             planned) as w:
    for frame in frames[:-1]:
      w.copy(frame)
  assert [path.name for path in tmp_path.iterdir()] == ['source.mp4']


@pytest.mark.parametrize('spoilt', ['same', 'coarse'])
def test_what_does_not_decode_to_what_was_written_is_refused(spoilt, tmp_path, monkeypatch):
  source, out = make(tmp_path / 'source.mp4'), tmp_path / 'out.mp4'
  random = np.random.default_rng(0)
  wrong = {'same': lambda a, b: False, 'coarse': lambda frame, size: random.normal(0, 99, (3, 4))}
  monkeypatch.setattr(planes, spoilt, wrong[spoilt])
  with pytest.raises(errors.UserError, match='decoded to what was written; --reencode'):
    edit(source, out)
  assert [path.name for path in tmp_path.iterdir()] == ['source.mp4']


def test_a_writer_changes_only_what_differs_in_its_planes(tmp_path):
  source = make(tmp_path / 'source.mp4', pix_fmt='yuv420p10le', profile='high10')
  frame = next(video.frames(source))
  info = video.probe(source)
  assert planes.same(planes.with_image(frame, frame.image, info, info.pix_fmt), frame.source)
  image = frame.image.copy()
  image[16:32, 16:32] = (200, 30, 90)
  made = planes.with_image(frame, image, info, info.pix_fmt)
  changed = np.argwhere(planes._arrays(made)[0] != planes._arrays(frame.source)[0])
  assert (changed.min(0) >= 16 - 3).all() and (changed.max(0) < 32 + 3).all()
  back = video.Frame(0, 0, Fraction(0), 0, made).image
  error = np.abs(back[20:28, 20:28].astype(int) - (200, 30, 90))
  assert error.mean() < 2  # the old picture was no exact YUV, so neither is the sum


def test_packets_that_are_copied_do_not_wait_for_each_other(tmp_path, monkeypatch):
  source = make(tmp_path / 'source.mp4')
  read, mux, waiting = smart_render.Joined._read, smart_render.Joined._mux, [0]

  def counted(self, step, act, *args):
    waiting.append(waiting[-1] + step)
    return act(self, *args)

  monkeypatch.setattr(smart_render.Joined, '_read', lambda self: counted(self, 1, read))
  monkeypatch.setattr(smart_render.Joined, '_mux', lambda self,
                      packet: counted(self, -1, mux, packet))
  edit(source, tmp_path / 'out.mp4', touched=((36, 38),))
  edit(source, tmp_path / 'out.mp4', touched=((1, 2),))
  assert max(waiting) <= 12 + 4  # a region's, and a few before pictures that are shown earlier
