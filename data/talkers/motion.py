"""What a talker does besides speaking: head motion, blinks, gaze, passing expressions.

Everything is a pure function of a seed and of frame times, so any frame rate, constant or not,
samples the same performance.
"""

import dataclasses

import numpy as np

from data.talkers import mesh

_FALL, _HOLD, _RISE = 0.07, 0.04, 0.14  # seconds of a blink


def drift(rng, times, deviation, low, high, count=6):
  """Band-limited noise: a sum of sines between low and high hertz -> float32 [F]."""
  frequency = np.exp(rng.uniform(np.log(low), np.log(high), count))
  weight = rng.uniform(0.5, 1.0, count) / np.sqrt(frequency / low)
  phase = rng.uniform(0, 2 * np.pi, count)
  waves = np.sin(2 * np.pi * frequency * np.asarray(times)[:, None] + phase) * weight
  return (deviation * np.sqrt(2) * waves.sum(1) / np.linalg.norm(weight)).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Performance:
  """yaw, pitch, roll: radians [F]; shift: float32 [F, 3] units; face: float32 [F, C] additions."""

  yaw: np.ndarray
  pitch: np.ndarray
  roll: np.ndarray
  shift: np.ndarray
  face: np.ndarray


def perform(seed, times):
  """Draws a performance from `seed` and samples it at `times` [F] seconds."""
  times = np.asarray(times, np.float64)
  rng = np.random.default_rng([seed, 101])
  lively = rng.uniform(0.5, 1.3)
  facing = np.radians(np.clip(rng.normal(0, 6.5), -14, 14))
  limit = np.radians(25)
  yaw = facing + lively * drift(rng, times, np.radians(3.6), 0.12, 0.7)
  yaw = limit * np.tanh(yaw / limit)
  pitch = np.radians(rng.normal(0, 2.5)) + lively * drift(rng, times, np.radians(2.0), 0.15, 1.1)
  roll = np.radians(rng.normal(0, 2.0)) + lively * drift(rng, times, np.radians(1.8), 0.12, 0.6)
  shift = np.stack(
    [lively * drift(rng, times, size, 0.1, 0.5) for size in (0.35, 0.22, 0.4)], axis=1
  )

  face = np.zeros((len(times), len(mesh.CHANNELS)), np.float32)
  at = mesh.CHANNELS.index
  end = float(times.max()) if len(times) else 0.0

  # Blinks: a few seconds apart, sometimes double.
  lids = np.zeros(len(times))
  moment = rng.uniform(0.2, 3.0)
  while moment < end + 1:
    lids = np.maximum(lids, _blink(times - moment))
    moment += rng.choice([0.35, rng.uniform(1.6, 5.0)], p=[0.1, 0.9])
  droop = rng.uniform(0.0, 0.1)

  # Gaze: still for a while, then a quick saccade; it leans against the head's turn.
  starts, side, height = [0.0], [rng.normal(0, 0.15)], [rng.normal(0, 0.1)]
  while starts[-1] < end:
    starts.append(starts[-1] + rng.uniform(0.5, 2.4))
    away = 0.55 if rng.random() < 0.15 else 0.16
    side.append(rng.normal(0, away))
    height.append(rng.normal(0, away * 0.6))
  step = np.searchsorted(starts, times, side='right') - 1
  blend = np.clip((times - np.array(starts)[step]) / 0.045, 0, 1)
  before = np.maximum(step - 1, 0)
  side, height = (np.array(a)[before] * (1 - blend) + np.array(a)[step] * blend
                  for a in (side, height))  # fmt: skip
  side = np.clip(side - 1.1 * yaw, -0.9, 0.9)
  height = np.clip(height + 1.1 * pitch, -0.6, 0.6)
  # Positive side looks to image right: outwards for the character's left eye (x > 0).
  for eye, sign in (('L', 1), ('R', -1)):
    face[:, at(f'eyeLookOut_{eye}')] = np.maximum(sign * side, 0)
    face[:, at(f'eyeLookIn_{eye}')] = np.maximum(-sign * side, 0)
    face[:, at(f'eyeLookUp_{eye}')] = np.maximum(height, 0)
    face[:, at(f'eyeLookDown_{eye}')] = np.maximum(-height, 0)
    face[:, at(f'eyeBlink_{eye}')] = np.clip(np.maximum(lids, droop), 0, 1)

  # Passing expressions. A smile is small: it lifts both lips together and opens nothing.
  smile = np.clip(rng.normal(0.06, 0.1) + drift(rng, times, 0.07, 0.08, 0.35), 0, 0.28)
  brows = np.clip(rng.normal(0.05, 0.1) + drift(rng, times, 0.18, 0.15, 0.8), -0.35, 0.6)
  lopsided = rng.uniform(0.85, 1.15)
  for cheek, much in (('L', lopsided), ('R', 2 - lopsided)):
    face[:, at(f'mouthSmile_{cheek}')] = smile * much
    face[:, at(f'cheekSquint_{cheek}')] = 0.5 * smile * much
    face[:, at(f'eyeSquint_{cheek}')] = 0.5 * smile + 0.15 * np.maximum(-brows, 0)
    face[:, at(f'browInnerUp_{cheek}')] = np.maximum(brows, 0)
    face[:, at(f'browOuterUp_{cheek}')] = 0.6 * np.maximum(brows, 0) * much
    face[:, at(f'browDown_{cheek}')] = np.maximum(-brows, 0)
  return Performance(*(np.asarray(a, np.float32) for a in (yaw, pitch, roll, shift, face)))


def _blink(since):
  """Lid closure [F] of a blink whose closing starts at 0 s."""
  knots = [0, _FALL, _FALL + _HOLD, _FALL + _HOLD + _RISE]
  return np.interp(since, knots, [0, 1, 1, 0], left=0, right=0)


def rotation(yaw, pitch, roll):
  """float32 [3, 3]; yaw turns the face to image right, pitch down, roll counter-clockwise."""
  cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
  cr, sr = np.cos(roll), np.sin(roll)
  turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
  nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
  tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
  return (tilt @ nod @ turn).astype(np.float32)
