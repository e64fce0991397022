"""How a mouth looks beside the true one: LPIPS of its square, and how sharp it is."""

import cv2
import jax
import numpy as np

from vidregen_jax.faces import landmarks
from vidregen_jax.media import video
from vidregen_jax.models import discriminators, perceptual, pixels

_SIDE = 48  # of the squares that LPIPS sees, pixels
_AT_ONCE = 16  # frames
_STRIDE = 3  # every so many frames are looked at


def lpips(vgg16, frames, true, boxes) -> float:
  """The mean LPIPS of mouths, over every third frame.

  Args:
    vgg16: of `perceptual.load`.
    frames, true: uint8 [B, F, S, S, 3].
    boxes: [B, F, 4] mouth boxes, fractions of the crop.
  """
  squares = pixels.mouth_squares(np.asarray(boxes, np.float32))[:, ::_STRIDE].reshape(-1, 4)
  frames, true = (x[:, ::_STRIDE].reshape(-1, *x.shape[2:]) for x in (frames, true))
  found = []
  for start in range(0, len(squares), _AT_ONCE):
    part = slice(start, start + _AT_ONCE)
    seen = [x[part] for x in (frames, true, squares)]
    short = _AT_ONCE - len(seen[2])
    padded = [np.pad(x, [(0, short)] + [(0, 0)] * (x.ndim - 1), mode='edge') for x in seen]
    found.append(np.asarray(_distances(vgg16, *padded))[:_AT_ONCE - short])
  return float(np.concatenate(found).mean())


@jax.jit
def _distances(vgg16, frames, true, squares):
  seen = [discriminators.cut(pixels.to_float(x), squares, _SIDE) for x in (frames, true)]
  return perceptual.lpips(vgg16, *seen)


def sharpness(frames, boxes) -> np.ndarray:
  """Mean absolute Laplacian of luma in the mouths' boxes.

  Args:
    frames: uint8 [B, F, S, S, 3].
    boxes: [B, F, 4] mouth boxes, fractions of the crop.

  Returns:
    [B], a mean over frames.
  """
  masks = np.asarray(pixels.box_mask(np.asarray(boxes), frames.shape[2]))[..., 0] > 0
  return np.array([np.mean([_of_frame(*pair) for pair in zip(*clip, strict=True)])
                   for clip in zip(frames, masks, strict=True)])


def _of_frame(frame, mask):
  luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
  return np.abs(cv2.Laplacian(luma, cv2.CV_32F))[mask].mean()


def figures(made, true, boxes, vgg16=None) -> dict:
  """Mouths of some kinds of frames beside the true ones.

  Args:
    made: {name: uint8 [B, F, S, S, 3]}.
    true, boxes: the true frames and their mouth boxes.
    vgg16: of `perceptual.load`; without it there is no LPIPS.

  Returns:
    For each name 'sharpness_NAME', the median over clips of the share of the true one's, and
    'lpips_NAME'.
  """
  known, found = sharpness(true, boxes), {}
  for name, frames in made.items():
    found[f'sharpness_{name}'] = float(np.median(sharpness(frames, boxes) / known))
    if vgg16 is not None:
      found[f'lpips_{name}'] = lpips(vgg16, frames, true, boxes)
  return found


def crops(path, track, frames, size) -> np.ndarray:
  """Crops of some frames of a video, uint8 [1, N, S, S, 3].

  Args:
    path: of the video.
    track: face_track.Track along it, valid in these frames.
    frames: [N], ascending.
    size: S, pixels.
  """
  wanted = set(np.asarray(frames).tolist())
  images = video.frames(path, int(frames[0]), int(frames[-1]) + 1)
  return np.stack([landmarks.crop(frame.image, track.affine[frame.index], size)
                   for frame in images if frame.index in wanted])[None]


def own_size(track, frames) -> int:
  """The side of a crop whose pixels are as large as the video's, median over frames."""
  return int(np.median(np.hypot(*track.affine[frames][:, :, 0].T)))


def of_videos(path, true_path, true_track, frames, vgg16=None) -> dict:
  """The mouth of an edit beside the true one, in crops of the video's own size.

  Args:
    path, true_path: of the edit and the true video.
    true_track: face_track.Track along the true one.
    frames: [N], ascending; those without a face are left out.
    vgg16: of `perceptual.load`; without it there is no LPIPS.

  Returns:
    {'sharpness': share of the true one's, 'lpips'}.
  """
  frames = np.asarray(frames)[true_track.valid[frames]]
  size = own_size(true_track, frames)
  made, true = (crops(each, true_track, frames, size) for each in (path, true_path))
  found = figures({'mouth': made}, true, true_track.mouth_box[None, frames], vgg16)
  return {name.partition('_')[0]: x for name, x in found.items()}
