"""The editor's promises, with an untrained system: what was not asked for stays."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_system

from vidregen_jax import regenerate, system, translate
from vidregen_jax.media import audio, encode, video

CONSENT = 'a rendered person; nobody had to be asked'


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory, whisper_folder):
  return tiny_system.write(tmp_path_factory.mktemp('system'), whisper_folder)


@pytest.fixture(scope='session')
def clip(pack_folder):
  return sorted((pack_folder / 'test').glob('*.mp4'))[0]


@pytest.fixture(scope='session')
def other(pack_folder):
  return max((pack_folder / 'test').glob('*.mp4'), key=lambda path: video.probe(path).duration)


@pytest.fixture(scope='session')
def edited(checkpoint, clip, other, tmp_path_factory):
  out = tmp_path_factory.mktemp('edited') / 'out.mp4'
  status = regenerate.main([
      str(clip), '--audio', str(other), '--span', '0.60-1.00', '--checkpoint', str(checkpoint),
      '--consent', CONSENT, '--out', str(out)])
  assert status == 0
  return out


def decode(path):
  frames = list(video.frames(path))
  return np.stack([f.image for f in frames]).astype(np.int16), [f.time for f in frames]


def test_count_times_and_size_are_kept(clip, edited):
  (before, times), (after, new_times) = decode(clip), decode(edited)
  assert before.shape == after.shape
  assert times == new_times


def test_only_the_span_and_only_the_lower_face_change(clip, edited):
  (before, times), (after, _) = decode(clip), decode(edited)
  change = np.abs(after - before).mean((1, 2, 3))
  inside = np.array([0.6 <= t < 1.0 for t in map(float, times)])
  # Up to the next key frame x264 encodes untouched frames too, within a grey level.
  assert change[~inside].max() < 1
  first, = np.flatnonzero(inside[1:] & ~inside[:-1]) + 1
  (start, _), = json.loads(edited.with_suffix('.json').read_text())['encoded_frames']
  assert 0 < start <= first and not change[:start].any()
  assert change[inside].min() > 2 * change[~inside].max()
  rows = np.abs(after - before)[inside].mean((0, 2, 3))
  top = len(rows) // 5  # hair and background
  assert rows[:top].max() < 1.5


def test_at_the_spans_edges_the_made_face_comes_and_goes(clip, checkpoint, other, tmp_path):
  changes = {}
  for fade in ('0', '0.2'):
    out = tmp_path / f'{fade}.mp4'
    # Without noise an untrained system always fails in the same way.
    assert regenerate.main([
        str(clip), '--audio', str(other), '--span', '0.60-1.00', '--checkpoint', str(checkpoint),
        '--consent', CONSENT, '--out', str(out), '--noise', '0', '--fade', fade]) == 0
    (before, times), (after, _) = decode(clip), decode(out)
    changes[fade] = np.abs(after - before).mean((1, 2, 3))
  inside = np.array([0.6 <= t < 1.0 for t in times])
  ratio = changes['0.2'][inside] / changes['0'][inside]
  # What an untrained face lacks everywhere alike is mostly matched at the rim in both.
  assert ratio[:2].mean() < 0.9 and ratio[-2:].mean() < 0.85
  assert 0.9 < ratio[len(ratio) // 2] < 1.1


def test_sound_outside_the_span_is_the_sources(clip, edited, other):
  old, rate, _ = audio.read(clip)
  made, made_rate, _ = audio.read(edited)
  assert rate == made_rate
  assert old.shape[0] == made.shape[0]

  def difference(a, b, start, stop):
    part = slice(round(start * rate), round(stop * rate))
    return np.sqrt(np.mean((a[:, part] - b[:, part]) ** 2))
  level = np.sqrt(np.mean(old**2))
  # Packets outside are the source's own; only the decoder's noise substitution may differ.
  assert difference(old, made, 0.05, 0.5) < 0.02 * level
  assert difference(old, made, 1.1, 1.6) < 0.02 * level
  new, new_rate, _ = audio.read(other)
  new = audio.resample(new, new_rate, rate)
  assert difference(new, made, 0.62, 0.98) < 0.5 * difference(old, made, 0.62, 0.98)


def test_without_a_span_what_was_said_anew_is_found(clip, other, checkpoint, tmp_path, capsys):
  samples, rate, _ = audio.read(clip)
  word = audio.resample(audio.read(other)[0], audio.read(other)[1], rate)[:, :round(0.5 * rate)]
  new = tmp_path / 'new.wav'
  audio.write_wav(new, audio.splice(samples, rate, word, rate, 0.6, 1.1), rate)
  out = tmp_path / 'out.mp4'
  base = [str(clip), '--audio', str(new), '--checkpoint', str(checkpoint), '--consent', CONSENT,
          '--out', str(out)]
  assert regenerate.main(base) == 0
  (start, stop), = json.loads(out.with_suffix('.json').read_text())['spans']
  assert 0.45 < start < 0.75 and 0.95 < stop < 1.25
  assert f'the soundtracks differ at {start:.2f}-{stop:.2f} s' in capsys.readouterr().out
  base[2] = str(clip)
  assert regenerate.main(base) == 2
  assert 'there is nothing to regenerate' in capsys.readouterr().err


def with_patch(seconds, clip, other, checkpoint, folder):
  """The clip with so much of the other's sound in the place of 0.6 to 1 s, and its report."""
  word, rate, _ = audio.read(other)
  audio.write_wav(folder / 'word.wav', word[:, :round(seconds * rate)], rate)
  out = folder / 'out.mp4'
  assert regenerate.main([
      str(clip), '--patch', f'0.60-1.00={folder}/word.wav', '--checkpoint', str(checkpoint),
      '--consent', CONSENT, '--out', str(out)]) == 0
  return out, json.loads(out.with_suffix('.json').read_text())


