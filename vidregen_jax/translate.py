"""Regenerate a whole performance so that the mouth follows a dub.

  python -m vidregen_jax.translate IN.mp4 --audio DUB.wav --fit retime --checkpoint DIR \
    --consent "Ann Lee, who is shown, agreed on 2026-05-01" --out OUT.mp4

  python -m vidregen_jax.translate --jobs JOBS.jsonl --out FOLDER --processes 2 --checkpoint DIR

The dub replaces the whole sound. If it is longer or shorter than the video, --fit says how the
picture is fitted to it; the dub itself is never cut.

Each line of JOBS.jsonl is an object with the `source` and the `audio` of a video, and more if need
be: its `consent`, `out`, `fit`, `face` and `seed`. FOLDER/jobs.jsonl says how each job ended. A run
that was stopped goes on where it was, and a job's mistake ends that job alone. Exit status 0: all
are done; 1: some failed, and are named. With --beam_pipeline_options=OPTION,OPTION they are carried
out by Apache Beam (`pip install 'vidregen_jax[beam]'`), on many machines if its runner has them;
all must see the same paths.
"""

import sys

from vidregen_jax import cli, commands
from vidregen_jax.api import edits
from vidregen_jax.editing import flags
from vidregen_jax.errors import UserError
from vidregen_jax.media.timeline import retiming


def _read(argv):
  parser = flags.parser_of('translate', __doc__, many=True)
  parser.add_argument('--audio', default='', metavar='DUB.wav',
                      help='the whole new soundtrack: any audio or video file')
  parser.add_argument('--fit', choices=retiming.FITS, default='trim',
                      help='trim: leave out what lies past a shorter dub, and refuse a longer one '
                           '(default); hold: the last frame stays; pingpong: the video runs back '
                           'and forth; retime: the whole video is slower or faster')
  many = parser.add_argument_group('many videos')
  many.add_argument('--jobs', default='', metavar='JOBS.jsonl', help='a list of translations')
  many.add_argument('--processes', type=cli.whole(1), default=1, metavar='N',
                    help='that work at once, each with a model of its own (default 1)')
  many.add_argument('--beam_pipeline_options', type=cli.several(str), metavar='OPTION,...',
                    help='carry them out by Apache Beam, such as --beam_pipeline_options='
                         'runner=DirectRunner,direct_num_workers=2, instead of by --processes')
  many.add_argument('--retry', action='store_true', help='try those again that failed')
  options = parser.parse_args(argv)
  if options.jobs:
    return commands.translate_all, _of_all(options)
  for name in ('processes', 'beam_pipeline_options', 'retry'):
    if getattr(options, name) != parser.get_default(name):
      parser.error(f'--{name} is for a list of videos, --jobs, and there is none')
  for name in ('source', 'audio'):
    if not getattr(options, name):
      parser.error(f'the {"video" if name == "source" else "dub, --audio"}, is missing, or a list, '
                   '--jobs')
  return edits.translate, flags.arguments(options) | dict(audio=options.audio, fit=options.fit)


def _of_all(options):
  """The arguments of `commands.translate_all`.

  Raises:
    UserError: a flag that is of one video.
  """
  if wrong := [name for name in ('source', 'audio', 'preview', 'references')
               if getattr(options, name)]:
    raise UserError(f'--jobs says which videos are translated: leave {wrong[0]} out')
  shared = flags.arguments(options) | {'fit': options.fit}
  for name in ('source', 'preview', 'references', 'out', 'model', 'overwrite'):
    del shared[name]
  beam = options.beam_pipeline_options
  return dict(jobs=options.jobs, out=options.out, model=options.checkpoint,
              processes=options.processes, retry=options.retry,
              beam=None if beam is None else [f'--{option}' for option in beam], **shared)


def main(argv=None) -> int:
  return commands.run(lambda: _read(argv))


if __name__ == '__main__':
  sys.exit(main())
