"""Lip-sync video editing: a causal codec and a streaming flow-matching generator, in JAX.

  import vidregen_jax as vj

  model = vj.load('checkpoints/talkers')
  report = vj.edit('in.mp4', audio='new.wav', spans=[(1.2, 2.04)], model=model, out='out.mp4',
                   consent='Ann Lee, who is shown, agreed on 2026-05-01')

The five names below are the whole interface; the command line uses nothing else. They are imported
when they are first used, as JAX takes seconds.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from vidregen_jax.api.edits import edit, translate
  from vidregen_jax.api.inspection import inspect
  from vidregen_jax.api.models import load
  from vidregen_jax.api.streaming import stream

__version__ = '0.1.0'
__all__ = ['edit', 'inspect', 'load', 'stream', 'translate']

_ROOMS = {'edit': 'edits', 'inspect': 'inspection', 'load': 'models', 'stream': 'streaming',
          'translate': 'edits'}


def __getattr__(name):
  if name not in _ROOMS:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  value = getattr(importlib.import_module(f'{__name__}.api.{_ROOMS[name]}'), name)
  globals()[name] = value
  return value


class _Package(types.ModuleType):
  """The package, in which `inspect` and `translate` are functions, always.

  There are programs of these names, `python -m vidregen_jax.inspect`, and where somebody imports
  such a module, Python would put it in the function's place.
  """

  def __setattr__(self, name, value):
    if name not in _ROOMS or not isinstance(value, types.ModuleType):
      super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
