"""Times count from where a file starts, whatever its clock; sound stays with its picture."""

import dataclasses
import io
from fractions import Fraction

import av
import clapper
import numpy as np
import pytest

from vidregen_jax import errors
from vidregen_jax.editing import changed_spans, soundtrack
from vidregen_jax.faces import tracks
from vidregen_jax.media import opening, smart_render, smart_render_plan, video, video_writer
from vidregen_jax.media.audio import aac, packet_splice, sound_file, waveform
from vidregen_jax.media.timeline import retimed_video as films
from vidregen_jax.media.timeline import spans
from vidregen_jax.reporting import proxy_video

AT = clapper.CLICK / clapper.RATE  # seconds after the first frame at which it claps
LATE = 600
M2TS = {'mpegts_m2ts_mode': '1'}
# By name: encoders and what else. `LATE` is on the clock of a file that was cut out of another.
FILES = {
  'plain.ts': ('libx264', 'mp2', {}),
  'late.ts': ('libx264', 'aac', dict(offset=LATE)),
  'late.m2ts': ('libx264', 'ac3', dict(offset=LATE, options=M2TS)),
  'plain.mpg': ('mpeg2video', 'mp2', {}),
  'late.mpg': ('mpeg1video', 'mp2', dict(offset=LATE)),
  'late.mkv': ('libx264', 'aac', dict(offset=LATE)),
  'exact.mkv': ('libx264', 'pcm_s16le', dict(offset=LATE)),
  'late.nut': ('libx264', 'pcm_s16le', dict(offset=LATE)),
  'plain.flv': ('libx264', 'aac', {}),
  'plain.avi': ('mpeg4', 'pcm_s16le', {}),
  'plain.mp4': ('libx264', 'aac', {}),
  'plain.mov': ('libx264', 'pcm_s16le', {}),
}
# Seconds in which a coder's run-up may lie before its sound: a frame of AC-3.
RUN_UP = 1536 / clapper.RATE


def rounding(path):
  """Seconds that a container may round away between sound and picture."""
  return .001 if path.suffix in ('.mkv', '.flv') else 1.5 / clapper.RATE


@pytest.fixture(scope='module', params=FILES)
def path(request, tmp_path_factory):
  encoder, sound_encoder, more = FILES[request.param]
  return clapper.make(tmp_path_factory.mktemp('clock') / request.param, encoder, sound_encoder,
                      **more)


def check(path, also=0):
  """Sound and picture clap together, at about AT; returns the moment."""
  seen, heard = clapper.seen(video.frames(path)), clapper.heard(sound_file.Recording(path))
  assert abs(heard - float(seen)) <= rounding(path) + also
  assert AT - 1e-3 <= seen <= AT + RUN_UP
  return float(seen)


def test_times_count_from_the_files_start(path):
  moment, info = check(path), video.probe(path)
  assert 0 <= info.start_time <= RUN_UP and info.start_time == next(video.frames(path)).time
  assert abs(info.duration - Fraction(clapper.COUNT, 25)) <= Fraction(1, 25)
  samples, rate, start = waveform.read(path)
  assert 0 <= start <= RUN_UP
  assert abs(samples.shape[1] / rate - clapper.COUNT / 25) <= 2 * RUN_UP
  film = films.Film.of(info)
  assert film.times[clapper.FRAME] == moment
  assert clapper.seen(film.frames()) == clapper.seen(film.frames(15)) == info.seconds(
    int(info.stamps[clapper.FRAME]))
  seen = tracks.follow_parts(info, [(0, 2)])
  np.testing.assert_array_equal(seen.times, film.times)


def soundtracks(path):
  """The sound in all forms in which it can be written again."""
  recording = sound_file.Recording(path)
  track = aac.Soundtrack(recording, recording.rate, float(recording.start))
  yield track
  if 'pcm_s16le' not in FILES[path.name]:  # which not every container takes
    yield path
  if FILES[path.name][1] == 'aac' and path.suffix in ('.mp4', '.mkv'):
    written = packet_splice.patch(path, track, [(1000, 3000)])
    assert isinstance(written, packet_splice.Patched), written
    yield written


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_what_is_encoded_anew_starts_at_its_start(path, suffix, tmp_path):
  info, out = video.probe(path), tmp_path / f'out{suffix}'
  for written in soundtracks(path):
    with video_writer.Writer(out, info, audio=written, keep=path, preset='ultrafast') as writer:
      for frame in video.frames(path):
        if frame.index == clapper.FRAME:
          writer.replace(frame, frame.image)
        elif frame.index == clapper.FRAME + 1:
          writer.write(frame.image, frame.pts, frame.duration)
        else:
          writer.copy(frame)
    # Both files round.
    assert check(out, also=rounding(path)) == pytest.approx(check(path), abs=1e-3)
    assert video.probe(out).frame_count == clapper.COUNT
    with opening.open_input(out) as container:  # on the file's own clock
      assert min(s.start_time * s.time_base for s in container.streams) < .03
      assert container.duration / av.time_base < clapper.COUNT / 25 + .1


