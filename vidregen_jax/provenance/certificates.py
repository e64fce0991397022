"""The identity that signs an edit: the user's certificate, or one that this computer generated.

A generated certificate proves no more than "the same computer as before". C2PA requires a chain, so
it is issued by a generated authority, whose key is discarded at once.
"""

import contextlib
import dataclasses
import datetime
import os
import pathlib
import uuid

from cryptography import exceptions, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from vidregen_jax import files, outputs
from vidregen_jax.errors import UserError
from vidregen_jax.provenance import private_files

# No time stamping authority is used, as that would need the network; so a signature is valid only
# as long as its certificate is.
_YEARS = 20
_CURVES = {'secp256r1': 'es256', 'secp384r1': 'es384', 'secp521r1': 'es512'}
_PEM = serialization.Encoding.PEM
_MOST = 1_000_000  # bytes of a PEM file


@dataclasses.dataclass(frozen=True)
class Identity:
  """A certificate and its key.

  Attributes:
    chain: PEM, the signer's certificate first.
    key: PEM, PKCS 8.
    algorithm: C2PA's name of the signature.
    local: whether this computer generated it.
  """

  chain: bytes
  key: bytes = dataclasses.field(repr=False)
  algorithm: str
  local: bool = False

  @property
  def name(self) -> str:
    """The signer's name."""
    subject = x509.load_pem_x509_certificates(self.chain)[0].subject
    names = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return names[0].value if names else subject.rfc4514_string()

  @property
  def root(self) -> bytes:
    """The last certificate of the chain, PEM: the authority that the others rely on."""
    return x509.load_pem_x509_certificates(self.chain)[-1].public_bytes(_PEM)


def load(certificate, key) -> Identity:
  """The identity in two PEM files: a chain, the signer's certificate first, and its key.

  Raises:
    UserError: a file cannot be read, other users can read the key, the two do not match, or the
      certificate is not valid now.
  """
  chain = files.read_bytes(certificate, '--certificate', _MOST)
  try:
    leaf = x509.load_pem_x509_certificates(chain)[0]
  except ValueError as error:
    raise UserError(f'--certificate {certificate} holds no certificate in PEM') from error
  secret = private_files.read(key, '--key', _MOST)
  try:
    opened = serialization.load_pem_private_key(secret, None)
  except TypeError as error:
    raise UserError(f'--key {key} is locked with a password: give an unlocked copy, '
                    '`openssl pkey -in KEY -out COPY`') from error
  except (ValueError, exceptions.UnsupportedAlgorithm) as error:
    raise UserError(f'--key {key} holds no private key in PEM') from error
  if opened.public_key() != leaf.public_key():
    raise UserError(f'--key {key} is not the key of the first certificate in {certificate}')
  now = datetime.datetime.now(datetime.UTC)
  if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    raise UserError(f'--certificate {certificate} is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d} '
                    'only: give one that is valid now')
  return Identity(chain, _pem(opened), _algorithm(opened, f'--key {key}'))


def local() -> Identity:
  """This computer's own identity, generated on first use.

  Raises:
    UserError: its file cannot be written or read, or other users can read it.
  """
  path = _own()
  try:
    if not os.path.lexists(path):
      _keep(path)
    private_files.check_folder(path.parent)
    data = private_files.read(path, most=_MOST)
  except OSError as error:
    raise UserError(f'{path}: cannot be made or read ({error.strerror}); set XDG_CONFIG_HOME to a '
                    'folder of yours, or sign with --certificate and --key') from error
  damaged = UserError(f'{path} is damaged: delete it to have another one made')
  try:
    opened = serialization.load_pem_private_key(data, None)
    chain = x509.load_pem_x509_certificates(data)
  except (TypeError, ValueError, exceptions.UnsupportedAlgorithm) as error:
    raise damaged from error
  if opened.public_key() != chain[0].public_key():
    raise damaged
  return Identity(b''.join(c.public_bytes(_PEM) for c in chain), _pem(opened),
                  _algorithm(opened, path), local=True)


def root() -> bytes | None:
  """This computer's own authority, PEM; None if it has never signed.

  Raises:
    UserError: as `local`.
  """
  return local().root if os.path.lexists(_own()) else None


def _own() -> pathlib.Path:
  return folder() / 'signer.pem'


def folder() -> pathlib.Path:
  """The folder of this user's settings."""
  home = os.environ.get('XDG_CONFIG_HOME') or pathlib.Path.home() / '.config'
  return pathlib.Path(home) / 'vidregen_jax'


def _keep(path):
  """Generates an identity and writes its file, unless another process does so first."""
  for each in reversed([path.parent, *path.parent.parents]):
    if not each.exists():
      each.mkdir(mode=0o700, exist_ok=True)  # regardless of the umask
  private_files.check_folder(path.parent)
  with contextlib.suppress(FileExistsError), outputs.whole_file(path, replace=False) as part, (
      open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb')) as file:
    file.write(_new_identity())


def _new_identity() -> bytes:
  """A new key, its certificate and its authority's certificate, PEM."""
  authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
  number = uuid.uuid4().hex[:8]  # no user or computer name, as everybody who gets a video sees it
  names = [f'vidregen_jax {role} {number}' for role in ('local authority', 'local signer')]
  root = _issue(names[0], names[0], authority, authority, is_authority=True)
  leaf = _issue(names[1], names[0], own, authority, is_authority=False)
  return _pem(own) + leaf + root


def _issue(name, issuer, key, authority, is_authority) -> bytes:
  """A certificate as required by C2PA 2.2, section 14.5, PEM."""
  named = lambda text: x509.Name([
    x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, 'vidregen_jax, local'),
    x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
  begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
  usage = dict.fromkeys(('content_commitment', 'key_encipherment', 'data_encipherment',
                         'key_agreement', 'encipher_only', 'decipher_only'), False)
  public = key.public_key()
  builder = (
    x509.CertificateBuilder(named(issuer), named(name), public, x509.random_serial_number(), begin,
                            begin + datetime.timedelta(days=365 * _YEARS))
    .add_extension(x509.BasicConstraints(is_authority, None), True)
    .add_extension(x509.KeyUsage(digital_signature=not is_authority, key_cert_sign=is_authority,
                                 crl_sign=is_authority, **usage), True)
    .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
    .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
                   False))
  if not is_authority:
    use = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
    builder = builder.add_extension(use, False)
  return builder.sign(authority, hashes.SHA256()).public_bytes(_PEM)


def _pem(key) -> bytes:
  return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _algorithm(key, where) -> str:
  """C2PA's name for a key's signature algorithm."""
  if isinstance(key, ed25519.Ed25519PrivateKey):
    return 'ed25519'
  if isinstance(key, rsa.RSAPrivateKey):
    return 'ps256'
  if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
    return _CURVES[key.curve.name]
  raise UserError(f'{where} is of a kind that C2PA does not sign with: it takes P-256, P-384, '
                  'P-521, RSA and Ed25519')
