"""What lies beside a video appears with it, or not at all; and no input is replaced."""

import json
import os
import types

import fake_report
import pytest

from vidregen_jax import errors, outputs
from vidregen_jax.reporting import edit_report, page, sidecars, stage_clock


def sealed(folder, output_files, monkeypatch):
  """Seals a video that is not signed."""
  monkeypatch.setattr(page, 'make', lambda *args: b'a page')
  out = folder / 'out.mp4'
  part = output_files.part(out)
  part.write_bytes(b'a video')
  return sidecars.seal(
    output_files, part, edit=types.SimpleNamespace(signer=None, page=True, out=out),
    report=fake_report.make('in.mp4', out), film=None, affines={}, clock=stage_clock.Clock(),
    began=0.0)


def test_papers_get_their_names_at_the_end(tmp_path, monkeypatch):
  with outputs.Outputs(sidecars.paths(tmp_path / 'out.mp4'), replace=False) as output_files:
    report = sealed(tmp_path, output_files, monkeypatch)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith('out')]
  assert {path.name for path in tmp_path.iterdir()} == {'out.mp4', 'out.json', 'out.html'}
  assert report.content_credentials is None and (tmp_path / 'out.html').read_bytes() == b'a page'
  written = json.loads((tmp_path / 'out.json').read_text())
  assert edit_report.EditReport.from_json(written) == report


@pytest.mark.parametrize('error', [OSError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(error, tmp_path, monkeypatch):
  (tmp_path / 'out.json').write_text('an earlier one')
  with pytest.raises(error), outputs.Outputs(sidecars.paths(tmp_path / 'out.mp4'),
                                             replace=True) as output_files:
    sealed(tmp_path, output_files, monkeypatch)
    raise error
  assert [path.read_text() for path in tmp_path.iterdir()] == ['an earlier one']


def test_a_page_too_large_for_the_disk_is_not_left(tmp_path, monkeypatch):
  write = type(tmp_path).write_bytes

  def full(path, data):
    write(path, data[:1])
    if data == b'a page':
      raise OSError(28, 'No space left on device')
  monkeypatch.setattr(type(tmp_path), 'write_bytes', full)
  with pytest.raises(errors.UserError, match='out.mp4: cannot be written .No space'), (
      outputs.Outputs(sidecars.paths(tmp_path / 'out.mp4'), replace=True)) as output_files:
    sealed(tmp_path, output_files, monkeypatch)
  assert not list(tmp_path.iterdir())


def linked(source, path):
  path.symlink_to(source)


@pytest.mark.parametrize('lies_there', [os.link, linked])
@pytest.mark.parametrize('suffix', ['.mp4', '.json', '.html', '.c2pa'])
def test_an_input_is_not_replaced_whatever_its_name(suffix, lies_there, tmp_path):
  (tmp_path / 'sound.wav').write_bytes(b'a sound')
  lies_there(tmp_path / 'sound.wav', tmp_path / f'out{suffix}')
  with pytest.raises(errors.UserError, match=f'would replace an input, .*out{suffix}'):
    sidecars.check_inputs(sidecars.paths(tmp_path / 'out.mp4'), [tmp_path / 'sound.wav'], '/none')
  sidecars.check_inputs(sidecars.paths(tmp_path / 'other.mp4'), [tmp_path / 'sound.wav'], tmp_path)


def test_a_checkpoints_files_are_inputs(tmp_path):
  (tmp_path / 'codec').mkdir()
  (tmp_path / 'codec' / 'config.json').write_text('{}')
  with pytest.raises(errors.UserError, match='would replace an input'):
    sidecars.check_inputs(sidecars.paths(tmp_path / 'codec' / 'config.mp4'), [], tmp_path)
