"""Five names: cheap to import, the same whatever was imported before, and silent."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import vidregen_jax
from vidregen_jax.api import models
from vidregen_jax.errors import UserError
from vidregen_jax.media import video
from vidregen_jax.reporting.edit_report import EditReport

CONSENT = 'a rendered person; nobody had to be asked'
SPAN = (0.6, 1.0)


@pytest.fixture(scope='module')
def clips(pack_folder):
  """A clip and another that is longer."""
  paths = sorted((pack_folder / 'test').glob('*.mp4'))
  return paths[0], max(paths, key=lambda path: video.probe(path).duration)


@pytest.fixture(scope='module')
def edited(tiny_model, clips, tmp_path_factory):
  """What was told while a clip was edited, and the report."""
  told, (source, sound) = [], clips
  report = vidregen_jax.edit(
    source, audio=sound, spans=[SPAN], model=tiny_model, consent=CONSENT, fit_face=True,
    progress=told.append, out=tmp_path_factory.mktemp('edited') / 'out.mp4')
  return told, report


def alone(program):
  """What a program prints in a process of its own."""
  done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True,
                        check=True, env=os.environ)
  return done.stdout.split()


def test_importing_the_package_is_cheap():
  assert alone('import sys, vidregen_jax; dir(vidregen_jax); print("jax" in sys.modules, '
               '"numpy" in sys.modules, "av" in sys.modules)') == ['False'] * 3


@pytest.mark.parametrize('before', [
  '', 'import vidregen_jax.inspect; from vidregen_jax.translate import main; '])
def test_a_name_is_the_function_whatever_was_imported_before(before):
  program = (f'{before}import vidregen_jax; from vidregen_jax import inspect, translate; '
             'import vidregen_jax.inspect as again; '
             'print(*(f.__module__ for f in (inspect, again, vidregen_jax.inspect, translate)))')
  assert alone(program) == ['vidregen_jax.api.inspection'] * 3 + ['vidregen_jax.api.edits']


def test_what_is_no_name_is_no_attribute():
  with pytest.raises(AttributeError, match='no attribute'):
    vidregen_jax.edits  # noqa: B018


def test_an_edit_is_told_and_not_printed(edited, capfd):
  told, report = edited
  assert capfd.readouterr() == ('', '')
  stages = list(dict.fromkeys(one.stage for one in told if not one.note))
  assert stages == ['track faces', 'fit to the video', 'regenerate']
  for stage in stages:
    done = [one.done for one in told if one.stage == stage]
    assert done[0] == 0 and done == sorted(done)
    assert done[-1] == next(one.total for one in told if one.stage == stage)
  assert isinstance(report, EditReport) and report.regenerated_frames


def test_frames_can_be_seen_as_they_are_made(tiny_model, clips, tmp_path):
  shown, (source, sound) = {}, clips

  def look(progress):
    if progress.picture is not None:
      shown[progress.done] = progress.picture()

  report = vidregen_jax.edit(source, audio=sound, spans=[SPAN], model=tiny_model, consent=CONSENT,
                             fit_face=False, progress=look, out=tmp_path / 'out.mp4')
  (first, stop), = report.encoded_frames
  written = [frame.image for frame in video.frames(report.out, first, stop)]
  assert sorted(shown) == list(range(1, stop - first + 1))
  for number, picture in enumerate(written, start=1):
    assert np.abs(picture.astype(int) - shown[number]).mean() < 2  # but for the encoder


def test_who_is_told_can_end_an_edit(tiny_model, clips, tmp_path):
  class Enough(Exception):
    pass

  def tell(progress):
    if progress.stage == 'regenerate' and progress.done == 3:
      raise Enough

  with pytest.raises(Enough):
    vidregen_jax.edit(clips[0], audio=clips[1], spans=[SPAN], model=tiny_model, consent=CONSENT,
                      fit_face=False, progress=tell, out=tmp_path / 'out.mp4')
  assert not list(tmp_path.iterdir())


def test_a_result_shows_itself_as_video(edited, tmp_path):
  _, report = edited
  shown = report._repr_mimebundle_()
  assert '<video' in shown['text/html'] and 'data:video/mp4;base64,' in shown['text/html']
  document = json.loads(json.dumps(report.to_json())) | {'out': str(tmp_path / 'gone.mp4')}
  assert list(EditReport.from_json(document)._repr_mimebundle_()) == ['text/plain']


def test_an_inspection_is_typed(edited):
  _, report = edited
  found = vidregen_jax.inspect(report.out)
  assert found.valid and found.edit['seed'] == report.seed and found.sha256 == report.sha256
  assert found.to_json()['signer'] == report.content_credentials.signer


def test_texts_and_numbers_mean_the_same(tiny_model, clips, tmp_path):
  source, sound = clips
  reports = [vidregen_jax.edit(
    source, audio=str(sound), spans=[span], face=face, model=tiny_model, consent=CONSENT,
    fit_face=False, preview=tmp_path / f'{i}.png', out=tmp_path / 'out.mp4')
    for i, (span, face) in enumerate([(SPAN, 1), ('0.6-1', '1')])]
  assert [report.stretches for report in reports] == [1, 1]
  first, second = (tmp_path / f'{i}.png' for i in range(2))
  assert first.read_bytes() == second.read_bytes()


def test_words_are_spans_and_pieces_of_sound(tiny_model, clips, tmp_path):
  source, sound = clips
  said = tmp_path / 'said.align'
  said.write_text(''.join(f'{round(25e3 * a)} {round(25e3 * b)} {word}\n' for a, b, word in [
    (.2, .6, 'bin'), (.6, .8, 'blue'), (.8, 1., 'now'), (1., 1.4, 'bin')]))

  def spans(**options):
    told = []
    report = vidregen_jax.edit(source, transcript=said, model=tiny_model, consent=CONSENT,
                               fit_face=False, progress=told.append, **options)
    (start, stop), = report.spans
    return told[0].note, start, stop, report

  note, start, stop, _ = spans(audio=sound, words=['blue now'], margin=0,
                               out=tmp_path / 'words.mp4')
  assert (start, stop) == (.6, 1.) and note == '"blue now" is said at 0.60-1.00 s'
  # The mouth moves before the sound: by default it is made anew a little around the words.
  _, start, stop, report = spans(replace=[('blue now', sound)], out=tmp_path / 'replace.mp4')
  assert .48 <= start <= .6 and stop > 1. and report.retimed
  for options, cause in [(dict(words=['bin']), '2 times'), (dict(words=['bin'], spans=[SPAN]),
                                                            'exclude each other')]:
    with pytest.raises(UserError, match=cause):
      spans(audio=sound, out=tmp_path / 'out.mp4', **options)


@pytest.mark.parametrize(('wrong', 'cause'), [
  (dict(words=['two']), 'need a transcript'),
  (dict(transcript='said.srt'), 'is for --words and --replace'),
  (dict(spans=[(1.0, 0.6)]), 'does not begin before it ends'),
  (dict(spans=[SPAN], whole=True), 'exclude each other'),
  (dict(consent=None), '--consent is missing'),
  (dict(margin=7.0), '--margin 7'),
])
def test_a_mistake_is_told_before_a_model_is_loaded(wrong, cause, clips, tmp_path, tiny_checkpoint,
                                                    monkeypatch):
  monkeypatch.setattr(models, 'load', None)
  with pytest.raises(UserError, match=cause):
    vidregen_jax.edit(clips[0], **dict(audio=clips[1], model=tiny_checkpoint, consent=CONSENT,
                                       out=tmp_path / 'out.mp4') | wrong)
  assert not list(tmp_path.iterdir())


def test_the_bundled_model_is_found_by_its_name_or_told_of(tmp_path, monkeypatch):
  assert models.find('talkers') == ROOT / 'checkpoints' / 'talkers'
  monkeypatch.setattr(models, '__file__', str(tmp_path / 'a' / 'b' / 'c.py'))
  monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
  with pytest.raises(UserError, match=f'copy the folders .* to {tmp_path}'):
    models.find('talkers')
  (tmp_path / 'vidregen_jax' / 'checkpoints' / 'talkers').mkdir(parents=True)
  assert models.find('talkers').is_relative_to(tmp_path)
