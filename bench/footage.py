"""Footage with random damage: is every source accounted for, is sound put right, how fast is it.

  python -m bench.footage --out=out/footage_bench --copies=200
  python -m bench.footage --out=DIR --copies=200 --real=FOLDER    # and clips of real people

Rendered clips of the pack (and clips of a folder, each a few times) are copied with damage that a
seed fixes, and built three times: undisturbed, killed by SIGKILL at random moments and resumed, and
as a repetition that finds everything done. What stands in DIR is kept; --only=make makes the copies
and stops. The last line is a JSON object.
"""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import numpy as np

from data.talkers import truth
from data.talking_faces import report, source_result
from vidregen_jax import cli, files, outputs, terminal
from vidregen_jax.errors import UserError
from vidregen_jax.media import video
from vidregen_jax.media.audio import waveform

PACK = pathlib.Path('data/talkers/pack')
KINDS = ('plain', 'shifted', 'shifted', 'shifted', 'truncated', 'wrong ending', 'no sound',
         'two faces', 'two faces', 'cut', 'cut', 'still', 'black', '8 channels', 'transport stream')
_REMADE = ('plain', 'shifted', 'shifted', 'truncated', 'wrong ending', 'no sound')  # of real clips
_MOST_SHIFT = 0.4  # seconds
_MINUTES = 240
_LONG = 10  # seconds; longer clips of people are copied once, shorter ones once for each kind
_HD = 1920 * 1080


@dataclasses.dataclass(frozen=True)
class Copy:
  """A damaged copy.

  Attributes:
    name: of the file.
    kind: of damage.
    source: what it is a copy of.
    shift: seconds by which its sound is late.
    place: of the speaking face, as a share of the width; None for one face.
    edge: seconds at which there is a cut; None without one.
  """

  name: str
  kind: str
  source: str
  shift: float = 0.0
  place: float | None = None
  edge: float | None = None


# ------------------------------------------------------------------------------------------------
# Copies
# ------------------------------------------------------------------------------------------------


def _read(path):
  """(images, frames a second, samples [channels, n], their rate) of a clip."""
  info = video.probe(path)
  samples, rate, start = waveform.read(path)
  late = round(float(start - info.start_time) * rate)
  samples = np.pad(samples, ((0, 0), (max(late, 0), 0)))[:, max(-late, 0):]
  return [frame.image for frame in video.frames(path)], info.rate, samples, rate


def _write(path, images, rate, samples, sound_rate, layout='mono', codec='aac', muxer=None):
  with av.open(str(path), 'w', format=muxer) as out:
    options = {'crf': '16', 'preset': 'veryfast', 'threads': '1'}
    stream = out.add_stream('libx264', rate=Fraction(rate), options=options)
    stream.height, stream.width = images[0].shape[:2]
    stream.pix_fmt = 'yuv420p'
    track = out.add_stream(codec, rate=sound_rate, layout=layout)
    for image in images:
      out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), 'rgb24')))
    out.mux(stream.encode(None))
    kind = 's16' if codec == 'flac' else 'fltp'
    data = np.clip(samples, -1, 1).astype(np.float32)
    if kind == 's16':
      data = np.round(data * 32767).astype(np.int16).T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(data, kind, layout)
    frame.sample_rate, frame.pts = sound_rate, 0
    out.mux([*track.encode(frame), *track.encode(None)])


def _late(samples, rate, seconds):
  """Sound that is so much later, as long as before."""
  count, length = round(abs(seconds) * rate), samples.shape[1]
  if seconds >= 0:
    return np.pad(samples, ((0, 0), (count, 0)))[:, :length]
  return np.pad(samples[:, count:], ((0, 0), (0, count)))


def _remux(source, path, shift=0.0, sound=True):
  """Copies packets into a Matroska file; sound is `shift` seconds later than it was."""
  late, early = max(shift, 0.0), max(-shift, 0.0)
  with av.open(str(source)) as old, av.open(str(path), 'w', format='matroska') as new:
    kept = [old.streams.video[0], *(old.streams.audio[:1] if sound else ())]
    streams = {stream.index: new.add_stream_from_template(stream) for stream in kept}
    for packet in old.demux(kept):
      if packet.dts is None:
        continue
      more = round((early if packet.stream.type == 'video' else late) / packet.time_base)
      packet.dts += more
      packet.pts = packet.dts if packet.pts is None else packet.pts + more
      packet.stream = streams[packet.stream_index]
      new.mux(packet)


