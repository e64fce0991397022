"""What is opened is the file that was named, whatever its name, and never another."""

import os

import clapper
import numpy as np
import pytest

from vidregen_jax import errors
from vidregen_jax.media import opening, smart_render, smart_render_plan, video, video_writer
from vidregen_jax.media.audio import sound_file, waveform

# A name that is not UTF-8, and names that FFmpeg takes for addresses, pipes and sequences.
NAMES = [b'caf\xe9', b'take:2', b'http:/x', b'pipe:1', b'a%03d', b'-i', b'concat:a|b', b"it's"]


def test_any_name_is_a_files_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  clapper.make('clip.mp4', 'libx264', 'aac')
  frames, heard = list(video.frames('clip.mp4')), waveform.read('clip.mp4')[0]
  os.mkdir('http:')
  for name in map(os.fsdecode, NAMES):
    os.link('clip.mp4', f'{name}.mp4')
    info = video.probe(f'{name}.mp4')
    assert info.frame_count == clapper.COUNT and info.has_audio
    np.testing.assert_array_equal(sound_file.Recording(f'{name}.mp4')[:, :], heard)
    with video_writer.Writer(f'{name}2.mp4', info, audio=f'{name}.mp4', keep=f'{name}.mp4',
                             preset='ultrafast') as writer:
      for frame in frames:
        writer.copy(frame)
    planned = smart_render_plan.plan(info, f'{name}3.mp4', [(13, 15)])
    with smart_render.Joined(f'{name}3.mp4', info, planned, audio=f'{name}.mp4') as joined:
      for frame in frames[slice(*planned.regions[0])]:
        joined.copy(frame)
    for made in (f'{name}2.mp4', f'{name}3.mp4'):
      assert os.path.isfile(made) and video.probe(made).frame_count == clapper.COUNT
      np.testing.assert_array_equal(waveform.read(made)[0], heard)


PLAYLISTS = {
  'hls': '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:1.6,\n{}\n#EXT-X-ENDLIST\n',
  'ffconcat': 'ffconcat version 1.0\nfile {}\n',
  'sdp': 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n',
  'dash': '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
          '<AdaptationSet><Representation><BaseURL>{}</BaseURL></Representation></AdaptationSet>'
          '</Period></MPD>',
  'pls': '[playlist]\nFile1={}\n',
}


@pytest.mark.parametrize('suffix', ['.m3u8', '.ffconcat', '.mp4', '.wav'])
@pytest.mark.parametrize('kind', PLAYLISTS)
def test_a_playlist_leads_nowhere(tmp_path, kind, suffix):
  clapper.make(tmp_path / 'other.ts', 'libx264', 'mp2')
  path = tmp_path / f'list{suffix}'
  path.write_text(PLAYLISTS[kind].format('other.ts'))
  for read in (video.probe, waveform.read, sound_file.Recording):
    with pytest.raises(errors.UserError, match=rf'is a playlist \({kind}\), which names other fil'):
      read(path)


def test_a_row_of_pictures_is_no_video(tmp_path):
  for i in range(3):
    (tmp_path / f'{i}.ppm').write_bytes(b'P6 8 8 255\n' + bytes(192))
  for name in ('%d.ppm', '0.ppm'):
    with pytest.raises(errors.UserError, match='no such file|not a media file of a kind'):
      video.probe(tmp_path / name)


def test_what_is_no_file_is_not_opened(tmp_path):
  os.mkfifo(tmp_path / 'pipe.mp4')  # nobody writes to it: who opens it waits for ever
  (tmp_path / 'folder.mp4').mkdir()
  kinds = {tmp_path / 'pipe.mp4': 'a pipe', '/dev/zero': 'a device',
           tmp_path / 'folder.mp4': 'a folder', tmp_path / 'none.mp4': 'no such file'}
  for path, told in kinds.items():
    for read in (video.probe, waveform.read, sound_file.Recording):
      with pytest.raises(errors.UserError, match=told) as error:
        read(path)
      assert str(path) in str(error.value) and '\n' not in str(error.value)


def test_a_flood_of_metadata_is_refused_at_the_first_opening(tmp_path):
  path = clapper.make(tmp_path / 'clip.mkv', 'libx264', 'aac')
  told = {}
  for count in (2000, 5000):
    out = tmp_path / f'{count}.mkv'
    with (opening.open_input(path) as old,
          opening.open_output(out, 'matroska', {}) as new):
      new.metadata.update({f'key{i}': 'v' for i in range(count)})
      stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
      for packet in old.demux(old.streams.video[0]):
        if packet.size:
          packet.stream = stream
          new.mux(packet)
    told[count] = out
  assert video.probe(told[2000]).frame_count == clapper.COUNT
  with pytest.raises(errors.UserError, match='pieces of metadata'):
    video.probe(told[5000])


def test_too_little_memory_is_one_line(tmp_path, monkeypatch):
  path = clapper.make(tmp_path / 'clip.mp4', 'libx264', 'aac')

  def refuse(*args, **kwargs):
    raise opening.av.error.MemoryError(12, 'Cannot allocate memory')

  monkeypatch.setattr(opening.av, 'open', refuse)
  with pytest.raises(errors.UserError, match='there is not enough memory'):
    opening.open_input(path)
