"""Timelines of editing programs say the same as an edit list, whatever program wrote them."""

import pytest

from vidregen_jax.editing import edit_timeline, soundtrack
from vidregen_jax.errors import UserError
from vidregen_jax.media import video
from vidregen_jax.media.audio import waveform
from vidregen_jax.reporting.edit_report import EditOptions

EDL = '''TITLE: words
FCM: NON-DROP FRAME

001  AX       V     C        00:00:00:00 00:00:04:00 01:00:00:00 01:00:04:00
* FROM CLIP NAME: in.mp4
002  AX       A     C        00:00:00:05 00:00:00:15 01:00:00:15 01:00:01:00
* FROM CLIP NAME: my word.wav
003  AX       A2    C        00:00:00:00 00:00:00:20 01:00:02:00 01:00:02:20
* FROM CLIP NAME: other.wav
'''


def written(folder, suffix):
  """A timeline of a video and two pieces of sound, as a file of some kind."""
  path = folder / f'cut{suffix}'
  if suffix == '.edl':
    path.write_text(EDL)
    return path
  otio = pytest.importorskip('opentimelineio')
  at = lambda frame: otio.opentime.RationalTime(frame, 25)
  part = lambda first, count: otio.opentime.TimeRange(at(first), at(count))
  clip = lambda name, have, used, **more: otio.schema.Clip(
    name, otio.schema.ExternalReference(name, have), used, **more)
  timeline = otio.schema.Timeline('cut')
  picture = otio.schema.Track('V1', kind='Video')
  picture.append(clip('in.mp4', part(0, 100), part(0, 100)))
  sound = otio.schema.Track('Vidregen', kind='Audio')
  own = {'metadata': {'vidregen': {'fade': .1}}} if suffix == '.otio' else {}
  sound.extend([otio.schema.Gap(source_range=part(0, 15)),
                clip('my word.wav', part(90_000, 30), part(90_005, 10), **own),
                otio.schema.Gap(source_range=part(0, 25)),
                clip('other.wav', part(0, 30), part(0, 20))])
  timeline.tracks.extend([picture, sound])
  otio.adapters.write_to_file(timeline, str(path))
  return path


@pytest.mark.parametrize('suffix', ['.edl', '.otio', '.fcpxml', '.xml'])
def test_clips_of_the_sound_are_pieces(suffix, tmp_path):
  listed = edit_timeline.read(written(tmp_path, suffix), 'in.mp4', 25.)
  rounded = [(round(patch.start, 4), round(patch.stop, 4), patch.path, round(patch.begin, 4))
             for patch in listed.patches]
  assert rounded == [(.6, 1., str(tmp_path / 'my word.wav'), .2),
                     (2., 2.8, str(tmp_path / 'other.wav'), 0.)]
  if suffix == '.otio':
    assert listed.options == (EditOptions(fade=.1), EditOptions())


def test_drop_frame_codes_count_the_frames_that_there_are():
  code = lambda text: (*text[:-3].split(':'), text[-3], text[-2:])
  assert edit_timeline._seconds(code('00:01:00;02'), 30000 / 1001) == pytest.approx(60.06)
  assert edit_timeline._seconds(code('00:10:00;00'), 30000 / 1001) == pytest.approx(599.9994)


@pytest.mark.parametrize(('name', 'text', 'cause'), [
  ('cut.edl', 'TITLE: x', 'has no events'),
  ('cut.edl', EDL.replace('* FROM CLIP NAME: other.wav', ''), 'names no file'),
  ('cut.edl', EDL[:EDL.index('002')], 'no audio track holds'),
])
def test_what_is_no_timeline_is_one_line(name, text, cause, tmp_path):
  (tmp_path / name).write_text(text)
  with pytest.raises(UserError, match=cause):
    edit_timeline.read(tmp_path / name, 'in.mp4', 25.)


def test_a_part_of_a_file_is_heard_where_it_lies(pack_folder):
  clip, other = sorted((pack_folder / 'test').glob('*.mp4'))[:2]
  info = video.probe(clip)
  composed = soundtrack.compose(info, patches=[soundtrack.Patch(.6, 1., str(other), .3)])
  assert composed.film.is_the_source and composed.spans == [(.6, 1.)]
  samples, rate, _ = waveform.read(other)
  heard = composed.track.samples[:, round(.7 * rate):round(.9 * rate)]
  part = samples[:, round(.4 * rate):round(.6 * rate)]
  assert abs(heard - part).max() < .05 * abs(part).max()
  with pytest.raises(UserError, match='and is needed up to'):
    soundtrack.compose(info, patches=[soundtrack.Patch(.6, 1., str(other), 60.)])
