"""The launchers run what they say, on the slice that was named, and know when to try again."""

import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from vidregen_jax.planning import estimate, tpu_topologies

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAUNCHERS = {
  'tpu_vm.sh': ('create', 'run', 'logs', 'stop', 'delete'),
  'gke.sh': ('create', 'run', 'logs', 'stop', 'delete'),
  'xpk.sh': ('create', 'run', 'logs', 'stop', 'delete'),
}
COMMANDS = [(script, verb) for script, verbs in LAUNCHERS.items() for verb in verbs]
WHERE = dict(name='talk', zone='us-west4-a', project='films')
MORE = dict(accelerator='v5litepod-16', bucket='tapes', config='configs/codec.py:256')
ODD = ('--config.batch_size=512', "--config.note=it's \"5\" \\ $HOME # much")

# Writes down how it is called. A slice is there once it was created, and then as $STATE says.
FAKE = f'''#!{sys.executable}
import json, os, pathlib, sys
home = pathlib.Path(__file__).parent
words = sys.argv[1:]
heard = sys.stdin.read() if '--filename=-' in words else None
with (home / 'calls').open('a') as calls:
  calls.write(json.dumps([pathlib.Path(sys.argv[0]).name, *words, heard]) + chr(10))
if 'describe' in words:
  if (home / 'made').exists():
    print((home / 'made').read_text())
  else:
    sys.exit('NOT_FOUND')
if 'create' in words:
  (home / 'made').write_text('ACTIVE')
if 'delete' in words:
  (home / 'made').unlink(missing_ok=True)
'''


