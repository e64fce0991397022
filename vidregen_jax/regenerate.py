"""Regenerate the lower face in spans of a video so that the mouth follows new audio.

  python -m vidregen_jax.regenerate IN.mp4 --audio NEW.wav --span 1.20-2.04 --checkpoint DIR \
    --consent "Ann Lee, who is shown, agreed on 2026-05-01" --out OUT.mp4

NEW.wav is the whole new soundtrack, in time with the video; inside the spans it is what is heard
and what the mouth follows, outside them the video's own sound stays. Without --span the whole
video is regenerated. Beside OUT.mp4, OUT.json says what was changed, by which model, with whose
consent, and how long each stage took.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import resource
import sys
import time

import jax
import numpy as np
import tqdm

from vidregen_jax import latents, pixels, sample, spans, system
from vidregen_jax.errors import UserError
from vidregen_jax.media import audio, compose, faces, video
from vidregen_jax.models import codec, whisper

_AUDIO_MARGIN = 1.0  # seconds of sound around a run that the audio encoder also hears
_REFERENCE_STRIDE = 3  # frames between stills that are considered
_REFERENCE_DISTANCE = 4  # frames between a span and a reference


@dataclasses.dataclass(frozen=True)
class Edit:
  """What is asked for.

  Attributes:
    source: the video.
    new_audio: the new soundtrack.
    spans: (start, stop) seconds; empty for the whole video.
    consent: who is shown, who agreed, on what basis.
    out: where to write.
    seed: of all noise.
    overrides: SamplerConfig fields to change.
  """

  source: str
  new_audio: str
  spans: tuple
  consent: str
  out: str
  seed: int = 0
  overrides: tuple = ()


class Clock:
  """Seconds spent by stage."""

  def __init__(self):
    self.stages = {}

  @contextlib.contextmanager
  def __call__(self, stage, frames=0):
    start = time.perf_counter()
    yield
    calls = self.stages.setdefault(stage, [])
    calls.append((time.perf_counter() - start, frames))

  def report(self):
    """By stage: seconds in all, frames, and the median milliseconds a frame over the calls.

    The first call of a compiled stage includes its compilation, which the median leaves out.
    """
    rows = {}
    for stage, calls in self.stages.items():
      frames = sum(count for _, count in calls)
      rows[stage] = {'seconds': round(sum(seconds for seconds, _ in calls), 3), 'frames': frames}
      per_frame = [1e3 * seconds / count for seconds, count in calls if count]
      if per_frame:
        rows[stage]['ms_per_frame_median'] = round(float(np.median(per_frame)), 3)
    return rows


# --------------------------------------------------------------------------------------------------
# The soundtrack
# --------------------------------------------------------------------------------------------------


def soundtrack(info, new_audio, wanted, whole):
  """The output's sound, and whether any of the new one was cut.

  Args:
    info: VideoInfo of the source.
    new_audio: path.
    wanted: merged spans, seconds on the video's clock.
    whole: whether the whole video is regenerated.

  Returns:
    video.Soundtrack, and the seconds of new sound that lie past the video's end.

  Raises:
    UserError: no sound where it is needed, or too little.
  """
  new, rate, new_start = audio.read(new_audio)
  new_start = float(new_start)
  have, need = new_start + new.shape[1] / rate, max(stop for _, stop in wanted)
  # A frame's length of slack: a video's last frame often ends a little after its sound.
  if have < need - float(1 / info.rate) - 1e-6:
    raise UserError(f'{new_audio} ends at {have:.3f} s but is needed until {need:.3f} s: give the '
                    f'whole new soundtrack, or --span up to {have:.2f}')
  bit_rate = max(info.audio_bit_rate, 192_000)
  if whole:
    length = round((float(info.start_time + info.duration) - new_start) * rate)
    cut = max(new.shape[1] - length, 0) / rate
    return video.Soundtrack(new[:, :length], rate, new_start, bit_rate), cut
  if not info.has_audio:
    raise UserError(f'{info.path} has no soundtrack to keep outside the spans: leave --span out to '
                    'regenerate the whole video with the new one')
  samples, own_rate, start = audio.read(info.path)
  start, end = float(start), float(start) + samples.shape[1] / own_rate
  for begin, stop in wanted:
    # A span may reach past the sound's last sample, or begin before its first: sound is what
    # there is of it.
    begin, stop = max(begin, start), min(stop, end)
    first, last = (round((x - new_start) * rate) for x in (begin, stop))
    patch = np.pad(new, [(0, 0), (0, max(last - new.shape[1], 0))])[:, max(first, 0):last]
    patch = audio.resample(patch, rate, own_rate)
    length = round((stop - start) * own_rate) - round((begin - start) * own_rate)
    patch = np.pad(patch, [(0, 0), (0, max(length - patch.shape[1], 0))], mode='edge')[:, :length]
    samples = audio.splice(samples, own_rate, patch, own_rate, begin - start, stop - start)
  return video.Soundtrack(samples, own_rate, start, bit_rate), 0.0


def listen(sound, times, durations, listener):
  """The audio features of latent frames.

  Args:
    sound: video.Soundtrack that the mouth follows.
    times, durations: [4T] seconds.
    listener: System.listen.

  Returns:
    [T, 16, layers, channels].
  """
  begin = max(times[0] - _AUDIO_MARGIN, float(sound.start))
  end = times[-1] + durations[-1] + _AUDIO_MARGIN
  first, last = (round((x - float(sound.start)) * sound.rate) for x in (begin, end))
  heard = audio.mono_16k(sound.samples[:, first:last], sound.rate)
  return whisper.sample_at(listener(heard), np.asarray(times) - begin, durations)


# --------------------------------------------------------------------------------------------------
# References
# --------------------------------------------------------------------------------------------------


def choose_references(track, wanted, count):
  """Frames that show the person: unlike one another in mouth and pose, and not in a span.

  Args:
    track: faces.Track.
    wanted: bool [F], the frames to be regenerated.
    count: references R.

  Returns:
    At most `count` frame numbers, ascending. For a whole video, whose every frame is regenerated,
    they are taken from all of it.
  """
  usable = track.valid & ~track.filled
  kernel = np.ones(2 * _REFERENCE_DISTANCE + 1)
  near = np.convolve(wanted, kernel, mode='same') > 0
  if (usable & ~near).any():
    usable &= ~near
  candidates = np.flatnonzero(usable)[::_REFERENCE_STRIDE]
  if not len(candidates):
    return candidates
  seen = np.stack([track.lip_gap, track.mouth_width, np.radians(track.yaw)], 1)[candidates]
  seen = (seen - seen.mean(0)) / (seen.std(0) + 1e-6)
  chosen = [int(np.argmin(np.abs(seen).sum(1)))]  # the most ordinary first, then the farthest
  while len(chosen) < min(count, len(candidates)):
    distance = np.linalg.norm(seen[:, None] - seen[chosen][None], axis=-1).min(1)
    chosen.append(int(np.argmax(distance)))
  return np.sort(candidates[chosen])


# --------------------------------------------------------------------------------------------------
# The edit
# --------------------------------------------------------------------------------------------------


def regenerate(edit: Edit, machine: system.System, show=True) -> dict:
  """Makes the edited video and its report.

  Args:
    edit: what is asked for.
    machine: the loaded system.
    show: whether to draw progress bars.

  Returns:
    The report that is also written beside the video.

  Raises:
    UserError: a mistake in what is asked for; nothing is written then.
  """
  clock, began = Clock(), time.perf_counter()
  info = video.probe(edit.source)
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  whole = not edit.spans
  wanted = [(begin, end)] if whole else spans.merge(edit.spans)
  spans.check(wanted, begin, end, edit.source)
  sound, cut = soundtrack(info, edit.new_audio, wanted, whole)
  target = video.Writer(edit.out, info, audio=sound)  # refuses a wrong path before the work

  with clock('track faces', info.frame_count):
    track = faces.track_file(edit.source)
  models = machine.models
  runs = spans.plan(wanted, track.times, track.valid, models.generator.window)
  changed = np.zeros(len(track), bool)
  for run in runs:
    changed[run.start:run.stop] = True
  in_spans = np.zeros(len(track), bool)
  for start, stop in wanted:
    in_spans |= (track.times >= start - 1e-6) & (track.times < stop - 1e-6)
  if not in_spans.any():
    raise UserError(f'no frame of {edit.source} starts in the span: make it at least one frame, '
                    f'{float(1 / info.rate):.3f} s, long')
  if not runs:
    raise UserError(f'no face was found in the span of {edit.source}: it needs one face, seen from '
                    'the front or half turned, at least 50 pixels wide')

  sampler = dataclasses.replace(machine.sampler, **dict(edit.overrides))
  durations = np.diff(track.times, append=end)
  encoder = latents.Encoder(models.codec, machine.params.codec, machine.params.latent_mean,
                            machine.params.latent_std)
  stills = choose_references(track, in_spans, models.generator.references)
  with clock('references', len(stills)):
    references = encoder.stills(read_crops(edit.source, stills, track, models.codec.size))
  maker = Maker(edit, machine, sampler, track, durations, sound, encoder, references, clock)

  with (
    target as writer,
    tqdm.tqdm(total=len(track), unit='frame', desc='regenerate', disable=not show) as bar,
  ):
    for frame, image in maker.frames(runs):
      with clock('write', 1):
        if image is None:
          writer.copy(frame)
        else:
          writer.write(image, frame.pts, frame.duration)
      bar.update()
  report = {
    'source': {'path': str(edit.source), 'sha256': digest(edit.source), 'frames': len(track),
               'size': [info.width, info.height], 'rate': str(info.rate)},
    'audio': {'path': str(edit.new_audio), 'sha256': digest(edit.new_audio),
              'seconds_past_the_video': round(cut, 3)},
    'out': str(edit.out),
    'consent': edit.consent,
    'spans': [[round(a, 4), round(b, 4)] for a, b in wanted],
    'regenerated_frames': [[run.start, run.stop] for run in runs],
    'frames_without_a_face': np.flatnonzero(in_spans & ~track.valid).tolist(),
    'references': stills.tolist(),
    'model': machine.digests,
    'sampler': dataclasses.asdict(sampler),
    'seed': edit.seed,
    'stages': clock.report(),
    'seconds': round(time.perf_counter() - began, 2),
    'peak_memory_mb': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
  }
  write_json(pathlib.Path(edit.out).with_suffix('.json'), report)
  return report


class Maker:
  """Walks through the source once, in order, and makes the frames of the runs as it goes.

  Memory holds a latent frame's 4 frames and the sampler's state, however long the video.
  """

  def __init__(self, edit, machine, sampler, track, durations, sound, encoder, references, clock):
    self._edit, self._machine, self._sampler, self._track = edit, machine, sampler, track
    self._durations, self._sound, self._encoder = durations, sound, encoder
    self._references, self._clock = references, clock
    self._size = machine.models.codec.size
    self._mask = compose.lower_face_mask(self._size, soft=True)

  def frames(self, runs):
    """Yields (frame, image) in order; the image is None where the frame is left as it is."""
    source = _Ahead(video.frames(self._edit.source), self._clock)
    for run in runs:
      while source.next_index < run.warm:
        yield source.take(), None
      yield from self._run(run, source)
    while source.peek(1):
      yield source.take(), None

  def _run(self, run, source):
    models, params = self._machine.models, self._machine.params
    state, features, heard = self._begin(run)
    cache = self._encoder.start(2)
    for start in range(run.warm, run.padded, codec.TIME_FACTOR):
      group = source.peek(codec.TIME_FACTOR)
      with self._clock('crop', codec.TIME_FACTOR):
        crops = self._crops(group)
      with self._clock('encode', codec.TIME_FACTOR):
        both = np.stack([crops, pixels.hide_lower_face(crops)])
        made, cache = self._encoder.advance(both, cache)
      inputs = self._inputs(run, start, made, features, heard)
      if start < run.start:
        with self._clock('warm up', codec.TIME_FACTOR):
          state, _ = sample.warm(models, params, state, inputs)
          jax.block_until_ready(state)
        for _ in group:
          yield source.take(), None
        continue
      with self._clock('generate', codec.TIME_FACTOR):
        state, new = sample.step(models, self._sampler, params, state, inputs)
        new = pixels.to_uint8(np.asarray(new[0]))
      for i in range(min(codec.TIME_FACTOR, run.stop - start)):
        frame = source.take()
        with self._clock('paste', 1):
          image = compose.paste(frame.image, new[i], self._track.affine[frame.index], self._mask,
                                crops[i])
        yield frame, image

  def _begin(self, run):
    """The sampler's state before a run, and the run's audio."""
    models, params = self._machine.models, self._machine.params
    shape, look = models.generator, models.generator.look_ahead
    total = (run.padded - run.warm) // codec.TIME_FACTOR
    times, durations = self._clocked(run.warm, run.padded + codec.TIME_FACTOR * look)
    with self._clock('listen', run.padded - run.warm):
      features = listen(self._sound, times, durations, self._machine.listen)
    durations = durations.reshape(-1, codec.TIME_FACTOR).mean(1).astype(np.float32)
    # Audio that lies wholly past the end of the sound is unknown.
    end = float(self._sound.start) + self._sound.samples.shape[1] / self._sound.rate
    known = times[::codec.TIME_FACTOR] < end
    flat, channels = shape.cells**2, shape.latent_channels
    references = np.zeros((1, shape.references, flat, channels), np.float32)
    references[0, :len(self._references)] = self._references.reshape(-1, flat, channels)
    anchor = np.zeros((2, 1, flat, channels), np.float32)  # the frame, and its context
    if run.anchor is not None:
      after = np.arange(run.anchor, run.anchor + codec.TIME_FACTOR)
      crops = read_crops(self._edit.source, after, self._track, self._size)
      both = np.stack([crops, pixels.hide_lower_face(crops)])
      anchor[:, 0] = self._encoder.alone(both).reshape(2, flat, channels)
    state = sample.init_state(
      models, params, jax.random.fold_in(jax.random.key(self._edit.seed), run.start), references,
      np.arange(shape.references)[None] < len(self._references), anchor[0][:, list(shape.region)],
      anchor[1], np.array([run.anchor is not None]), features[None, :look], known[None, :look],
      durations[None, :look])
    return state, features, (known, durations, total)

  def _inputs(self, run, start, made, features, heard):
    known, durations, total = heard
    i, look = (start - run.warm) // codec.TIME_FACTOR, self._machine.models.generator.look_ahead
    made = made.reshape(2, 1, -1, made.shape[-1]).astype(np.float32)
    return sample.Inputs(
      context=made[1], outside=made[0], duration=durations[i][None], audio=features[i + look][None],
      audio_valid=known[i + look][None], audio_duration=durations[i + look][None],
      anchor_distance=np.float32(total - i)[None])

  def _clocked(self, start, stop):
    """Times and durations of frames, going on at the last frame's pace past the video's end."""
    times, durations = self._track.times[start:stop], self._durations[start:stop]
    missing = stop - start - len(times)
    times = np.concatenate([times, times[-1] + durations[-1] * np.arange(1, missing + 1)])
    return times, np.pad(durations, (0, missing), mode='edge')

  def _crops(self, group):
    """Crops of 4 frames; where one is missing or shows no face, the crop before it again."""
    crops = []
    for frame in group:
      affine = self._track.affine[frame.index]
      crops.append(faces.crop(frame.image, affine, self._size)
                   if np.isfinite(affine).all() else crops[-1])
    crops += crops[-1:] * (codec.TIME_FACTOR - len(crops))
    return np.stack(crops)


class _Ahead:
  """Frames of a video, some of which can be looked at before they are taken."""

  def __init__(self, frames, clock):
    self._frames, self._clock, self._waiting = frames, clock, []
    self.next_index = 0

  def peek(self, count):
    """The next `count` frames, fewer at the end."""
    while len(self._waiting) < count:
      with self._clock('decode', 1):
        frame = next(self._frames, None)
      if frame is None:
        break
      self._waiting.append(frame)
    return self._waiting[:count]

  def take(self):
    """The next frame, which is then past."""
    self.peek(1)
    self.next_index += 1
    return self._waiting.pop(0)


def read_crops(path, indices, track, size):
  """Crops uint8 [N, S, S, 3] of some frames, ascending."""
  wanted, crops = set(np.asarray(indices).tolist()), []
  if wanted:
    for frame in video.frames(path, min(wanted), max(wanted) + 1):
      if frame.index in wanted:
        crops.append(faces.crop(frame.image, track.affine[frame.index], size))
  return np.array(crops, np.uint8).reshape(-1, size, size, 3)


# --------------------------------------------------------------------------------------------------
# The program
# --------------------------------------------------------------------------------------------------


def digest(path):
  """sha256 of a file."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def write_json(path, value):
  """Writes a JSON file that appears whole or not at all."""
  part = path.with_name(f'.{path.name}.{os.getpid()}.part')
  try:
    part.write_text(json.dumps(value, indent=2) + '\n')
    part.rename(path)
  finally:
    part.unlink(missing_ok=True)


