"""An edit from end to end of a recording: its name is no text, and its clock is late."""

import json
import os
from fractions import Fraction

import numpy as np
import pytest
import tiny_system

from vidregen_jax import inspect
from vidregen_jax.editing import editor, preparation
from vidregen_jax.exports import pipeline
from vidregen_jax.media import opening, video
from vidregen_jax.media.audio import sound_file
from vidregen_jax.provenance import certificates
from vidregen_jax.provenance import consent as consents

SPAN = (.6, 1.)
NAME = os.fsdecode(b'caf\xe9')  # in Latin-1
READABLE = 'caf\\xe9'


def recorded(clip, path, muxer, late):
  """A copy of a clip on a clock that is late by so many seconds."""
  with opening.open_input(clip) as old, opening.open_output(path, muxer, {}) as new:
    streams = {s.index: new.add_stream_from_template(s, opaque=False) for s in old.streams}
    for packet in old.demux():
      if packet.size:
        ticks = round(late / Fraction(packet.time_base))
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        packet.stream = streams[packet.stream_index]
        new.mux(packet)
  return path


@pytest.mark.parametrize(('muxer', 'suffix', 'out_suffix'),
                         [('mpegts', 'ts', 'mp4'), ('matroska', 'mkv', 'mkv')])
def test_an_edit_of_a_recording(muxer, suffix, out_suffix, pack_folder, whisper_folder, tmp_path):
  clip, other = sorted((pack_folder / 'test').glob('*.mp4'))[:2]
  source = recorded(clip, tmp_path / f'{NAME}.{suffix}', muxer, 600)
  new = recorded(other, tmp_path / f'new {NAME}.ts', 'mpegts', 90)
  out = tmp_path / f'out {NAME}.{out_suffix}'
  machine = pipeline.load(tiny_system.write(tmp_path, whisper_folder))
  editor.regenerate(
    preparation.Edit(str(source), consents.of('nobody real'), str(out), new_audio=str(new),
                spans=(SPAN,), signer=certificates.local(), page=True), machine)

  report = json.loads(out.with_suffix('.json').read_text())
  assert report['spans'] == [list(SPAN)]
  assert report['source']['path'] == str(tmp_path / f'{READABLE}.{suffix}')
  assert json.dumps(report, ensure_ascii=False).encode()  # which half a character would not be
  assert f'{READABLE}.{suffix}' in out.with_suffix('.html').read_bytes().decode()
  verdict = inspect(out)
  assert verdict.valid and verdict.title == f'out {READABLE}.{out_suffix}'
  assert verdict.edit['source']['title'] == f'{READABLE}.{suffix}'

  before, after = list(video.frames(source)), list(video.frames(out))
  assert [float(f.time) for f in after] == pytest.approx([float(f.time) for f in before])
  change = [np.abs(a.image.astype(int) - b.image).mean()
            for a, b in zip(before, after, strict=True)]
  inside = np.array([SPAN[0] <= frame.time < SPAN[1] for frame in before])
  (first, stop), = report['regenerated_frames']
  assert np.flatnonzero(inside).tolist() == list(range(first, stop))
  assert min(np.array(change)[inside]) > max(np.array(change)[~inside])

  # In the span it is the new sound that is heard, at its own time, and around it the old.
  old, made, word = (sound_file.Recording(path) for path in (source, out, new))
  level = lambda x: float(np.sqrt(np.mean(np.square(x))))
  heard = lambda x, a, b: x[:, round((a - float(x.start)) * x.rate):][:, :round((b - a) * x.rate)]
  assert old.rate == made.rate == word.rate
  for a, b, of, otherwise in ((.1, .5, old, word), (.65, .95, word, old), (1.1, 1.6, old, word)):
    assert level(heard(made, a, b) - heard(of, a, b)) < .4 * level(
      heard(made, a, b) - heard(otherwise, a, b))