def _rendered(folder, number, kind, chance, clips):
  """Makes a copy of a rendered clip."""
  one, other = chance.sample(clips, 2)
  path = folder / f'{number:04d}_{kind.replace(" ", "_")}.mp4'
  images, rate, sound, sound_rate = _read(one)
  extra = {}
  if kind == 'shifted':
    extra['shift'] = round(chance.uniform(-_MOST_SHIFT, _MOST_SHIFT), 3)
    sound = _late(sound, sound_rate, extra['shift'])
  elif kind == 'two faces':
    beside = _read(other)[0]
    beside = [beside[min(at, len(beside) - 1)] for at in range(len(images))]
    left = chance.random() < 0.5
    extra['place'] = 0.25 if left else 0.75
    images = [np.concatenate([a, b] if left else [b, a], 1)
              for a, b in zip(images, beside, strict=True)]
  elif kind == 'cut':
    more, other_rate, after, after_rate = _read(other)
    extra['edge'] = len(images) / float(rate)
    # The second part at the first one's rate, so its frames are picked by time.
    seconds = len(more) / float(other_rate)
    more = [more[min(int(at / rate * other_rate), len(more) - 1)]
            for at in range(int(seconds * rate))]
    sound = np.pad(sound, ((0, 0), (0, sound_rate)))[:, :round(extra['edge'] * sound_rate)]
    sound = np.concatenate([sound, waveform.resample(after[:1], after_rate, sound_rate)], 1)
    images = images + more
  elif kind == 'still':
    images = images[:1] * len(images)
  elif kind == 'black':
    images = [np.zeros_like(images[0])] * len(images)
  if kind == '8 channels':
    path = path.with_suffix('.mkv')
    eight = np.zeros((8, sound.shape[1]), np.float32)
    eight[2] = sound[0]  # FC of 7.1
    _write(path, images, rate, eight, sound_rate, '7.1', 'flac')
  elif kind == 'transport stream':
    path = path.with_suffix('.ts')
    _write(path, images, rate, sound, sound_rate, muxer='mpegts')
  elif kind in ('plain', 'no sound', 'truncated', 'wrong ending'):
    path = _kept_as_it_is(one, path, kind, chance)
  else:
    _write(path, images, rate, sound, sound_rate)
  return Copy(path.name, kind, one.name, **extra)


def _kept_as_it_is(source, path, kind, chance):
  """Copies a file without decoding it; returns where it is."""
  if kind == 'no sound':
    path = path.with_suffix('.mkv')
    _remux(source, path, sound=False)
    return path
  data = pathlib.Path(source).read_bytes()
  if kind == 'truncated':
    data = data[:int(len(data) * chance.uniform(0.2, 0.95))]
  ending = chance.choice(('.txt', '.avi', '.jpg')) if kind == 'wrong ending' else (
    pathlib.Path(source).suffix)
  path = path.with_suffix(ending)
  path.write_bytes(data)
  return path


def _real(folder, number, kind, chance, source):
  path = folder / f'{number:04d}_real_{kind.replace(" ", "_")}{source.suffix}'
  if kind != 'shifted':
    return Copy(_kept_as_it_is(source, path, kind, chance).name, kind, source.name)
  path = path.with_suffix('.mkv')
  shift = round(chance.uniform(-_MOST_SHIFT, _MOST_SHIFT), 3)
  _remux(source, path, shift)
  return Copy(path.name, kind, source.name, shift)


def _tall(folder, clips):
  """Twenty seconds of 1080p: rendered clips enlarged, one after the other."""
  path = folder / 'rendered_1080p.mp4'
  images, sound = [], []
  for clip in clips:
    if video.probe(clip).rate != 25 or sum(map(len, images)) >= 500:
      continue
    found, _, samples, rate = _read(clip)
    samples = waveform.resample(samples[:1], rate, 24_000)
    length = round(len(found) / 25 * 24_000)
    images.append(found)
    sound.append(np.pad(samples, ((0, 0), (0, length)))[:, :length])
  shown = (np.pad(image.repeat(4, 0).repeat(4, 1), ((28, 28), (448, 448), (0, 0)))
           for found in images for image in found)
  first = next(shown)
  _write(path, [first, *shown], 25, np.concatenate(sound, 1), 24_000)
  return Copy(path.name, '1080p', 'the pack')