class _Parser(argparse.ArgumentParser):
  """One line for a mistake, like every other program here."""

  def error(self, message):
    raise UserError(f'{message}: `python -m vidregen_jax.regenerate --help` says how')


def arguments(argv=None):
  parser = _Parser(prog='python -m vidregen_jax.regenerate', description=__doc__,
                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('source', metavar='IN.mp4', help='a video of one person talking')
  parser.add_argument('--audio', required=True, metavar='NEW.wav',
                      help='the whole new soundtrack: any audio or video file')
  parser.add_argument('--span', action='append', default=[], metavar='START-END',
                      help='seconds to regenerate; can be given several times; default: all')
  parser.add_argument('--checkpoint', required=True, metavar='DIR',
                      help="the `export` folder of the generator's training")
  parser.add_argument('--consent', default='', metavar='TEXT',
                      help='who is shown, who agreed, on what basis; written into the report')
  parser.add_argument('--out', required=True, metavar='OUT.mp4')
  parser.add_argument('--seed', type=int, default=0, help='of the noise (default 0)')
  parser.add_argument('--steps', type=int, help='flow steps a latent frame')
  parser.add_argument('--solver', choices=('euler', 'heun'))
  parser.add_argument('--guidance_appearance', type=float)
  parser.add_argument('--guidance_audio', type=float)
  parser.add_argument('--noise', type=float, help='size of the noise that sampling starts from')
  return parser.parse_args(argv)


def main(argv=None) -> int:
  try:
    given = arguments(argv)
    if not given.consent.strip():
      raise UserError('--consent is missing: say who is shown, who agreed and on what basis, such '
                      'as --consent "Ann Lee, who is shown, agreed on 2026-05-01"')
    if pathlib.Path(given.out).resolve() in (pathlib.Path(given.source).resolve(),
                                             pathlib.Path(given.audio).resolve()):
      raise UserError(f'--out {given.out} would replace an input: give another name')
    if given.steps is not None and given.steps < 1:
      raise UserError(f'--steps {given.steps} is too few: give 1 or more')
    wanted = tuple(spans.parse(text) for text in given.span)
    names = ('steps', 'solver', 'guidance_appearance', 'guidance_audio', 'noise')
    overrides = tuple((n, getattr(given, n)) for n in names if getattr(given, n) is not None)
    edit = Edit(given.source, given.audio, wanted, given.consent.strip(), given.out, given.seed,
                overrides)
    video.probe(given.source)  # a wrong path is told before a model is loaded
    report = regenerate(edit, system.load(given.checkpoint))
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print('\ninterrupted: nothing was written', file=sys.stderr)
    return 130
  for name in ('regenerated_frames', 'frames_without_a_face', 'peak_memory_mb', 'seconds'):
    print(f'{name}: {report[name]}')
  if report['audio']['seconds_past_the_video']:
    print(f'the last {report["audio"]["seconds_past_the_video"]} s of {given.audio} lie past the '
          'end of the video and were left out')
  print(f'wrote {given.out} and {pathlib.Path(given.out).with_suffix(".json")}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
