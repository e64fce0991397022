"""Configs and the command line: a mistake is one line, names the way out, and exits with 2."""

import dataclasses
import functools
import os
import pathlib
import re
import subprocess
import sys

import jax
import pytest

from configs import codec as codec_config
from configs import deltas, pods
from configs import generator as generator_config
from configs import pixels as pixels_config
from configs import sync as sync_config
from vidregen_jax import cli
from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError
from vidregen_jax.models import codec
from vidregen_jax.training import codec_setup, train_sync

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODECS = ('tiny', 'talkers', '256', '512')
SIZES = {codec_config: CODECS, generator_config: ('tiny', 'talkers', 'base', 'large', 'xl'),
         sync_config: ('tiny', 'talkers', 'large')}


@pytest.mark.parametrize('size', CODECS)
def test_every_size_describes_a_codec_and_its_own_crops(size):
  config = codec_config.get_config(size)
  model = codec_setup.model_config(config)
  assert set(config.model) == {field.name for field in dataclasses.fields(codec.CodecConfig)}
  assert config.dataset.endswith(f'/{model.size}')
  assert config.num_frames % codec.TIME_FACTOR == 0


@pytest.mark.parametrize('size', SIZES[sync_config])
def test_every_size_describes_a_scorer_and_crops_twice_its_mouths(size):
  config = sync_config.get_config(size)
  model = train_sync.model_config(config)
  assert set(config.model) == {field.name for field in dataclasses.fields(model)}
  assert config.dataset.endswith(f'/{2 * model.size}')


@pytest.mark.parametrize('size', ['256', '512'])
def test_stages_of_a_size_train_one_codec(size):
  stages = [codec_config.get_config(f'{size}-{stage}') for stage in ('low', 'high', 'decoder')]
  models = [codec_setup.model_config(config) for config in stages]
  assert [model.size for model in models] == [int(size) // 2, int(size), int(size)]
  # The low stage's weights fit the next one: no weight depends on the crop's size.
  shapes = [jax.eval_shape(functools.partial(codec.init, model), jax.random.key(0))
            for model in models]
  assert shapes[0] == shapes[1] == shapes[2]
  assert [config.parts for config in stages] == [('encoder', 'decoder')] * 2 + [('decoder',)]
  assert [config.gan_weight > 0 for config in stages] == [False, False, True]
  with pytest.raises(ValueError, match="'256' and '512' have 'low', 'high' and 'decoder'"):
    codec_config.get_config(f'{size}-middle')


@pytest.mark.parametrize('stage', [*SIZES, pixels_config])
def test_every_field_is_read_somewhere(stage):
  source = '\n'.join(path.read_text() for path in (ROOT / 'vidregen_jax').rglob('*.py'))
  fields = set(stage.get_config('tiny'))
  assert fields - set(re.findall(r'\bconfig\.(\w+)', source)) == set()


@pytest.mark.parametrize('stage', list(SIZES))
def test_sizes_have_the_same_fields(stage):
  first, *others = [
    {k: type(v) for k, v in stage.get_config(size).items()} for size in SIZES[stage]
  ]
  assert all(other == first for other in others)


def test_a_mistyped_field_fails():
  config = codec_config.get_config('tiny').lock()
  with pytest.raises(AttributeError):
    config.lerning_rate = 1.0
  with pytest.raises(KeyError, match='sise'):
    deltas.apply(config, {'model.sise': 64})
  with pytest.raises(TypeError, match='num_steps'):
    deltas.apply(config, {'num_steps': 1.5})
  with pytest.raises(ValueError, match="there is no size '64': choose 'tiny'"):
    codec_config.get_config('64')


def test_mistakes_on_the_command_line_are_one_line_and_status_2(tmp_path):
  config = '--config=configs/codec.py:'
  workdir = f'--workdir={tmp_path}/run'
  cases = {
    "the config has no field 'lerning_rate': Did you mean .learning_rate. instead": [
      config + 'tiny', '--config.lerning_rate=1', workdir
    ],
    "there is no size 'tinny': choose": [config + 'tinny', workdir],
    'needs an accelerator .* --config=configs/codec.py:tiny': [config + '512', workdir],
    'no dataset in .*: build it with `python -m data.talkers': [
      config + 'tiny', f'--config.dataset={tmp_path}/none', workdir
    ],
    'needs an accelerator .* --config=configs/generator.py:tiny': [
      '--config=configs/generator.py', workdir
    ],
    'no finished dataset of latents in .*: encode it with `python -m vidregen_jax.encode_la': [
      '--config=configs/generator.py:tiny', f'--config.dataset={tmp_path}/none', workdir
    ],
    '--multihost: coordinator_address should be defined: JAX finds .* --coordinator=HOST:PORT': [
      config + 'tiny', '--multihost', workdir
    ],
    'are of a run on several hosts: give --multihost too': [
      config + 'tiny', '--process_id=1', workdir
    ],
    'No such file or directory: .configs/none.py': ['--config=configs/none.py', workdir],
  }
  runs = {
    message: subprocess.Popen(
      [sys.executable, '-m', 'vidregen_jax.train', *arguments],
      cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    )
    for message, arguments in cases.items()
  }
  for message, process in runs.items():
    _, errors = process.communicate()
    assert process.returncode == 2, (message, errors)
    assert re.fullmatch(f'error: [^\n]*({message})[^\n]*\n', errors), (message, errors)
  assert not (tmp_path / 'run').exists(), 'a mistake left something behind'


@pytest.mark.parametrize(
  ('raised', 'status', 'line'),
  [(UserError('no'), 2, 'error: no\n'),
   (UserError('a\x1b[31m\nb'), 2, 'error: a\\x1b[31m\\nb\n'),
   (KeyboardInterrupt(), 130, '\ninterrupted: go on\n')],
)
def test_status_of_a_program(raised, status, line, monkeypatch, capsys):
  def main():
    raise raised

  monkeypatch.setattr(cli.app, 'run', lambda main, flags_parser: main([]))
  with pytest.raises(SystemExit) as info:
    cli.run(main, 'go on')
  assert info.value.code == status
  assert capsys.readouterr().err == line


@pytest.mark.parametrize(('stage', 'size', 'pod'), [
  (stage, size, pod) for (stage, size), known in pods.PODS.items() for pod in known])
def test_every_pod_shares_out_its_batch(stage, size, pod):
  config = {'codec': codec_config, 'generator': generator_config}[stage].get_config(f'{size}-{pod}')
  count = int(pod.partition('-')[2])
  mesh = jax.sharding.AbstractMesh(
    (count // config.fsdp // config.tensor, config.fsdp, config.tensor), ('data', 'fsdp', 'tensor'))
  assert mesh.size == count
  axis = 'crops' if stage == 'codec' else 'batch'
  whole = {'codec': codec_config, 'generator': generator_config}[stage].get_config(size)
  sharding.check_batch(config.batch_size, mesh, config.accumulate, axis)
  assert config.batch_size == whole.batch_size  # a pod changes how, not what, is trained


def test_a_pod_that_is_not_known_is_refused():
  with pytest.raises(ValueError, match="no pod 'v4-8' for size 'large': choose v5e-16"):
    generator_config.get_config('large-v4-8')
  with pytest.raises(ValueError, match="no pod 'v5e-16' for size 'tiny'"):
    generator_config.get_config('tiny-v5e-16')
