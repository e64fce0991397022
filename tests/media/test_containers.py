"""Every codec in every container: what was not asked for is the source's, to the last bit."""

import dataclasses
from fractions import Fraction

import av
import numpy as np
import pytest
import small_videos
from small_videos import COUNT, HALF, QUARTER

from vidregen_jax import errors
from vidregen_jax.evaluation import image_metrics
from vidregen_jax.media import planes, smart_render, smart_render_plan, video, video_writer
from vidregen_jax.media.audio import aac, waveform
from vidregen_jax.media.bitstreams import av1, h264, hevc, nal, vp9

TOUCHED = (15, 18)
AAC, OPUS = ('aac', 44_100, 'stereo'), ('libopus', 48_000, 'stereo')
VFR = [0, 700, 1100, 1700, *range(2300, 2300 + 32 * 512, 512)]
NTSC = dict(base='1/30000', stamps=list(range(0, COUNT * 1001, 1001)))
LATE = dict(stamps=list(range(640, 640 + COUNT * 512, 512)))
BT601, BT2020, FULL = (1, 6, 6, 6), (1, 9, 9, 14), (2, 1, 1, 1)
PQ, HLG = (1, 9, 9, 16), (1, 9, 9, 18)
TEN = 'yuv420p10le'
HDR = ('hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)'
       'L(10000000,1):max-cll=1000,400')
# Codec and containers, with what else a file can be like: every pair of two traits of kinds that
# touch each other (codec and time, codec and colour, container and sound, ...) stands somewhere.
CASES = {
  'H.264, mp4': ('mp4', 'mp4', dict(sound=[AAC], **NTSC)),
  'H.264, mov, turned, two soundtracks': (
    'mov', 'mov', dict(turned=QUARTER, sound=[AAC, ('aac', 16_000, 'mono')], tags=BT601)),
  'H.264, mkv, variable, full range': (
    'mkv', 'mkv', dict(stamps=VFR, base='1/12800', tags=FULL, pix_fmt='yuvj420p', sound=[OPUS])),
  'H.264, mp4 to mkv': ('mp4', 'mkv', dict(stamps=VFR, turned=HALF, sound=[AAC])),
  'H.264, mkv to mp4, odd': (
    'mkv', 'mp4', dict(pix_fmt='yuv444p', size=(97, 79), sound=[('aac', 48_000, '5.1')])),
  'H.264, mp4, anamorphic': ('mp4', 'm4v', dict(shape=Fraction(4, 3), **LATE)),
  'HEVC, mp4, open groups': ('mp4', 'mp4', dict(encoder='libx265', tag='hvc1', sound=[AAC])),
  'HEVC, mov, closed groups, variable': (
    'mov', 'mov', dict(encoder='libx265', tag='hvc1', more='open-gop=0', stamps=VFR, tags=BT601)),
  'HEVC, mp4, hev1, sets in every group, HDR10': (
    'mp4', 'mp4', dict(encoder='libx265', tag='hev1', more=f'repeat-headers=1:{HDR}', pix_fmt=TEN,
                       tags=PQ, turned=QUARTER, **LATE)),
  'HEVC, mkv, HLG': (
    'mkv', 'mkv', dict(encoder='libx265', pix_fmt=TEN, tags=HLG, sound=[AAC, OPUS], **LATE)),
  'HEVC, mkv to mp4, 4:2:2': (
    'mkv', 'mp4', dict(encoder='libx265', pix_fmt='yuv422p10le', tags=BT2020, turned=HALF)),
  'HEVC, mp4, full range, NTSC': (
    'mp4', 'mkv', dict(encoder='libx265', pix_fmt='yuvj420p', tags=FULL, sound=[OPUS], **NTSC)),
  'VP9, webm, odd': (
    'webm', 'webm', dict(encoder='libvpx-vp9', size=(97, 79), sound=[OPUS], tags=BT601)),
  'VP9, mp4, variable, anamorphic, turned': (
    'mp4', 'mp4', dict(encoder='libvpx-vp9', stamps=VFR, shape=Fraction(4, 3), turned=QUARTER,
                       sound=[AAC])),
  'VP9, webm to mkv, 4:4:4, full range': (
    'webm', 'mkv', dict(encoder='libvpx-vp9', pix_fmt='yuv444p', tags=FULL, **NTSC)),
  'AV1, webm, ten bits, 2020': (
    'webm', 'webm', dict(encoder='libsvtav1', pix_fmt=TEN, tags=BT2020, sound=[OPUS], stamps=VFR)),
  'AV1, mp4, odd, full range': (
    'mp4', 'mp4', dict(encoder='libsvtav1', size=(97, 79), tags=FULL, sound=[AAC], **NTSC)),
  'AV1, mkv to mp4': (
    'mkv', 'mp4', dict(encoder='libsvtav1', sound=[OPUS, AAC], tags=PQ, pix_fmt=TEN)),
}
KEPT = ('width', 'height', 'pix_fmt', 'frame_count', 'rotation', 'display_matrix', 'interlaced',
        'color_range', 'color_space', 'color_primaries', 'color_trc', 'light_level', 'has_audio')


