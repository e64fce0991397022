"""Peak figures of accelerators, by their makers.

cloud.google.com/tpu/docs/v5e, /v5p and /v6e (read 2026-11-26): "bidirectional inter-chip
interconnect bandwidth per chip" is 400, 1200 and 800 GB/s over 4, 6 and 4 links, so a link carries
50, 100 and 100 GB/s one way. NVIDIA's H100 SXM data sheet: 989 TFLOP/s dense, NVLink 900 GB/s both
ways.
"""

import dataclasses
import math
import re

from vidregen_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
  """The figures of a chip.

  Attributes:
    flops: bfloat16 operations per second.
    memory: bytes; bandwidth: bytes per second to and from it.
    link: bytes per second, one way, of one link to a neighbour, or of all links to a switch.
    closes: a side of a slice is a ring if it is a multiple of this; 0 for chips on a switch.
    kinds: its names in JAX.
    host: chips per host.
    cycles: per second, as XLA's compiler estimates them, scaled so that a large product (bfloat16,
      8192 x 8192 x 4096) is expected to run at `flops`; None if it estimates none. By
      `python -m bench.cycles`, with libtpu 0.0.41 and the flags of distributed/libtpu_flags.
  """

  flops: float
  memory: float
  bandwidth: float
  link: float
  closes: int
  kinds: tuple[str, ...]
  host: int
  cycles: float | None


# Memory is the part that programs can use.
CHIPS = {
  'v5e': Chip(197e12, 15.75 * 2**30, 819e9, 50e9, 16, ('TPU v5 lite', 'TPU v5e'), 4,
              1.55e9),
  'v5p': Chip(459e12, 95 * 2**30, 2765e9, 100e9, 4, ('TPU v5', 'TPU v5p'), 4,
              1.95e9),
  'v6e': Chip(918e12, 31.25 * 2**30, 1638e9, 100e9, 16, ('TPU v6 lite', 'TPU v6e'), 4,
              2.01e9),
  'h100': Chip(989e12, 80e9, 3350e9, 450e9, 0, ('NVIDIA H100 80GB HBM3',), 8, None),
}


def of_kind(kind: str) -> str | None:
  """The name of a device by JAX's `device_kind`; None for one without figures here."""
  return next((name for name, chip in CHIPS.items() if kind in chip.kinds), None)


def read(topology: str) -> tuple[str, tuple[int, ...]]:
  """The chip and the sides of a slice such as 'v5e:16x16'.

  Raises:
    UserError: there is no such chip, or the sides are not numbers.
  """
  name, _, sides = topology.partition(':')
  if name not in CHIPS or not re.fullmatch(r'[1-9]\d*(x[1-9]\d*)*', sides):
    raise UserError(f'topology {topology!r} is unknown: give a chip, {", ".join(CHIPS)}, and its '
                    "slice, such as v5e:16x16 or h100:8, or 'here'")
  return name, tuple(map(int, sides.split('x')))


def ring(chip: Chip, sides: tuple[int, ...]) -> float:
  """Bytes per second that each chip receives when one side of a slice communicates in a ring.

  In a closed side every chip has two links; in an open one, the chips at its ends have one. The
  slowest side counts.
  """
  if not chip.closes:
    return chip.link
  closed = all(side % chip.closes == 0 for side in sides if side > 1)
  return chip.link * (2 if closed else 1)


def count(sides: tuple[int, ...]) -> int:
  """Number of chips in a slice."""
  return math.prod(sides)
