"""A plan is of the step that training runs, says what fits, and fails in one line."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import fake_talkers
import jax
import numpy as np
import pytest
import random_weights

from configs import codec as codec_config
from configs import generator as generator_config
from configs import lips as lips_config
from configs import pixels as pixels_config
from configs import student as student_config
from configs import sync as sync_config
from vidregen_jax import plan
from vidregen_jax.datasets import input_pipeline, windows
from vidregen_jax.distributed import libtpu_flags
from vidregen_jax.errors import UserError
from vidregen_jax.models import dinov2, generator, perceptual
from vidregen_jax.planning import (
  abstract_steps,
  accelerators,
  estimate,
  refusals,
  remedies,
  search,
  tpu_topologies,
)

pytestmark = pytest.mark.optimized

ROOT = pathlib.Path(__file__).resolve().parents[2]


def command(*arguments, devices=8):
  return subprocess.run(
    [sys.executable, '-m', 'vidregen_jax.plan', *arguments], cwd=ROOT, capture_output=True,
    text=True, env=os.environ | {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices} '
                   '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'})


def shapes(tree):
  return jax.tree.map(lambda x: (np.shape(x), str(x.dtype)), tree)


def test_a_small_generator_on_eight_devices_that_does_not_fit():
  ran = command('--config=configs/generator.py:tiny', '--config.model.layers=2',
                '--config.model.unroll=False', '--config.batch_size=8', '--config.copies=1',
                '--config.fsdp=8', '--memory_gb=0.001', '--json=-')
  assert ran.returncode == 1, ran.stderr
  found = json.loads(ran.stdout)
  assert found['mesh'] == {'data': 1, 'fsdp': 8, 'tensor': 1} and found['chips'] == 8
  memory = found['memory']
  assert set(memory['held']) == {'parameters', 'average', 'moments', 'frozen', 'batch'}
  assert memory['fits'] is False and memory['total'] > memory['arguments'] > 0
  assert memory['held']['average'] == memory['held']['parameters']
  assert memory['held']['moments'] == pytest.approx(2 * memory['held']['parameters'], rel=1e-3)
  assert found['flops']['done'] >= found['flops']['needed'] > 0
  carried = {(row['kind'], row['carries']) for row in found['collectives']}
  assert ('all-gather', 'weights') in carried
  assert not [row for row in carried if row[1] == 'activations']
  assert found['traffic'] > memory['arguments']
  assert found['seconds']['step'] is None  # nobody knows this CPU's figures
  assert found['remedies'] == []  # a megabyte is too little for any layout


def test_a_mistake_is_one_line_and_status_2():
  ran = command('--config=configs/generator.py:tiny', '--topology=v9:2x2')
  assert ran.returncode == 2
  assert re.fullmatch("error: topology 'v9:2x2' is unknown: give a chip, v5e[^\n]*\n", ran.stderr)


def test_a_place_that_is_not_there_is_told_before_anything_is_compiled():
  ran = command('--config=configs/generator.py:tiny', '--topology=h100:1', '--json=gone/plan.json')
  assert ran.returncode == 2 and not ran.stdout
  assert ran.stderr == ('error: gone/plan.json: there is no such folder: make it, or give another '
                        'place\n')


@pytest.mark.parametrize(('topology', 'what', 'changes', 'message'), [
  ('v5e:2xtwo', 'train', {}, "'v5e:2xtwo' is unknown"),
  ('h100:8', 'train', {}, 'batch_size 4 is not divisible by the 8 devices'),
  ('h100:3', 'train', {'fsdp': 2}, '3 devices cannot be split into fsdp 2'),
  ('h100:4', 'train', {'attention': 'splash'}, 'splash is for a tpu and this is a gpu'),
  ('h100:4', 'sample', {}, 'needs a compiler, and there is none'),
  ('here', 'codec', {}, '--what=codec takes a config of the codec'),
  ('here', 'train', {'stage': 'sync'}, 'the scorer of lip sync is small, and its step is not'),
  ('here', 'train', {'codec_config': 'configs/none.py'}, "no config 'configs/none.py'"),
])
def test_what_cannot_be_planned_is_told(topology, what, changes, message):
  config = generator_config.get_config('tiny')
  config.update(changes)
  with pytest.raises(UserError, match=message):
    estimate.make_program(config, what, estimate.target(topology), (3, 512))


def test_without_the_compiler_the_extra_is_named(monkeypatch):
  monkeypatch.setattr(tpu_topologies.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(UserError, match=r"pip install 'vidregen_jax\[tpu\]'"):
    estimate.target('v5e:2x2')


@pytest.mark.skipif(tpu_topologies.importlib.util.find_spec('libtpu') is None,
                    reason="plans for TPUs: there is no compiler, pip install 'vidregen_jax[tpu]'")
def test_the_tpu_compiler_makes_a_small_generator():
  ran = command('--config=configs/generator.py:tiny', '--config.model.layers=2',
                '--config.model.unroll=False', '--config.batch_size=4', '--config.fsdp=4',
                '--topology=v5e:2x2', '--json=-')
  assert ran.returncode == 0, ran.stderr
  found = json.loads(ran.stdout)
  assert found['memory']['fits'] and found['memory']['temporaries'] > 0
  stages = {(row['stage'], row['pass']) for row in found['stages']}
  assert {('velocity', 'forward'), ('velocity', 'backward'), ('optimizer', 'forward')} <= stages
  assert sum(row['cycles'] for row in found['stages']) == found['cycles']
  assert found['seconds']['step'] > 0 and 0 < found['mfu_expected'] < found['mfu'] < 1


def test_h100s_that_are_not_here_are_counted():
  config = generator_config.get_config('tiny')
  config.update(fsdp=8, batch_size=8)
  aim = estimate.target('h100:8')
  found = estimate.figures(estimate.make_program(config, 'train', aim, (3, 512)), aim)
  assert found['memory']['total'] is None and found['memory']['fits'] is None
  held = found['memory']['held']
  one = estimate.target('h100:1')
  config.fsdp = 1
  whole = estimate.make_program(config, 'train', one, (3, 512)).held['parameters']
  # Each device holds about an eighth: norms, biases and embeddings stay whole.
  assert held['parameters'] < abstract_steps.bytes_on_a_device(whole) / 6
  assert found['collectives'] is None and found['compiled'] is False
  text = plan.describe(found | {'what': 'train', 'remedies': []}, config)
  assert 'counted, not compiled' in text and 'arithmetic alone' in text
  assert found['seconds']['binds'] == 'compute'
  assert found['mfu'] * found['flops']['done'] == pytest.approx(found['flops']['needed'])


@pytest.mark.skipif(tpu_topologies.importlib.util.find_spec('libtpu') is None,
                    reason="flags of TPUs: there is no compiler, pip install 'vidregen_jax[tpu]'")
@pytest.mark.parametrize(('topology', 'unknown'), [
  ('v5e:2x2', {}), ('v5p:2x2x1', {}), ('v6e:2x2', {}), ('v5e:2x2', {'xla_tpu_not_a_flag': '1'})])
def test_the_tpu_compiler_takes_the_flags_of_each_chip(topology, unknown):
  program = f'''
import jax
from vidregen_jax.distributed import sharding
from vidregen_jax.planning import estimate
jax.config.update('jax_platforms', 'cpu')
aim = estimate.target({topology!r})
mesh = sharding.make_mesh(devices=list(aim.devices)[:1])
x = jax.ShapeDtypeStruct((128, 128), 'bfloat16', sharding=sharding.replicated(mesh))
print(estimate.compiled(jax.jit(lambda x: x @ x), (x,), mesh, aim.options | {unknown!r}).as_text())
'''
  ran = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True)
  assert ('HloModule' in ran.stdout) == (not unknown)
  assert ("No such compile option: 'xla_tpu_not_a_flag'" in ran.stderr) == bool(unknown)


def test_every_flag_of_the_compiler_says_what_it_is_for():
  used = {name for flags in libtpu_flags.FLAGS.values() for name in flags}
  assert used == set(libtpu_flags.PURPOSES)


def test_flags_that_the_user_sets_are_left_to_the_user(monkeypatch):
  monkeypatch.setenv('LIBTPU_INIT_ARGS', '--xla_enable_async_all_gather=false --other')
  planned = libtpu_flags.compiler_options('v5e')
  assert libtpu_flags.FLAGS['v5e'].keys() - planned == {'xla_enable_async_all_gather'}


# As libtpu 0.0.41 writes it, shortened.
REFUSED = '''RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: XLA:TPU compile permanent error. Ran out of \
memory in memory space hbm. Used 20.64G of 15.75G hbm. Exceeded hbm capacity by 4.89G.

Total hbm usage >= 20.89G:
    reserved        258.00M
    program          10.07G
    arguments        10.57G

Program hbm requirement 10.07G:
    global           65.56M
    HLO temp         10.00G (100.0% utilization: Unpadded (8.00G) Padded (8.00G), 20.0% fragmentation (2.00G))

  Largest program allocations in hbm:

  1. Size: 2.44G
     Operator: op_name="jit(train_step)/jvp(condition)/broadcast_in_dim"
     Shape: bf16[24,8,1,8,6656,128]{5,4,3,1,2,0:T(8,128)(2,1)}
     Unpadded size: 2.44G
     ==========================

  2. Size: 385.50M
     Shape: bf16[24,8,8,1028,128]{4,2,3,1,0:T(8,128)(2,1)}
     Unpadded size: 385.50M
'''  # noqa: E501 (lines as XLA writes them)


def test_a_refusal_is_read():
  found = refusals.read(REFUSED)
  assert found.program == pytest.approx(10.07 * 2**30)  # the arguments are not of it
  assert (found.temporaries, found.gaps) == (10 * 2**30, 2 * 2**30)
  assert found.arrays == (
    {'bytes': 2.44 * 2**30, 'type': 'bf16[24,8,1,8,6656,128]',
     'scope': 'jit(train_step)/jvp(condition)/broadcast_in_dim'},
    {'bytes': 385.5 * 2**20, 'type': 'bf16[24,8,8,1028,128]', 'scope': ''})
  other = refusals.read('RESOURCE_EXHAUSTED: Ran out of memory, Used 20.0G of 15.75G hbm.')
  assert (other.program, other.temporaries, other.arrays) == (20 * 2**30, None, ())


def test_a_refused_step_is_planned_with_the_way_out(monkeypatch):
  config = generator_config.get_config('tiny')
  config.update(batch_size=8)
  config.model.layers = 1
  aim = dataclasses.replace(estimate.target('here'), memory=1e9)
  program = estimate.make_program(config, 'train', aim, (3, 512))
  monkeypatch.setattr(estimate, 'compiled', lambda *_: REFUSED)
  found = estimate.figures(program, aim)
  memory = found['memory']
  assert memory['fits'] is False and memory['temporaries'] == 10 * 2**30
  assert memory['total'] - memory['arguments'] == pytest.approx(10.07 * 2**30)
  text = plan.describe(found | {'what': 'train', 'remedies': [
    {'fields': {'fsdp': 4, 'remat': 'full'}, 'bytes': 8e8}]}, config)
  assert 'of it gaps' in text and 'bf16[24,8,1,8,6656,128]' in text
  assert re.search(r'--config.fsdp=4 --config.model.remat=full +0.800 GB', text)
  assert 'v5p (102.005 GB)' in plan.describe(found | {'what': 'sample', 'remedies': []}, config)


class Held:
  """A program of which only the state and what is kept are known."""

  def __init__(self, config):
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    self.held = {'parameters': jax.ShapeDtypeStruct((1000 // config.fsdp,), 'float32',
                                                    sharding=place)}
    self.remat = config.model.remat
    if config.fsdp == 2:
      raise UserError('no such mesh')

  def kept(self):
    return {'kernels': 4.0, 'full': 1.0}[self.remat]


@pytest.mark.parametrize(('memory', 'named'), [
  # A fifth stays free: 9600 of 12000. Of 4000 bytes of state and 8000 of temporaries, accumulate 8
  # leaves 4000 + 4000 + 1000, fsdp 4 1000 + 8000, and remat 4000 + 2000.
  (12000, [{'accumulate': 8}, {'fsdp': 4}, {'remat': 'full'}]),
  (5000, [{'accumulate': 4, 'fsdp': 8}, {'fsdp': 4, 'remat': 'full'}]),
  (1000, []),
])
def test_what_makes_a_refused_step_fit_is_named_by_counting(memory, named):
  config = generator_config.get_config('large')
  config.update(batch_size=8, fsdp=1)
  found = remedies.named(config, 8, Held, memory, 8000)
  assert [row['fields'] for row in found] == named
  assert all(row['bytes'] < memory for row in found)


def test_what_remat_keeps_is_counted():
  config = generator_config.get_config('tiny')
  config.update(batch_size=8)
  config.model.update(layers=2, unroll=False)
  kept = {}
  for remat in ('none', 'full'):
    config.model.remat = remat
    kept[remat] = estimate.make_program(
      config, 'train', estimate.target('h100:1'), (3, 512)).kept()
  assert 0 < kept['full'] < kept['none']


def test_a_student_is_planned_with_its_teacher():
  config = student_config.get_config('tiny')
  held = estimate.make_program(config, 'train', estimate.target('h100:1'), (3, 512)).held
  teacher = abstract_steps.bytes_on_a_device(held['frozen'])
  assert abstract_steps.bytes_on_a_device(held['parameters']) < teacher


@pytest.mark.parametrize(('module', 'what'),
                         [(generator_config, 'sample'), (codec_config, 'codec')])
def test_streams_are_planned_for_one_device(module, what):
  config = module.get_config('tiny')
  if what == 'sample':
    config.model.layers = 1
  program = estimate.make_program(config, what, estimate.target('here'), (3, 512))
  assert program.mesh.size == 1 and program.seconds >= 0.16
  needed, done = program.work().needed, program.work().done
  assert needed == done > 1e6
  with jax.set_mesh(program.mesh):
    state, made = jax.eval_shape(program.step, *program.arguments)
  # What is carried on to the next step is what came in.
  assert shapes(state) == shapes(program.held['state'])
  assert made.shape[-3:] == (64, 64, 3)


def test_the_state_before_the_first_step_is_planned():
  config = generator_config.get_config('tiny')
  config.model.layers = 1
  config.batch_size = jax.device_count()
  aim = estimate.target('here')
  program = estimate.make_program(config, 'train', aim, (3, 512))
  memory = estimate.init_figures(program, aim)['memory']
  state = [program.held[kind] for kind in ('parameters', 'average', 'moments')]
  assert memory['results'] == pytest.approx(abstract_steps.bytes_on_a_device(state), rel=0.01)
  # The draw that the weights are cut from is whole on every device.
  assert memory['temporaries'] > abstract_steps.bytes_on_a_device(program.held['parameters'])
  for what, topology in (('sample', 'here'), ('train', 'h100:1')):
    aim = estimate.target(topology)
    with pytest.raises(UserError, match='--init is for training, on chips with a compiler'):
      estimate.init_figures(estimate.make_program(config, what, aim, (3, 512)), aim)


def test_planned_windows_are_those_that_are_cut():
  shape = windows.WindowShape(3, 2, 2, 4, (2, 3))
  rng = np.random.default_rng(0)
  record = {'target': rng.random((9, 2, 2, 4)).astype(np.float16), 'audio': np.ones(
    (72, 3, 5), np.float16), 'times': np.arange(36, dtype=np.float32) / 25,
    'still_frames': np.arange(0, 36, 6), 'mouth_box': np.zeros((9, 4), np.float32),
    'lip_gap': np.zeros(36, np.float32)}
  record |= {'context': record['target'], 'cold': record['target'], 'stills': record['target'][:6]}
  cut = windows.cut(record, 2, shape, rng)
  model = generator.GeneratorConfig(
    cells=2, latent_channels=4, region=shape.region, width=16, heads=2, layers=1, mlp=2, window=3,
    look_ahead=2, references=2, sinks=1, sink_logit=True, audio_layers=3, audio_channels=5,
    audio_hidden=4)
  assert shapes(windows.shapes(model, 3)) == shapes(cut)


def test_planned_crops_are_those_that_are_read(tmp_path):
  config = codec_config.get_config('tiny')
  config.update(dataset=str(fake_talkers.build(tmp_path)), num_frames=8, num_workers=0,
                batch_size=2)
  config.model.size = 16
  data = input_pipeline.codec_batches(config, 'train', 0, range(2), lambda x: x)
  batch = next(data)
  data.close()
  assert shapes(jax.tree.map(lambda x: x[0], batch)) == shapes(windows.codec_shapes(8, 16))


def test_planned_networks_are_those_that_are_loaded(tmp_path):
  vgg16, teacher = tmp_path / 'vgg16', tmp_path / 'dinov2'
  vgg16.mkdir()
  teacher.mkdir()
  random_weights.vgg16(vgg16)
  random_weights.dinov2(teacher)
  assert shapes(perceptual.shapes('')) == shapes(perceptual.load(vgg16))
  config, params = dinov2.load(teacher)
  planned, planned_params = dinov2.shapes(str(teacher))
  assert planned == config and shapes(planned_params) == shapes(params)
  base, _ = dinov2.shapes('facebook/dinov2-base')
  assert (base.width, base.layers, base.heads, base.registers) == (768, 12, 12, 0)
  with pytest.raises(UserError, match="'somebody/else' is not known here"):
    dinov2.shapes('somebody/else')


class Made:
  """A program of which only the work is known; the less is kept, the more there is of it."""

  held = {}

  def __init__(self, config):
    self.config = config

  def work(self):
    size = self.config.batch_size
    done = {'none': 3.0, 'dots': 3.0, 'kernels': 3.4, 'full': 4.0}[self.config.model.remat]
    return abstract_steps.Work(3.0 * size, done * size, 0.0)


def test_the_search_compiles_the_promising_and_stops():
  config = generator_config.get_config('large')
  config.batch_size = 64
  tried = []

  def figures(config):
    tried.append((config.model.remat, config.batch_size // config.accumulate))
    fits = config.model.remat in ('kernels', 'full') and config.batch_size <= 64
    return {'memory': {'fits': fits, 'total': 1e9}, 'mfu': 0.5,
            'seconds': {'step': 1.0, 'compute': 1.0, 'expected': None, 'binds': 'compute'}}
  best = search.best(config, 16, figures, Made, 16e9, lambda line: None)
  assert best.model.remat == 'kernels' and best.batch_size <= 64
  # What needs less repeating was tried first; of what cannot be quicker, nothing.
  assert tried[0][0] in ('none', 'dots') and tried[-1][0] == 'kernels'
  assert 'full' not in [remat for remat, _ in tried]


def test_the_search_goes_by_the_cycles_that_the_compiler_counts():
  config = generator_config.get_config('large')

  def figures(config):
    compute = Made(config).work().done
    expected = compute * {'none': 9, 'dots': 8, 'kernels': 2, 'full': 9}[config.model.remat]
    return {'memory': {'fits': True, 'total': 1e9}, 'mfu': 0.5, 'mfu_expected': 0.1,
            'seconds': {'step': compute, 'compute': compute, 'expected': expected,
                        'binds': 'compute'}}
  best = search.best(config, 4, figures, Made, 16e9, lambda line: None)
  assert best.model.remat == 'kernels'


def test_rings_are_as_fast_as_their_slowest_side():
  assert accelerators.ring(accelerators.CHIPS['v5e'], (16, 16)) == 100e9
  assert accelerators.ring(accelerators.CHIPS['v5e'], (4, 4)) == 50e9
  assert accelerators.ring(accelerators.CHIPS['v5p'], (4, 4, 8)) == 200e9
  assert accelerators.ring(accelerators.CHIPS['v6e'], (8, 8)) == 100e9


@pytest.mark.parametrize(('config', 'line'), [
  (lips_config, "stage 'lips' is not planned"), (sync_config, "stage 'sync' is not planned"),
  (pixels_config, 'tunes by frames is not planned')])
def test_a_stage_that_is_not_planned_is_told(config, line):
  with pytest.raises(UserError, match=line):
    abstract_steps.of_training(config.get_config('tiny'), None, 'cpu')