def display(info):
  """Of what HDR was mastered on; AV1 counts otherwise than HEVC."""
  return info.mastering and pytest.approx([float(x) for x in info.mastering], abs=1e-4)


def changed(frame):
  """The frame with a corner inverted."""
  image = frame.image.copy()
  image[16:32, 16:32] = 255 - image[16:32, 16:32]
  return image


def edit(source, out, touched=(TOUCHED,), crf=12, audio=None, planned=None):
  """Inverts a corner of the touched frames; returns the regions, and what was left out."""
  info = video.probe(source)
  planned = planned or smart_render_plan.plan(info, out, touched)
  kept = dict(audio=audio, keep=source, crf=crf)
  if isinstance(planned, str):
    writer, regions = video_writer.Writer(out, info, **kept), [(0, info.frame_count)]
  else:
    writer, regions = smart_render.Joined(out, info, planned, **kept), planned.regions
  with writer:
    for region in regions:
      for frame in video.frames(source, *region):
        if any(a <= frame.index < b for a, b in touched):
          writer.replace(frame, changed(frame))
        else:
          writer.copy(frame)
  return regions, writer.left_out


def decibels(one, other):
  """How near two frames' planes are."""
  difference = np.concatenate([(a.astype(float) - b).ravel() for a, b in
                               zip(planes._arrays(one), planes._arrays(other), strict=True)])
  full = (1 << one.format.components[0].bits) - 1
  return image_metrics.decibels(max(np.square(difference).mean(), 1e-9), full)


def check(source, out, regions, touched=(TOUCHED,), near=40.0, step=Fraction(0)):
  """Frames, times and tags are the source's; frames outside the regions to the last bit."""
  before, after = video.probe(source), video.probe(out)
  for name in KEPT:
    assert getattr(before, name) == getattr(after, name), name
  assert display(before) == (after.mastering and [float(x) for x in after.mastering])
  assert (before.sample_aspect_ratio or 1) == (after.sample_aspect_ratio or 1)
  assert abs(before.duration - after.duration) <= step
  for old, new in zip(video.frames(source), video.frames(out), strict=True):
    assert abs(old.time - new.time) <= step / 2
    assert (video._mastering(old.source) is None) == (video._mastering(new.source) is None)
    if not any(start <= old.index < stop for start, stop in regions):
      assert planes.same(old.source, new.source), old.index
    elif not any(start <= old.index < stop for start, stop in touched):
      assert decibels(old.source, new.source) > near, old.index
    else:
      corner = new.image[18:30, 18:30].astype(int) + old.image[18:30, 18:30]
      assert np.abs(corner - 255).mean() < 8


def decoding_times(path):
  with av.open(str(path)) as container:
    return [p.dts for p in container.demux(container.streams.video[0]) if p.size]


