"""What becomes of sources: kept, cut, put in sync, or left out with the reason."""

import json
import types
import wave

import cv2
import footage
import numpy as np
import pytest
from array_record.python import array_record_module

from data.talking_faces import cutting, filters, record, source_result
from vidregen_jax.faces import landmarks
from vidregen_jax.media import video, video_writer


@pytest.fixture
def work(tmp_path):
  return tmp_path / 'work'


def account(path, work, **options):
  return source_result.prepare(footage.job(path, work, **options))


def reasons(found):
  return [row['reason'] for row in found['left_out']]


def test_a_clip_is_kept_and_late_sound_moved(tmp_path, work):
  plain = account(footage.copy(tmp_path, 'test_00008'), work)
  late = account(footage.late(tmp_path, 'test_00008', 0.3, 'late.mp4'), work, number=1)
  assert [clip['moved'] for clip in plain['clips'] + late['clips']] == [True, True]
  assert abs(plain['clips'][0]['offset']) <= 0.04
  assert abs(late['clips'][0]['offset'] - 0.3) <= 0.04
  # The speaker's words are cut off at the end of the late one: there the pictures have no sound.
  assert late['clips'][0]['stop'] < plain['clips'][0]['stop']
  one, other = (_records(work, number)[0] for number in (0, 1))
  count = len(other['audio'])
  assert count == round(len(other['frames']) * 16_000 / 25) < len(one['audio'])
  np.testing.assert_array_equal(one['source_times'][:len(other['frames'])], other['source_times'])
  # The same words at the same frames: the best lag between the two is below a frame.
  both = np.fft.rfft([x['audio'][:count].astype(float) for x in (one, other)], 2 * count)
  lag = int(np.fft.irfft(both[0] * both[1].conj()).argmax())
  assert min(lag, 2 * count - lag) <= 16_000 / 25


def test_two_faces_and_one_voice(tmp_path, work):
  images, rate, samples, sound_rate = footage.read('test_00008')
  others = footage.read('test_00005')[0]
  both = [np.concatenate([others[min(at, len(others) - 1)], image], 1)
          for at, image in enumerate(images)]
  video_writer.write_clip(tmp_path / 'two.mp4', both, rate, samples, sound_rate)
  found = account(tmp_path / 'two.mp4', work)
  assert found['faces'] == 2
  (clip,) = found['clips']
  assert clip['at'][0] > 0.5 and abs(clip['offset']) <= 0.04


def test_no_clip_crosses_a_cut(tmp_path, work):
  one, two = footage.read('test_00008'), footage.read('test_00005')
  images = one[0][:60] + two[0][:60]
  rates = one[3], two[3]
  sound = np.concatenate([one[2][:, :round(2.4 * rates[0])], two[2][:, :round(2.4 * rates[1])]], 1)
  video_writer.write_clip(tmp_path / 'cut.mp4', images, 25, sound, rates[0])
  found = account(tmp_path / 'cut.mp4', work)
  spans = [(clip['start'], clip['stop']) for clip in found['clips']]
  assert spans == [(0.0, 2.36), (2.4, 4.76)]


@pytest.mark.parametrize(('make', 'reason'), [
  (lambda folder: folder / 'absent.mp4', 'unreadable'),
  (lambda folder: _write(folder / 'text.mp4', b'no film at all'), 'unreadable'),
  (lambda folder: _write(folder / 'part.mp4', footage.copy(folder, 'test_00000').read_bytes()[
    :20_000]), 'sound unreadable'),
  (lambda folder: _changed(folder, sound=None), 'no sound'),
  (lambda folder: _changed(folder, sound=lambda x: x * 0), 'no sound'),
  (lambda folder: _sound_alone(folder / 'sound.wav'), 'no pictures'),
  (lambda folder: _changed(folder, image=lambda x: x * 0), 'no face'),
  (lambda folder: _changed(folder, image=lambda x: cv2.GaussianBlur(x, (0, 0), 4)), 'blurred'),
  (lambda folder: _changed(folder, image=lambda x: cv2.copyMakeBorder(
    cv2.resize(x, (96, 96)), 80, 80, 80, 80, cv2.BORDER_REPLICATE)), 'too small'),
])
def test_what_cannot_be_used_is_left_out_with_its_reason(tmp_path, work, make, reason):
  found = account(make(tmp_path), work, least_side=80.0)
  assert not found['clips'] and reason in reasons(found)
  if found['media'] is not None:  # something can be seen of it
    pictures = [row['picture'] for row in found['left_out'] if row['picture']]
    assert pictures and all((work / '00' / f'{0:016x}' / name).stat().st_size for name in pictures)


