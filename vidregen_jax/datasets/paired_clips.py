"""Clips of latents beside the frames that they were encoded from."""

import numpy as np

from vidregen_jax.datasets import input_pipeline, windows
from vidregen_jax.errors import UserError
from vidregen_jax.faces import crop_mask
from vidregen_jax.models import codec


class PairedClips:
  """Records of a dataset of latents, each with its clip's crops; read when asked for.

  A record has two more arrays: frames uint8 [4T, S, S, 3] and frame_boxes float32 [4T, 4], the
  mouth's box of each frame; both are mirrored where the latents are.
  """

  def __init__(self, latents, crops, where):
    """Args:
      latents: clips of `input_pipeline.latent_clips`.
      crops: those of `input_pipeline.talker_clips` that they were encoded from.
      where: what the two are called in messages.

    Raises:
      UserError: the one is not made from the other.
    """
    self._latents, self._crops, self._where = latents, crops, where
    self._each = len(latents) // max(len(crops), 1)  # a clip and, if it was asked for, its mirror
    if not self._each or self._each * len(crops) != len(latents):
      raise self._strange(f'there are {len(crops)} clips of crops and {len(latents)} of latents')

  def __len__(self):
    return len(self._latents)

  def __getitem__(self, index):
    record, clip = self._latents[index], self._crops[index // self._each]
    name = clip['clip_id'].decode(errors='replace')
    if record['clip_id'] != name:
      raise self._strange(f'record {index} is of the clip {record["clip_id"]}, not of {name}')
    return paired(record, clip)

  def _strange(self, fault):
    return UserError(f'{self._where}: {fault}: encode the latents again from these crops')


def paired(record, clip) -> dict:
  """A record of latents with the frames and boxes of its clip, as `PairedClips` describes it."""
  length = codec.TIME_FACTOR * len(record['target'])
  frames, boxes = clip['frames'][:length], clip['mouth_box'][:length]
  if record['flipped']:
    frames, boxes = crop_mask.mirror(frames, boxes)
  return record | {'frames': frames, 'frame_boxes': boxes.astype(np.float32)}


def opened(latents, crops, split, size, latents_help, crops_help) -> PairedClips:
  """The pairs of a split.

  Args:
    latents, crops: folders of the two datasets.
    split: 'train', 'validation' or 'test'.
    size: side S of the crops, pixels.
    latents_help, crops_help: how to get them, told where they are absent.
  """
  return PairedClips(input_pipeline.latent_clips(latents, split, latents_help),
                     input_pipeline.talker_clips(crops, split, size, crops_help),
                     f'{latents} and {crops}')


def cut(record, start, shape, rng):
  """`windows.cut` of a paired record, with the frames and frame_boxes of the window."""
  span = slice(start * codec.TIME_FACTOR, (start + shape.frames) * codec.TIME_FACTOR)
  return windows.cut(record, start, shape, rng) | {
    'frames': np.ascontiguousarray(record['frames'][span]),
    'frame_boxes': record['frame_boxes'][span]}
