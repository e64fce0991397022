"""Who signs an edit: the user's certificate, or one that this computer once made for itself.

A certificate of its own says no more than "the same computer as before": C2PA wants a chain, so it
is issued by an authority of its own, whose key is thrown away at once.
"""

import dataclasses
import datetime
import os
import pathlib
import uuid

from cryptography import exceptions, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from vidregen_jax import files
from vidregen_jax.errors import UserError

# No time stamping authority is asked, as that would send something out, so a signature holds as
# long as its certificate does.
_YEARS = 20
_CURVES = {'secp256r1': 'es256', 'secp384r1': 'es384', 'secp521r1': 'es512'}
_PEM = serialization.Encoding.PEM


@dataclasses.dataclass(frozen=True)
class Identity:
  """A certificate and its key.

  Attributes:
    chain: PEM, the signer's certificate first.
    key: PEM, PKCS 8.
    algorithm: C2PA's name of the signature.
    local: whether this computer made it.
  """

  chain: bytes
  key: bytes = dataclasses.field(repr=False)
  algorithm: str
  local: bool = False

  @property
  def name(self) -> str:
    """The signer's."""
    subject = x509.load_pem_x509_certificates(self.chain)[0].subject
    names = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return names[0].value if names else subject.rfc4514_string()

  @property
  def root(self) -> bytes:
    """The last certificate of the chain, PEM: what the others are trusted by."""
    return x509.load_pem_x509_certificates(self.chain)[-1].public_bytes(_PEM)


def load(certificate, key) -> Identity:
  """The identity in two PEM files: a chain, the signer's certificate first, and its key.

  Raises:
    UserError: one cannot be read, they do not belong together, or cannot sign today.
  """
  chain, secret = _read('--certificate', certificate), _read('--key', key)
  try:
    leaf = x509.load_pem_x509_certificates(chain)[0]
  except ValueError as error:
    raise UserError(f'--certificate {certificate} holds no certificate in PEM') from error
  try:
    private = serialization.load_pem_private_key(secret, None)
  except TypeError as error:
    raise UserError(f'--key {key} is locked with a password: give an unlocked copy, '
                    '`openssl pkey -in KEY -out COPY`') from error
  except (ValueError, exceptions.UnsupportedAlgorithm) as error:
    raise UserError(f'--key {key} holds no private key in PEM') from error
  if private.public_key() != leaf.public_key():
    raise UserError(f'--key {key} is not the key of the first certificate in {certificate}')
  now = datetime.datetime.now(datetime.UTC)
  if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    raise UserError(f'--certificate {certificate} is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d} '
                    'only: give one that is valid now')
  return Identity(chain, _pem(private), _algorithm(private, key))


def local() -> Identity:
  """This computer's own identity, made on first use.

  Raises:
    UserError: its file cannot be made or read.
  """
  path = folder() / 'signer.pem'
  try:
    if not path.exists():
      _keep(path)
    data = path.read_bytes()
    private = serialization.load_pem_private_key(data, None)
    chain = b''.join(c.public_bytes(_PEM) for c in x509.load_pem_x509_certificates(data))
  except OSError as error:
    raise UserError(f'{path}: cannot be made or read ({error.strerror}); set XDG_CONFIG_HOME to a '
                    'folder of yours, or sign with --certificate and --key') from error
  except ValueError as error:
    raise UserError(f'{path} is damaged: delete it to have another one made') from error
  return Identity(chain, _pem(private), _algorithm(private, path), local=True)


def folder() -> pathlib.Path:
  """Where this user's settings are."""
  home = os.environ.get('XDG_CONFIG_HOME') or pathlib.Path.home() / '.config'
  return pathlib.Path(home) / 'vidregen_jax'


def _keep(path):
  """Makes an identity and its file, unless another process does so first."""
  path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
  part = files.beside(path)
  try:
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as file:
      file.write(_made())
    os.link(part, path)
  except FileExistsError:
    pass
  finally:
    part.unlink(missing_ok=True)


def _made() -> bytes:
  """A new key, its certificate and that of the authority, PEM."""
  authority, private = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
  number = uuid.uuid4().hex[:8]  # no user's or computer's name: whoever gets a video sees it
  names = [f'vidregen_jax {role} {number}' for role in ('local authority', 'local signer')]
  root = _issue(names[0], names[0], authority, authority, is_authority=True)
  leaf = _issue(names[1], names[0], private, authority, is_authority=False)
  return _pem(private) + leaf + root


def _issue(name, issuer, private, authority, is_authority) -> bytes:
  """A certificate as C2PA 2.2 section 14.5 wants it, PEM."""
  named = lambda text: x509.Name([
    x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, 'vidregen_jax, local'),
    x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
  begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
  usage = dict.fromkeys(('content_commitment', 'key_encipherment', 'data_encipherment',
                         'key_agreement', 'encipher_only', 'decipher_only'), False)
  public = private.public_key()
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


def _pem(private) -> bytes:
  return private.private_bytes(_PEM, serialization.PrivateFormat.PKCS8,
                               serialization.NoEncryption())


def _algorithm(private, path) -> str:
  """C2PA's name of the signature that a key makes."""
  if isinstance(private, ed25519.Ed25519PrivateKey):
    return 'ed25519'
  if isinstance(private, rsa.RSAPrivateKey):
    return 'ps256'
  if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
    return _CURVES[private.curve.name]
  raise UserError(f'--key {path} is of a kind that C2PA does not sign with: it takes P-256, P-384, '
                  'P-521, RSA and Ed25519')


def _read(flag, path) -> bytes:
  try:
    return pathlib.Path(path).read_bytes()
  except OSError as error:
    raise UserError(f'{flag} {path} cannot be read ({error.strerror})') from error
