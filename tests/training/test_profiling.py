"""A step's seconds add up, and a trace holds the steps that it names."""

import jax
import jax.numpy as jnp
import pytest
from training_runs import traced

from vidregen_jax.training import profiling


class Clock:
  """Shows what it was set to."""

  def __init__(self):
    self.seconds = 0.0

  def __call__(self):
    return self.seconds


def test_seconds_of_all_kinds_are_all_the_seconds_a_step():
  clock = Clock()
  timer = profiling.StepTimer(10, clock)

  def spend(kind, seconds):
    with timer(kind):
      clock.seconds += seconds

  for _ in range(4):
    spend('data', 0.25)
    clock.seconds += 1.0  # the step, and whatever else the loop does
  spend('saving', 2.0)
  spend('looking', 3.0)
  assert timer.read(14) == {'seconds_data': 0.25, 'seconds_looking': 0.75, 'seconds_saving': 0.5,
                            'seconds_compute': 1.0}
  with pytest.raises(KeyError), timer('thinking'):
    pass
  spend('saving', 1.0)  # counts to the next read, as does time from here on
  clock.seconds += 5.0
  assert timer.read(15) == {'seconds_data': 0.0, 'seconds_looking': 0.0, 'seconds_saving': 1.0,
                            'seconds_compute': 5.0}


def test_time_is_counted_when_what_took_it_fails():
  clock = Clock()
  timer = profiling.StepTimer(0, clock)
  with pytest.raises(OSError), timer('saving'):
    clock.seconds += 2.0
    raise OSError
  assert timer.read(1)['seconds_saving'] == 2.0


@pytest.mark.parametrize(('begun', 'stop', 'steps'), [(0, 9, [2, 3, 4]), (7, 16, [9, 10, 11]),
                                                      (0, 4, [2, 3])])
def test_a_trace_holds_a_few_steps_after_the_first(tmp_path, begun, stop, steps):
  """Also of a run that was resumed, and of one that ends meanwhile."""
  double, x = jax.jit(lambda x: 2 * x), jnp.ones(3)
  with profiling.Trace(tmp_path, begun) as trace:
    for step in range(begun + 1, stop):
      with trace.step(step) as made:
        x = double(x)
        made.append(x)
  assert traced(tmp_path) == steps


def test_a_run_that_fails_leaves_its_trace(tmp_path):
  with pytest.raises(ZeroDivisionError), profiling.Trace(tmp_path, 0) as trace:
    for step in (1, 2, 3):
      with trace.step(step):
        if step == 3:
          raise ZeroDivisionError
  assert traced(tmp_path) == [2, 3]


def test_nothing_is_traced_unasked(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with profiling.Trace(None, 0) as trace:
    for step in range(1, 9):
      with trace.step(step):
        pass
  assert not list(tmp_path.iterdir())
