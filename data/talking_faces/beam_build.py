"""Sources prepared by Apache Beam, on as many machines as its runner has.

Every machine must see the manifest, its salt, the sources and the data folder by the same paths: a
network file system, or a bucket that is mounted. What a worker does is `source_result.prepare`, in
a process of its own as on one machine, so the results are the same, byte for byte.
"""

import apache_beam as beam

from data.talking_faces import plans, source_result, workers
from vidregen_jax.distributed import beam_pipeline

_TOGETHER = 8  # sources of one element: less to shuffle, and still enough to share out


class _Prepare(beam.DoFn):
  """Prepares sources by their place in the plan."""

  def __init__(self, plan):
    self._plan = plan

  def setup(self):
    # Not sent with the pipeline: a million jobs would not fit in it.
    self._jobs, self._worker = self._plan.jobs(), workers.Worker()

  def process(self, first):
    for job in self._jobs[first:first + _TOGETHER]:
      if source_result.account(job) is None:
        self._worker.give(job)
        self._worker.answer()
      yield job.origin.source

  def teardown(self):
    self._worker.close()


def pipeline(plan: plans.Plan, options: list[str]) -> beam.Pipeline:
  """A pipeline that prepares all sources of a plan; it is not run yet.

  Args:
    plan: of the build.
    options: of Beam, such as '--runner=DataflowRunner'.

  Raises:
    UserError: Beam does not take them.
  """
  made = beam_pipeline.begin(options)
  count = len(plan.jobs())
  _ = (made | 'sources' >> beam.Create(list(range(0, count, _TOGETHER)))
       | 'share out' >> beam.Reshuffle()
       | 'prepare' >> beam.ParDo(_Prepare(plan)))
  return made


def prepare(plan: plans.Plan, options: list[str]) -> None:
  """Runs the pipeline and waits for its end."""
  pipeline(plan, options).run().wait_until_finish()
