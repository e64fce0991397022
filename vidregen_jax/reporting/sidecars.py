"""What lies beside a video: its report, its page, its credentials; and the flags that they need."""

import os
import pathlib
import resource
import time

from vidregen_jax import files, outputs
from vidregen_jax.errors import UserError
from vidregen_jax.provenance import certificates, content_credentials
from vidregen_jax.provenance.certificates import Identity
from vidregen_jax.reporting import page

_JSON, _HTML, _C2PA = '.json', '.html', '.c2pa'


def seal(made: outputs.Outputs, part: pathlib.Path, *, edit, said: dict, film, affines, clock,
         began) -> None:
  """Signs a finished video, and writes what is beside it; adds to what is said.

  Args:
    made: of the video and all that may lie beside it; gives them their names.
    part: the video, before it gets its name.
    edit: editor.Edit.
    said: the report.
    film, affines: as `page.make` takes them.
    clock, began: what took how long, and since when.

  Raises:
    UserError: the disk refuses something, or the video cannot be signed.
  """
  out, html = pathlib.Path(edit.out), None
  beside = lambda suffix, data: made.part(out.with_suffix(suffix)).write_bytes(data)
  with outputs.disk_errors(out):
    said['content_credentials'] = content_credentials.about(out,
                                                            edit.signer) if edit.signer else None
    if edit.page:
      # Before the signature, which is of the page too; so the video's digest comes into it later.
      said |= {'sha256': content_credentials.NO_DIGEST, 'stages': clock.report()}
      with clock('page', said['frames']):
        html = page.make(film, part, said, affines)
    if edit.signer:
      with clock('sign'):
        signed = content_credentials.sign(part, out, edit.source, said, edit.signer, html)
      if signed.sidecar:
        beside(_C2PA, signed.sidecar)
    said['sha256'] = files.digest(part)
    if html:
      beside(_HTML, html.replace(content_credentials.NO_DIGEST.encode(), said['sha256'].encode()))
    said['stages'] = clock.report()
    said['seconds'] = round(time.perf_counter() - began, 2)
    said['peak_memory_mb'] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    beside(_JSON, files.as_json(said))


def paths(out: str | os.PathLike) -> list[pathlib.Path]:
  """The video and all that may come to lie beside it."""
  out = pathlib.Path(out)
  return [out, *map(out.with_suffix, (_JSON, _HTML, _C2PA))]


def check_inputs(out_paths, inputs, folder) -> None:
  """Refuses outputs that are inputs, by whatever name or link: to replace them would lose them.

  Args:
    out_paths: of all that may be written.
    inputs: paths of all that is read.
    folder: one of which all that is in it is read.

  Raises:
    UserError: names the output.
  """
  wanted = {path: key for path in out_paths if (key := _identity(path)) is not None}
  if not wanted:
    return  # what is not there is no input
  read = {_identity(path) for path in inputs}
  if os.path.isdir(folder):
    read |= {_identity(path) for path in pathlib.Path(folder).rglob('*')}
  for path, key in wanted.items():
    if key in read:
      raise UserError(f'the result would replace an input, {path}: give another name')


def _identity(path) -> tuple[int, int] | None:
  """What a file is, whatever its name; None where there is none."""
  try:
    found = os.stat(path)
  except (OSError, ValueError):
    return None
  return found.st_dev, found.st_ino


def add_flags(parser) -> None:
  """Adds the flags of consent, signature, page and preview to an argparse parser."""
  parser.add_argument('--consent', metavar='TEXT',
                      help='who is shown, who agreed, on what basis; written into the report, the '
                           'page and the credentials')
  parser.add_argument('--consent_file', metavar='FILE',
                      help='a statement of it, text or JSON, of which only the sha256 is written')
  parser.add_argument('--certificate', metavar='CHAIN.pem',
                      help="to sign with, the signer's first; default: one that this computer "
                           'makes for itself on first use')
  parser.add_argument('--key', metavar='KEY.pem', help='of the certificate')
  parser.add_argument('--preview', default='', metavar='SHEET.png',
                      help='write no video but a sheet of stills from the first second of every '
                           'stretch, .png or .jpg')
  parser.add_argument('--no_page', action='store_true', help='write no OUT.html')


def signer(certificate: str | None, key: str | None) -> Identity:
  """What --certificate and --key say, found fit to sign.

  Raises:
    UserError: one without the other, or not fit.
  """
  if bool(certificate) != bool(key):
    raise UserError('--certificate and --key belong together: give both, or neither')
  found = certificates.load(certificate, key) if certificate else certificates.local()
  content_credentials.check(found)
  return found
