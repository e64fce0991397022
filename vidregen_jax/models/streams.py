"""What conditions the generator: its token streams, who sees whom, and the arrays they come from.

All shapes and types follow from the tables here: those of a dataset's windows, of training and
sampling, and of planned and exported programs. To add a stream, add it to `STREAMS`, `TOKENS` and
`SEES` and to the fields of `Fixed`, `Frames` or `Ahead`; embed it in `generator`; and give its
values in `datasets/windows` (training) and `editing/regenerator` (editing).

Axes by letter: B batch, R references, T latent frames, A latent frames of audio (T and the
look-ahead), HW cells of a frame, M cells of its lower face, C latent channels.
"""

import dataclasses

import jax
import numpy as np

from vidregen_jax.models import audio_timeline

SINK, REFERENCE, ANCHOR, CONTEXT, AUDIO, HISTORY, NOISY = range(7)
STREAMS = ('sink', 'reference', 'anchor', 'context', 'audio', 'history', 'noisy')
AUDIO_TOKENS = 4  # audio tokens of a latent frame

# The tokens of a clip, in order. First when a stream has tokens ('1': once; 'R': for each still;
# 'end': once, after the clip; 'T' and 'A': for each latent frame), then how many each time ('HW'
# and 'M': one for each of these cells; 'sinks' or a number: tokens without a place in the picture).
TOKENS = {
  SINK: ('1', 'sinks'),
  REFERENCE: ('R', 'HW'),
  ANCHOR: ('end', 'M'),
  CONTEXT: ('T', 'HW'),
  AUDIO: ('A', AUDIO_TOKENS),
  HISTORY: ('T', 'M'),
}
# Streams that stand at every query's own time, so that they never grow distant.
STATIC = (SINK, REFERENCE)

# Which frames of a stream a query sees: ANY; the SAME frame (or still); and of the last `window`
# frames those up to its own (PAST), those before it (BEFORE), or also the look-ahead (AHEAD).
ANY, SAME, PAST, BEFORE, AHEAD = 'any', 'same', 'past', 'before', 'ahead'
# Who sees whom: for each query's stream, the streams whose keys it sees. A conditioning token never
# sees a noisy one, so its keys and values hold for every flow step, noise draw and guidance
# branch. Audio sees audio up to its own frame only: the look-ahead is the noisy tokens', so that a
# key, once computed, never changes.
SEES = {
  SINK: {SINK: ANY},
  REFERENCE: {SINK: ANY, REFERENCE: SAME},
  ANCHOR: {SINK: ANY, ANCHOR: ANY},
  CONTEXT: {SINK: ANY, CONTEXT: PAST},
  AUDIO: {SINK: ANY, AUDIO: PAST},
  HISTORY: {SINK: ANY, REFERENCE: ANY, CONTEXT: PAST, HISTORY: PAST},
  NOISY: {SINK: ANY, REFERENCE: ANY, ANCHOR: ANY, CONTEXT: PAST, AUDIO: AHEAD, HISTORY: BEFORE,
          NOISY: SAME},
}


# --------------------------------------------------------------------------------------- the arrays


