"""Hostile files and environments, one by one: how each edit ends, and what it leaves.

  python -m bench.hostile
  python -m bench.hostile --only=stderr

Each attack is an edit in a process and a folder of its own, with the tests' tiny random system. It
must end in time, with one of the statuses that are right for it: 0 with a whole video, report and
page; 2 with one line that begins with `error: ` and contains the expected words; 128 + n after
signal n. Without a video nothing may be left, and no input may change. `--strace` also counts the
network calls of a plain edit (Linux, with strace installed).
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import numpy as np

from bench import good_files
from vidregen_jax import cli, files
from vidregen_jax.media import video
from vidregen_jax.media.audio import waveform
from vidregen_jax.reporting import edit_report

ROOT = pathlib.Path(__file__).resolve().parents[1]
_SECONDS = 240.0  # within which an attack must end: an edit compiles for some, on busy cores too
_CONSENT = ('--consent', 'nobody is shown')


@dataclasses.dataclass(frozen=True)
class Attack:
  """An edit in a hostile environment.

  Attributes:
    name: what.
    argv: of `regenerate`, without consent and checkpoint.
    ends: the statuses that are right.
    says: what the line must contain, where it ends in 2.
    prepare: function of the folder, which makes what is needed there.
    memory: bytes of address space; None for all there is.
    streams: (stdout, stderr), each None to be read, or a function that gives a file descriptor.
    meanwhile: function of the process and the folder, called while it runs.
    checkpoint: function of the folder and the tiny checkpoint that gives another; None for that.
    consent: the arguments that state it.
  """

  name: str
  argv: tuple
  ends: tuple = (2, )
  says: str = ''
  prepare: Callable | None = None
  memory: int | None = None
  streams: tuple = (None, None)
  meanwhile: Callable | None = None
  checkpoint: Callable | None = None
  consent: tuple = _CONSENT


_SPAN = ('--span', '0.4-0.8')
_PLAIN = ('plain.mp4', '--audio', 'new.wav', *_SPAN, '--out', 'made.mp4')


def _edit(source='plain.mp4', sound='new.wav', *more, out='made.mp4'):
  return (source, '--audio', sound, *_SPAN, *more, '--out', out)


# --------------------------------------------------------------------------------------------------
# What is put into the folder
# --------------------------------------------------------------------------------------------------


def _copied(*names):
  def prepare(folder):
    for name in names:
      (folder / name).parent.mkdir(exist_ok=True)
      shutil.copy(folder / 'plain.mp4', folder / name)
  return prepare


def _written(name, data):
  return lambda folder: (folder / name).write_bytes(data() if callable(data) else data)


def _wav(name, samples, rate=24_000):
  """A float wav, [channels, n]; `wave` knows no floats."""
  def prepare(folder):
    data = np.ascontiguousarray(samples.T, '<f4').tobytes()
    count = len(samples)
    head = struct.pack('<HHIIHH', 3, count, rate, 4 * count * rate, 4 * count, 32)
    (folder / name).write_bytes(b'RIFF' + struct.pack('<I', 36 + len(data)) + b'WAVEfmt '
                                + struct.pack('<I', 16) + head + b'data'
                                + struct.pack('<I', len(data)) + data)
  return prepare


def _noise(channels, bad=None):
  samples = np.random.default_rng(0).normal(0, .1, (channels, 36_000)).astype(np.float32)
  if bad is not None:
    samples[0, 12_345] = bad
  return samples


def _strip(width, height):
  """A video of two frames of a size."""
  def prepare(folder):
    import av
    with av.open(str(folder / 'strip.mkv'), 'w') as container:
      stream = container.add_stream('ffv1', rate=25)
      stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
      for index in range(30):
        frame = av.VideoFrame(width, height, 'yuv420p')
        for plane in frame.planes:
          plane.update(bytes(plane.buffer_size))
        frame.pts = index
        container.mux(stream.encode(frame))
      container.mux(stream.encode(None))
  return prepare


def _keys(count):
  """A Matroska whose metadata has so many keys."""
  def prepare(folder):
    import av
    with av.open(str(folder / 'plain.mp4')) as old, av.open(str(folder / 'keys.mkv'), 'w') as new:
      new.metadata.update({f'key {i}': 'x' * 20 for i in range(count)})
      streams = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
      for packet in old.demux():
        if packet.size:
          packet.stream = streams[packet.stream_index]
          new.mux(packet)
  return prepare


def _spans(count):
  """So many spans, each apart from the next."""
  spans = [{'start': i / count, 'stop': (i + .4) / count} for i in range(count)]
  return _written('many.json', json.dumps({'audio': 'new.wav', 'edits': spans}).encode())


def _key(folder):
  """A certificate and its key in files of their own, fit to sign."""
  from vidregen_jax.provenance import certificates
  identity = certificates.local()
  (folder / 'chain.pem').write_bytes(identity.chain)
  (folder / 'key.pem').write_bytes(identity.key)
  (folder / 'key.pem').chmod(0o600)


def _exposed_key(folder):
  _key(folder)
  (folder / 'key.pem').chmod(0o644)


def _linked_key(folder):
  _key(folder)
  (folder / 'key.pem').rename(folder / 'real.pem')
  (folder / 'key.pem').symlink_to(folder / 'real.pem')


def _key_in_an_open_folder(folder):
  _key(folder)
  (folder / 'open').mkdir()
  (folder / 'open').chmod(0o777)
  shutil.copy(folder / 'key.pem', folder / 'open' / 'key.pem')
  (folder / 'open' / 'key.pem').chmod(0o600)


def _renamed(change):
  """A checkpoint whose config.json was changed."""
  def checkpoint(folder, tiny):
    copy = folder / 'checkpoint'
    shutil.copytree(tiny, copy)
    path = copy / 'config.json'
    path.write_text(change(path.read_text()))
    return copy
  return checkpoint


def _at_a_hub(text):
  config = json.loads(text)
  config['config']['audio_encoder'] = 'openai/whisper-tiny'
  return json.dumps(config)


def _without_encoder(folder, tiny):
  copy = folder / 'checkpoint'
  shutil.copytree(tiny, copy)
  shutil.rmtree(copy / 'audio_encoder')
  return copy


# --------------------------------------------------------------------------------------------------
# What happens meanwhile
# --------------------------------------------------------------------------------------------------


def _until_frames_are_made(process, folder):
  """Waits for the video in the edit's hidden folder, or for the edit's end."""
  while process.poll() is None and not list(folder.glob('.*.part/*.mp4')):
    time.sleep(.05)


def _signalled(number):
  """A signal once frames are made."""
  def meanwhile(process, folder):
    _until_frames_are_made(process, folder)
    with contextlib.suppress(ProcessLookupError):
      process.send_signal(number)
  return meanwhile


def _appears(name):
  """Somebody writes an output's name once frames are made."""
  def meanwhile(process, folder):
    _until_frames_are_made(process, folder)
    if process.poll() is None:
      (folder / name).write_text('precious')
  return meanwhile


