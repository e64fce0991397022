"""Prepare footage for training: from a consent manifest to datasets of clips, and a report.

  python -m data.talking_faces.build --manifest MANIFEST.csv --data_dir out --sizes 64,256

writes, in out/talking_faces/:

  64/, 256/       the datasets, as --config.dataset takes them
  report.html     counts, examples, what was left out and why, with pictures; one file
  summary.json    the same counts
  left_out.jsonl  every source and stretch that was left out, with its reason and picture
  seconds.json    processor seconds by step, and hours of footage a core prepares in an hour
  work/           one folder a source: what was found in it

What it needs of a manifest, `vidregen_jax/datasets/consent_manifest.py` tells. The same command
goes on after it was stopped, and takes up what the manifest has gained. People who are marked as
withdrawn are left out, and what was made of them before is removed.

With --beam_pipeline_options=OPTION,OPTION the sources are prepared by Apache Beam (`pip install -e
'.[train,beam]'`), on many machines if its runner has them; all must see the same paths.
"""

import os
import pathlib
import shutil
import sys

from data.talking_faces import (
  filters,
  plans,
  report,
  scorer_curve,
  source_result,
  talking_faces,
  workers,
)
from vidregen_jax import cli, terminal
from vidregen_jax.errors import UserError

_DEFAULT = filters.Bounds()
INTERRUPTED = 'finished sources stay, and the same command goes on'


def add_flags(parser: cli.Parser) -> None:
  """The flags that every dataset of footage has."""
  parser.add_argument('--data_dir', required=True, metavar='DIR', help='where the datasets go')
  parser.add_argument('--sizes', type=cli.several(int), default=[256], metavar='N,N,...',
                      help='sides of the crops in pixels, the smallest first (default: 256)')
  parser.add_argument('--workers', type=cli.whole(1), default=os.cpu_count(), metavar='N',
                      help='processes (default: one for each core)')
  parser.add_argument('--min_seconds', type=cli.number(0.1), default=_DEFAULT.min_seconds,
                      metavar='S', help='the shortest clip (default %(default)g)')
  parser.add_argument('--max_seconds', type=cli.number(0.1), default=_DEFAULT.max_seconds,
                      metavar='S', help='the longest clip (default %(default)g)')
  parser.add_argument('--least_side', type=cli.number(1), default=_DEFAULT.least_side,
                      metavar='PIXELS', help='the least side of the crop in the source, some three '
                                             'times the distance of the eyes (default %(default)g)')
  parser.add_argument('--most_yaw', type=cli.number(0), default=_DEFAULT.most_yaw,
                      metavar='DEGREES', help='how far a head may be turned (default %(default)g)')
  parser.add_argument('--least_sharpness', type=cli.number(0), default=_DEFAULT.least_sharpness,
                      metavar='X', help='how sharp a face must be (default %(default)g)')
  parser.add_argument('--leave_unsure', action='store_true',
                      help='leave out clips whose offset of sound and lips cannot be told, '
                           'instead of keeping them as they are, marked offset_sure=0')
  parser.add_argument('--beam_pipeline_options', type=cli.several(str), metavar='OPTION,...',
                      help='prepare sources by Apache Beam, such as --beam_pipeline_options='
                           'runner=DirectRunner,direct_num_workers=2')


def build(given, manifest, builder=talking_faces.TalkingFaces, note=()) -> pathlib.Path:
  """Prepares the footage of a manifest.

  Args:
    given: what `add_flags` reads.
    manifest: path of the consent manifest.
    builder: class of the dataset.
    note: lines for the card of what is trained on it.

  Returns:
    The folder of the datasets.

  Raises:
    UserError: a mistake in the flags or the manifest, nothing usable, no scorer, or a full disk.
  """
  scorer_curve.digest()  # before anything is written
  bounds = filters.Bounds(
    min_seconds=given.min_seconds, max_seconds=given.max_seconds, least_side=given.least_side,
    most_yaw=given.most_yaw, least_sharpness=given.least_sharpness,
    keep_unsure=not given.leave_unsure)
  root = pathlib.Path(os.path.abspath(given.data_dir)) / builder.name
  plan = plans.Plan(pathlib.Path(os.path.abspath(manifest)), root, tuple(given.sizes), bounds)
  jobs = plan.jobs()
  try:
    plan.work.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'--data_dir {given.data_dir}: no folder can be made there ({error.strerror})'
                    ) from error
  withdrawn = plan.withdrawn()
  for job in withdrawn:
    shutil.rmtree(job.folder, ignore_errors=True)
  if given.beam_pipeline_options is not None:
    _by_beam(plan, given.beam_pipeline_options)
  accounts = _accounts(jobs, given.workers)
  report.write(plan, jobs, accounts, len(withdrawn))
  found = talking_faces.index(builder.name, plan.manifest, jobs, accounts, note)
  for size in plan.sizes:
    talking_faces.write(builder, size, given.data_dir, found)
  return root


def _by_beam(plan, options):
  try:
    from data.talking_faces import beam_build
  except ImportError as error:
    raise UserError("--beam_pipeline_options needs Apache Beam: pip install -e '.[train,beam]'"
                    ) from error
  beam_build.prepare(plan, [f'--{option}' for option in options])


def _accounts(jobs, count) -> list[dict]:
  """The accounts of all jobs, in their order; those that are missing are made."""
  accounts = {}
  with terminal.Progress(len(jobs), 'source', 'preparing') as bar:
    missing = []
    for job in jobs:
      found = source_result.account(job)
      if found is None:
        missing.append(job)
      else:
        accounts[job.origin.source] = found
        bar.update()
    for found in workers.prepare(missing, min(count, max(len(missing), 1))):
      accounts[found['source']] = found
      bar.update()
  return [accounts[job.origin.source] for job in jobs]


def _run(given):
  root = build(given, given.manifest)
  terminal.say(f'{root}: {", ".join(map(str, given.sizes))} px; see {root / report.PAGE}')


def main(argv=None) -> int:
  parser = cli.Parser(prog='python -m data.talking_faces.build', description=__doc__)
  parser.add_argument('--manifest', required=True, metavar='FILE', help='a .csv or .jsonl file')
  add_flags(parser)
  return cli.command(parser, _run, INTERRUPTED, argv)


if __name__ == '__main__':
  sys.exit(main())
