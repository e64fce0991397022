"""Compiled programs are kept between processes, whole ones only, and only where that is safe."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

PROGRAM = '''
from vidregen_jax.api import compiled
import jax, jax.numpy as jnp

compiled.begin()
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
heard = []
jax.monitoring.register_event_listener(lambda event, **_: heard.append(event))
jax.jit(lambda x: jnp.sin(x @ x) + x)(jnp.ones((8, 8))).block_until_ready()
{after}
print(heard.count('/jax/compilation_cache/cache_hits'))
'''


def run(cache, after='compiled.share()', **env):
  """How many programs a process found compiled."""
  done = subprocess.run([sys.executable, '-c', PROGRAM.format(after=after)], cwd=ROOT, text=True,
                        env=os.environ | {'XDG_CACHE_HOME': str(cache)} | env, check=True,
                        capture_output=True)
  assert done.stderr == ''
  return int(done.stdout)


def entries(cache):
  return list(cache.rglob('*-cache'))


def test_the_second_process_compiles_nothing_anew_and_says_nothing(tmp_path):
  assert run(tmp_path) == 0
  count = len(entries(tmp_path))
  assert run(tmp_path) == count > 0
  assert len(entries(tmp_path)) == count  # and no process leaves its own folder behind
  assert not list(tmp_path.rglob('*.part'))


def test_what_an_interrupted_process_compiled_is_not_shared(tmp_path):
  run(tmp_path, after='compiled.forget(); compiled.share()')
  assert not entries(tmp_path)


@pytest.mark.parametrize('env', [{'JAX_ENABLE_COMPILATION_CACHE': 'false'},
                                 {'JAX_COMPILATION_CACHE_DIR': '/nowhere'}])
def test_who_has_chosen_otherwise_is_left_alone(env, tmp_path):
  program = ('import jax; before = jax.config.jax_compilation_cache_dir; '
             'from vidregen_jax.api import compiled; compiled.begin(); '
             'print(before == jax.config.jax_compilation_cache_dir)')
  done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, text=True, capture_output=True,
                        env=os.environ | {'XDG_CACHE_HOME': str(tmp_path)} | env, check=True)
  assert done.stdout == 'True\n' and not list(tmp_path.iterdir())


def test_programs_that_others_could_have_put_there_are_not_run(tmp_path):
  run(tmp_path)
  entries(tmp_path)[0].parent.chmod(0o777)
  assert run(tmp_path) == 0