@pytest.mark.parametrize('name', CASES)
def test_a_joined_file_is_the_source_outside_its_regions(name, tmp_path):
  come, go, traits = CASES[name]
  source = small_videos.make(tmp_path / f'source.{come}', **traits)
  out = tmp_path / f'out.{go}'
  (region, ), left_out = edit(source, out, audio=source if traits.get('sound') else None)
  assert TOUCHED[0] - 8 <= region[0] <= TOUCHED[0] and TOUCHED[1] <= region[1] == 24
  # Outside mp4, times are milliseconds; the longest a frame's end can then be off is one of them.
  exact = go in ('mp4', 'm4v', 'mov') or come in ('mkv', 'webm')
  check(source, out, [region], step=Fraction(0 if exact else 1, 1000))
  assert ('frame times finer than a millisecond' in left_out) == (not exact)
  if 'tag' in traits:
    with av.open(str(out)) as container:
      assert container.streams.video[0].codec_context.codec_tag == traits['tag']
  old, new = ([data for _, data in small_videos.packets(path)] for path in (source, out))
  assert old[:region[0]] == new[:region[0]]
  if come in ('mp4', 'mov') and go != 'mkv':
    assert decoding_times(source) == decoding_times(out)
  assert old[30:] == new[30:]  # the key frame at 24, and what may be decoded after and shown before
  for track in range(len(traits.get('sound', ()))):
    of = [small_videos.packets(path, 'audio', track) for path in (source, out)]
    if come in ('mp4', 'mov') and go == 'mkv':  # where AAC's run-up cannot be hidden
      of[0] = [(pts, data) for pts, data in of[0]
               if pts >= 0 or traits['sound'][track] == OPUS]
    assert [data for _, data in of[0]] == [data for _, data in of[1]] != []


@pytest.mark.parametrize('turned', [None, QUARTER])
@pytest.mark.parametrize('touched', [(0, 2), (4, 6), (20, 22)])
@pytest.mark.parametrize('encoder', ['libx264', 'libx265'])
def test_an_edit_list_that_trims_the_start_stays(encoder, touched, turned, tmp_path):
  whole = small_videos.make(tmp_path / 'whole.mp4', encoder, turned=turned)
  source = small_videos.remade(whole, tmp_path / 'source.mp4', shift=5 * 512)
  assert video.probe(source).frame_count == COUNT - 5
  regions, _ = edit(source, tmp_path / 'out.mp4', [touched])
  check(source, tmp_path / 'out.mp4', regions, [touched])
  old, new = (small_videos.packets(path) for path in (source, tmp_path / 'out.mp4'))
  hidden = [sum(pts < 0 for pts, _ in packets) for packets in (old, new)]
  assert hidden == [5, 0 if regions[0][0] == 0 else 5]
  assert 'edit list hides' in smart_render_plan.plan(video.probe(source), 'out.mkv', [(20, 22)])


@pytest.mark.parametrize(('encoder', 'length', 'said'), [
  ('libx264', 4, [b'\x06\x04\x04abc\x80']),
  ('libx265', 4, [b'\x4e\x01\x04\x04abc\x80', b'\x7c\x01dolby']),
  ('libsvtav1', 0, [b'\x2a\x03\x04ab'])])
