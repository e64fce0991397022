"""A key that others can read or replace is refused, as ssh does."""

import os

import pytest

from vidregen_jax.errors import UserError
from vidregen_jax.provenance import certificates, private_files


@pytest.fixture
def key(tmp_path):
  path = tmp_path / 'mine' / 'key.pem'
  path.parent.mkdir(mode=0o700)
  path.write_bytes(b'secret')
  path.chmod(0o600)
  return path


def test_ones_own_file_is_read(key):
  assert private_files.read(key, '--key', 10) == b'secret'
  key.chmod(0o400)
  assert private_files.read(key, '--key') == b'secret'
  with pytest.raises(UserError, match='larger than 3 bytes'):
    private_files.read(key, '--key', 3)


def _linked(path):
  real = path.with_name('real.pem')
  path.rename(real)
  path.symlink_to(real)


def _pipe(path):
  path.unlink()
  os.mkfifo(path, 0o600)


@pytest.mark.parametrize(('change', 'cause'), [
  *((lambda path, mode=mode: path.chmod(mode), 'others can read it')
    for mode in (0o640, 0o604, 0o660, 0o601, 0o644)),
  (_linked, 'is a link to'),
  (_pipe, 'is a pipe'),
  (lambda path: path.parent.chmod(0o777), 'everybody can write to'),
  (lambda path: path.parent.parent.chmod(0o777), 'everybody can write to'),
  (lambda path: path.unlink(), 'no such file'),
])
def test_what_others_can_read_or_replace_is_refused(change, cause, key):
  change(key)
  with pytest.raises(UserError, match=f'^--key .*key.pem: {cause}') as caught:
    private_files.read(key, '--key')
  assert '\n' not in str(caught.value)


def test_in_a_sticky_folder_nobody_replaces_it(key):
  key.parent.chmod(0o1777)
  assert private_files.read(key, '--key') == b'secret'


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's files: only root gives files away")
def test_another_users_is_refused(key):
  os.chown(key, 12345, 12345)
  with pytest.raises(UserError, match='belongs to another user'):
    private_files.read(key, '--key')


@pytest.mark.parametrize(('change', 'cause'), [
  (lambda path: path.chmod(0o777), 'others may write there'),
  (lambda path: path.chmod(0o720), 'others may write there'),
  (lambda path: path.parent.chmod(0o777), 'everybody can write to'),
  (lambda path: (path / 'signer.pem').chmod(0o644), 'others can read it'),
  (lambda path: _linked(path / 'signer.pem'), 'is a link to'),
  (lambda path: _linked(path), 'is no folder'),
  (lambda path: (path / 'signer.pem').write_bytes(b'nothing'), 'is damaged'),
])
def test_settings_that_others_can_change_are_not_used(change, cause, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path / 'settings'))
  before = os.umask(0)
  try:
    certificates.local()
  finally:
    os.umask(before)
  assert certificates.root() == certificates.local().root
  change(certificates.folder())
  for use in (certificates.local, certificates.root):
    with pytest.raises(UserError, match=cause):
      use()
