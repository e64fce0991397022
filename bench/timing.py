"""Wall-clock times that are compared with each other, and memory."""

import pathlib
import statistics
import time


def interleaved(runs, rounds):
  """Times every run once per round, interleaved, so that a busy moment affects all of them.

  Args:
    runs: {name: function}; a function returns when its work is done. Each is called once before,
      to compile and to warm caches.
    rounds: how many times each is timed.

  Returns:
    {name: (least, median)} in seconds.
  """
  for run in runs.values():
    run()
  seconds = {name: [] for name in runs}
  for _ in range(rounds):
    for name, run in runs.items():
      start = time.perf_counter()
      run()
      seconds[name].append(time.perf_counter() - start)
  return {name: (min(each), statistics.median(each)) for name, each in seconds.items()}


def memory():
  """Resident memory of this process, MB."""
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
  return pages * 4096 / 1e6
