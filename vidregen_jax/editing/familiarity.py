"""How well a model knows the face that it is to change, told before anything is painted.

Two measurements of the very frames that are to be changed, and neither alone is enough. What a
codec never learned it cannot draw: paint, cloth and noise come back from it as something else. But
light and colours that it never saw come back well, and lie far out among its latents, where the
generator was never trained. Beside them counts how many frames there are to fit to: a model of
small crops that is fitted to nothing shows somebody else.
"""

import dataclasses

import numpy as np

from vidregen_jax.faces import crop_mask
from vidregen_jax.models import codec, pixels
from vidregen_jax.reporting import edit_report

FRAMES = 8  # of a person that are looked at
BAR = .5  # confidence below which a warning is printed and --strict refuses
# Where confidence begins to fall, and where nothing is left of it; chosen by the figures of
# `python -m bench.familiarity`, of rendered and of real people, as they are and drawn on.
_ERROR = 9., 14.  # grey levels, root mean square over the lower face
_DISTANCE = 1.33, 1.6  # root mean square of normalised latents; about 1 in training
_UNFITTED = .45  # of the confidence is left where a fit is wanted and nothing is there to fit to


@dataclasses.dataclass(frozen=True)
class Familiarity:
  """What was measured of one person.

  Attributes:
    error: of the codec, grey levels.
    distance: of the latents from the training's mean, in its standard deviations.
    unfitted: whether the model should be fitted to this person, and there are too few frames.
  """

  error: float
  distance: float
  unfitted: bool

  @property
  def share(self) -> float:
    """What of the confidence is left, 0 to 1."""
    drawn, near = (1 - float(crop_mask.ramp((value - low) / (high - low))) for value, (low, high) in
                   ((self.error, _ERROR), (self.distance, _DISTANCE)))
    return drawn * near * (_UNFITTED if self.unfitted else 1)

  @property
  def doubt(self) -> str:
    """Why the model does not know this face and what to do, in words; '' above the bar."""
    if self.share >= BAR:
      return ''
    reasons = []
    if self.error > _ERROR[0]:
      reasons.append(f'what is there comes back {self.error:.0f} grey levels off from its codec '
                     '(paint, cloth, stripes or noise?): choose spans that show the bare face')
    if self.distance > _DISTANCE[0]:
      reasons.append(f'light or colours are {self.distance:.1f} times as far out as in its '
                     'training: correct exposure and white balance first')
    if self.unfitted:
      reasons.append('there are too few other frames to fit it to: give a longer piece of video')
    return f'the model hardly knows this face, and may paint another: {"; ".join(reasons)}'

  def report(self) -> edit_report.Familiarity:
    """What is reported of it."""
    return edit_report.Familiarity(
      share=round(self.share, 2), codec_error=round(self.error, 2),
      distance=round(self.distance, 2), doubt=self.doubt or None)


def measure(crops, encoder, decoder, unfitted) -> Familiarity:
  """Measures a person.

  Args:
    crops: uint8 [N, S, S, 3] of some frames that are to be changed, at least one.
    encoder, decoder: of the model's codec.
    unfitted: as in Familiarity.
  """
  latents = encoder.stills(crops)
  lower = crop_mask.lower_face_mask(crops.shape[1], soft=True)
  errors = []
  for crop, each in zip(crops, latents, strict=True):
    made, _ = decoder.advance(each[None, None], decoder.start(1))
    made = pixels.join_cells(pixels.to_uint8(made[0]), decoder.model.cells)[codec.TIME_FACTOR - 1]
    off = ((made.astype(np.float32) - crop)**2).mean(-1)
    errors.append(np.sqrt((off * lower).sum() / lower.sum()))
  return Familiarity(float(np.mean(errors)), float(np.sqrt((latents**2).mean())), unfitted)


def frames(runs, count: int = FRAMES) -> np.ndarray:
  """Frames to look at, evenly spaced over all that run_plan.Runs change, ascending."""
  changed = np.concatenate([np.arange(run.start, run.stop) for run in runs])
  return changed[np.unique(np.linspace(0, len(changed) - 1, count).astype(int))]