def test_what_is_joined_keeps_its_times(path, tmp_path):
  info, out = video.probe(path), tmp_path / f'out{path.suffix}'
  if path.suffix not in ('.mp4', '.mov', '.mkv'):
    assert 'it is no mp4, mov, mkv or webm' in smart_render_plan.plan(info, tmp_path / 'out.mp4',
                                                                 [(3, 5)])
    return
  planned = smart_render_plan.plan(info, out, [(14, 16)])
  for written in soundtracks(path):
    with smart_render.Joined(out, info, planned, audio=written, keep=path) as joined:
      for frame in video.frames(path, *planned.regions[0]):
        joined.copy(frame)
    np.testing.assert_array_equal(video.probe(out).stamps, info.stamps)
    check(out, also=rounding(path))
    with opening.open_input(out) as container:
      assert container.streams.audio[0].start_time * container.streams.audio[0].time_base > (
        float(info.origin) - .05)


@pytest.mark.parametrize('name', ['late.mkv', 'exact.mkv'])
def test_what_is_joined_into_an_mp4_starts_at_its_start(name, tmp_path):
  encoder, sound_encoder, more = FILES[name]
  path, out = tmp_path / name, tmp_path / 'out.mp4'
  clapper.make(path, encoder, sound_encoder, **more)
  info, recording = video.probe(path), sound_file.Recording(path)
  track = aac.Soundtrack(recording, recording.rate, float(recording.start))
  planned = smart_render_plan.plan(info, out, [(14, 16)])
  for written in (track, packet_splice.patch(path, track, [(1000, 3000)])):
    if isinstance(written, str):
      continue
    with smart_render.Joined(out, info, planned, audio=written, keep=path) as joined:
      for frame in video.frames(path, *planned.regions[0]):
        joined.copy(frame)
    check(out, also=.001)
    assert video.probe(out).start_time == info.start_time


def test_an_mp4_in_fragments_is_cut_out_of_a_stream(tmp_path):
  path = clapper.make(tmp_path / 'late.mp4', 'libx264', 'aac',
                      options={'movflags': 'frag_keyframe+empty_moov+default_base_moof'})
  data, at, rates = bytearray(path.read_bytes()), 0, {1: 12_800, 2: clapper.RATE}
  while (at := data.find(b'tfhd', at)) >= 0:  # of each track in each fragment; then when it begins
    track, time = int.from_bytes(data[at + 8:at + 12]), data.index(b'tfdt', at) + 8
    size, at = 8 if data[time - 4] else 4, time
    late = int.from_bytes(data[time:time + size]) + LATE * rates[track]
    data[time:time + size] = late.to_bytes(size)
  plain = both(path)
  path.write_bytes(data)
  info, out = video.probe(path), tmp_path / 'out.mp4'
  assert info.origin == LATE and both(path) == pytest.approx(plain, abs=1e-4)
  planned = smart_render_plan.plan(info, out, [(14, 16)])
  with smart_render.Joined(out, info, planned, audio=path, keep=path) as joined:
    for frame in video.frames(path, *planned.regions[0]):
      joined.copy(frame)
  assert both(out) == pytest.approx(plain, abs=1e-3)


def both(path):
  """When it is seen and heard to clap."""
  return float(clapper.seen(video.frames(path))), clapper.heard(sound_file.Recording(path))


def test_other_tracks_and_chapters_move_along(tmp_path):
  source = clapper.make(tmp_path / 'late.mkv', 'libx264', 'flac', offset=LATE, tracks=2)
  marked = tmp_path / 'marked.mkv'
  with opening.open_input(source) as old, opening.open_output(marked, 'matroska', {}) as new:
    new.set_chapters([{'id': number, 'start': LATE * 1000 + begin, 'end': LATE * 1000 + end,
                       'time_base': Fraction(1, 1000), 'metadata': {'title': f'{number}'}}
                      for number, begin, end in ((1, 0, 400), (2, 400, 1000))])
    streams = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
    for packet in old.demux():
      if packet.size:
        packet.stream = streams[packet.stream_index]
        new.mux(packet)
  info, out = video.probe(marked), tmp_path / 'out.mp4'
  with video_writer.Writer(out, info, audio=marked, keep=marked, preset='ultrafast') as writer:
    for frame in video.frames(marked):
      writer.copy(frame)
  check(out)
  with opening.open_input(out) as container:
    assert [s.start_time for s in container.streams.audio] == [0, 0]
    starts = [chapter['start'] * chapter['time_base'] for chapter in container.chapters()]
  assert starts == [0, Fraction(2, 5)]