def test_a_still_with_speech_is_no_clip(tmp_path, work):
  images, rate, samples, sound_rate = footage.read('test_00000')
  video_writer.write_clip(tmp_path / 'still.mp4', images[:1] * len(images), rate, samples,
                          sound_rate)
  found = account(tmp_path / 'still.mp4', work)
  assert not found['clips'] and set(reasons(found)) <= {'still picture',
                                                        'no lips move with the sound'}


def test_music_is_told_from_speech():
  seconds = np.arange(16_000 * 4) / 16_000
  chords = sum(np.sin(2 * np.pi * 220 * 2 ** (np.floor(seconds * 2) % 5 / 12) * ratio * seconds)
               for ratio in (1, 1.25, 1.5)) * 0.1
  assert filters.is_music(chords)
  speech = footage.read('test_00008')[2][0]
  assert not filters.is_music(speech[:len(speech) // 24 * 24])


def test_light_blur_and_stillness_of_crops():
  images = np.stack([image[32:224, 32:224] for image in footage.read('test_00008')[0][:25]])
  bounds = filters.Bounds()
  assert filters.of_crops(images, bounds) is None
  assert filters.of_crops(images // 12, bounds)[0] == 'too dark'
  assert filters.of_crops(255 - (255 - images) // 12, bounds)[0] == 'too bright'
  still = images[:1].repeat(25, 0)
  still[12:] -= 8  # as at a key frame
  assert filters.of_crops(still, bounds)[0] == 'still picture'


def test_a_finished_source_is_kept_until_something_changes(tmp_path, work):
  path = footage.copy(tmp_path, 'test_00000')
  job = footage.job(path, work)
  source_result.prepare(job)
  before = (job.folder / '64.array_record').stat().st_mtime_ns
  first = {file.name: file.read_bytes() for file in job.folder.iterdir()}
  source_result.prepare(job)
  assert (job.folder / '64.array_record').stat().st_mtime_ns == before
  assert source_result.account(footage.job(path, work, min_seconds=1.0)) is None
  (job.folder / source_result.ACCOUNT).unlink()
  source_result.prepare(job)
  again = {file.name: file.read_bytes() for file in job.folder.iterdir()}
  first.pop(source_result.SECONDS)
  assert first == {name: data for name, data in again.items() if name != source_result.SECONDS}
  assert set(json.loads((job.folder / source_result.SECONDS).read_text())) == set(
    source_result.STEPS)


def _records(work, number):
  reader = array_record_module.ArrayRecordReader(str(work / '00' / f'{number:016x}' /
                                                     '64.array_record'))
  return [record.features(64).deserialize_example_np(data) for data in reader.read_all()]


def _write(path, data):
  path.write_bytes(data)
  return path


def _sound_alone(path):
  with wave.open(str(path), 'wb') as out:
    out.setparams((1, 2, 16_000, 0, 'NONE', ''))
    out.writeframes(bytes(32_000))
  return path


def _changed(folder, image=lambda x: x, sound=lambda x: x):
  images, rate, samples, sound_rate = footage.read('test_00000')
  video_writer.write_clip(folder / 'changed.mp4', [image(each) for each in images], rate,
                          sound and sound(samples), sound and sound_rate)
  return folder / 'changed.mp4'


def test_crops_of_a_part_are_those_of_the_whole_picture():
  path = footage.PACK / 'test' / 'test_00000.mp4'
  info = video.probe(path)
  for scale, turn, x, y in ((180, 3, 30, 20), (300, 10, -20, -30), (60, -5, 150, 190)):
    affine = np.array([[scale, -turn, x], [turn, scale, y]], np.float32)[None].repeat(3, 0)
    found = cutting.crops(info, types.SimpleNamespace(affine=affine), 0, 0, 3, (64, 128))
    for size in (64, 128):
      whole = [landmarks.crop(frame.image, affine[0], size) for frame in video.frames(path, 0, 3)]
      np.testing.assert_array_equal(found[size], np.stack(whole))