def test_what_is_said_beside_a_picture_goes_with_it(encoder, length, said, tmp_path):
  """Captions, dynamic HDR and Dolby Vision of the frames that are encoded anew."""
  def speaking(data, pts):
    number = bytes([pts // 512 + 3])  # no zeros, which would be escaped
    parts = [part[:-1] + number + part[-1:] for part in said]
    if not length:  # of AV1, before the frame
      parts = [said[0][:1] + bytes([said[0][1] + 1]) + said[0][2:] + number]
      at = [unit for _, unit, _ in av1.units(data)]
      return b''.join(at[:-1] + parts + at[-1:])
    before, after = (nal.sample(x, length) for x in (parts[:1], parts[1:]))
    return before + data + after

  silent = small_videos.make(tmp_path / 'silent.mp4', encoder)
  source = small_videos.remade(silent, tmp_path / 'source.mp4', speaking)
  edit(source, tmp_path / 'out.mp4')
  def heard(path):
    found = {}
    for pts, data in small_videos.packets(path):
      units = nal.units(data, length) if length else [unit for _, unit, _ in av1.units(data)]
      found[pts] = [unit for unit in units if b'x26' not in unit
                    and unit[:2] in (b'\x06\x04', b'\x4e\x01', b'\x7c\x01', b'\x2a\x04')]
    return found
  before, after = heard(source), heard(tmp_path / 'out.mp4')
  assert before == after and all(len(units) == len(said) for units in before.values())


def test_each_region_says_again_on_what_display_hdr_was_mastered(tmp_path):
  source = small_videos.make(tmp_path / 'source.mp4', 'libx265', pix_fmt=TEN, tags=PQ, more=HDR)
  ((start, _), ), _ = edit(source, tmp_path / 'out.mp4')
  said = lambda path, at: [unit for unit in nal.units(small_videos.packets(path)[at][1], 4)
                           if unit[2:3] in (b'\x89', b'\x90') and unit[:1] == b'\x4e']
  assert sorted(said(tmp_path / 'out.mp4', start)) == sorted(said(source, 0))
  assert len(said(source, 0)) == 2


def test_an_hevc_key_frame_behind_a_region_says_that_it_follows_something_else(tmp_path):
  source = small_videos.make(tmp_path / 'source.mp4', 'libx265')
  edit(source, tmp_path / 'out.mp4')
  old, new = (dict(small_videos.packets(path)) for path in (source, tmp_path / 'out.mp4'))
  kinds = lambda data: [unit[0] >> 1 for unit in nal.units(data, 4)]
  assert kinds(old[24 * 512]) == [21] and kinds(new[24 * 512]) == [18]  # a CRA; a broken link
  assert old[24 * 512][6:] == new[24 * 512][6:]


@pytest.mark.parametrize(('encoder', 'coding', 'kind'), [
  ('libx264', h264, lambda unit: unit[0] & 31 == 8), ('libx265', hevc, lambda unit: unit[0] == 68)])
def test_parameter_sets_that_change_on_the_way_are_told(encoder, coding, kind, tmp_path):
  source = small_videos.make(tmp_path / 'source.mp4', encoder)
  with av.open(str(source)) as container:
    head = bytes(container.streams.video[0].codec_context.extradata)
  header = coding.Header.parse(head)
  pps, = header.pps if coding is h264 else header.sets(34)
  assert kind(pps)
  same = small_videos.remade(source, tmp_path / 'same.mp4',
                             lambda data, pts: nal.sample([pps], 4) + data)
  other = small_videos.remade(source, tmp_path / 'other.mp4',
                              lambda data, pts: nal.sample([pps + b'\x80'], 4) + data)
  assert isinstance(smart_render_plan.plan(video.probe(same), 'out.mp4', [TOUCHED]),
                    smart_render_plan.Plan)
  assert 'change on the way' in smart_render_plan.plan(video.probe(other), 'out.mp4', [TOUCHED])


@pytest.mark.parametrize(('traits', 'out', 'reason'), [
  (dict(encoder='libvpx-vp9', shape=Fraction(4, 3)), 'out.mkv', 'not square'),
  (dict(encoder='libx265', pix_fmt='gray12le'), 'out.mp4', None),
  (dict(encoder='libx265'), 'out.webm', '.webm does not hold hevc'),
  (dict(encoder='libvpx-vp9'), 'out.mov', '.mov does not hold vp9'),
  (dict(encoder='ffv1', name='source.mkv'), 'out.mkv', 'it is ffv1, not h264'),
  (dict(encoder='mpeg2video', name='source.mpg', base='1/25'), 'out.mp4', 'webm but mpeg'),
])
def test_what_cannot_be_joined_says_why(traits, out, reason, tmp_path):
  traits = dict(traits)
  source = small_videos.make(tmp_path / traits.pop('name', 'source.mp4'), **traits)
  planned = smart_render_plan.plan(video.probe(source), out, [TOUCHED])
  assert reason is None and isinstance(planned, smart_render_plan.Plan) or reason in planned


def test_what_its_encoder_would_not_make_is_not_joined(tmp_path, monkeypatch):
  source = small_videos.make(tmp_path / 'source.mp4')
  monkeypatch.setattr(h264, '_PROFILES', {100: 'none that x264 knows'})
  assert 'libx264 does not encode' in smart_render_plan.plan(
    video.probe(source), 'out.mp4', [TOUCHED])


@pytest.mark.parametrize(('come', 'go', 'traits', 'codec'), [
  ('mpg', 'mp4', dict(encoder='mpeg2video', base='1/25'), 'h264'),
  ('mp4', 'mkv', dict(encoder='mpeg4', turned=QUARTER), 'h264'),
  ('mp4', 'webm', dict(encoder='libx264', tags=BT601), 'vp9'),
  ('mp4', 'webm', dict(encoder='libx265', pix_fmt=TEN, tags=HLG), 'av1'),
  ('mkv', 'mp4', dict(encoder='ffv1', pix_fmt='yuv422p10le', tags=PQ), 'hevc'),
  ('mkv', 'mov', dict(encoder='ffv1', pix_fmt='yuv420p12le', stamps=VFR), 'hevc'),
  ('mp4', 'mp4', dict(encoder='libx265', pix_fmt=TEN, tags=PQ, more=HDR), 'hevc'),
  ('mp4', 'webm', dict(encoder='libx265', pix_fmt=TEN, tags=PQ, more=HDR), 'av1'),
])
def test_what_is_not_joined_keeps_depth_times_and_tags(come, go, traits, codec, tmp_path):
  source, out = small_videos.make(tmp_path / f'source.{come}', **traits), tmp_path / f'out.{go}'
  regions, _ = edit(source, out, planned='as if it could not be')
  assert video.probe(out).codec == codec
  # SVT-AV1 is the farthest off, by its version 44 or 47.
  check(source, out, regions, near=44, step=Fraction(0 if go in ('mp4', 'mov') else 1, 1000))


def test_what_would_lose_depth_or_shape_is_refused(tmp_path):
  deep = video.VideoInfo('a.mov', 96, 80, Fraction(25), Fraction(1, 25), pix_fmt='yuva444p16le')
  wide = dataclasses.replace(deep, pix_fmt='yuv420p', sample_aspect_ratio=Fraction(4, 3))
  fields = dataclasses.replace(deep, pix_fmt='yuv420p', interlaced=True)
  for info, name, crf, cause in [
      (deep, 'out.mp4', 12, 'choose an .mkv'), (deep, 'out.webm', 0, 'choose an .mp4 or .mkv'),
      (wide, 'out.webm', 12, 'not square'), (fields, 'out.mp4', 12, 'interlaced')]:
    with (pytest.raises(errors.UserError, match=cause),
          video_writer.Writer(tmp_path / name, info, crf=crf)):
      pass
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('pix_fmt', 'size', 'go', 'codec'), [
  ('yuv420p', (96, 80), 'mp4', 'h264'), (TEN, (96, 80), 'mp4', 'h264'),
  ('yuv422p10le', (96, 80), 'mov', 'h264'), ('yuv420p12le', (96, 80), 'mp4', 'hevc'),
  ('gray', (96, 80), 'mp4', 'hevc'), ('yuv420p', (97, 79), 'mp4', 'vp9'),
  ('yuv420p', (97, 79), 'mkv', 'ffv1'), (TEN, (96, 80), 'mkv', 'ffv1'),
  ('yuv444p16le', (97, 79), 'mkv', 'ffv1'), ('yuv444p', (96, 80), 'webm', 'vp9')])
def test_without_loss_all_other_frames_are_the_sources(pix_fmt, size, go, codec, tmp_path):
  source = small_videos.make(tmp_path / 'source.mkv', 'ffv1', pix_fmt=pix_fmt, size=size,
                             base='1/1000')
  out = tmp_path / f'out.{go}'
  edit(source, out, crf=0, planned='--lossless re-encodes all of it')
  assert video.probe(out).codec == codec
  check(source, out, [TOUCHED])


def test_rgb_goes_into_a_matroska_without_loss(tmp_path):
  source = small_videos.make(tmp_path / 'source.mp4', 'libx265', pix_fmt='gbrp', tags=(2, 0, 1, 13))
  edit(source, tmp_path / 'out.mkv', crf=0, planned='--lossless re-encodes all of it')
  for old, new in zip(video.frames(source), video.frames(tmp_path / 'out.mkv'), strict=True):
    expected = changed(old) if TOUCHED[0] <= old.index < TOUCHED[1] else old.image
    np.testing.assert_array_equal(new.image, expected)


@pytest.mark.parametrize(('rate', 'channels'), [(48_000, 2), (44_100, 1), (16_000, 1), (48_000, 6)])
def test_sound_is_opus_in_webm_and_in_its_place(rate, channels, tmp_path):
  source = small_videos.make(tmp_path / 'source.webm', 'libvpx-vp9')
  noise = np.random.default_rng(1).normal(0, .1, (channels, round(1.44 * rate)))
  smooth = np.apply_along_axis(np.convolve, 1, noise, np.hanning(24) / 12, 'same')
  sound = aac.Soundtrack(smooth.astype(np.float32), rate, bit_rate=128_000 * channels)
  edit(source, tmp_path / 'out.webm', audio=sound)
  heard, heard_rate, start = waveform.read(tmp_path / 'out.webm')
  with av.open(str(tmp_path / 'out.webm')) as container:
    assert container.streams.audio[0].codec_context.codec.canonical_name == 'opus'
  assert heard_rate == (rate if rate in (16_000, 48_000) else 48_000) or heard_rate == 48_000
  meant = waveform.resample(sound.samples, rate, heard_rate)
  at = round(start * heard_rate)
  near = lambda shift: np.square(heard[0, 2000:40_000]
                                 - meant[0, at + shift + 2000:at + shift + 40_000]).mean()
  assert near(0) < .5 * min(near(4), near(-4))
  assert abs(heard.shape[1] + at - meant.shape[1]) <= 0.02 * heard_rate
  assert video.probe(tmp_path / 'out.webm').start_time == video.probe(source).start_time


def test_a_matroska_keeps_subtitles_chapters_fonts_and_cover(tmp_path):
  film = small_videos.make(tmp_path / 'film.mp4', sound=[AAC])
  with av.open(str(tmp_path / 'cover.png'), 'w', format='image2') as container:
    stream = container.add_stream('png', rate=1)
    stream.width, stream.height, stream.pix_fmt = 16, 16, 'rgb24'
    frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 99, np.uint8), 'rgb24')
    container.mux([*stream.encode(frame), *stream.encode(None)])
  cover = (tmp_path / 'cover.png').read_bytes()
  source = tmp_path / 'source.mkv'
  with av.open(str(film)) as old, av.open(str(source), 'w') as new:
    new.metadata['title'] = 'A take'
    new.set_chapters([dict(id=1, start=0, end=900, time_base=Fraction(1, 1000),
                           metadata={'title': 'one'})])
    streams = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
    said = new.add_stream('ass')
    said.codec_context.subtitle_header = small_videos.ASS
    said.metadata['language'] = 'eng'
    new.add_attachment('a.ttf', 'application/x-truetype-font', b'a font')
    new.add_attachment('cover.png', 'image/png', cover)
    for packet in old.demux():
      if packet.size and packet.pts >= 0:
        packet.stream = streams[packet.stream_index]
        new.mux(packet)
    words = av.Packet(b'0,0,Default,,0,0,0,,hello')
    words.pts = words.dts = 200
    words.duration, words.time_base, words.stream = 900, Fraction(1, 1000), said
    new.mux(words)
  _, left_out = edit(source, tmp_path / 'out.mkv', audio=source)
  assert left_out == []
  with av.open(str(source)) as before, av.open(str(tmp_path / 'out.mkv')) as after:
    told = lambda container: [
      sorted(s.type for s in container.streams), container.metadata['title'],
      [(c['start'], c['metadata']['title']) for c in container.chapters()],
      [(s.name, s.mimetype, s.data) for s in container.streams.attachments],
      [s.metadata.get('language') for s in container.streams.subtitles],
      [bytes(p) for s in container.streams.subtitles for p in container.demux(s) if p.size]]
    assert told(before) == told(after)
  _, left_out = edit(source, tmp_path / 'out.mp4', audio=source)
  assert left_out == ['subtitle track 2 (ssa)', 'attachment a.ttf']
  for out in ('out.mkv', 'out.mp4'):
    with av.open(str(tmp_path / out)) as after:
      pictures = [s for s in after.streams.video
                  if s.disposition & av.stream.Disposition.attached_pic]
      assert [bytes(next(after.demux(s))) for s in pictures] == [cover]