def make(folder: pathlib.Path, count: int, real, seed: int) -> list[Copy]:
  """Makes the copies, or reads which there are; the manifest is beside them."""
  listing = folder / 'copies.json'
  if listing.exists():
    return [Copy(**row) for row in json.loads(listing.read_text())]
  folder.mkdir(parents=True, exist_ok=True)
  chance = random.Random(seed)
  clips = [PACK / clip['split'] / f'{clip["clip_id"]}.mp4' for clip in
           truth.read_index(PACK)['clips']]
  copies = [_tall(folder, clips)]
  for path in real:
    kinds = _REMADE if video.probe(path).duration < _LONG else _REMADE[:1]
    copies += [_real(folder, len(copies) + at, kind, chance, path)
               for at, kind in enumerate(kinds)]
  for number in terminal.progress(range(max(count - len(copies), 0)), 'file', 'making'):
    copies.append(_rendered(folder, len(copies), KINDS[number % len(KINDS)], chance, clips))
  rows = ['source,person,basis,date,language']
  rows += [f'{one.name},{one.source},a bench: measured and never trained on,2026-01-01,'
           for one in copies]
  (folder / 'manifest.csv').write_text('\n'.join(rows) + '\n')
  salt = folder / 'manifest.csv.salt'
  salt.touch(0o600)
  salt.write_bytes(b'the same in every run')
  files.write_json(listing, [dataclasses.asdict(one) for one in copies])
  return copies


# ------------------------------------------------------------------------------------------------
# Builds
# ------------------------------------------------------------------------------------------------


def _command(copies, out, sizes, count):
  return [sys.executable, '-m', 'data.talking_faces.build', '--manifest',
          str(copies / 'manifest.csv'), '--data_dir', str(out), '--sizes', sizes,
          '--workers', str(count)]


def _build(copies, out, sizes, count, kills, chance):
  """Builds, killed at some random moments before it may end; returns (exit status, kills)."""
  made = 0
  with open(out.with_suffix('.log'), 'a') as log:
    for _ in range(kills):
      process = subprocess.Popen(_command(copies, out, sizes, count), stderr=log, stdout=log)
      try:
        return process.wait(chance.uniform(20, 90)), made
      except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        made += 1
        time.sleep(1)
    return subprocess.run(_command(copies, out, sizes, count), stderr=log, stdout=log,
                          check=False, timeout=60 * _MINUTES).returncode, made


def digests(root: pathlib.Path) -> dict[str, str]:
  """SHA-256 of every file of a build, but for those that say how long it took."""
  timed = {report.SECONDS, report.PAGE}
  return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
          for path in sorted(root.rglob('*')) if path.is_file() and path.name not in timed
          and path.name != source_result.SECONDS}


# ------------------------------------------------------------------------------------------------
# Measures
# ------------------------------------------------------------------------------------------------


def accounts(copies, root) -> dict[str, tuple[dict, dict]]:
  """(account, seconds by step) of each copy, by name."""
  from data.talking_faces import filters, plans

  plan = plans.Plan(copies / 'manifest.csv', root, (256,), filters.Bounds())
  found = {}
  for job in plan.jobs():
    read = lambda name, job=job: json.loads((job.folder / name).read_text())
    found[job.path.name] = read(source_result.ACCOUNT), read(source_result.SECONDS)
  return found


