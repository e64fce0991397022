"""An exported system and latents of clips it never saw, opened for a bench that generates."""

import dataclasses
import pathlib

from absl import flags

from vidregen_jax.datasets import input_pipeline, windows
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import latent_validation, lip_gap_probe
from vidregen_jax.exports import model_folder, pipeline
from vidregen_jax.inference import sampling
from vidregen_jax.models import flow_matching

CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Folder of an exported system.')
DATASET = flags.DEFINE_string('dataset', None, 'Folder of latents; also of the training split.')
STUDENT = flags.DEFINE_bool('student', False, "Sample with the checkpoint's student.")
SPLIT = flags.DEFINE_string('split', 'test', 'Whose clips; settings are chosen on validation.')
CLIPS = flags.DEFINE_integer('clips', 32, 'How many clips at most.', lower_bound=2)
DISTANCE = flags.DEFINE_integer('reference_distance', 4, 'Of references, video frames.')

_DRAWS = 2  # windows of each training clip that the lip reader is fitted to
_HELP = 'encode it with `python -m vidregen_jax.encode_latents --splits=train,test`'


@dataclasses.dataclass(frozen=True)
class Opened:
  """What the flags name.

  Attributes:
    codec: model_folder.Export.
    models: sampling.Models.
    params: the generator's, or its student's.
    sampler: theirs.
    statistics: of `pipeline.statistics`.
    reader: lip_gap_probe.Reader.
    test: records of the split that are long enough.
    shape: windows.WindowShape.
  """

  codec: model_folder.Export
  models: sampling.Models
  params: dict
  sampler: flow_matching.SamplerConfig
  statistics: tuple
  reader: lip_gap_probe.Reader
  test: list
  shape: windows.WindowShape

  def rehearse(self, shown=None) -> latent_validation.Rehearsal:
    """A rehearsal of windows; default: the middles of the clips."""
    if shown is None:
      shown = latent_validation.show_windows(self.test, self.shape, CLIPS.value)
    return latent_validation.Rehearsal(self.codec, self.models, self.statistics, self.reader, shown,
                                       0)


def open_test(frames, more=0) -> Opened:
  """Opens the flags' system and latents.

  Args:
    frames: latent frames of a window.
    more: how many more a clip must have.

  Raises:
    UserError: something is missing, or does not fit together.
  """
  if not (CHECKPOINT.value and DATASET.value):
    raise UserError('give --checkpoint, an exported system, and --dataset, latents of its codec')
  machine = pipeline.load(CHECKPOINT.value, STUDENT.value)
  folder = pathlib.Path(CHECKPOINT.value)
  made = model_folder.load_export(folder, 'generator')
  packed = model_folder.load_export(folder / 'codec', 'codec')
  if input_pipeline.latent_info(DATASET.value, _HELP)['codec'] != packed.digest:
    raise UserError(f'{DATASET.value} was encoded by another codec than that of {folder}: {_HELP}')
  config = machine.models.generator
  shape = windows.WindowShape(frames, config.look_ahead, config.references, DISTANCE.value,
                              config.region)
  statistics = pipeline.statistics(made)
  train, test = (input_pipeline.latent_clips(DATASET.value, split, _HELP)
                 for split in ('train', SPLIT.value))
  long_enough = lambda clips, length: [clip for clip in clips if len(clip['target']) >= length]
  reader = lip_gap_probe.fit(long_enough(train, frames), shape, statistics[0], _DRAWS)
  test = long_enough(test, frames + more)
  if len(test) < 2:
    raise UserError(f'{DATASET.value} has fewer than two such clips of {frames + more} latent '
                    'frames: ask for shorter ones')
  return Opened(packed, machine.models, machine.params.generator, machine.sampler, statistics,
                reader, test, shape)