def test_what_is_encrypted_is_refused(tmp_path):
  key = dict(encryption_scheme='cenc-aes-ctr', encryption_key='76a6c65c5ea762046bd749a2e632ccbb',
             encryption_kid='a7e61c373e219033c21091fa607bf3b8')
  source = small_videos.make(tmp_path / 'source.mp4', options=key)
  with pytest.raises(errors.UserError, match='encrypted; give a copy'):
    video.probe(source)


def test_a_matroska_that_does_not_say_its_rate_has_that_of_its_frames(tmp_path):
  source = small_videos.make(tmp_path / 'source.mp4', stamps=VFR)
  info = video.probe(small_videos.remade(source, tmp_path / 'out.mkv'))
  assert abs(info.rate * info.duration / COUNT - 1) < .1


def test_regions_may_be_a_frame_apart(tmp_path):
  source = small_videos.make(tmp_path / 'source.mp4', more='bframes=0')
  touched = [(10, 12), (13, 14), (26, 27)]
  regions, _ = edit(source, tmp_path / 'out.mp4', touched)
  assert regions == [(10, 12), (13, 24), (26, 36)]
  check(source, tmp_path / 'out.mp4', regions, touched)


def test_frames_shown_before_an_open_groups_key_frame_are_found(tmp_path):
  source = small_videos.make(tmp_path / 'source.mp4', 'libx265')
  whole = list(video.frames(source))
  for start in range(20, 26):
    frame = next(video.frames(source, start))
    assert frame.pts == whole[start].pts and planes.same(frame.source, whole[start].source)


