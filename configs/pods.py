"""Layouts for machines of many chips: what changes in a size's config on each.

  python -m vidregen_jax.train --config=configs/generator.py:large-v5e-256 --multihost ...

A pod's name says its chip and how many: v5e-16 is a slice of 4 x 4, v5e-256 of 16 x 16, v5p-128 of
4 x 4 x 8 (Google Cloud counts two cores a chip there and calls it v5p-256), v6e-64 of 8 x 8, and
h100-8 is one host of 8 GPUs. The batch is the size's own; where chips are few, it is computed in
parts. Planned figures (docs/pods.md; nothing was run): memory of a chip, upper bound of the MFU,
MFU by the compiler's cycles, upper bound of clips a second:

  generator large   v5e-256 7.5 GB .618 .322 1510
                    v5p-128 27.9 GB .693 .313 1972
                    v6e-64 5.2 GB .553 .214 1574
                    v5e-16: the program of v5e-256 in 16 parts; h100-8: counted, not compiled
  codec 512         v5e-256 13.2 GB .919 .167 3457; the others are not compiled
"""

from configs import deltas

PODS = {
  ('generator', 'large'): {
    'v5e-16': {'fsdp': 16, 'accumulate': 16, 'model.remat': 'kernels'},
    'v5e-256': {'fsdp': 16, 'accumulate': 1, 'model.remat': 'kernels'},
    'v5p-128': {'fsdp': 16, 'accumulate': 1, 'model.remat': 'dots'},
    'v6e-64': {'fsdp': 8, 'accumulate': 8, 'model.remat': 'kernels'},
    'h100-8': {'fsdp': 8, 'accumulate': 16, 'model.remat': 'full', 'attention': 'cudnn'},
  },
  ('codec', '512'): {
    'v5e-16': {'fsdp': 16, 'accumulate': 16, 'model.remat': True},
    'v5e-256': {'fsdp': 16, 'accumulate': 1, 'model.remat': True},
    'v5p-128': {'fsdp': 16, 'accumulate': 1, 'model.remat': True},
    'v6e-64': {'fsdp': 8, 'accumulate': 2, 'model.remat': True},
    'h100-8': {'fsdp': 8, 'accumulate': 16, 'model.remat': True},
  },
}


def lay_out(config, pod):
  """Changes a config for a pod.

  Args:
    config: of a size in PODS.
    pod: its name.

  Raises:
    ValueError: there is none of this name for this size.
  """
  known = PODS.get((config.stage, config.size), {})
  if pod not in known:
    raise ValueError(f'there is no pod {pod!r} for size {config.size!r}: '
                     + (f'choose {", ".join(known)}' if known else 'it is laid out by hand'))
  deltas.apply(config, known[pod])
  return config