def test_a_patch_of_another_length_retimes_its_span_and_moves_what_follows(
    clip, other, checkpoint, tmp_path, capsys):
  samples, rate, _ = audio.read(clip)
  out, said = with_patch(0.6, clip, other, checkpoint, tmp_path)
  assert said['retimed'] and said['frames'] == said['source']['frames'] + 5  # .2 s at 25 a second
  assert said['spans'] == [[0.6, 1.2]] and said['regenerated_frames'] == [[15, 30]]
  assert 'are not shown when they were' in said['why_all_are_encoded']
  (before, times), (after, new_times) = decode(clip), decode(out)
  assert new_times[:15] == times[:15]
  assert [t - times[1] * 5 for t in new_times[30:]] == times[25:]
  # What follows is what followed; the span begins and ends where it did.
  assert np.abs(after[30:] - before[25:]).mean() < 1 and np.abs(after[:15] - before[:15]).mean() < 1
  heard, heard_rate, _ = audio.read(out)
  assert heard_rate == rate and abs(heard.shape[1] - samples.shape[1] - 0.2 * rate) < 2
  late, early = (slice(round(a * rate), round(b * rate)) for a, b in ((1.3, 2.0), (1.1, 1.8)))
  level = np.sqrt(np.mean(samples[:, early]**2))
  assert np.sqrt(np.mean((heard[:, late] - samples[:, early])**2)) < 0.1 * level


def test_a_patch_as_long_as_its_span_is_joined(clip, other, checkpoint, tmp_path):
  _, said = with_patch(0.4, clip, other, checkpoint, tmp_path)
  assert not said['retimed'] and said['why_all_are_encoded'] is None
  assert said['audio']['why_all_is_encoded'] is None


@pytest.mark.parametrize(('fit', 'seconds'), [
    ('trim', 1.0), ('hold', 3.0), ('pingpong', 3.0), ('retime', 3.0), ('retime', 1.2)])