def test_regions_end_at_a_key_frame_though_earlier_pictures_are_decoded_after_it():
  # I P, then an open group: a key frame, two pictures shown before it, and two shown after.
  packets = smart_render_plan.Packets(np.array([0, 10, 40, 20, 30, 50, 60]), np.arange(-2, 5) * 10,
                                      np.full(7, 10), np.array([1, 0, 1, 0, 0, 0, 0], bool))
  assert packets.regions([(1, 2)]) == [(1, 4)]  # with the two, which look behind
  assert packets.regions([(3, 4)]) == [(2, 4)]
  assert packets.regions([(4, 5)]) == [(2, 7)]
  assert packets.regions([(1, 2), (5, 6)]) == [(1, 4), (5, 7)]
  hiding = dataclasses.replace(packets, hidden=1)
  assert hiding.regions([(0, 1)]) == [(0, 3)]


def test_vp9_packets_are_taken_apart():
  key, later, again = (bytes([0b10000000 | x]) for x in (0b010, 0b110, 0b1000))
  coding = vp9.Coding(b'')
  assert coding.entry(key) and not coding.entry(later) and not coding.entry(again)
  hidden = bytes([0b10000100])
  assert list(vp9.frames(hidden + later + b'\xc1\x01\x01\xc1')) == [hidden, later]
  with pytest.raises(ValueError, match='no frame or several'):
    vp9.Coding(b'').entry(bytes([0b10000110] * 2) + b'\xc1\x01\x01\xc1')


