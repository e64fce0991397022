"""What lies beside a video appears together, or not at all."""

import types

import fake_report
import pytest

from vidregen_jax import page, papers, report


def sealed(folder, beside, monkeypatch):
  """Seals a video that is not signed."""
  monkeypatch.setattr(page, 'make', lambda *args: b'a page')
  part = folder / 'part.mp4'
  part.write_bytes(b'a video')
  said = fake_report.said('in.mp4', folder / 'out.mp4')
  beside.seal(part, edit=types.SimpleNamespace(signer=None, page=True), said=said, film=None,
              affines={}, clock=report.Clock(), began=0.0)
  part.unlink()
  return said


def test_papers_get_their_names_at_the_end(tmp_path, monkeypatch):
  with papers.Beside(tmp_path / 'out.mp4') as beside:
    said = sealed(tmp_path, beside, monkeypatch)
    assert not {path.name for path in tmp_path.iterdir()} & {'out.json', 'out.html'}
  assert {path.name for path in tmp_path.iterdir()} == {'out.json', 'out.html'}
  assert said['content_credentials'] is None and (tmp_path / 'out.html').read_bytes() == b'a page'


@pytest.mark.parametrize('error', [OSError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(error, tmp_path, monkeypatch):
  (tmp_path / 'out.json').write_text('an earlier one')
  with pytest.raises(error), papers.Beside(tmp_path / 'out.mp4') as beside:
    sealed(tmp_path, beside, monkeypatch)
    raise error
  assert [path.read_text() for path in tmp_path.iterdir()] == ['an earlier one']


def test_a_page_too_large_for_the_disk_is_not_left(tmp_path, monkeypatch):
  def full(path, data):
    with open(path, 'wb') as file:
      file.write(data[:1])
    raise OSError(28, 'No space left on device')
  monkeypatch.setattr(type(tmp_path), 'write_bytes', full)
  with pytest.raises(OSError, match='No space'), papers.Beside(tmp_path / 'out.mp4') as beside:
    beside._write('.html', b'a page')
  assert not list(tmp_path.iterdir())
