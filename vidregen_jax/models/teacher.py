"""What the codec's latents are aligned to: features of a frozen, pretrained image network.

DINOv2's patch tokens, or VGG16's deepest features if there is no DINOv2. Either is resampled to the
codec's grid of cells.
"""

import dataclasses
import os
import pathlib

import jax
import jax.numpy as jnp

from vidregen_jax.models import dinov2, perceptual, pretrained


@dataclasses.dataclass(frozen=True)
class Teacher:
  """A frozen network, and the grid that its features are resampled to.

  Attributes:
    cells: latent cells along each side.
    network: the shape of a DINOv2, or None for VGG16.
  """
  cells: int
  network: dinov2.Dinov2Config | None = None

  @property
  def width(self) -> int:
    """Channels of its features."""
    return perceptual.WIDTHS[-1] if self.network is None else self.network.width


def load(source, cells: int):
  """Reads a teacher.

  Args:
    source: folder or hub id of a DINOv2 (it has a config.json) or of VGG16 (it has none).
    cells: latent cells a side of the codec that is taught.

  Returns:
    (Teacher, params).

  Raises:
    UserError: neither is there, or something is missing in it.
  """
  folder = pretrained.locate(source, 'teacher (DINOv2 or VGG16)', 'facebook/dinov2-base')
  if os.path.exists(folder / 'config.json'):
    config, params = dinov2.load(folder)
    return Teacher(cells, config), params
  return Teacher(cells), perceptual.load(folder)


def shapes(source, cells: int):
  """What `load` returns, with shapes and types instead of arrays.

  Raises:
    UserError: the shape of the teacher is not known.
  """
  folder = pathlib.Path(source)
  if os.path.isdir(folder) and not os.path.exists(folder / 'config.json'):
    return Teacher(cells), perceptual.shapes(source)
  config, params = dinov2.shapes(source)
  return Teacher(cells, config), params


def features(teacher: Teacher, params, frames):
  """Features of single frames.

  Args:
    teacher, params: of `load`.
    frames: [N, S, S, 3] in [-1, 1].

  Returns:
    [N, cells, cells, width]. DINOv2 sees the frame at the size at which a patch is a cell.
  """
  cells = teacher.cells
  if teacher.network is None:
    found = perceptual.features(params, frames)[-1]
    return jax.image.resize(found, (len(found), cells, cells, found.shape[-1]), 'linear')
  side = cells * teacher.network.patch
  seen = jax.image.resize(frames, (len(frames), side, side, 3), 'cubic')
  return dinov2.patch_tokens(teacher.network, params, dinov2.normalize(jnp.clip(seen, -1, 1)))
