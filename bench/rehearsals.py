"""An exported system and latents of unseen clips, for benchmarks that generate."""

import dataclasses
import pathlib

from vidregen_jax import cli
from vidregen_jax.datasets import input_pipeline, windows
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import latent_validation, lip_gap_probe
from vidregen_jax.exports import model_folder, pipeline
from vidregen_jax.inference import sampling
from vidregen_jax.models import flow_matching

_DRAWS = 2  # windows of each training clip that the lip reader is fitted to
_HELP = 'encode it with `python -m vidregen_jax.encode_latents --splits=train,test`'


@dataclasses.dataclass(frozen=True)
class Opened:
  """A system and latents, opened.

  Attributes:
    codec: model_folder.Export.
    models: sampling.Models.
    params: the generator's, or its student's.
    sampler: theirs.
    statistics: of `pipeline.statistics`.
    reader: lip_gap_probe.Reader.
    test: records of the split that are long enough.
    shape: windows.WindowShape.
    clips: how many of them are shown at most.
  """

  codec: model_folder.Export
  models: sampling.Models
  params: dict
  sampler: flow_matching.SamplerConfig
  statistics: tuple
  reader: lip_gap_probe.Reader
  test: list
  shape: windows.WindowShape
  clips: int

  def rehearse(self, cuts=None) -> latent_validation.Rehearsal:
    """A rehearsal of windows; default: the middles of the clips."""
    if cuts is None:
      cuts = latent_validation.show_windows(self.test, self.shape, self.clips)
    return latent_validation.Rehearsal(self.codec, self.models, self.statistics, self.reader, cuts,
                                       0)


def add_flags(parser) -> None:
  """Adds the flags that `open_test` reads."""
  parser.add_argument('--checkpoint', required=True, help='folder of an exported system')
  parser.add_argument('--dataset', required=True,
                      help='folder of latents of its codec; also of the training split')
  parser.add_argument('--teacher', action='store_true',
                      help='sample with the generator, also where the checkpoint has a student')
  parser.add_argument('--split', default='test',
                      help='split; choose settings on validation (default %(default)s)')
  parser.add_argument('--clips', type=cli.whole(2), default=32,
                      help='how many clips at most (default %(default)s)')
  parser.add_argument('--reference_distance', type=int, default=4,
                      help='of references from the window, video frames (default %(default)s)')


def open_test(flags, frames, more=0) -> Opened:
  """Opens a system and latents.

  Args:
    flags: of `add_flags`.
    frames: latent frames of a window.
    more: how many more a clip must have.

  Raises:
    UserError: something is missing, or does not fit together.
  """
  machine = pipeline.load(flags.checkpoint, flags.teacher)
  folder = pathlib.Path(flags.checkpoint)
  export = model_folder.load_export(folder, 'generator')
  packed = model_folder.load_export(folder / 'codec', 'codec')
  if input_pipeline.latent_info(flags.dataset, _HELP)['codec'] != packed.digest:
    raise UserError(f'{flags.dataset} was encoded by another codec than that of {folder}: {_HELP}')
  config = machine.models.generator
  shape = windows.WindowShape(frames, config.look_ahead, config.references,
                              flags.reference_distance, config.region)
  statistics = pipeline.statistics(export)
  train, test = (input_pipeline.latent_clips(flags.dataset, split, _HELP)
                 for split in ('train', flags.split))
  long_enough = lambda clips, length: [clip for clip in clips if len(clip['target']) >= length]
  reader = lip_gap_probe.fit(long_enough(train, frames), shape, statistics[0], _DRAWS)
  test = long_enough(test, frames + more)
  if len(test) < 2:
    raise UserError(f'{flags.dataset} has fewer than two such clips of {frames + more} latent '
                    'frames: ask for shorter ones')
  return Opened(packed, machine.models, machine.params.generator, machine.sampler, statistics,
                reader, test, shape, flags.clips)
