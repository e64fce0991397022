"""The files beside a video, report, page and credentials, and the flags that they need."""

import dataclasses
import os
import pathlib
import resource
import time

from vidregen_jax import files, outputs
from vidregen_jax.errors import UserError
from vidregen_jax.provenance import certificates, content_credentials
from vidregen_jax.provenance.certificates import Identity
from vidregen_jax.reporting import page
from vidregen_jax.reporting.edit_report import EditReport

_JSON, _HTML, _C2PA = '.json', '.html', '.c2pa'


def seal(output_files: outputs.Outputs, part: pathlib.Path, *, edit, report: EditReport, film,
         affines, clock, began) -> EditReport:
  """Signs a finished video, and writes the files beside it.

  Args:
    output_files: the temporary files of the video and those beside it.
    part: the video's temporary file.
    edit: the Edit.
    report: of it, without the fields that are only known now.
    film, affines: as for `page.make`.
    clock: of the stages.
    began: `time.perf_counter()` when the edit began.

  Returns:
    The report as it was written.

  Raises:
    UserError: a file cannot be written, or the video cannot be signed.
  """
  out, html = pathlib.Path(edit.out), None
  beside = lambda suffix, data: output_files.part(out.with_suffix(suffix)).write_bytes(data)
  with outputs.disk_errors(out):
    if edit.signer:
      report = dataclasses.replace(
        report, content_credentials=content_credentials.signature(out, edit.signer))
    if edit.page:
      # Before signing, as the page is signed too; so the video's digest is filled in later.
      report = dataclasses.replace(report, stages=clock.report())
      with clock('page', report.frames):
        html = page.make(film, part, report, affines)
    if edit.signer:
      with clock('sign'):
        sidecar = content_credentials.sign(part, out, edit.source, report.statement(), edit.signer,
                                           html)
      if sidecar:
        beside(_C2PA, sidecar)
    report = dataclasses.replace(
      report, sha256=files.digest(part), stages=clock.report(),
      seconds=round(time.perf_counter() - began, 2),
      peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    if html:
      beside(_HTML, html.replace(content_credentials.NO_DIGEST.encode(), report.sha256.encode()))
    beside(_JSON, files.as_json(report.to_json()))
  return report


def paths(out: str | os.PathLike) -> list[pathlib.Path]:
  """The paths of the video and of all files that may be written beside it."""
  out = pathlib.Path(out)
  return [out, *map(out.with_suffix, (_JSON, _HTML, _C2PA))]


def check_inputs(out_paths, inputs, folder) -> None:
  """Checks that no output would replace an input, under whatever name or link.

  Args:
    out_paths: of all files that may be written.
    inputs: paths of all files that are read.
    folder: one of which all files are read.

  Raises:
    UserError: one would; it is named.
  """
  outputs_by_identity = {path: key for path in out_paths if (key := _identity(path)) is not None}
  if not outputs_by_identity:
    return  # what does not exist is no input
  inputs_by_identity = {_identity(path) for path in inputs}
  if os.path.isdir(folder):
    inputs_by_identity |= {_identity(path) for path in pathlib.Path(folder).rglob('*')}
  for path, key in outputs_by_identity.items():
    if key in inputs_by_identity:
      raise UserError(f'the result would replace an input, {path}: give another name')


def _identity(path) -> tuple[int, int] | None:
  """A file's device and inode, whatever its name; None if it does not exist."""
  try:
    status = os.stat(path)
  except (OSError, ValueError):
    return None
  return status.st_dev, status.st_ino


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
  """The identity that --certificate and --key name, checked to be able to sign.

  Raises:
    UserError: one flag is given without the other, or the certificate cannot sign.
  """
  if bool(certificate) != bool(key):
    raise UserError('--certificate and --key belong together: give both, or neither')
  identity = certificates.load(certificate, key) if certificate else certificates.local()
  content_credentials.check(identity)
  return identity