class Desk:
  """A copy of launch/ beside programs that only write down how they were called."""

  def __init__(self, folder):
    self.folder, self.tools = folder, folder / 'tools'
    shutil.copytree(ROOT / 'launch', folder / 'launch')
    self.tools.mkdir()
    for name in ('gcloud', 'kubectl', 'xpk', 'git'):
      (self.tools / name).write_text(FAKE)
      (self.tools / name).chmod(0o755)

  def bash(self, *words, **variables):
    path = f'{self.tools}{os.pathsep}{os.environ["PATH"]}'
    return subprocess.run(
      ['bash', *words], cwd=self.folder, env={'PATH': path, 'HOME': '/home/ann', **variables},
      stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

  def launch(self, script, verb, *words, given=None, **variables):
    flags = [f'--{name}={value}' for name, value in (given or everything(script)).items()]
    return self.bash(f'launch/{script}', verb, *flags, *words, **variables)

  def calls(self):
    """What was called since the last look."""
    path = self.tools / 'calls'
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


def everything(script):
  """Flags with which all commands of a launcher run."""
  return WHERE | MORE | ({} if script == 'tpu_vm.sh' else dict(cluster='farm', image='reg/talk:1'))


@pytest.fixture
def desk(tmp_path):
  return Desk(tmp_path)


def test_the_scripts_pass_shellcheck():
  near = pathlib.Path(sys.executable).parent
  shellcheck = shutil.which('shellcheck', path=f'{near}{os.pathsep}{os.environ["PATH"]}')
  scripts = sorted((ROOT / 'launch').glob('*.sh'))
  assert len(scripts) == 6
  done = subprocess.run([shellcheck, '-x', *scripts, ROOT / '.ci' / 'run'], cwd=ROOT,
                        capture_output=True, text=True)
  assert not done.stdout + done.stderr


@pytest.mark.parametrize(('script', 'verb'), COMMANDS)
def test_a_dry_run_prints_what_is_run(desk, script, verb):
  """Pasted into a shell, its lines call the same programs with the same words."""
  words = ['--', *ODD] if verb == 'run' else []
  dry = desk.launch(script, verb, '--dry-run', *words)
  assert dry.returncode == 0, dry.stderr
  assert not [call for call in desk.calls() if call[0] != 'git']  # `git status` changes nothing

  done = desk.launch(script, verb, '--yes', *words, PAUSE='0')
  assert done.returncode == 0, done.stderr
  ran = [call for call in desk.calls() if 'status' not in call]
  (desk.tools / 'made').unlink(missing_ok=True)
  pasted = desk.bash('-c', dry.stdout)
  assert 'rror' not in pasted.stderr
  pasted = desk.calls()
  assert pasted
  if verb == 'create' and script == 'tpu_vm.sh':
    ran.pop()  # one more look, whether the slice is there
  assert ran == pasted


@pytest.mark.parametrize(('script', 'verb'), COMMANDS)
def test_every_command_names_place_and_project(desk, script, verb):
  lines = desk.launch(script, verb, '--dry-run').stdout.splitlines()
  clouds = [line for line in lines if line.split()[0] in ('gcloud', 'kubectl', 'xpk')]
  assert clouds
  for line in clouds:
    assert 'us-west4' in line and 'films' in line
    assert 'talk' in line or 'farm' in line and script == 'xpk.sh'
  if script == 'tpu_vm.sh' or verb in ('run', 'logs', 'stop'):
    assert all('talk' in line for line in clouds)


@pytest.mark.parametrize(('accelerator', 'runtime'), [
  ('v5litepod-256', 'v2-alpha-tpuv5-lite'), ('v5p-128', 'v2-alpha-tpuv5'),
  ('v6e-64', 'v2-alpha-tpuv6e')])
def test_a_slice_is_asked_for_by_its_generations_software(desk, accelerator, runtime):
  flags = everything('tpu_vm.sh') | {'accelerator': accelerator}
  lines = desk.launch('tpu_vm.sh', 'create', '--dry-run', '--spot', given=flags).stdout
  asked = lines.splitlines()[-1].split()
  assert asked[:5] == ['gcloud', 'compute', 'tpus', 'queued-resources', 'create']
  assert {f'--accelerator-type={accelerator}', f'--runtime-version={runtime}', '--spot'} <= {*asked}


def test_creating_again_changes_nothing_unless_the_slice_was_taken_away(desk):
  done = lambda: [call[4] for call in desk.calls()]
  for _ in range(2):
    assert desk.launch('tpu_vm.sh', 'create', PAUSE='0').returncode == 0
  assert done() == ['describe', 'create', 'describe', 'describe', 'describe']
  (desk.tools / 'made').write_text('SUSPENDED')
  assert desk.launch('tpu_vm.sh', 'create', PAUSE='0').returncode == 0
  assert done() == ['describe', 'delete', 'create', 'describe']
  assert desk.launch('gke.sh', 'create').returncode == 0
  assert [call[3] for call in desk.calls()] == ['describe']


def manifest(desk, *words, **flags):
  done = desk.launch('gke.sh', 'manifest', *words, given=everything('gke.sh') | flags)
  assert done.returncode == 0, done.stderr
  return yaml.safe_load(done.stdout)


@pytest.mark.parametrize(('accelerator', 'hosts', 'label'), [
  ('v5litepod-16', 4, 'tpu-v5-lite-podslice'), ('v5litepod-256', 64, 'tpu-v5-lite-podslice'),
  ('v5p-128', 16, 'tpu-v5p-slice'), ('v6e-64', 16, 'tpu-v6e-slice')])
def test_a_jobset_fills_its_slice(desk, accelerator, hosts, label):
  job = manifest(desk, accelerator=accelerator)['spec']['replicatedJobs'][0]['template']['spec']
  pod = job['template']['spec']
  chips = pod['containers'][0]['resources']['limits']['google.com/tpu']
  topology = pod['nodeSelector']['cloud.google.com/gke-tpu-topology']
  assert job['parallelism'] == job['completions'] == hosts
  assert math.prod(map(int, topology.split('x'))) == hosts * chips
  assert pod['nodeSelector']['cloud.google.com/gke-tpu-accelerator'] == label
  made = desk.launch('gke.sh', 'create', '--dry-run', given=everything('gke.sh') | {
    'accelerator': accelerator}).stdout.splitlines()[-1]
  assert f'--num-nodes={hosts} --tpu-topology={topology}' in made


def test_a_jobset_restarts_what_failed_but_not_a_users_mistake(desk):
  spec = manifest(desk, max_restarts=7)['spec']
  assert spec['failurePolicy']['maxRestarts'] == 7
  job = spec['replicatedJobs'][0]['template']['spec']
  assert job['backoffLimit'] == 0
  assert job['podFailurePolicy']['rules'][0]['action'] == 'FailJob'
  assert job['podFailurePolicy']['rules'][0]['onExitCodes']['values'] == [2]
  assert spec['failurePolicy']['rules'] == [
    {'action': 'FailJobSet', 'onJobFailureReasons': ['PodFailurePolicy']}]
  pod = job['template']['spec']
  assert pod['restartPolicy'] == 'Never'  # Kubernetes asks for it beside a podFailurePolicy
  assert {'name': 'MAX_RESTARTS', 'value': '0'} in pod['containers'][0]['env']


def test_a_jobset_has_time_for_a_checkpoint_and_a_place_for_it(desk):
  pod = manifest(desk)['spec']['replicatedJobs'][0]['template']['spec']['template']['spec']
  assert pod['terminationGracePeriodSeconds'] >= 120
  (volume,), (container,) = pod['volumes'], pod['containers']
  assert volume['csi']['volumeAttributes']['bucketName'] == 'tapes'
  assert container['volumeMounts'] == [{'name': volume['name'], 'mountPath': '/bucket'}]
  assert '--workdir=/bucket/runs/talk' in container['command']


def test_flags_of_the_training_arrive_as_they_were_given(desk):
  pod = manifest(desk, '--', *ODD)['spec']['replicatedJobs'][0]['template']['spec']['template']
  assert pod['spec']['containers'][0]['command'][-2:] == list(ODD)
  # On VMs and with xpk they go through one more shell.
  (desk.folder / 'seen').write_text('printf "%s\\n" "$@"')
  for script in ('tpu_vm.sh', 'xpk.sh'):
    desk.launch(script, 'run', '--', *ODD)
    command = [word for word in desk.calls()[-1][:-1] if word.startswith('--command=')][0]
    start = command.index('launch/train.sh')
    flags = command[start:].removeprefix('launch/train.sh').split(' > train.log')[0]
    seen = desk.bash('-c', f'bash seen {flags}').stdout.splitlines()
    assert seen[-2:] == list(ODD)


@pytest.mark.parametrize('script', [*LAUNCHERS, 'setup.sh', 'train.sh'])
def test_help_names_every_variable(desk, script):
  for flag in ('--help', '-h'):
    done = desk.bash(f'launch/{script}', flag)
    assert done.returncode == 0 and f'launch/{script}' in done.stdout
  text = (ROOT / 'launch' / script).read_text()
  known = [line for line in text.splitlines() if line.startswith(('FLAGS=', 'parse '))]
  for name in {*re.findall(r'\b[A-Z][A-Z_]+\b', ' '.join(known))} - {'FLAGS'}:
    shown = f'--{name.lower().replace("_", "-")}'
    assert name in done.stdout or shown in done.stdout, name


def fails_in_one_line(done, *parts):
  assert done.returncode == 2 and not done.stdout
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1, done.stderr
  assert all(part in done.stderr for part in parts)


@pytest.mark.parametrize(('script', 'verb', 'missing'), [
  *((script, verb, name) for script, verb in COMMANDS for name in ('name', 'zone', 'project')),
  *(('tpu_vm.sh', *x) for x in (('create', 'accelerator'), ('run', 'accelerator'),
                                ('run', 'bucket'), ('run', 'config'))),
  *(('gke.sh', *x) for x in (('create', 'cluster'), ('create', 'accelerator'), ('run', 'image'),
                             ('run', 'bucket'), ('run', 'config'))),
  *(('xpk.sh', *x) for x in (('create', 'cluster'), ('create', 'bucket'), ('run', 'image'),
                             ('run', 'config'), ('run', 'accelerator'))),
])
def test_what_is_missing_is_said_before_anything_runs(desk, script, verb, missing):
  flags = everything(script)
  del flags[missing]
  fails_in_one_line(desk.launch(script, verb, '--yes', given=flags), missing.upper(),
                    f'--{missing}')
  assert not [call for call in desk.calls() if call[0] != 'git']
  # A variable does as well as a flag.
  done = desk.launch(script, verb, '--dry-run', given=flags, **{
    missing.upper(): everything(script)[missing]})
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(('script', 'words', 'parts'), [
  ('tpu_vm.sh', ['launch'], ["'launch' is not a command"]),
  ('tpu_vm.sh', ['create', '--zne=x'], ['--zne=x is not a flag', '--help']),
  ('tpu_vm.sh', ['create', '--spot=yes'], ['--spot=yes is not a flag']),
  ('tpu_vm.sh', ['create', '--zone'], ['--zone is not a flag']),
  ('tpu_vm.sh', ['run', 'more'], ["'more' is not a flag", '--']),
  ('tpu_vm.sh', ['create', '--accelerator=v9-16'], ['v9-16 is not known']),
  ('tpu_vm.sh', ['create', '--accelerator=v6e'], ['v6e has no size']),
  ('gke.sh', ['create', '--accelerator=v6e-1'], ['v6e-1', '4 chips']),
  ('tpu_vm.sh', ['create', '--spot', '--reserved'], ['exclude each other']),
  ('gke.sh', ['create', '--topology=4x8'], ['4x8 has 32 chips', 'v5litepod-16 has 16']),
  ('gke.sh', ['create', '--accelerator=v5litepod-24'], ['TOPOLOGY of v5litepod-24']),
  ('setup.sh', [], ['BUCKET is missing']),
  ('train.sh', ['--config=configs/codec.py:256'], ['--workdir']),
])
def test_a_mistake_is_one_line(desk, script, words, parts):
  variables = {name.upper(): value for name, value in everything(script).items()}
  if script in ('setup.sh', 'train.sh'):
    variables = {}
  fails_in_one_line(desk.bash(f'launch/{script}', *words, **variables), *parts)
  assert not desk.calls()


@pytest.mark.parametrize('script', LAUNCHERS)
def test_deleting_asks(desk, script):
  fails_in_one_line(desk.launch(script, 'delete'), '--yes')
  assert not desk.calls()


def test_setting_up_brings_an_interpreter_and_the_package(desk):
  done = desk.bash('launch/setup.sh', '--bucket=tapes', '--dry-run')
  lines = done.stdout.splitlines()
  assert done.returncode == 0, done.stderr
  venv = next(i for i, line in enumerate(lines) if line.startswith('uv venv'))
  assert '--python 3.12' in lines[venv] and lines[venv].endswith('/home/ann/venv')
  assert '.[tpu,train]' in lines[venv + 1] and lines[venv + 1].startswith('uv pip install')
  assert lines[-1].startswith('gcsfuse ') and lines[-1].endswith(' tapes /bucket')


# --------------------------------------------------------------------------------- on every host


def remote(desk, verb):
  """What a command would run on all TPU VMs, in order."""
  desk.launch('tpu_vm.sh', verb)
  words = [word for call in desk.calls() for word in call[:-1]]
  return [word.removeprefix('--command=') for word in words if word.startswith('--command=')]


def test_a_host_is_set_up_and_trains_once(desk, tmp_path_factory):
  """Also when setting it up leaves something running, as mounting a bucket does."""
  host = tmp_path_factory.mktemp('host')
  (host / 'launch').mkdir()
  (host / 'launch' / 'setup.sh').write_text(
    'echo "$@" > set_up; sleep 60 > /dev/null 2>&1 & echo $! > left')
  (host / 'launch' / 'train.sh').write_text('echo "$@" >> seen; read -r _ < gate')
  os.mkfifo(host / 'gate')
  subprocess.run(['tar', '-czf', 'tree.tar.gz', 'launch'], cwd=host, check=True)
  on_host = lambda command: subprocess.run(
    ['bash', '-c', command], cwd=host, capture_output=True, text=True, timeout=60,
    env={'PATH': os.environ['PATH'], 'HOME': str(host)})
  set_up, train = remote(desk, 'run')
  assert on_host(set_up).returncode == 0
  os.kill(int((host / 'left').read_text()), signal.SIGCONT)  # still there
  assert (host / 'set_up').read_text() == '--bucket=tapes\n'
  assert on_host(train).returncode == 0  # and goes on in the background
  wait_for(host / 'seen')
  refused = on_host(set_up)
  assert refused.returncode == 2 and refused.stderr == (
    'error: a training runs here: stop it first\n')
  on_host(train)
  (host / 'gate').write_text('done\n')
  os.kill(int((host / 'left').read_text()), signal.SIGTERM)
  flags = '--config=configs/codec.py:256 --workdir=/bucket/runs/talk\n'
  assert (host / 'seen').read_text() == flags


@pytest.mark.parametrize(('accelerator', 'chip', 'topology'), [
  ('v5litepod-16', 'v5e', 'v5e:4x4'), ('v5p-128', 'v5p', 'v5p:4x4x4'),
  ('v6e-64', 'v6e', 'v6e:8x8')])
def test_a_slice_trains_with_the_flags_that_it_is_planned_with(
    desk, monkeypatch, accelerator, chip, topology):
  given = {'accelerator': accelerator}
  pod = manifest(desk, **given)['spec']['replicatedJobs'][0]['template']['spec']['template']
  assert {'name': 'CHIP', 'value': chip} in pod['spec']['containers'][0]['env']
  desk.launch('xpk.sh', 'run', given=everything('xpk.sh') | given)
  assert f'--env=CHIP={chip}' in desk.calls()[-1]
  desk.launch('tpu_vm.sh', 'run', given=everything('tpu_vm.sh') | given)
  assert f'--command=CHIP={chip} ' in ' '.join(desk.calls()[-1][:-1])

  python = desk.folder / 'python'
  python.write_text(f'''#!{sys.executable}
import os, pathlib, sys
if 'vidregen_jax.train' in sys.argv:
  pathlib.Path('seen').write_text(os.environ['LIBTPU_INIT_ARGS'])
else:
  os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
''')
  python.chmod(0o755)
  done = desk.bash('launch/train.sh', '--config=a', '--workdir=b', CHIP=chip, PYTHON=str(python),
                   PYTHONPATH=str(ROOT), LIBTPU_INIT_ARGS='--own=1')
  assert done.returncode == 0, done.stderr
  *table, own = (desk.folder / 'seen').read_text().split()
  assert own == '--own=1'  # last, so that it prevails

  monkeypatch.delenv('LIBTPU_INIT_ARGS', raising=False)
  monkeypatch.setattr(tpu_topologies, 'devices', lambda topology: [])
  planned = estimate.target(topology).options
  assert table == [f'--{name}={value}' for name, value in planned.items()]


def test_a_chip_without_flags_is_a_mistake(desk):
  done = desk.bash('launch/train.sh', '--config=a', '--workdir=b', CHIP='v9',
                   PYTHON=sys.executable, PYTHONPATH=str(ROOT))
  fails_in_one_line(done, "'v9'", 'v5e, v5p, v6e')


def test_stopping_finds_the_training_and_nothing_else(desk):
  (stop,) = remote(desk, 'stop')
  pattern = stop.split("'")[1]
  assert re.search(pattern, 'bash tree/launch/train.sh --config=configs/codec.py:256')
  for other in (stop, f'bash -c {stop}', 'flock --close train.lock bash tree/launch/train.sh'):
    assert not re.search(pattern, other)


def wait_for(path):
  for _ in range(300):
    if path.exists() and path.read_text():
      return
    time.sleep(0.1)
  pytest.fail(f'{path} did not come')


class Host:
  """Runs train.sh with a training that ends as it is told to."""

  def __init__(self, desk):
    self.desk = desk
    self.python = desk.folder / 'python'
    self.python.write_text(f'''#!{sys.executable}
import pathlib, signal, sys, time
home = pathlib.Path(__file__).parent
with (home / 'runs').open('a') as runs:
  runs.write(' '.join(sys.argv[1:]) + chr(10))
ends = (home / 'ends').read_text().split()
if ends[0] == 'wait':
  signal.signal(signal.SIGTERM, lambda *_: ((home / 'saved').touch(), sys.exit(0)))
  (home / 'ready').write_text('now')
  time.sleep(60)
(home / 'ends').write_text(' '.join(ends[1:]))
sys.exit(int(ends[0]))
''')
    self.python.chmod(0o755)

  def start(self, ends, **variables):
    (self.desk.folder / 'ends').write_text(ends)
    return subprocess.Popen(
      ['bash', 'launch/train.sh', '--config=configs/codec.py:256', '--workdir=out'],
      cwd=self.desk.folder, stderr=subprocess.PIPE, text=True,
      env={'PATH': os.environ['PATH'], 'PYTHON': str(self.python), 'PAUSE': '0', **variables})

  def runs(self):
    return (self.desk.folder / 'runs').read_text().splitlines()


@pytest.mark.parametrize(('ends', 'status', 'runs'), [
  ('0', 0, 1), ('1 137 0', 0, 3), ('2', 2, 1), ('1 2', 2, 2), ('1 1 134 0', 134, 3)])
def test_a_training_is_tried_again_until_it_is_done_or_refused(desk, ends, status, runs):
  host = Host(desk)
  process = host.start(ends, MAX_RESTARTS='2')
  said = process.communicate(timeout=30)[1]
  assert process.returncode == status and len(host.runs()) == runs, said
  assert ('giving up' in said) == (status == 134)
  assert host.runs()[0] == (
    '-m vidregen_jax.train --multihost --config=configs/codec.py:256 --workdir=out')


def test_a_host_that_is_told_to_stop_saves_and_is_not_done(desk):
  host = Host(desk)
  process = host.start('wait')
  wait_for(desk.folder / 'ready')
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=30)
  assert process.returncode == 143 and (desk.folder / 'saved').exists()
  assert len(host.runs()) == 1