def _full():
  return os.open('/dev/full', os.O_WRONLY)


def _left():
  """A pipe whose reader has left."""
  read, write = os.pipe()
  os.close(read)
  return write


# --------------------------------------------------------------------------------------------------


_NOT_A_FILE = [('a device', '/dev/zero', None), ('a pipe', 'fifo', lambda f: os.mkfifo(f / 'fifo')),
               ('a folder', 'folder.mp4', lambda f: (f / 'folder.mp4').mkdir())]
_LISTS = tuple(good_files.PLAYLISTS)

ATTACKS = (
  *(Attack(f'{what} as {place}', argv, says=what, prepare=prepare, consent=consent)
    for what, path, prepare in _NOT_A_FILE
    for place, argv, consent in (
      ('the source', _edit(path), _CONSENT),
      ('--audio', _edit(sound=path), _CONSENT),
      ('--patch', ('plain.mp4', '--patch', f'0.4-0.7={path}', '--out', 'made.mp4'), _CONSENT),
      ('--edits', ('plain.mp4', '--edits', path, '--out', 'made.mp4'), _CONSENT),
      ('--consent_file', _PLAIN, ('--consent_file', path)),
      ('--key', (*_PLAIN, '--certificate', path, '--key', path), _CONSENT))),
  *(Attack(f'{name} as {place}', argv, prepare=_written(
      'list.json', json.dumps({'audio': name, 'edits': [{'start': .4, 'stop': .8}]}).encode()))
    for name in _LISTS for place, argv in (
      ('the source', _edit(name)), ('--audio', _edit(sound=name)),
      ('--patch', ('plain.mp4', '--patch', f'0.4-0.7={name}', '--out', 'made.mp4')),
      ('a sound of an edit list', ('plain.mp4', '--edits', 'list.json', '--out', 'made.mp4')))),
  *(Attack(f'the protocol {path.partition(":")[0]}', _edit(path), says='no such file')
    for path in ('concat:plain.mp4|plain.mp4', 'http://127.0.0.1:9/a.mp4', 'subfile:,,plain.mp4',
                 'data:video/mp4;base64,AAAA')),
  *(Attack(f'a name {name!r}', _edit(name, out=f'made {name}'), (0, ), prepare=_copied(name))
    for name in ('caf\udce9.mp4', 'take:2.mp4', 'a\nb.mp4', '% $(x) `y`.mp4')),
  Attack('a name like an address', _edit('http:/plain.mp4'), (0, ),
         prepare=_copied('http:/plain.mp4')),
  Attack('a name of 215 letters', _edit(out='x' * 211 + '.mp4'), (0, 2), says='long'),
  Attack('a name of 250 letters', _edit(out='x' * 246 + '.mp4'), (0, 2), says='long'),
  *(Attack(f'a picture of {width}x{height}', ('strip.mkv', '--audio', 'new.wav', *_SPAN, '--out',
                                               'made.mkv'), says='', prepare=_strip(width, height))
    for width, height in ((16384, 16), (16, 16384), (2, 2))),
  Attack('20,000 metadata keys', ('keys.mkv', '--audio', 'new.wav', *_SPAN, '--out', 'made.mkv'),
         says='pieces of metadata', prepare=_keys(20_000)),
  Attack('4,000 metadata keys', ('keys.mkv', '--audio', 'new.wav', *_SPAN, '--out', 'made.mkv'),
         (0, ), prepare=_keys(4_000)),
  Attack('1.5 GB of address space', _PLAIN, says='address space', memory=1_500_000_000),
  Attack('lists in lists in an edit list', ('plain.mp4', '--edits', 'deep.json', '--out',
                                            'made.mp4'), says='deep.json',
         prepare=_written('deep.json', lambda: b'[' * 100_000 + b']' * 100_000)),
  Attack('a number of a million digits', ('plain.mp4', '--edits', 'long.json', '--out',
                                          'made.mp4'), says='long.json',
         prepare=_written('long.json', lambda: b'{"edits": [{"start": ' + b'9' * 1_000_000
                          + b', "stop": 1}], "audio": "new.wav"}')),
  Attack('a number past all floats', ('plain.mp4', '--edits', 'huge.json', '--out', 'made.mp4'),
         says='huge.json', prepare=_written(
           'huge.json', b'{"edits": [{"start": 0, "stop": 1e400}], "audio": "new.wav"}')),
  Attack('an edit list of 100 MB', ('plain.mp4', '--edits', 'fat.json', '--out', 'made.mp4'),
         says='fat.json', prepare=_written('fat.json', lambda: b' ' * 100_000_000 + b'{}')),
  Attack('4,800 spans', ('plain.mp4', '--edits', 'many.json', '--out', 'made.mp4'), (0, 2),
         prepare=_spans(4_800)),
  Attack('a consent of a megabyte', _PLAIN, (0, 2), says='consent',
         consent=('--consent', 'x' * 100_000)),
  *(Attack(f'sound of {count} channels', _edit(sound='wide.wav'), (0, 2), says='channels',
           prepare=_wav('wide.wav', _noise(count))) for count in (3, 5, 7, 8, 9, 16, 24, 64)),
  *(Attack(f'{bad} in the sound', _edit(sound='bad.wav'), says='bad.wav',
           prepare=_wav('bad.wav', _noise(1, bad))) for bad in (np.nan, np.inf)),
  *(Attack(f'{stream} {how}', _PLAIN, (0, ), streams=(
      (make, None) if stream == 'stdout' else (None, make)))
    for stream in ('stdout', 'stderr') for how, make in (
      ('on a full disk', _full), ('whose reader has left', _left))),
  *(Attack(f'signal {number.name}', _PLAIN, (128 + number, ), meanwhile=_signalled(number))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
  *(Attack(f'made{suffix} appears', _PLAIN, says=f'made{suffix}',
           meanwhile=_appears(f'made{suffix}')) for suffix in ('.mp4', '.json', '.html')),
  *(Attack(f'made{suffix} is a folder', (*_PLAIN, '--overwrite'), says=f'made{suffix}',
           prepare=lambda folder, suffix=suffix: (folder / f'made{suffix}').mkdir())
    for suffix in ('.mp4', '.json', '.html')),
  Attack('the report in place of the edit list', ('plain.mp4', '--edits', 'edits.json', '--out',
                                                  'edits.mp4', '--overwrite'), says='edits.json'),
  Attack('a key that others may read', (*_PLAIN, '--certificate', 'chain.pem', '--key', 'key.pem'),
         says='key.pem', prepare=_exposed_key),
  Attack('a key behind a link', (*_PLAIN, '--certificate', 'chain.pem', '--key', 'key.pem'),
         says='key.pem', prepare=_linked_key),
  Attack('a key in a folder that all may write', (*_PLAIN, '--certificate', 'chain.pem', '--key',
                                                  'open/key.pem'), says='open',
         prepare=_key_in_an_open_folder),
  Attack('an audio encoder at a hub', _PLAIN, says='audio_encoder', checkpoint=_renamed(_at_a_hub)),
  Attack('an audio encoder that is missing', _PLAIN, says='audio_encoder',
         checkpoint=_without_encoder),
  Attack('a checkpoint of lists in lists', _PLAIN, says='config.json', checkpoint=_renamed(
    lambda text: '{"a":' * 100_000 + '1' + '}' * 100_000)),
)


# --------------------------------------------------------------------------------------------------
# One attack
# --------------------------------------------------------------------------------------------------


def attempt(attack, good, tiny, folder):
  """Carries out an attack; returns (what is wrong, '' for nothing; status; last line; seconds)."""
  shutil.copytree(good, folder)
  if attack.prepare:
    attack.prepare(folder)
  checkpoint = attack.checkpoint(folder, tiny) if attack.checkpoint else tiny
  before = _contents(folder)
  argv = [sys.executable, '-m', 'vidregen_jax.regenerate', *attack.argv, *attack.consent,
          '--checkpoint', str(checkpoint), '--steps', '1']
  environment = dict(os.environ, PYTHONPATH=str(ROOT), JAX_PLATFORMS='cpu')
  streams = [subprocess.PIPE if stream is None else stream() for stream in attack.streams]
  began = time.monotonic()
  process = subprocess.Popen(
    [os.fsencode(word) for word in argv], cwd=folder, env=environment, stdout=streams[0],
    stderr=streams[1], stdin=subprocess.DEVNULL)
  if attack.memory:
    resource.prlimit(process.pid, resource.RLIMIT_AS, (attack.memory,) * 2)
  for stream in streams:
    if stream != subprocess.PIPE:
      os.close(stream)
  if attack.meanwhile:
    threading.Thread(target=attack.meanwhile, args=(process, folder), daemon=True).start()
  try:
    printed = process.communicate(timeout=_SECONDS)
  except subprocess.TimeoutExpired:
    process.kill()
    process.communicate()
    return f'no end within {_SECONDS:.0f} s', None, '', _SECONDS
  seconds = time.monotonic() - began
  text = b''.join(part or b'' for part in printed).decode(errors='replace')
  lines = [line for line in text.replace('\r', '\n').splitlines() if line.strip()]
  last = lines[-1] if lines else ''
  return _wrong(attack, process.returncode, last, text, before, folder), process.returncode, last, \
    seconds


def _contents(folder):
  """sha256 of each file, by name; None of what is no file."""
  return {os.fspath(path.relative_to(folder)): files.digest(path) if path.is_file() else None
          for path in folder.rglob('*') if 'checkpoint' not in path.parts}


def _wrong(attack, status, last, text, before, folder):
  after = _contents(folder)
  changed = [name for name in before if after.get(name) != before[name]]
  new = sorted(set(after) - set(before))
  appeared = [name for name in new if (folder / name).is_file()
              and (folder / name).read_bytes() == b'precious']
  new = [name for name in new if name not in appeared]
  if status not in attack.ends:
    return f'status {status}, not {" or ".join(map(str, attack.ends))}'
  if 'Traceback' in text:
    return 'a traceback'
  if changed:
    return f'changed {changed}'
  if status:
    if new:
      return f'left {new}'
    if status == 2 and attack.streams == (None, None):
      if not last.startswith('error: '):
        return 'no line that says why'
      if attack.says not in last:
        return f'the line does not name {attack.says!r}'
    return ''
  suffixes = sorted(pathlib.PurePath(name).suffix for name in new)
  pictures = [name for name in new if pathlib.PurePath(name).suffix in ('.mp4', '.mkv')]
  if len(pictures) != 1 or not {'.html', '.json'} <= set(suffixes):
    return f'status 0 and {new}'
  report = edit_report.EditReport.from_json(
    json.loads((folder / pictures[0]).with_suffix('.json').read_text()))
  count = sum(1 for _ in video.frames(folder / pictures[0]))
  return '' if count == report.frames else f'{count} frames, and {report.frames} said'


def sockets(good, tiny, folder):
  """What strace saw a plain edit ask of the network: a line a call."""
  shutil.copytree(good, folder)
  log = folder / 'strace.txt'
  subprocess.run(
    ['strace', '-f', '-qq', '-e', 'trace=network', '-o', log, sys.executable, '-m',
     'vidregen_jax.regenerate', *_PLAIN, *_CONSENT, '--checkpoint', str(tiny), '--steps', '1'],
    cwd=folder, env=dict(os.environ, PYTHONPATH=str(ROOT), JAX_PLATFORMS='cpu'), check=True,
    capture_output=True)
  return [line for line in log.read_text().splitlines() if 'exited' not in line]


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.hostile', description=__doc__)
  flags.add_argument('--only', type=cli.several(str), default=[],
                     help='only attacks whose names contain one of these')
  flags.add_argument('--clip', default='data/talkers/pack/test/test_00000.mp4',
                     help='clip that the files are made of (default %(default)s)')
  flags.add_argument('--strace', action='store_true', help='also count the sockets of a plain edit')
  flags.add_argument('--json', default='out/hostile.json',
                     help='file of the results (default %(default)s)')
  return flags


def run(flags):
  """Does what the flags say.

  Raises:
    UserError: the results cannot be written.
  """
  sys.path.insert(0, str(ROOT / 'tests' / 'support'))
  import tiny_system

  rows = {}
  with tempfile.TemporaryDirectory() as base:
    base = pathlib.Path(base)
    (good := base / 'good').mkdir()
    good_files.make(flags.clip, good)
    samples, rate, _ = waveform.read(good / 'plain.mp4')
    waveform.write_wav(good / 'new.wav', samples[:, ::-1], rate)
    tiny = tiny_system.write(base, ROOT / 'checkpoints' / 'whisper-base')
    chosen = [attack for attack in ATTACKS
              if not flags.only or any(word in attack.name for word in flags.only)]
    for attack in chosen:
      wrong, status, last, seconds = attempt(attack, good, tiny, base / 'run')
      shutil.rmtree(base / 'run')
      rows[attack.name] = {'wrong': wrong, 'status': status, 'line': last, 'seconds': seconds}
      print(f'{"WRONG: " + wrong if wrong else "ok"}; {attack.name}: {status}, {seconds:.1f} s: '
            f'{last[:160]}', flush=True)
    if flags.strace:
      seen = sockets(good, tiny, base / 'run')
      rows['sockets'] = {'wrong': seen}
      print(f'strace saw {len(seen)} calls of the network', *seen[:10], sep='\n  ')
  path = pathlib.Path(flags.json)
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_json(path, rows)
  faults = [name for name, row in rows.items() if row['wrong']]
  print(f'{len(rows) - len(faults)} of {len(rows)} ended as they should; wrong: {faults or "none"}')


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'what was found until now is printed'))
