"""The program of evaluation: what is asked is measured, printed and written; clips are paired."""

import dataclasses
import json
import os
import pathlib
import re
import types

import fake_codec
import fake_talkers
import numpy as np
import pytest

from vidregen_jax import cli, evaluate
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import lip_sync, sync_scorer
from vidregen_jax.exports import model_folder, model_loader
from vidregen_jax.inference import streaming_codec


def run(what, **flags):
  """Does what the program does with these flags."""
  evaluate.evaluate(evaluate.make_parser().parse_args(
    [what, *(f'--{name}={value}' for name, value in flags.items())]))


def test_a_codec_is_measured_printed_and_shown(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(streaming_codec, 'codec', fake_codec)
  monkeypatch.setattr(model_loader, 'load_codec', lambda folder: model_loader.Codec(
    None, model_folder.load_export(folder, 'codec')))
  w = np.eye(3, 4, dtype=np.float32)
  model_folder.export(tmp_path / 'codec', 'codec', {'size': 16, 'latent_channels': 4},
                      {'encoder': {'w': w}, 'decoder': {'w': w.T}},
                      latent_mean=np.zeros(4, np.float32), latent_std=np.ones(4, np.float32))
  asked = {'checkpoint': str(tmp_path / 'codec'), 'split': 'train', 'clips': 3,
           'dataset': str(fake_talkers.build(tmp_path / 'data')), 'out': str(tmp_path / 'out'),
           'json': str(tmp_path / 'figures.json')}
  capsys.readouterr()
  run('codec', **asked)
  printed = json.loads(capsys.readouterr().out)
  assert printed['clips'] == 3 and printed['leak'] == {'latents': 0.0, 'frames': 0.0}
  assert {'psnr_mouth', 'ssim_mouth', 'flicker_mouth'} <= printed['medians'].keys()
  assert not {'rows', 'fvd', 'lpips'} & printed.keys()
  whole = json.loads((tmp_path / 'figures.json').read_text())
  assert whole == json.loads((tmp_path / 'out' / 'scores.json').read_text())
  assert len(whole.pop('rows')) == 3 and whole == printed

  (tmp_path / 'out' / 'notes.txt').write_text('mine')
  monkeypatch.setattr(streaming_codec.Encoder, 'stream',
                      lambda *a: pytest.fail('measured for nothing'))
  with pytest.raises(UserError, match='holds other things'):
    run('codec', **asked)
  del asked['dataset']
  with pytest.raises(UserError, match='--dataset is missing'):
    run('codec', **asked)


class Judge:
  limit = 2.5


def in_sync(frames, late=0.0):
  """Distances along a clip whose sound is late by some seconds."""
  values = np.tile(1.3 + 0.1 * np.cos(np.arange(31)), (frames, 1))
  values[:, np.clip(15 + round(late * 25), 0, 30)] = 0.4
  return sync_scorer.Rows(np.arange(frames) / 25, values)


def test_videos_are_scored_whole_and_in_parts(tmp_path, monkeypatch, capsys):
  video, other = (tmp_path / name for name in ('a.mp4', 'b.wav'))
  for path in (video, other):
    path.touch()
  heard = []
  monkeypatch.setattr(sync_scorer, 'load', lambda folder: Judge())
  monkeypatch.setattr(evaluate.tracks, 'track_file', lambda path: 'track')

  def of_video(judge, path, audio, track):
    heard.append((path, audio, track))
    return in_sync(50, 0.12 if audio else 0)

  monkeypatch.setattr(sync_scorer, 'of_video', of_video)
  run('sync', scorer='x', video=video, span='0.4-1.2', json=tmp_path / 'out.json')
  out = capsys.readouterr().out
  assert re.search(r'by scorer: confidence 0.9., distance 0.40, offset \+0, fit 1.\.., in sync\n',
                   out)
  assert '  0.40-1.20 s: confidence 0.9' in out
  whole = json.loads((tmp_path / 'out.json').read_text())
  assert whole['videos'][0]['spans'][0]['frames'] == 20 and whole['videos'][0]['in_sync'] is True
  assert len(whole['rows'][0]['margin_by_frame']) == len(whole['rows'][0]['times']) == 50
  run('sync', scorer='x', video=video, audio=other)
  assert re.search(r'offset \+3, fit -?[01]\.., not in sync\n', capsys.readouterr().out)
  assert heard == [(str(video), None, 'track'), (str(video), str(other), 'track')]
  monkeypatch.setattr(sync_scorer, 'of_video', lambda *a: in_sync(0))
  with pytest.raises(UserError, match='a.mp4: no face is seen long enough'):
    run('sync', scorer='x', video=video)


def test_a_scorer_is_tried_on_clips_whose_sync_is_known(monkeypatch, capsys, pack_folder):
  """With one that finds every offset of its own sound, and nothing in another's."""
  monkeypatch.setattr(sync_scorer, 'load', lambda folder: Judge())
  monkeypatch.setattr(sync_scorer, 'read_sound', lambda path: (path, 0.0))
  monkeypatch.setattr(sync_scorer, 'look', lambda judge, path: path)
  monkeypatch.setattr(sync_scorer, 'hear', lambda judge, path, samples, begin: (
    in_sync(75, begin if path == samples else -9.0)))
  run('sync', scorer='x', pack=pack_folder, clips=3)
  said = json.loads(capsys.readouterr().out)['scorer']
  assert said['whole'] == {'offset': 1.0, 'told': 1.0, 'offsets': 12, 'in_sync': 3,
                           'not_in_sync': 15}
  assert said['clips'] == 3 and said['seconds'] == {
    'offset': 1.0, 'told': 1.0, 'offsets': 60, 'in_sync': 15, 'not_in_sync': 75}
  monkeypatch.setattr(sync_scorer, 'hear', lambda judge, path, samples, begin: in_sync(75))
  run('sync', scorer='x', pack=pack_folder, clips=3)
  blind = json.loads(capsys.readouterr().out)['scorer']['whole']
  assert blind['told'] == 0.5 and blind['offset'] < 0.5


@pytest.mark.parametrize(('flags', 'line'), [
  ([], 'the following arguments are required: what'),
  (['listening'], '--checkpoint is missing: listening measures an export of a training'),
  (['codec', '--dataset=x'], '--checkpoint is missing: codec measures an export'),
  (['sync'], '--scorer is missing: name one, such as --scorer=checkpoints/sync'),
  (['sync', '--scorer=none'], 'none: no exported sync here'),
  (['sync', '--syncnet=none'], '--syncnet none: no such folder; convert the weights into one'),
  (['sync', '--scorer=x', '--span=2-1'], 'span 2-1 is reversed'),
  (['hearing', '--checkpoint=x'], "invalid choice: 'hearing'"),
  (['codec', '--checkpoint=x', '--clips=-1'], "--clips: '-1' is no number of clips"),
  (['codec', '--checkpoint=x', '--clip=1'], 'unrecognized arguments: --clip=1'),
])
def test_a_mistaken_flag_is_one_line_and_status_2(flags, line, capsys):
  assert cli.command(evaluate.make_parser(), evaluate.evaluate, 'nothing', flags) == 2
  told = capsys.readouterr().err
  assert told.startswith('error: ') and line in told and told.count('\n') == 1


def test_every_sound_is_heard_once_and_never_by_its_own_clip():
  pairs = lip_sync.pair(['a', 'b', 'c'])
  assert [clip for clip, _ in pairs] == ['a', 'b', 'c']
  assert sorted(other for _, other in pairs) == ['a', 'b', 'c']
  assert all(clip != other for clip, other in pairs)


def test_clips_are_read_with_their_truth(tmp_path, pack_folder):
  clips = lip_sync.read_clips(pack_folder, 'test')
  assert len(clips) > 1 and clips[0].path.suffix == '.mp4'
  np.testing.assert_allclose(clips[0].truth(clips[0].times), clips[0].lip_gap)
  with pytest.raises(UserError, match="no clips of split 'dev'"):
    lip_sync.read_clips(tmp_path, 'dev')


def test_what_is_no_truth_is_told(tmp_path, pack_folder):
  good = sorted((pack_folder / 'test').glob('*.npz'))[0].read_bytes()
  path = tmp_path / 'a.npz'
  for data in (b'', b'nothing', good[:-50], good[:500], good.replace(b'lip_gap', b'lip_gab')):
    path.write_bytes(data)
    with pytest.raises(UserError, match='a.npz: holds no truth of a clip'):
      lip_sync.read_truth(path)
  said = {'symbols': np.array(['m', 'a']), 'spans': np.zeros((2, 2))}
  rows = dict.fromkeys(('times', 'lip_gap', 'tracked_gap', 'mouth_width'), np.zeros(3))
  np.savez(path, **rows, **said)
  assert lip_sync.read_truth(path).labials.shape == (1, 2)
  for changed, what in (({'lip_gap': np.zeros(2)}, 'one number a frame'),
                        ({'spans': np.zeros((1, 2))}, 'begin and end of each symbol'),
                        ({'symbols': np.zeros(2)}, 'begin and end of each symbol')):
    np.savez(path, **rows | said | changed)
    with pytest.raises(UserError, match=what):
      lip_sync.read_truth(path)
  path.unlink()
  os.mkfifo(path)
  with pytest.raises(UserError, match='is a pipe'):
    lip_sync.read_truth(path)


def test_where_figures_cannot_go_is_told_before_the_work(tmp_path):
  with pytest.raises(UserError, match='--json .*: is a folder'):
    run('codec', checkpoint=tmp_path / 'none', json=tmp_path)


def test_a_judge_is_a_folder_and_no_hub_is_asked(tmp_path):
  for flag in ('perceptual', 'i3d'):
    with pytest.raises(UserError, match=f'--{flag} name/model: no such folder'):
      run('codec', checkpoint=tmp_path, dataset=tmp_path, **{flag: 'name/model'})


def test_lips_are_closed_where_a_labial_closes_them(pack_folder):
  """In the rendered films lips are shut for most of a p, b or m, and the tracker sees it."""
  for clip in lip_sync.read_clips(pack_folder, 'test'):
    closes = clip.closes(clip.times)
    within = np.any((clip.times[:, None] >= clip.labials[:, 0]) &
                    (clip.times[:, None] < clip.labials[:, 1]), axis=1)
    assert within.sum() >= closes.sum() >= .5 * within.sum() > 0
    seen = lip_sync._closures(clip, clip.times, clip.tracked_gap)
    assert seen == {'labial_frames': closes.sum(), 'closed': 1, 'closed_in_truth': 1}
    ajar = lip_sync._closures(clip, clip.times, clip.tracked_gap + lip_sync.OPEN)
    lost = lip_sync._closures(clip, clip.times, np.full(len(clip.times), np.nan))
    assert ajar['closed'] == lost['closed'] == 0


def test_what_each_sound_is_measured_by(tmp_path, monkeypatch):
  """With films whose mouths are known: one that follows what it hears, ajar when it is silent."""
  times = np.arange(50) / 25
  gaps = {'a': 0.1 * (1 + np.sin(9 * times)), 'b': 0.1 * (1 + np.cos(14 * times))}
  widths = {'a': .5 + .05 * np.sin(7 * times), 'b': .5 + .04 * np.cos(11 * times)}
  clips = {name: lip_sync.Clip(tmp_path / f'{name}.mp4', times, gap, gap, widths[name])
           for name, gap in gaps.items()}
  # b's lips are shut at .68 s, within a labial that begins and ends with open lips.
  clips['b'] = dataclasses.replace(clips['b'], labials=np.array([[.5, .9]]))
  heard = {}

  def regenerate(edit, machine):
    heard[edit.out] = pathlib.Path(edit.new_audio).stem
    assert edit.reconstruct == edit.out.endswith('_codec.mp4')
    return types.SimpleNamespace(seconds=1.0, stages={}, peak_memory_mb=1)

  def track(path):
    name = heard.get(str(path), pathlib.Path(path).stem)
    gap = gaps.get(name, np.where(times < 1, 0.01, np.where(times < 1.5, 0.05, np.nan)))
    width = widths.get(name, np.full(50, .5)) + (0.03 if str(path) in heard else 0.0)
    return types.SimpleNamespace(times=times, lip_gap=gap, mouth_width=width)

  monkeypatch.setattr(lip_sync.mouth_quality, 'of_videos',
                      lambda path, true_path, of, frames, vgg16: {'sharpness': len(frames) / 100})
  monkeypatch.setattr(lip_sync.editor, 'regenerate', regenerate)
  monkeypatch.setattr(lip_sync.tracks, 'track_file', track)
  rows = lip_sync.listening(None, [(clips['a'], clips['b'])], 0, (), tmp_path, lip_sync.SOUNDS)
  said = lip_sync.medians(rows)
  between = np.corrcoef(gaps['a'], gaps['b'])[0, 1]
  assert said['new']['whole']['new'] == 1 and abs(said['new']['whole']['old'] - between) < 1e-3
  assert said['own']['whole']['new'] == said['own']['whole']['old'] == 1
  between = float(np.corrcoef(widths['a'], widths['b'])[0, 1])
  assert said['new']['width'] == {'new': 1, 'old': round(between, 3), 'truths': round(between, 3),
                                  'tracker_on_truth': 1, 'change': 1, 'change_of_truth': 1}
  assert said['codec'] == said['own'] and said['own']['sharpness'] == .5
  assert 'sharpness' not in said['new'] and 'closed' not in said['own']
  assert said['new']['closed'] == said['new']['closed_in_truth'] == 1
  assert said['own']['mouth_error'] == 3.0  # the width alone, in hundredths of the eyes' distance
  away = [row['a'] - row['a'].mean() for row in (gaps, widths)]
  assert abs(said['own']['mouth_error_of_mean'] - 100 * np.hypot(*away).mean()) < 1e-3
  # Open for half a second, shut for one; where no face is found nothing is known.
  assert said['silence']['open'] == 0.342  # 13 of 38 frames
  # In the first three frames this film opens; in the last three it is shut.
  assert gaps['a'][:3].min() > lip_sync.OPEN > gaps['a'][-3:].max()
  assert said['silence']['open_in_truth'] == 0.5
  with pytest.raises(UserError, match="no sound 'noise'"):
    lip_sync.listening(None, [], 0, (), tmp_path, ['noise'])
