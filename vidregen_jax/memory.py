"""Whether there is memory to work with at all, asked before anything large is loaded."""

import resource

from vidregen_jax.errors import UserError

_LEAST = 3 * 10**9  # bytes of address space: XLA's threads and a small video's edit take so much


def check() -> None:
  """Refuses a limit of address space in which the compiler's threads would end the process.

  What they cannot get they tell nobody: C++ aborts, and Python never hears of it.

  Raises:
    UserError: the limit is too low.
  """
  limit, _ = resource.getrlimit(resource.RLIMIT_AS)
  if limit != resource.RLIM_INFINITY and limit < _LEAST:
    raise UserError(f'a limit of {limit / 1e9:.1f} GB of address space is set, and an edit needs '
                    f'{_LEAST / 1e9:g} GB: raise it with ulimit -v')