def measure(made: list[Copy], found: dict, summary: dict) -> dict:
  """What the accounts show."""
  tally = collections.defaultdict(collections.Counter)
  for one in made:
    account, _ = found[one.name]
    tally[one.kind]['kept' if account['clips'] else report.main_reason(account)] += 1
  base = {one.source: found[one.name][0]['clips'][0]['offset'] for one in made
          if one.kind == 'plain' and '_real_' in one.name and found[one.name][0]['clips']}
  errors = collections.defaultdict(list)
  for one in made:
    kind = 'real' if '_real_' in one.name else 'rendered'
    for clip in found[one.name][0]['clips'] if one.kind == 'shifted' else ():
      rate = found[one.name][0]['media']['rate']
      off = clip['offset'] - one.shift - (base.get(one.source, 0.0) if kind == 'real' else 0.0)
      errors[kind].append((abs(off) <= 1 / rate + 0.005, clip['moved']))
  share = lambda rows: f'{sum(rows)} of {len(rows)}'
  offsets = {kind: {'right to a frame, of all that are kept': share([right for right, _ in rows]),
                    'of those that are sure': share([right for right, sure in rows if sure])}
             for kind, rows in errors.items()}
  faces = [abs(clip['at'][0] - one.place) < 0.25 for one in made if one.kind == 'two faces'
           for clip in found[one.name][0]['clips']]
  over = [clip['start'] < one.edge - 0.06 and clip['stop'] > one.edge + 0.06
          for one in made if one.edge for clip in found[one.name][0]['clips']]
  return {
    'accounted for': share([one.name in found and bool(
      found[one.name][0]['clips'] or found[one.name][0]['left_out']) for one in made]),
    'sources in the counts': summary['sources'],
    'what became of each kind': {kind: dict(rows) for kind, rows in tally.items()},
    'shifted sound': offsets,
    'two faces, the speaker chosen': share(faces),
    'clips that cross a cut': share(over),
    'of 1080p': _speed([found[one.name] for one in made]),
  }


def _speed(found):
  """Hours of 1080p that a core prepares in an hour, and processor seconds an hour by step."""
  tall = [(account, spent) for account, spent in found
          if account['media'] and account['media']['width'] * account['media']['height'] >= _HD]
  hours = sum(account['media']['seconds'] for account, _ in tall) / 3600
  steps = collections.Counter()
  for _, spent in tall:
    steps.update(spent)
  total = sum(steps.values())
  return {'sources': len(tall), 'hours': round(hours, 4),
          'hours prepared in an hour of a core': round(3600 * hours / total, 2) if total else None,
          'processor seconds for an hour': {
            name: round(spent / hours) for name, spent in steps.most_common() if hours}}


def _run(given):
  root = pathlib.Path(given.out)
  copies = root / 'copies'
  real = [path for path in sorted(pathlib.Path(given.real).rglob('*'))
          if path.suffix in ('.mp4', '.mpg')] if given.real else []
  made = make(copies, given.copies, real, given.seed)
  if given.only == 'make':
    return
  chance = random.Random(given.seed)
  status, _ = _build(copies, root / 'whole', given.sizes, given.workers, 0, chance)
  whole = root / 'whole' / 'talking_faces'
  if status:
    raise UserError(f'the build ended with status {status}: {root / "whole.log"} says why')
  result = {'copies': len(made), 'status of the undisturbed build': status}
  result |= measure(made, accounts(copies, whole), json.loads((whole / report.SUMMARY).read_text()))
  if given.kills:
    status, kills = _build(copies, root / 'killed', given.sizes, given.workers, given.kills, chance)
    one, other = digests(whole), digests(root / 'killed' / 'talking_faces')
    differing = sorted(name for name in one | other if one.get(name) != other.get(name))
    result['killed'] = {'times': kills, 'status in the end': status, 'files': len(one),
                        'files that differ': differing[:20]}
  began = time.monotonic()
  status, _ = _build(copies, root / 'whole', given.sizes, given.workers, 0, chance)
  result['once more, with all done'] = {'status': status,
                                        'seconds': round(time.monotonic() - began, 1)}
  with outputs.whole_file(root / 'result.json') as part:
    part.write_text(json.dumps(result, indent=2) + '\n')
  terminal.say_text(json.dumps(result, indent=2))


def main(argv=None) -> int:
  parser = cli.Parser(prog='python -m bench.footage', description=__doc__)
  parser.add_argument('--out', required=True, metavar='DIR', help='where copies and builds go')
  parser.add_argument('--copies', type=cli.whole(1), default=200, metavar='N',
                      help='how many (default %(default)d)')
  parser.add_argument('--real', metavar='DIR', help='clips of people, to be measured as well')
  parser.add_argument('--sizes', default='256', metavar='N,N,...', help='default: %(default)s')
  parser.add_argument('--workers', type=cli.whole(1), default=os.cpu_count(), metavar='N')
  parser.add_argument('--kills', type=cli.whole(0), default=3, metavar='N',
                      help='of the second build; 0 leaves it out (default %(default)d)')
  parser.add_argument('--seed', type=int, default=0, metavar='N')
  parser.add_argument('--only', choices=('make',), help='make the copies, and stop')
  return cli.command(parser, _run, 'what is finished stays, and the same command goes on', argv)


if __name__ == '__main__':
  sys.exit(main())