def test_a_dub_of_another_length_is_fitted(fit, seconds, clip, other, checkpoint, tmp_path):
  samples, rate, _ = audio.read(other)
  samples = np.tile(samples, (1, 3))[:, :round(seconds * rate)]
  audio.write_wav(tmp_path / 'dub.wav', samples, rate)
  out = tmp_path / 'a dub.mp4'
  assert translate.main([str(clip), '--audio', str(tmp_path / 'dub.wav'), '--fit', fit,
                         '--checkpoint', str(checkpoint), '--consent', CONSENT, '--out', str(out)
                         ]) == 0
  info = video.probe(out)
  assert info.frame_count == round(seconds * 25) == len(decode(out)[0])
  heard, heard_rate, _ = audio.read(out)
  assert heard_rate == rate and abs(heard.shape[1] / rate - seconds) < 0.05
  said = json.loads(out.with_suffix('.json').read_text())
  assert said['regenerated_frames'] == [[0, info.frame_count]]


def test_a_longer_dub_is_never_cut_in_silence(clip, other, checkpoint, tmp_path, capsys):
  out = tmp_path / 'out.mp4'
  assert translate.main([str(clip), '--audio', str(other), '--checkpoint', str(checkpoint),
                         '--consent', CONSENT, '--out', str(out)]) == 2
  assert 'times as long as the video: choose --fit hold' in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('count', [1, 2, 5])