def test_no_start_code_is_left_in_a_unit():
  assert nal.escape(b'\0\0\1\0\0\0\0\4') == b'\0\0\3\1\0\0\3\0\0\4'
  raw = np.random.default_rng(0).integers(0, 5, 4000).astype(np.uint8).tobytes() + b'\x80'
  escaped = nal.escape(raw)
  assert nal.unescape(escaped) == raw
  assert not any(bytes([0, 0, x]) in escaped for x in range(3))


def test_hevc_headers_come_back_and_numbers_fit():
  vps, pps = bytes([64, 1, 12, 1, 255, 255]), bytes([68, 1, 0xC1, 0x72])
  start = bytes([1, 1, *bytes(10), 93, *bytes(8), 3])
  sps = bytes([66, 1, 1, *bytes([1] * 11), 93, 0xA0, 0x80])
  header = hevc.Header(start, ((0xA0, (vps, )), (0xA1, (sps, )), (0xA2, (pps, ))))
  assert hevc.Header.parse(header.pack()) == header
  assert header.free_numbers() == {32: 1, 33: 1, 34: 15}
  numbers = header.free_numbers()
  more = header.adding([hevc.renumbered(unit, numbers) for unit in (vps, sps, pps)])
  assert more.free_numbers() == {32: 2, 33: 2, 34: 16}
  piece = bytes([2, 1, 0b11010011, 0x55, 0xAA])  # first slice of its picture, set 0
  moved = hevc.renumbered(piece, numbers)
  assert moved == bytes([2, 1, 0b10000100, 0b00010011, 0x55, 0xAA])
  for broken in (b'', bytes(30), header.pack()[:30]):
    with pytest.raises(ValueError, match='hvcC'):
      hevc.Header.parse(broken)