def test_an_mp4s_pause_at_its_start_is_kept(tmp_path):
  path = clapper.make(tmp_path / 'pause.mp4', 'libx264', 'aac', offset=2)
  info = video.probe(path)
  assert info.origin == 0 and info.start_time == 2
  assert float(clapper.seen(video.frames(path))) == pytest.approx(2 + AT)


def test_spans_patches_and_messages_are_on_that_clock(path, tmp_path):
  info = video.probe(path)
  film, moment = films.Film.of(info), check(path)
  with pytest.raises(errors.UserError, match=r'which lasts from 0(\.\d+)? to 1\.6\d\d s'):
    spans.check([(1, LATE + 1)], float(info.start_time),
                float(info.start_time + info.duration), path)
  inside = spans.frames([(moment, moment + .1)], film.times)
  assert np.flatnonzero(inside).tolist()[0] == clapper.FRAME
  word = tmp_path / 'word.wav'
  waveform.write_wav(word, np.full((1, 13 * clapper.RATE // 25), .5, np.float32), clapper.RATE)
  composed = soundtrack.compose_patches(film, [soundtrack.Patch(moment, moment + .2, str(word))])
  (start, stop), = composed.spans
  assert start == pytest.approx(moment) and stop - start == pytest.approx(.52)
  track = composed.track
  first = round((moment - float(track.start)) * track.rate)
  heard = track.samples[:, :].mean(0)
  assert np.abs(heard[first + 500:first + 20_000] - .5).max() < .01  # the word is in its place
  assert track.samples.shape[1] / track.rate < 2.1  # and no ten minutes of silence are


def test_found_spans_are_on_that_clock(path, tmp_path):
  info, recording = video.probe(path), sound_file.Recording(path)
  samples = recording[:, :].copy()
  begin = clapper.CLICK + clapper.RATE // 5
  noise = np.random.default_rng(0).normal(0, .2, clapper.RATE // 4).astype(np.float32)
  samples[:, begin:begin + len(noise)] += noise
  new = tmp_path / 'new.wav'
  lead = np.zeros((2, round(float(recording.start) * recording.rate)), np.float32)
  waveform.write_wav(new, np.concatenate([lead, samples], 1), recording.rate)
  (start, stop), = changed_spans.differences(info, new, 0)
  expected = float(recording.start) + begin / recording.rate
  assert start == pytest.approx(expected, abs=.03)
  assert stop == pytest.approx(expected + .25, abs=.03)


def test_a_whole_new_sound_need_be_no_longer_than_the_video(path, tmp_path):
  info = video.probe(path)
  new = tmp_path / 'new.wav'
  waveform.write_wav(new, np.zeros((1, round(1.62 * clapper.RATE)), np.float32), clapper.RATE)
  composed = soundtrack.compose_whole(films.Film.of(info), new)
  assert composed.spans == [(float(info.start_time), float(info.start_time + info.duration))]
  short = tmp_path / 'short.wav'
  waveform.write_wav(short, np.zeros((1, clapper.RATE), np.float32), clapper.RATE)
  with pytest.raises(errors.UserError, match=r'ends at 1\.000 s but is needed until 1\.6\d\d s'):
    soundtrack.compose_whole(films.Film.of(info), short)


def test_the_pages_film_claps_in_both_its_halves(path, tmp_path):
  info, out = video.probe(path), tmp_path / 'out.mkv'
  with video_writer.Writer(out, info, audio=next(soundtracks(path)), preset='ultrafast') as writer:
    for frame in video.frames(path):
      writer.copy(frame)
  claps_twice(films.Film.of(info), out)


def test_the_pages_film_knows_that_an_edit_may_start_earlier(tmp_path):
  """In Matroska the run-up of new sound comes before the first picture."""
  path = clapper.make(tmp_path / 'late.mkv', 'libx264', 'aac', offset=LATE + Fraction(1, 25))
  info, recording, out = video.probe(path), sound_file.Recording(path), tmp_path / 'out.mkv'
  track = aac.Soundtrack(recording, recording.rate, float(recording.start))
  planned = smart_render_plan.plan(info, out, [(14, 16)])
  with smart_render.Joined(out, info, planned, audio=track) as joined:
    for frame in video.frames(path, *planned.regions[0]):
      joined.copy(frame)
  assert video.probe(out).origin < info.origin - Fraction(1, 100)
  claps_twice(films.Film.of(info), out)


def claps_twice(film, out):
  """Checks that the old and the new sound of a page's film clap when its picture does."""
  made = proxy_video.make(film, out, [(18, 22)])
  with av.open(io.BytesIO(made.data)) as container:
    halves = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], 1)
  clap = int(made.clock[clapper.FRAME]) / proxy_video.TICK
  for half in halves:
    level = np.abs(half)
    assert level.max() > .1
    at = int(np.argmax(level > .3 * level.max())) / 48_000
    assert abs(at - clap) < .003  # AAC at this rate smears a click a little
  assert dataclasses.asdict(made)['sounds'] == (True, True)