def test_a_video_shorter_than_a_window_is_regenerated(count, clip, other, checkpoint, tmp_path):
  source, out = tmp_path / 'short.mp4', tmp_path / 'out.mp4'
  pictures = [frame.image for frame in video.frames(clip, 0, count)]
  samples, rate, _ = audio.read(clip)
  encode.write_clip(source, pictures, 25, samples[:, :rate * count // 25], rate)
  assert regenerate.main([str(source), '--audio', str(other), '--whole', '--checkpoint',
                          str(checkpoint), '--consent', CONSENT, '--out', str(out)]) == 0
  (before, times), (after, new_times) = decode(source), decode(out)
  assert times == new_times and (np.abs(after - before).mean((1, 2, 3)) > 1).all()


def test_the_report_says_what_was_done(edited, clip):
  report = json.loads(edited.with_suffix('.json').read_text())
  assert report['consent'] == CONSENT
  assert report['spans'] == [[0.6, 1.0]]
  (start, stop), = report['regenerated_frames']
  times = decode(clip)[1]
  assert [0.6 <= float(t) < 1.0 for t in times] == [start <= i < stop for i in range(len(times))]
  assert {'track faces', 'decode', 'crop', 'encode', 'generate', 'paste', 'write'} <= set(
      report['stages'])
  assert not any(start - 4 <= i < stop + 4 for i in report['references'])


def test_the_same_seed_gives_the_same_video(edited, checkpoint, clip, other, tmp_path):
  out = tmp_path / 'again.mp4'
  regenerate.main([str(clip), '--audio', str(other), '--span', '0.60-1.00', '--checkpoint',
                   str(checkpoint), '--consent', CONSENT, '--out', str(out)])
  np.testing.assert_array_equal(decode(edited)[0], decode(out)[0])


@pytest.fixture(scope='session')
def wrong(tmp_path_factory, clip):
  """Files that are not what they should be."""
  folder = tmp_path_factory.mktemp('wrong')
  (folder / 'text.mp4').write_text('not a media file')
  noise = np.random.default_rng(0).integers(0, 255, (30, 64, 64, 3), np.uint8)
  sound = np.zeros((1, 48_000), np.float32)
  encode.write_clip(folder / 'faceless.mp4', noise, 25, sound, 16_000)
  encode.write_clip(folder / 'silent.mp4', [f.image for f in video.frames(clip)][:30], 25)
  audio.write_wav(folder / 'short.wav', sound[:, :8_000], 16_000)
  audio.write_wav(folder / 'long.wav', np.zeros((1, 160_000), np.float32), 16_000)
  return folder


@pytest.mark.parametrize(('change', 'cause'), [
    ({'source': 'absent.mp4'}, 'no such file'),
    ({'source': '{wrong}/text.mp4'}, 'not a media file'),
    ({'source': '{wrong}/faceless.mp4', 'audio': '{wrong}/long.wav'}, 'no face was found'),
    ({'source': '{wrong}/silent.mp4', 'audio': '{wrong}/long.wav'}, 'no soundtrack to keep'),
    ({'audio': 'absent.wav'}, 'no such file'),
    ({'audio': '{wrong}/silent.mp4'}, 'has no soundtrack'),
    ({'audio': '{wrong}/short.wav'}, 'ends at 0.500 s but is needed until 1.000 s'),
    ({'span': '0.9-0.9'}, 'empty'),
    ({'span': '1.0-0.6'}, 'reversed'),
    ({'span': '0.6-99'}, 'does not lie in'),
    ({'span': 'now'}, 'START-END'),
    ({'span': '0.6-1', 'whole': None}, '--span and --whole exclude'),
    ({'checkpoint': 'absent'}, 'no exported generator'),
    ({'consent': ' '}, '--consent is missing'),
    ({'out': 'absent/out.mp4'}, 'no such folder'),
    ({'out': '{wrong}/out.gif'}, 'choose one of them'),
    ({'out': '/proc/out.mp4'}, 'cannot be written'),
    ({'steps': '0'}, '--steps 0 is too few'),
    ({'guidance_audio': 'nan'}, '--guidance_audio nan is no size'),
    ({'noise': '-1'}, '--noise -1.0 is no size'),
    ({'span': None, 'patch': '0.6-1={wrong}/long.wav'}, 'either the whole new soundtrack'),
    ({'span': None, 'audio': None, 'patch': '0.6-1'}, 'is not START-END=FILE'),
    ({'span': None, 'audio': None, 'patch': '0.6-1=absent.wav'}, 'no such file'),
    ({'span': None, 'audio': None, 'patch': '0.6-99={wrong}/long.wav'}, 'does not lie in'),
    ({'span': None, 'audio': None}, 'either the whole new soundtrack'),
    ({'fade': 'nan'}, '--fade nan is not between'),
    ({'fade': '9'}, '--fade 9 is not between'),
])
def test_a_mistake_is_one_line_and_leaves_nothing(change, cause, wrong, clip, other, checkpoint,
                                                  tmp_path, capsys):
  given = {'source': str(clip), 'audio': str(other), 'span': '0.60-1.00', 'consent': CONSENT,
           'checkpoint': str(checkpoint), 'out': str(tmp_path / 'out.mp4')}
  given |= {name: value and value.format(wrong=wrong) for name, value in change.items()}
  source = given.pop('source')
  flags = [part for name, value in given.items() if value or name == 'whole'
           for part in (f'--{name}', value) if part]
  before = sorted(wrong.iterdir())
  assert regenerate.main([source, *flags]) == 2
  printed = capsys.readouterr().err.strip().splitlines()
  assert printed[-1].startswith('error: ')
  assert cause in printed[-1]
  assert not list(tmp_path.iterdir())
  assert sorted(wrong.iterdir()) == before


def test_a_checkpoint_of_another_shape_is_refused(checkpoint, tmp_path, capsys):
  import shutil
  folder = tmp_path / 'export'
  shutil.copytree(checkpoint, folder)
  header = json.loads((folder / 'config.json').read_text())
  header['config']['model']['width'] = 32
  (folder / 'config.json').write_text(json.dumps(header))
  with pytest.raises(system.UserError, match='is of another model'):
    system.load(folder)


def test_ctrl_c_leaves_no_half_file(checkpoint, clip, other, tmp_path):
  folder = pathlib.Path(__file__).parents[1]
  # A shell's background jobs ignore Ctrl-C, and so would what they start: this one shall hear it.
  program = ('import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); '
             'from vidregen_jax import regenerate; sys.exit(regenerate.main(sys.argv[1:]))')
  process = subprocess.Popen(
      [sys.executable, '-c', program, str(clip), '--audio', str(other),
       '--checkpoint', str(checkpoint), '--consent', CONSENT, '--out', str(tmp_path / 'out.mp4'),
       '--steps', '200'],
      cwd=folder, stderr=subprocess.PIPE, text=True)
  deadline = time.monotonic() + 120
  while not list(tmp_path.iterdir()) and time.monotonic() < deadline and process.poll() is None:
    time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  _, errors = process.communicate(timeout=120)
  assert process.returncode == 130, errors
  assert 'nothing was written' in errors
  assert not list(tmp_path.iterdir())
