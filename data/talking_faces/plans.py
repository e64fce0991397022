"""What a build is to do: the sources of a manifest that nobody has withdrawn, one job each."""

import dataclasses
import pathlib

from data.talking_faces import cutting, filters, record, source_result
from vidregen_jax.datasets import consent_manifest
from vidregen_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Plan:
  """A build.

  Attributes:
    manifest: path of the consent manifest.
    root: folder of the datasets of all sizes, and of the work.
    sizes: of the crops, ascending.
    bounds: of what is kept.
  """

  manifest: pathlib.Path
  root: pathlib.Path
  sizes: tuple[int, ...]
  bounds: filters.Bounds

  def __post_init__(self):
    for size in self.sizes:
      if size not in record.SIZES:
        raise UserError(f'--sizes: no crops of {size} pixels; choose from '
                        f'{", ".join(map(str, record.SIZES))}')
    if not self.sizes or list(self.sizes) != sorted(set(self.sizes)):
      raise UserError('--sizes: give each size once, the smallest first')

  @property
  def work(self) -> pathlib.Path:
    """Folder of the sources' results."""
    return self.root / 'work'

  def rows(self) -> list[consent_manifest.Row]:
    """The manifest."""
    return consent_manifest.read(self.manifest)

  def jobs(self) -> list[source_result.Job]:
    """A job for every source whose person has not withdrawn, in the manifest's order.

    Raises:
      UserError: the manifest cannot be used.
    """
    return [job for row, job in self._jobs() if not row.withdrawn]

  def withdrawn(self) -> list[source_result.Job]:
    """Jobs of the other sources, whose results are to be removed."""
    return [job for row, job in self._jobs() if row.withdrawn]

  def _jobs(self):
    rows = self.rows()  # before the salt: a manifest that cannot be read gets none beside it
    salt = consent_manifest.read_salt(self.manifest, make=True)
    return [(row, self._job(row, salt)) for row in rows]

  def _job(self, row, salt):
    hashed = lambda kind, name: consent_manifest.hashed(salt, kind, name)
    return source_result.Job(
      path=row.path,
      origin=cutting.Origin(hashed('source', row.source), hashed('person', row.person), row.basis,
                            row.language, row.sentence, row.words),
      split=row.split, work=self.work, sizes=self.sizes, bounds=self.bounds)
