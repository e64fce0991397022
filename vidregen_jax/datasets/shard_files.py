"""Files of records that a run may be stopped at, and their folder, which holds records of one kind.

A file appears whole or not at all; a run that was stopped goes on with the one it was at. What the
records were made from is kept beside them, so that no run mixes others in.
"""

import contextlib
import os
import pathlib

from array_record.python import array_record_module

from vidregen_jax import documents, files, outputs
from vidregen_jax.datasets import input_pipeline
from vidregen_jax.errors import UserError

_INPUTS = 'inputs.json'


def claimed(folder: str | os.PathLike, inputs: dict) -> dict:
  """Marks a folder, which is made, as that of some inputs; gives those that it was marked with.

  Args:
    folder: of the records.
    inputs: JSON values that they depend on.

  Raises:
    UserError: there can be no such folder, or its mark is damaged.
  """
  path = pathlib.Path(folder) / _INPUTS
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'{folder}: no folder can be made there ({error.strerror}): give another '
                    '--out') from error
  # Of hosts that start at once only one can make the link; all compare with that one's inputs.
  with contextlib.suppress(FileExistsError):
    files.write_json(path, inputs, replace=False)
  return documents.table(lambda value, where: value, 64)(documents.read(path), str(path))


def compare(folder, found: dict, inputs: dict, kind: str) -> None:
  """Refuses a folder that was marked with other inputs than these; `kind` is of its records.

  Raises:
    UserError: names the first that differs.
  """
  if found != inputs:
    name = next(k for k in sorted(found | inputs) if found.get(k) != inputs.get(k))
    raise UserError(f'{folder} holds {kind} made with {name} {found.get(name)!r}, not '
                    f'{inputs.get(name)!r}: give another --out, or remove the folder')


@contextlib.contextmanager
def writer(path):
  """Yields a function that writes a record; the file appears complete or not at all.

  Raises:
    UserError: another run makes the same file.
  """
  with outputs.Outputs([path], replace=True) as shard:
    # One record a group: they are read one by one, in any order.
    records = array_record_module.ArrayRecordWriter(str(shard.part(path)), 'group_size:1')
    try:
      yield lambda record: records.write(input_pipeline.encode_record(record))
    finally:
      records.close()


def check(path, records: int) -> None:
  """Checks that a finished file holds so many records.

  Raises:
    UserError: it is damaged or was made from other clips.
  """
  count = array_record_module.ArrayRecordReader(str(path)).num_records()  # 0 if unreadable
  if count != records:
    raise UserError(f'{path} has {count} readable records, not {records}: remove it and run the '
                    'same command again')
