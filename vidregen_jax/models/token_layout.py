"""The tokens that the generator reads, in order, and which of them each token sees.

Training, sampling and tests all build their masks with `visible`. A stream is dropped by hiding
its keys (`Keep`), never by a null embedding.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.models import streams


@functools.partial(jax.tree_util.register_dataclass,
                   data_fields=['stream', 'frame', 'time', 'cell'], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Tokens:
  """Everything about tokens except their content; all arrays are [L].

  Attributes:
    stream: one of `streams.SINK` ... `streams.NOISY`.
    frame: latent frame (reference: index of the still), for `visible`.
    time: position in latent frames for the rotation.
    cell: flat cell index; tokens without a place in the picture use their own small index.
  """
  stream: np.ndarray
  frame: np.ndarray
  time: np.ndarray
  cell: np.ndarray

  @property
  def statics(self) -> int:
    """Number of static tokens (`streams.STATIC`), which come first."""
    return int(np.isin(self.stream, streams.STATIC).sum())

  @property
  def static(self):
    """The static tokens."""
    return select(self, slice(self.statics))

  @property
  def timed(self):
    """All others."""
    return select(self, slice(self.statics, None))

  @property
  def of_frames(self) -> np.ndarray:
    """bool [L], whether a token belongs to a latent frame of the clip."""
    return np.isin(self.stream, _OF_FRAMES)

  @property
  def placed(self) -> np.ndarray:
    """bool [L], whether a token has a place in the picture."""
    return np.isin(self.stream, _PLACED)

  def __add__(self, other):
    """These tokens followed by others."""
    return jax.tree.map(lambda *parts: np.concatenate(parts), self, other)


_OF_FRAMES = [stream for stream, (when, _) in streams.TOKENS.items() if when in ('T', 'A')]
_PLACED = [streams.NOISY] + [stream for stream, (_, cells) in streams.TOKENS.items()
                             if cells in ('HW', 'M')]


def _lay(config, frames: dict) -> Tokens:
  """The tokens of the streams whose frames are given as {when: int [F]}, see `streams.TOKENS`."""
  known = {'HW': np.arange(config.cells**2), 'M': np.asarray(config.region),
           'sinks': np.arange(config.sinks)}
  parts = [(stream, frames[when], known[cells] if cells in known else np.arange(cells))
           for stream, (when, cells) in streams.TOKENS.items() if when in frames]
  stream = np.concatenate([np.full(len(f) * len(c), s) for s, f, c in parts])
  frame = np.concatenate([np.repeat(f, len(c)) for _, f, c in parts])
  cell = np.concatenate([np.tile(c, len(f)) for _, f, c in parts])
  return Tokens(stream, frame, frame.astype(np.float32), cell)


def fixed_tokens(config, frames: int = 0) -> Tokens:
  """A clip's tokens that belong to none of its frames: sinks, references, and the anchor.

  Args:
    config: generator.GeneratorConfig.
    frames: latent frames T of the clip, at whose end the anchor stands.
  """
  return _lay(config, {'1': np.zeros(1, int), 'R': np.arange(config.references),
                       'end': np.full(1, frames)})


def clip_tokens(config, frames: int) -> Tokens:
  """A clip's conditioning, in the order of `streams.TOKENS`.

  Args:
    config: generator.GeneratorConfig.
    frames: latent frames T of context and history.
  """
  return fixed_tokens(config, frames) + _lay(
    config, {'T': np.arange(frames), 'A': np.arange(frames + config.look_ahead)})


def window_tokens(config) -> Tokens:
  """The conditioning tokens of latent frames that a query of frame 0 can see, oldest first.

  Context and history have the last `window` frames, audio also the `look_ahead` next.
  """
  first = 1 - config.window
  return _lay(config, {'T': np.arange(first, 1), 'A': np.arange(first, 1 + config.look_ahead)})


def noisy_tokens(frames) -> Tokens:
  """One noisy token for each frame [T]; all noisy tokens of a frame see the same keys."""
  frames = np.asarray(frames)
  return Tokens(np.full(len(frames), streams.NOISY), frames, frames.astype(np.float32),
                np.zeros(len(frames), int))


def select(tokens: Tokens, index) -> Tokens:
  """The tokens at `index` (an array of indices, a mask or a slice)."""
  return jax.tree.map(lambda x: x[index], tokens)


def visible(config, queries: Tokens, keys: Tokens):
  """Whether each query sees each key, by `streams.SEES`.

  Args:
    config: generator.GeneratorConfig, with `window` and `look_ahead`.
    queries: Q tokens; keys: L tokens.

  Returns:
    NumPy bool [Q, L].
  """
  q, k = queries.frame[:, None], keys.frame[None, :]
  recent = k > q - config.window
  frames = {streams.ANY: True, streams.SAME: k == q, streams.PAST: (k <= q) & recent,
            streams.BEFORE: (k < q) & recent, streams.AHEAD: (k <= q + config.look_ahead) & recent}
  sees = np.zeros((len(queries.frame), len(keys.frame)), bool)
  for query, row in streams.SEES.items():
    for key, which in row.items():
      sees |= (queries.stream == query)[:, None] & (keys.stream == key) & frames[which]
  return sees


# ------------------------------------------------------------------------------- hidden streams


@functools.partial(jax.tree_util.register_dataclass, meta_fields=[],
                   data_fields=['reference', 'anchor', 'audio', 'history'])
@dataclasses.dataclass(frozen=True)
class Keep:
  """Which streams each of K copies sees: bool reference [..., K, R]; the others [..., K]."""
  reference: jax.Array
  anchor: jax.Array
  audio: jax.Array
  history: jax.Array


def keep_all(config, shape: tuple[int, ...]) -> Keep:
  """Nothing is hidden from any copy; shape: [..., K]."""
  visible = jnp.ones(shape, bool)
  return Keep(jnp.ones((*shape, config.references), bool), visible, visible, visible)


def kept(config, keep: Keep, tokens: Tokens):
  """`keep` spread over conditioning tokens: bool [..., K, L]."""
  dropped = {streams.ANCHOR: keep.anchor, streams.AUDIO: keep.audio,
             streams.HISTORY: keep.history}
  everyone = jnp.ones_like(keep.audio)
  by_stream = jnp.stack([dropped.get(stream, everyone) for stream in streams.TOKENS], -1)
  visible = by_stream[..., tokens.stream]
  if config.references:
    is_reference = tokens.stream == streams.REFERENCE
    by_still = keep.reference[..., np.where(is_reference, tokens.frame, 0)]
    visible &= jnp.where(is_reference, by_still, True)
  return visible
