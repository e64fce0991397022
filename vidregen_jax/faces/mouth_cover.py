"""What covers a mouth all the time, such as a surgical mask or a veil: told from one picture.

`occluders` learns from other frames how a person looks, and so takes what is worn in all of them
for the person. Here the mouth is compared with the same face's eyes and the skin between them:
lips, teeth and their shadows are about as rich in contrast as eyes, by day and by night, in colour
and in grey, with a beard or without; cloth is plain. Or it is of a colour that skin, hair and lips
never have.
"""

import cv2
import numpy as np

from vidregen_jax.faces import landmarks

_SIDE = 48  # of the crop that is looked at
# Contrast of the mouth over that of the eyes, and over the light on it or on the bridge of the
# nose, whichever is lighter: below both it is plain. In 274 clips, 266 of rendered people and 8 of
# real ones, each as it is and in 12 kinds of bad light, blur, noise, compression, lipstick and
# sunglasses, and in 48 with drawn beards of 7 kinds, one of both is 1.12 times as much at least.
# Of masks drawn on 43 clips, plain ones of 12 colours are seen in 88 to 100 % of the clips, a dark
# veil in 90 %, small dots in 65 %, a gaudy scarf in 26 %.
_PLAIN_TO_EYES, _PLAIN_TO_LIGHT = .36, .07
_BURNT = 250  # grey levels at the bridge of the nose: nothing can be told of what is white all over
# Units of CIE Lab's a and b that a quarter of the mouth is at least away from the line from grey to
# the skin's own colour, on which hair, teeth and lips lie: 21 at most in the same clips.
_FOREIGN = 26.
_MOST = 1.5  # times the skin's colour, up to which lips are redder
_ROOM = .15  # around the lips, in their size

_y, _x = (np.mgrid[:_SIDE, :_SIDE] + .5) / _SIDE
_EYES = (_y > .20) & (_y < .38) & (np.abs(_x - .5) < .30)
_BRIDGE = (_y > .20) & (_y < .38) & (np.abs(_x - .5) < .07)


def cover(image: np.ndarray, affine: np.ndarray, lips: np.ndarray) -> float:
  """How much what is at the mouth is no mouth: above 1 it is something else.

  Args:
    image: uint8 [H, W, 3] RGB.
    affine: [2, 3], crop fraction to image pixel.
    lips: [P, 2] image pixels of the lips' points.

  Returns:
    No unit; 0 where the lips are not in the crop.
  """
  crop = landmarks.warp(image, landmarks.pixel_affine(affine, _SIDE), _SIDE)
  low, high = (f(landmarks.to_fractions(affine, lips), 0) for f in (np.min, np.max))
  room = _ROOM * (high - low).max()
  x0, y0 = np.clip(np.floor((low - room) * _SIDE), 0, _SIDE).astype(int)
  x1, y1 = np.clip(np.ceil((high + room) * _SIDE), 0, _SIDE).astype(int)
  if x1 - x0 < 2 or y1 - y0 < 2:
    return 0.
  luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
  contrast = float(luma[y0:y1, x0:x1].std())
  bridge = float(np.median(luma[_BRIDGE]))
  if bridge > _BURNT:
    return 0.
  eyes, light = float(luma[_EYES].std()), max(bridge, float(np.median(luma[y0:y1, x0:x1])))
  plain = max(contrast / (_PLAIN_TO_EYES * max(eyes, 1)),
              contrast / (_PLAIN_TO_LIGHT * max(light, 1)))
  colour = cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[..., 1:]
  skin, mouth = np.median(colour[_BRIDGE], 0), colour[y0:y1, x0:x1].reshape(-1, 2)
  along = np.clip(mouth @ skin / max(float(skin @ skin), 1), 0, _MOST)
  foreign = np.linalg.norm(mouth - along[:, None] * skin, axis=1)
  return max(1 / max(plain, .1), float(np.percentile(foreign, 25)) / _FOREIGN)
