"""What lies beside a video: its report, its page, its credentials; and the flags that they need."""

import os
import pathlib
import resource
import time

from vidregen_jax import files, identity, page, provenance
from vidregen_jax.errors import UserError
from vidregen_jax.identity import Identity

_JSON, _HTML, _C2PA = '.json', '.html', '.c2pa'


class Beside:
  """Files that get their names when a `with` block ends well, and are not left when it does not.

  They are written before the video gets its name, so that a disk too full for them leaves neither.

  Args:
    out: the video's path.
  """

  def __init__(self, out: str | os.PathLike):
    self._out, self._parts = pathlib.Path(out), {}

  def __enter__(self) -> 'Beside':
    return self

  def __exit__(self, kind, error, trace) -> None:
    try:
      if kind is None:
        for path, part in self._parts.items():
          os.replace(part, path)
        for path in paths(self._out)[1:]:
          if path not in self._parts:
            path.unlink(missing_ok=True)  # of an earlier edit, of which it would tell
    finally:
      for part in self._parts.values():
        part.unlink(missing_ok=True)

  def seal(self, part: pathlib.Path, *, edit, said: dict, film, affines, clock, began) -> None:
    """Signs a finished video, and writes what is beside it; adds to what is said.

    Args:
      part: the video, before it gets its name.
      edit: editing.Edit.
      said: the report.
      film, affines: as `page.make` takes them.
      clock, began: what took how long, and since when.

    Raises:
      OSError: the disk refuses something.
      UserError: the video cannot be signed.
    """
    said['content_credentials'] = None
    if edit.signer:
      with clock('sign'):
        signed = provenance.sign(part, self._out, edit.source, said, edit.signer)
      said['content_credentials'] = signed.facts
      if signed.sidecar:
        self._write(_C2PA, signed.sidecar)
    said['sha256'] = files.digest(part)
    said['stages'] = clock.report()
    if edit.page:
      with clock('page', said['frames']):
        self._write(_HTML, page.make(film, part, said, affines))
      said['stages'] = clock.report()
    said['seconds'] = round(time.perf_counter() - began, 2)
    said['peak_memory_mb'] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    self._write(_JSON, files.as_json(said))

  def _write(self, suffix, data):
    path = self._out.with_suffix(suffix)
    self._parts[path] = part = files.beside(path)
    part.write_bytes(data)


def paths(out: str | os.PathLike) -> list[pathlib.Path]:
  """The video and all that may come to lie beside it."""
  out = pathlib.Path(out)
  return [out, *map(out.with_suffix, (_JSON, _HTML, _C2PA))]


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
  found = identity.load(certificate, key) if certificate else identity.local()
  provenance.check(found)
  return found
