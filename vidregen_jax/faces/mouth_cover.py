"""Detects, from a single picture, what covers a mouth permanently: a surgical mask or a veil.

`occlusion` learns from other frames how a person looks, and so takes anything worn in all of them
for part of the person. Here the mouth is compared with the same face's eyes and the skin between
them: lips, teeth and their shadows have about as much contrast as eyes, in any light, in colour or
black and white, with or without a beard, while cloth is plain; or cloth has a colour that skin,
hair and lips never have.
"""

import cv2
import numpy as np

from vidregen_jax.faces import landmarks

_SIDE = 48  # pixels of the crop that is examined
# Contrast of the mouth relative to that of the eyes, and relative to the brightness of the mouth or
# of the bridge of the nose, whichever is brighter: below both limits it is plain. In 274 clips, 266
# of rendered people and 8 of real ones, each as it is and with 12 kinds of bad light, blur, noise,
# compression, lipstick and sunglasses, and in 48 with 7 kinds of drawn beards, at least one of the
# two exceeds its limit by 1.12 times. Of masks drawn on 43 clips, plain ones in 12 colours are
# detected in 88 to 100 % of the clips, a dark veil in 90 %, small dots in 65 %, a gaudy scarf in
# 26 %.
_PLAIN_TO_EYES, _PLAIN_TO_LIGHT = .36, .07
_BURNT = 250  # grey level at the bridge of the nose: an overexposed face cannot be judged
# The 25th percentile over the mouth of the distance, in units of CIE Lab's a and b, from the line
# between grey and the skin's own colour, on which hair, teeth and lips lie: at most 21 in the same
# clips.
_FOREIGN = 26.
_MOST = 1.5  # times the skin's saturation, up to which lips are redder
_ROOM = .15  # margin around the lips, as a share of their size

_y, _x = (np.mgrid[:_SIDE, :_SIDE] + .5) / _SIDE
_EYES = (_y > .20) & (_y < .38) & (np.abs(_x - .5) < .30)
_BRIDGE = (_y > .20) & (_y < .38) & (np.abs(_x - .5) < .07)


def cover(image: np.ndarray, affine: np.ndarray, lips: np.ndarray) -> float:
  """How unlike a mouth the picture at the lips is: above 1 something covers it.

  Args:
    image: uint8 [H, W, 3] RGB.
    affine: [2, 3], crop fraction to image pixel.
    lips: [P, 2] image pixels of the lips' points.

  Returns:
    No unit; 0 if the lips are not in the crop.
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