@pytest.mark.parametrize('shown', [14, 17, 19, 24])
@pytest.mark.parametrize('encoder', ['libx264', 'libx265'])
def test_an_edit_list_that_trims_the_end_stays(encoder, shown, tmp_path):
  source = small_videos.make(tmp_path / 'source.mp4', encoder)
  data = bytearray(source.read_bytes())
  at = data.index(b'elst') + 12  # the first segment's duration, in the movie's time scale
  duration = int.from_bytes(data[at:at + 4], 'big')
  data[at:at + 4] = (duration * shown // COUNT).to_bytes(4, 'big')
  source.write_bytes(data)
  assert len(list(video.frames(source))) == video.probe(source).frame_count == shown
  regions, _ = edit(source, tmp_path / 'out.mp4', [(3, 5)])
  assert regions[0][0] <= 3 and 5 <= regions[0][1] <= 12
  assert all(start > shown - 8 for start, _ in regions[1:])
  check(source, tmp_path / 'out.mp4', regions, [(3, 5)])




def _beside(payload, encoder):
  """A message beside a picture (SEI), of a registered kind (ITU-T T.35)."""
  head = b'\x06' if encoder == 'libx264' else b'\x4e\x01'
  return nal.sample([nal.escape(head + bytes([4, len(payload)]) + payload + b'\x80')], 4)


CAPTIONS = b'\xb5\0\x31GA94\x03\x41\xff\xfc\x94\x2c\xff'
# Of one window of which nothing more is said.
HDR10_PLUS = b'\xb5\0\x3c\0\x01\x04' + nal.whole_bytes(f'{1:08b}{1:02b}' + '0' * 113)
LOST = 'captions in the pictures (CEA-608, CEA-708)'


@pytest.mark.parametrize(('encoder', 'pix_fmt', 'said', 'suffix', 'left_out'), [
  ('libx264', 'yuv420p', CAPTIONS, 'mp4', []),
  ('libx264', 'yuv420p', CAPTIONS, 'webm', [LOST, 'frame times finer than a millisecond']),
  ('libx264', 'yuv420p', b'', 'mp4', []),
  ('libx265', TEN, CAPTIONS, 'mp4', [LOST]),
  ('libx265', TEN, HDR10_PLUS, 'mp4', ['HDR10+'])])
def test_what_is_said_beside_pictures_and_lost_is_told(encoder, pix_fmt, said, suffix, left_out,
                                                       tmp_path):
  def speaking(data, pts):
    return (_beside(said, encoder) if said else b'') + data

  silent = small_videos.make(tmp_path / 'silent.mp4', encoder, pix_fmt=pix_fmt)
  source = small_videos.remade(silent, tmp_path / 'source.mp4', speaking)
  out = tmp_path / f'out.{suffix}'
  assert sorted(edit(source, out, planned='asked for')[1]) == sorted(left_out)
  if said == CAPTIONS and not left_out:
    heard = [bytes(frame.source.side_data['A53_CC']) for frame in video.frames(out)]
    assert heard == [b'\xfc\x94\x2c'] * small_videos.COUNT


def test_hdr_that_an_encoder_cannot_say_and_transparency_are_told(tmp_path):
  source = small_videos.make(tmp_path / 'source.mp4', 'libx265', pix_fmt=TEN, tags=PQ, more=HDR)
  _, left_out = edit(source, tmp_path / 'out.mkv', crf=0, planned='asked for')
  assert 'what display HDR was mastered on' in left_out
  source = small_videos.make(tmp_path / 'clear.webm', 'libvpx-vp9', base='1/1000',
                             pix_fmt='yuva420p')
  _, left_out = edit(source, tmp_path / 'out.webm', planned='it is transparent')
  assert left_out == ['transparency']
  with av.open(str(tmp_path / 'out.webm')) as made:
    assert 'alpha_mode' not in made.streams.video[0].metadata
