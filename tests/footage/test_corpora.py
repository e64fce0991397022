"""GRID and CREMA-D come out of their archives with words, sentences, people and licences."""

import hashlib
import io
import json
import tarfile
import zipfile

import av
import footage
import numpy as np
import pytest

from data.crema_d import crema_d
from data.grid import grid
from vidregen_jax.datasets import consent_record, input_pipeline
from vidregen_jax.errors import UserError

ALIGN = '0 12500 sil\n12500 25000 bin\n25000 37500 blue\n37500 75000 sil\n'


def mpg(name):
  """A clip of the pack as GRID's files are: MPEG-1 and MP2, 25 frames a second."""
  images, _, samples, rate = footage.read(name)
  out = io.BytesIO()
  with av.open(out, 'w', format='mpeg') as container:
    stream = container.add_stream('mpeg1video', rate=25, bit_rate=2_000_000)
    stream.height, stream.width = images[0].shape[:2]
    stream.pix_fmt = 'yuv420p'
    track = container.add_stream('mp2', rate=44_100, layout='mono')
    frame = av.AudioFrame.from_ndarray(
      np.int16(np.clip(samples[0], -1, 1) * 32767)[None], 's16', 'mono')
    frame.sample_rate, frame.pts = rate, 0
    resampler = av.AudioResampler('s16', 'mono', 44_100, frame_size=1152)
    for image in images:
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image, 'rgb24')))
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
      container.mux(track.encode(part))
    container.mux([*stream.encode(None), *track.encode(None)])
  return out.getvalue()


@pytest.fixture(scope='module')
def downloads(tmp_path_factory):
  """Archives of both layouts: a zip of videos a speaker, word times in a zip and in a tar."""
  folder = tmp_path_factory.mktemp('downloads')
  for number, name in ((1, 'test_00003'), (2, 'test_00008'), (34, 'test_00000')):
    with zipfile.ZipFile(folder / f's{number}.mpg_vcd.zip', 'w') as out:
      out.writestr(f's{number}/bbaf2n.mpg', mpg(name))
      out.writestr(f's{number}/../../escaped.txt', b'no')
  with zipfile.ZipFile(folder / 'alignments.zip', 'w') as out:
    out.writestr('alignments/s1/bbaf2n.align', ALIGN)
  with tarfile.open(folder / 's2.tar', 'w') as out:
    info = tarfile.TarInfo('align/bbaf2n.align')
    info.size = len(ALIGN)
    out.addfile(info, io.BytesIO(ALIGN.encode()))
  return folder


def test_grid_keeps_words_and_says_what_is_not_documented(downloads, tmp_path):
  data = (downloads / 's1.mpg_vcd.zip').read_bytes()
  (tmp_path / 'hashes').write_text(f'{hashlib.md5(data).hexdigest()}  s1.mpg_vcd.zip\n')
  arguments = ['--archives', str(downloads), '--data_dir', str(tmp_path), '--sizes', '64',
               '--workers', '1', '--hashes', str(tmp_path / 'hashes')]
  assert grid.main(arguments) == 0
  clips = {clip['clip_id']: clip for split in ('train', 'validation', 'test')
           for clip in input_pipeline.talker_clips(tmp_path / 'grid' / '64', split, 64)}
  assert len(clips) == 3 and not list(tmp_path.rglob('escaped.txt'))
  spoken = sorted(clip['sentence'].decode() for clip in clips.values())
  assert spoken == ['', 'bin blue', 'bin blue']
  for clip in clips.values():
    found = json.loads(clip['words'].decode())
    assert [word for _, _, word in found] == (['bin', 'blue'] if clip['sentence'] else [])
    assert all(end - begin == pytest.approx(0.5, abs=2e-3) for begin, end, _ in found)
  record = consent_record.read(tmp_path / 'grid' / '64' / '1.0.0')
  assert 'consent to synthesis is not documented' in consent_record.card(record)


def test_a_download_that_is_damaged_is_named(downloads, tmp_path, capsys):
  (tmp_path / 'hashes').write_text(f'{"0" * 32}  s1.mpg_vcd.zip\n')
  assert grid.main(['--archives', str(downloads), '--data_dir', str(tmp_path), '--hashes',
                    str(tmp_path / 'hashes')]) == 2
  assert 's1.mpg_vcd.zip is not the file that' in capsys.readouterr().err
  with pytest.raises(UserError, match='is no begin, end and word'):
    grid.words('0 12500 sil\n12500 bin\n', 'a.align')
  (tmp_path / 'half').mkdir()
  whole = (downloads / 's1.mpg_vcd.zip').read_bytes()
  (tmp_path / 'half' / 's1.zip').write_bytes(whole[:len(whole) // 2])
  with pytest.raises(UserError, match='no whole zip or tar archive'):
    grid.unpack(tmp_path / 'half', tmp_path / 'sources')


def test_crema_d_knows_actor_and_sentence(tmp_path):
  clone, folder = tmp_path / 'CREMA-D' / 'VideoFlash', tmp_path / 'sources'
  clone.mkdir(parents=True)
  folder.mkdir()
  (clone / '1001_DFA_ANG_XX.flv').write_bytes(b'FLV')
  with zipfile.ZipFile(tmp_path / 'CREMA-D' / 'more.zip', 'w') as out:
    out.writestr('VideoFlash/1091_IEO_HAP_LO.flv', b'FLV')
  first, second = crema_d.unpack(tmp_path / 'CREMA-D', folder)
  assert (first['person'], first['sentence']) == ('CREMA-D 1001', "Don't forget a jacket.")
  assert (second['person'], second['sentence']) == ('CREMA-D 1091', "It's eleven o'clock.")
  assert 'no consent to synthesis is documented' in first['basis']
  assert (folder / second['source']).read_bytes() == b'FLV'
  (clone / '1002_DFA_ANG_XX.flv').write_bytes(b'version https://git-lfs.github.com/spec/v1\n')
  with pytest.raises(UserError, match='1002_DFA_ANG_XX.flv is a pointer of Git LFS'):
    crema_d.unpack(tmp_path / 'CREMA-D', folder)
