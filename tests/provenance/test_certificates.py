"""Who signs: a certificate that is fit, or one that is made once and kept to oneself."""

import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from vidregen_jax.errors import UserError
from vidregen_jax.provenance import certificates, content_credentials
from vidregen_jax.reporting import sidecars


def write_key(path, data, mode=0o600):
  path.write_bytes(data)
  path.chmod(mode)


def written(folder, private=None, key=None, years=None):
  """The files of a chain and of its key."""
  private = private or ec.generate_private_key(ec.SECP256R1())
  authority = ec.generate_private_key(ec.SECP256R1())
  with pytest.MonkeyPatch.context() as patch:
    if years is not None:
      patch.setattr(certificates, '_YEARS', years)
    leaf = certificates._issue('Ann Lee', 'authority', private, authority, is_authority=False)
  root = certificates._issue('authority', 'authority', authority, authority, is_authority=True)
  (folder / 'chain.pem').write_bytes(leaf + root)
  write_key(folder / 'key.pem', key or certificates._pem(private))
  return str(folder / 'chain.pem'), str(folder / 'key.pem')


def test_this_computers_own_is_made_once_and_read_by_its_user_alone(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path / 'new' / 'settings'))
  first = certificates.local()
  assert first == certificates.local() and first.local
  path, = certificates.folder().iterdir()
  assert stat.S_IMODE(path.stat().st_mode) == 0o600
  assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
  content_credentials.check(first)
  assert first.key.decode() not in repr(first)


@pytest.mark.parametrize('make', [
  lambda: ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate,
  lambda: rsa.generate_private_key(65537, 2048)])
def test_ones_own_certificate_signs(make, tmp_path):
  signer = sidecars.signer(*written(tmp_path, make()))
  assert signer.name == 'Ann Lee' and not signer.local


def locked():
  private = ec.generate_private_key(ec.SECP256R1())
  return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                               serialization.BestAvailableEncryption(b'secret'))


@pytest.mark.parametrize(('change', 'cause'), [
  (dict(key=b'nothing'), 'holds no private key'),
  (dict(key=locked()), 'locked with a password'),
  (dict(key=certificates._pem(ec.generate_private_key(ec.SECP256R1()))), 'is not the key of'),
  (dict(private=dsa.generate_private_key(2048)), 'does not sign with'),
  (dict(private=ec.generate_private_key(ec.SECP256K1())), 'does not sign with'),
  (dict(years=0), 'only: give one that is valid now'),
])
def test_what_cannot_sign_is_refused(change, cause, tmp_path):
  with pytest.raises(UserError, match=cause):
    sidecars.signer(*written(tmp_path, **change))


def test_files_that_are_none_are_refused(tmp_path):
  chain, key = written(tmp_path)
  with pytest.raises(UserError, match='belong together'):
    sidecars.signer(chain, None)
  with pytest.raises(UserError, match='absent.pem: no such file'):
    sidecars.signer(str(tmp_path / 'absent.pem'), key)
  with pytest.raises(UserError, match='holds no certificate'):
    sidecars.signer(key, key)


def test_what_c2pa_does_not_take_is_told_before_the_work(tmp_path):
  private = ec.generate_private_key(ec.SECP256R1())
  alone = certificates._issue('a', 'a', private, private, is_authority=True)
  (tmp_path / 'chain.pem').write_bytes(alone)
  write_key(tmp_path / 'key.pem', certificates._pem(private))
  with pytest.raises(UserError, match='C2PA does not sign with this certificate'):
    sidecars.signer(str(tmp_path / 'chain.pem'), str(tmp_path / 'key.pem'))


def test_a_folder_that_is_none_is_told(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path / 'file'))
  with pytest.raises(UserError, match='set XDG_CONFIG_HOME'):
    certificates.local()
