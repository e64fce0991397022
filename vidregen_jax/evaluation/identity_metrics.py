"""Whether a person stays the same: identity, colour and sharpness of generated lower faces.

No network is involved, so the figures suit rendered people, whose crops differ in nothing but the
person. `where` is a mask bool [S, S], such as `lower_face` or `rim`.
"""

import cv2
import numpy as np

from vidregen_jax.evaluation import image_metrics
from vidregen_jax.faces import crop_mask
from vidregen_jax.models import pixels

_RIM = 0.15  # width of the rim inside the mask, in sides of the crop


def lower_face(size):
  """Where the lower face is, bool [S, S]."""
  return crop_mask.lower_face_mask(size, soft=False) > 0


def rim(size):
  """The part of the lower face that lies next to what is kept, bool [S, S]."""
  inside = lower_face(size)
  reach = max(round(_RIM * size), 1)
  return inside & ~cv2.erode(inside.astype(np.uint8), np.ones((2 * reach + 1,) * 2),
                             borderValue=1).astype(bool)


def nearest_identity(generated, true):
  """The share of people whose mean generated lower face is nearest to their own mean true one.

  Args:
    generated, true: uint8 [B, F, S, S, 3], of B people.
  """
  where = lower_face(generated.shape[2])
  mean_of = lambda frames: frames[:, :, where].mean(1, dtype=np.float64).reshape(len(frames), -1)
  distance = np.linalg.norm(mean_of(generated)[:, None] - mean_of(true)[None], axis=-1)
  return float(np.mean(distance.argmin(1) == np.arange(len(generated))))


def colour_difference(generated, true):
  """CIE 1976 delta E of the rim's mean colour, one number a clip.

  Args:
    generated, true: uint8 [B, F, S, S, 3], sRGB.

  Returns:
    [B]; 2.3 is just noticeable (Mahy, Van Eycken and Oosterlinck, 1994).
  """
  where = rim(generated.shape[2])
  mean = lambda frames: frames[:, :, where].mean((1, 2), dtype=np.float64)
  return _delta_e(mean(generated), mean(true))


def skin_difference(generated, true, boxes):
  """CIE 1976 delta E of the mean colour of the lower face without the mouth, [B].

  Args:
    generated, true: uint8 [B, F, S, S, 3], sRGB.
    boxes: [B, F, 4] mouth boxes, fractions of the crop.
  """
  size = generated.shape[2]
  skin = lower_face(size) & (np.asarray(pixels.box_mask(np.asarray(boxes), size))[..., 0] == 0)
  mean = lambda frames: (frames * skin[..., None]).sum((1, 2, 3)) / skin.sum((1, 2, 3))[:, None]
  return _delta_e(mean(generated), mean(true))


def _delta_e(ones, others):
  """CIE 1976 delta E of colours [B, 3], sRGB of 255."""
  lab = lambda colours: cv2.cvtColor((colours[None] / 255).astype(np.float32),
                                     cv2.COLOR_RGB2LAB)[0]
  return np.linalg.norm(lab(ones) - lab(others), axis=-1)


def psnr(generated, true, where, axis=(1, 2)):
  """PSNR of the pixels `where`, dB: one number a clip [B], or with axis 2 one a frame [B, F].

  Args:
    generated, true: uint8 [B, F, S, S, 3].
    where: bool [S, S].
    axis: over which the error is a mean: (1, 2) for frames and pixels, 2 for pixels.
  """
  error = ((generated[:, :, where].astype(np.float32) - true[:, :, where]) ** 2).mean(-1)
  return image_metrics.decibels(np.maximum(error.mean(axis), 1e-9), 255)


def sharpness(frames, where):
  """Mean absolute Laplacian of luma over the pixels `where` of frames [B, F, S, S, 3], [B]."""
  of_frame = lambda frame: np.abs(cv2.Laplacian(
    cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_32F))[where].mean()
  return np.array([np.mean([of_frame(frame) for frame in clip]) for clip in frames])


def difference(generated, true, where):
  """Mean absolute difference of frames [B, F, S, S, 3] over the pixels `where`, [B, F], of 255."""
  return np.abs(generated[:, :, where].astype(np.float32) - true[:, :, where]).mean((2, 3))


def jumps(frames, where):
  """`difference` from each frame to the next, [B, F - 1]."""
  return difference(frames[:, 1:], frames[:, :-1], where)
