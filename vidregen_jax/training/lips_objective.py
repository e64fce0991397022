"""The loss of the lips' listener: the squared errors of the gap and of the width."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from vidregen_jax.models import lip_listener, whisper

_UNIT = .05  # the loss is in squares of it: about the deviation of both, as people speak


@functools.partial(jax.tree_util.register_dataclass, data_fields=['audio_mean', 'audio_std'],
                   meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Frozen:
  """Arguments of the loss that training does not change.

  Attributes:
    audio_mean, audio_std: [layers, channels], of the system that listens.
  """

  audio_mean: jax.Array
  audio_std: jax.Array


def gradients(config: lip_listener.ListenerConfig, dropout, noise, params, frozen, batch, key):
  """One step's gradients.

  Args:
    config, params: as in `lip_listener.init`.
    dropout, noise: as in `lip_listener.heard`.
    frozen: Frozen.
    batch: windows of `lips_windows.cut`, stacked.
    key: of what is left out and added.

  Returns:
    A tree like params, and a dict of scalars: the loss and its terms.
  """
  def loss(params):
    audio = batch['audio'].reshape(-1, *batch['audio'].shape[2:]).astype(jnp.float32)
    audio = whisper.standardize(audio, frozen.audio_mean, frozen.audio_std)
    lips = lip_listener.heard(config, params, audio, key, dropout, noise)
    terms = {name: jnp.mean(jnp.square((each - batch[name].reshape(each.shape)) / _UNIT))
             for name, each in (('lip_gap', lips.gap), ('mouth_width', lips.width))}
    return sum(terms.values()), terms

  (value, terms), grads = jax.value_and_grad(loss, has_aux=True)(params)
  return grads, {'loss': value, **terms}