def _array(axes: str, dtype):
  """A field for an array: its axes after the batch's, and its type in a dataset's windows."""
  return dataclasses.field(metadata={'axes': tuple(axes.split()), 'dtype': np.dtype(dtype)})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fixed:
  """What is the same for all latent frames of a clip. Latents are normalised.

  Attributes:
    references: [B, R, HW, C] stills of the person; reference_valid: bool [B, R].
    anchor: [B, M, C] the lower face of a latent frame after the clip.
    anchor_context: [B, HW, C] that frame with its lower face masked before encoding.
    anchor_valid: bool [B].
    anchor_time: [B] the anchor's place in latent frames from the clip's first: T for the very next.
  """
  references: jax.Array = _array('R HW C', np.float16)
  reference_valid: jax.Array = _array('R', bool)
  anchor: jax.Array = _array('M C', np.float16)
  anchor_context: jax.Array = _array('HW C', np.float16)
  anchor_valid: jax.Array = _array('', bool)
  anchor_time: jax.Array = _array('', np.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Frames:
  """What belongs to a latent frame and arrives with it. Latents are normalised.

  Attributes:
    target: [B, T, HW, C] the frames themselves. Cells outside the region are decoded from these;
      cells inside are the history, where the frames are real.
    context: [B, T, HW, C] the same frames with the lower face masked before encoding.
  """
  target: jax.Array = _array('T HW C', np.float16)
  context: jax.Array = _array('T HW C', np.float16)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ahead:
  """What belongs to a latent frame and arrives `look_ahead` latent frames before it.

  Attributes:
    audio: [B, A, 16, audio layers, audio channels] Whisper states; in windows as Whisper gives
      them, for the generator standardised.
    audio_valid: bool [B, A], false beyond the audio's end.
    durations: [B, A] seconds a frame.
  """
  audio: jax.Array = _array('A samples layers channels', np.float16)
  audio_valid: jax.Array = _array('A', bool)
  durations: jax.Array = _array('A', np.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Conditions:
  """All that conditions a clip of T latent frames."""
  fixed: Fixed
  frames: Frames
  ahead: Ahead


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Start:
  """What the sampler is given before the first latent frame: `ahead` is [B, look_ahead, ...]."""
  fixed: Fixed
  ahead: Ahead


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Inputs:
  """What arrives with latent frame i: its own `frames`, and `ahead` of frame i + look_ahead.

  All arrays are [B, ...], without an axis of time; of a whole span [T, B, ...].
  """
  frames: Frames
  ahead: Ahead


def flat(tree) -> dict:
  """The arrays of `Conditions`, `Start` or `Inputs` by their fields' names."""
  arrays = {}
  for field in dataclasses.fields(tree):
    value = getattr(tree, field.name)
    arrays |= flat(value) if dataclasses.is_dataclass(value) else {field.name: value}
  return arrays


def unflat(kind, arrays: dict):
  """Undoes `flat`; `kind` is the class. Other arrays are left out."""
  return kind(**{field.name: unflat(field.type, arrays) if dataclasses.is_dataclass(field.type)
                 else arrays[field.name] for field in dataclasses.fields(kind)})


def stored(arrays: dict) -> dict:
  """A clip's arrays by name, in the types that windows hold."""
  return {field.name: np.asarray(arrays[field.name], field.metadata['dtype'])
          for group in (Fixed, Frames, Ahead) for field in dataclasses.fields(group)}


def of_windows(batch: dict) -> Conditions:
  """The conditions in a batch of windows (`windows.cut`, stacked), numbers as float32."""
  return jax.tree.map(lambda x: x if x.dtype == bool else x.astype(np.float32),
                      unflat(Conditions, batch))


def shapes(config, frames: int) -> Conditions:
  """The conditions of one clip without a batch's axis, as shapes and types.

  Args:
    config: generator.GeneratorConfig.
    frames: latent frames T.
  """
  sizes = {'R': config.references, 'T': frames, 'A': frames + config.look_ahead,
           'HW': config.cells**2, 'M': len(config.region), 'C': config.latent_channels,
           'samples': audio_timeline.WINDOW_SAMPLES, 'layers': config.audio_layers,
           'channels': config.audio_channels}
  return unflat(Conditions, {
    field.name: jax.ShapeDtypeStruct(tuple(sizes[axis] for axis in field.metadata['axes']),
                                     field.metadata['dtype'])
    for group in (Fixed, Frames, Ahead) for field in dataclasses.fields(group)})


def split(config, conditions: Conditions) -> tuple[Start, Inputs]:
  """A clip's conditions [B, ...] as the sampler takes them: at its start, and [T, B, ...]."""
  look_ahead = config.look_ahead
  start = Start(conditions.fixed, jax.tree.map(lambda x: x[:, :look_ahead], conditions.ahead))
  inputs = Inputs(conditions.frames, jax.tree.map(lambda x: x[:, look_ahead:], conditions.ahead))
  return start, jax.tree.map(lambda x: x.swapaxes(0, 1), inputs)


def sampler_shapes(config, batch: int) -> tuple[Start, Inputs]:
  """What the sampler takes at its start and with a latent frame, as shapes and types."""
  clip = jax.tree.map(lambda x: jax.ShapeDtypeStruct(
    (batch, *x.shape), bool if x.dtype == bool else np.float32), shapes(config, 1))
  start, inputs = jax.eval_shape(lambda clip: split(config, clip), clip)
  return start, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
