"""The start of a pipeline of Apache Beam, which is not needed otherwise (extra `beam`)."""

import apache_beam as beam
from apache_beam.options import pipeline_options

from vidregen_jax.errors import UserError


def begin(options: list[str]) -> beam.Pipeline:
  """An empty pipeline.

  Args:
    options: of Beam, such as '--runner=DataflowRunner'.

  Raises:
    UserError: Beam does not take them.
  """
  try:
    return beam.Pipeline(options=pipeline_options.PipelineOptions(options))
  except (ImportError, ValueError) as error:
    raise UserError(f'--beam_pipeline_options: {error}') from error
