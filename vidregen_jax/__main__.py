"""All programs under one name.

  vidregen edit IN.mp4 --words "two soon" --transcript IN.srt --audio NEW.wav ...
  vidregen inspect OUT.mp4

  edit           regenerate the lower face in spans of a video (python -m vidregen_jax.regenerate)
  translate      regenerate a whole performance for a dub, or many
  app            edit on a page in the browser
  inspect        show and verify what an edit says of itself
  train          train a codec, a generator or a student
  adapt          tune a checkpoint to one person's own footage
  encode-latents encode a dataset for a generator's training
  evaluate       measure a model on clips whose truth is known
  export         pack a model to distribute it
  plan           what a training would take of a pod

`vidregen WHAT --help` says what each takes; `python -m vidregen_jax.WHAT` is the same program.
"""

import difflib
import runpy
import sys

from vidregen_jax import __version__, terminal

_PROGRAMS = {'edit': 'regenerate', 'translate': 'translate', 'app': 'app', 'inspect': 'inspect',
             'train': 'train', 'adapt': 'adapt', 'encode-latents': 'encode_latents',
             'evaluate': 'evaluate', 'export': 'export', 'plan': 'plan'}


def main() -> int:
  """Runs the program that the first argument names, and returns its exit status."""
  terminal.begin()
  name = sys.argv[1] if len(sys.argv) > 1 else '--help'
  if name in ('--help', '-h'):
    terminal.say_text(__doc__.strip())
    return 0
  if name == '--version':
    terminal.say(__version__)
    return 0
  if name not in _PROGRAMS:
    near = difflib.get_close_matches(name, _PROGRAMS, 1)
    terminal.error(f'there is no program {name!r}' + (f'; is {near[0]} meant?' if near else '')
                   + ' `vidregen --help` lists them')
    return 2
  sys.argv[:2] = [f'vidregen {name}']
  try:
    runpy.run_module(f'vidregen_jax.{_PROGRAMS[name]}', run_name='__main__', alter_sys=False)
  except ModuleNotFoundError as error:
    if error.name.split('.')[0] == 'vidregen_jax':
      raise
    terminal.error(f'{name} needs {error.name}, which is not installed: pip install '
                   "'vidregen_jax[train]'")
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main())
