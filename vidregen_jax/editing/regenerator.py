"""Walks through the regions of a video and regenerates frames, in order and in bounded memory."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.compositing import crossfade
from vidregen_jax.editing import audio_features, lip_motion
from vidregen_jax.faces import crop_mask, in_video, landmarks
from vidregen_jax.inference import sampling
from vidregen_jax.media import planes, prefetch, video
from vidregen_jax.models import codec, lip_listener, lip_readout, pixels, streams

_AHEAD = 2 * codec.TIME_FACTOR  # frames decoded and cropped while the model works
_GROUPS_AHEAD = 1  # latent frames that are generated while the one before is finished
_ROOM = 1 / 8  # of a crop's side: how far around the crop its resampling reads
# The part of a crop that pasting reads: the pasted region, and the cheeks, whose grain is copied.
_PASTED = (crop_mask.LEFT, crop_mask.TOP, crop_mask.RIGHT, crop_mask.BOTTOM)


@dataclasses.dataclass(frozen=True, eq=False)
class Shot:
  """A frame, and the crops of it that the model sees and that is pasted over.

  Attributes:
    frame: as decoded.
    at: left and top pixel of `image` within the frame.
    image: the part that is pasted into, uint8 [h, w, 3]; None if the model does not see the frame.
    affine: [2, 3], crop fraction to pixel of `image`; None likewise.
    crop: uint8 [F, F, 3], of the size that is pasted; None likewise.
    small_crop: uint8 [S, S, 3], what the model sees; None likewise.
  """

  frame: video.Frame
  at: tuple[int, int] = (0, 0)
  image: np.ndarray | None = None
  affine: np.ndarray | None = None
  crop: np.ndarray | None = None
  small_crop: np.ndarray | None = None

  def whole(self, image: np.ndarray | None) -> np.ndarray:
    """The frame's picture uint8 [H, W, 3], with another `image` if there is one."""
    picture = self.frame.image.copy()
    if image is not None:
      left, top = self.at
      picture[top:top + len(image), left:left + image.shape[1]] = image
    return picture


class _Sound:
  """What is heard while latent frames are made, some of them ahead.

  Args:
    features: yields windows [4, 16, layers, channels] of latent frames, of `audio_features`.
    valid: bool [T], which of them lie in the sound.
    durations: float32 [T], seconds a frame.
    motion: lip_motion.LipMotion of the person; None where nobody listens for lips.
  """

  def __init__(self, features, valid, durations, motion):
    self._coming = zip(features, valid, durations, strict=True)
    self._motion, self._durations = motion, collections.deque()

  def ahead(self) -> streams.Ahead:
    """The next latent frame's: audio [16, layers, channels] and scalars."""
    windows, valid, duration = next(self._coming)
    self._durations.append(float(duration))
    if self._motion:
      self._motion.hear(windows, valid)
    return streams.Ahead(windows[0], valid, duration)

  def lips(self) -> tuple[lip_listener.Lips | None, float]:
    """Lips of [4] of the next latent frame to be made, and seconds a frame.

    The lips are None where nobody listens.
    """
    seconds = self._durations.popleft()
    return self._motion and self._motion.next(seconds), seconds


@dataclasses.dataclass(frozen=True, eq=False)
class _Group:
  """The 4 frames of a latent frame.

  Attributes:
    start: the first one's index.
    shots: their Shots; fewer at the film's end.
    crops: uint8 [4, F, F, 3] of them, as they are in the source.
    jaws: [4, 23, 2] of the track, in these.
    made: uint8 [4, S, S, 3], as they are generated; None if they are not.
    lips: of `_Sound.lips`.
    read: [4] lip gaps that are read in its latents; None where they are not.
    seconds: from frame to frame.
  """

  start: int
  shots: list[Shot]
  crops: np.ndarray
  jaws: np.ndarray
  made: np.ndarray | None
  lips: lip_listener.Lips | None
  read: np.ndarray | None
  seconds: float


class Retake:
  """Walks through regions of the film, in order, and generates the frames of the runs as it goes.

  Frames are decoded and cropped in a thread, so that the model does not wait for them, and
  generated in another, while those before are corrected. Memory holds these, those held back near a
  run's end, and the sampler's state, however long the video is.
  """

  def __init__(self, edit, machine, sampler, film, track, sound, encoder, references, fitted,
               clock, options):
    self._options = options
    self._edit, self._machine, self._sampler, self._track = edit, machine, sampler, track
    self._film, self._sound, self._encoder = film, sound, encoder
    self._durations = np.diff(track.times, append=float(film.info.start_time + film.info.duration))
    self._references, self._fitted, self._clock = references, fitted, clock
    self._size = machine.models.codec.size

  def frames(self, runs, regions):
    """Yields every frame of the regions, in order, with the face to paste into it.

    Args:
      runs: run_plan.Run of the frames to regenerate, ascending.
      regions: (start, stop) of frames, ascending; every run lies in one.

    Yields:
      Shot, and the generated crop uint8 [F, F, 3], or None if the frame stays as it is.
    """
    for start, stop in regions:
      within = [run for run in runs if start <= run.start < stop]
      first = min([start, *(run.warm for run in within[:1])])
      with prefetch.Ahead(self._shots(first, within), _AHEAD) as shots:
        for shot, face in self._region(within, _Peek(shots, first, self._clock), stop):
          if shot.frame.index >= start:
            yield shot, face

  def _shots(self, first, runs):
    frames = self._film.frames(first)
    while True:
      with self._clock('decode', 1):
        frame = next(frames, None)
      if frame is None:
        return
      needed = any(run.warm <= frame.index < run.padded + codec.TIME_FACTOR for run in runs)
      affine = self._track.affine[frame.index]
      if not needed or not np.isfinite(affine).all():
        yield Shot(frame)
        continue
      with self._clock('crop', 1):
        shot = self._shot(frame, affine)
      yield shot

  def _shot(self, frame, affine):
    left, top, *_ = box = _box(affine, frame.source, (0, 0, 1, 1), _ROOM)
    image = planes.part(frame, box)
    small = landmarks.crop(image, _moved(affine, box), self._size)
    crop = small if self._fitted.size == self._size else landmarks.crop(
      image, _moved(affine, box), self._fitted.size)
    inner = _box(affine, frame.source, _PASTED, 2 / self._size)
    image = image[inner[1] - top:inner[3] - top, inner[0] - left:inner[2] - left]
    # A copy: a view would keep the whole picture in memory.
    return Shot(frame, inner[:2], image.copy(), _moved(affine, inner), crop, small)

  def _region(self, runs, source, stop):
    for run in runs:
      while source.next_index < run.warm:
        yield source.take(), None
      yield from self._run(run, source)
    while source.next_index < stop:
      yield source.take(), None

  def _run(self, run, source):
    """Yields the run's frames; those near its end wait until the frame after it is generated."""
    times, reach = self._track.times, self._fade(run)
    behind = run.stop if reach and self._same_shot(run, run.stop) else None
    residuals, pending = [], collections.deque()
    faded = lambda shot, face: (
      shot, crossfade.mend(face, times[shot.frame.index], residuals, reach))
    width, before = lip_motion.MouthWidth(), None
    with prefetch.Ahead(self._groups(run, source, behind), _GROUPS_AHEAD) as groups:
      for group in groups:
        faces, before = self._finished(run, group, width, before)
        for i, shown in enumerate(group.shots):
          index = group.start + i
          if faces is not None and index in (run.start - 1, behind):
            residuals.append((times[index], crossfade.residual(group.crops[i], faces[i])))
          if index < run.start:
            yield shown, None
          elif index < run.stop:
            pending.append((shown, faces[i]))
        while pending and (behind is None
                           or times[pending[0][0].frame.index] < times[behind] - reach):
          yield faded(*pending.popleft())
    while pending:
      yield faded(*pending.popleft())

  def _groups(self, run, source, behind):
    """Takes a run's shots and yields a _Group of every 4, with what is generated of them.

    For the cross-fade at the edges, the last 4 warm-up frames before the run are generated as well,
    and so is the frame `behind` it.
    """
    end = run.padded + codec.TIME_FACTOR * (behind == run.padded)
    state, sound = self._begin(run, end)
    cache = self._encoder.start(2)
    for start in range(run.warm, end, codec.TIME_FACTOR):
      shots = source.peek(codec.TIME_FACTOR)
      crops, small, jaws = self._crops(shots, run)
      with self._clock('encode', codec.TIME_FACTOR):
        both = np.stack([small, crop_mask.hide_lower_face(small)])
        latents, cache = self._encoder.advance(both, cache)
      inputs = self._inputs(latents, sound)
      lips, seconds = sound.lips()
      params = self._params(run, start, lips and lips.gap)
      made = read = None
      if start < run.start:
        if self._fade(run) and start + codec.TIME_FACTOR == run.start:
          with self._clock('generate', codec.TIME_FACTOR):
            _, made, read = self._make(run, params, jax.tree.map(jnp.copy, state), inputs)
        with self._clock('warm up', codec.TIME_FACTOR):
          state, _ = sampling.warm(self._machine.models, params, state, inputs)
          jax.block_until_ready(state)
      else:
        with self._clock('generate', codec.TIME_FACTOR):
          state, made, read = self._make(run, params, state, inputs)
      for _ in range(min(start + codec.TIME_FACTOR, run.stop) - start):
        source.take()
      yield _Group(start, shots, crops, jaws, made, lips, read, seconds)

  def _finished(self, run, group, width, before):
    """A group's faces [4, F, F, 3] as the person's own, None if none are made, and gaps read.

    Args:
      run: that the group is of.
      group: _Group.
      width: lip_motion.MouthWidth of the run.
      before: the gaps that were read in the last group; None if none were.
    """
    if group.made is None:
      return None, before
    person, lips = self._person(run), group.lips
    with self._clock('correct', codec.TIME_FACTOR):
      faces = self._fitted.corrected(person, group.made, group.start)
      if lips is None and group.read is not None:
        lips = self._fitted.read(person, lip_readout.steadied(group.read, before))
        before = group.read[-1]
      if lips is not None:
        faces = self._fitted.shaped(person, faces, group.jaws, lips, self._opening(run), width,
                                    group.seconds)
    return faces, before

  def _fade(self, run) -> float:
    """Seconds over which a run's faces turn into the real ones."""
    own = self._options[run.edit].fade
    return self._edit.fade if own is None else own

  def _opening(self, run) -> float:
    """How far a run's mouths open, where they are fitted."""
    own = self._options[run.edit]
    if own.mute:
      return 0.
    return self._edit.opening if own.opening is None else own.opening

  def _sampler_of(self, run):
    own = self._options[run.edit].guidance
    return self._sampler if own is None or self._sampler is None else dataclasses.replace(
      self._sampler, guidance_audio=own)

  def _person(self, run) -> int:
    """Whose face a run shows."""
    return int(self._track.person[run.start])

  def _params(self, run, start, gaps=None):
    """The parameters that make the latent frame that starts at a frame, with such lip gaps."""
    return self._fitted.adapted(self._person(run), self._machine.params, start,
                                self._opening(run), gaps)

  def _make(self, run, params, state, inputs):
    """The state after a latent frame, its 4 generated crops and the lip gaps read in its latents.

    `state` is donated. Gaps are None if they are not known, or nothing is generated.
    """
    models, read = self._machine.models, None
    if self._sampler is None:  # generate nothing: the codec's own reconstruction
      state, face_cells = sampling.warm(models, params, state, inputs)
    else:
      state, face_cells = sampling.step(models, self._sampler_of(run), params, state, inputs)
      if self._machine.lips:
        read = self._machine.lips(state.residual)[0]
    faces = pixels.join_cells(pixels.to_uint8(np.asarray(face_cells[0])), models.codec.cells)
    return state, faces, read

  def _begin(self, run, end):
    """The sampler's state before a run, and the sound up to frame `end`."""
    models, params = self._machine.models, self._params(run, run.warm)
    shape, look_ahead = models.generator, models.generator.look_ahead
    total = (run.padded - run.warm) // codec.TIME_FACTOR
    times, durations = self._clocked(run.warm, end + codec.TIME_FACTOR * look_ahead)
    times = times - self._options[run.edit].offset
    features = audio_features.of_frames(self._sound, times, durations, self._machine.hear)
    durations = durations.reshape(-1, codec.TIME_FACTOR).mean(1).astype(np.float32)
    # Audio features that lie wholly past the end of the sound are masked out.
    end = float(self._sound.start) + self._sound.samples.shape[1] / self._sound.rate
    motion = None if self._sampler is None else self._fitted.motion(
      self._person(run), self._machine.listener)
    sound = _Sound(features, times[::codec.TIME_FACTOR] < end, durations, motion)
    with self._clock('listen', codec.TIME_FACTOR * look_ahead):
      first = [sound.ahead() for _ in range(look_ahead)]
    flat, channels = shape.cells**2, shape.latent_channels
    references = np.zeros((1, shape.references, flat, channels), np.float32)
    stills = self._references[self._person(run)]
    references[0, :len(stills)] = stills.reshape(-1, flat, channels)
    anchor = np.zeros((2, 1, flat, channels), np.float32)  # the frame, and its masked context
    if run.anchor is not None:
      after = np.arange(run.anchor, run.anchor + codec.TIME_FACTOR)
      crops = in_video.crops(self._film, after, self._track, self._size)
      both = np.stack([crops, crop_mask.hide_lower_face(crops)])
      anchor[:, 0] = self._encoder.alone(both).reshape(2, flat, channels)
    fixed = streams.Fixed(
      references=references, reference_valid=np.arange(shape.references)[None] < len(stills),
      anchor=anchor[0][:, list(shape.region)], anchor_context=anchor[1],
      anchor_valid=np.array([run.anchor is not None]), anchor_time=np.float32([total]))
    ahead = jax.tree.map(lambda *each: np.stack(each)[None], *first)
    key = jax.random.fold_in(jax.random.key(self._edit.seed), run.start)
    state = sampling.init_state(models, params, key, streams.Start(fixed, ahead))
    return state, sound

  def _inputs(self, latents, sound):
    """A latent frame's inputs."""
    with self._clock('listen', codec.TIME_FACTOR):
      ahead = jax.tree.map(lambda x: np.asarray(x)[None], sound.ahead())
    latents = latents.reshape(2, 1, -1, latents.shape[-1]).astype(np.float32)
    return streams.Inputs(streams.Frames(target=latents[0], context=latents[1]), ahead)

  def _clocked(self, start, stop):
    """Times and durations of frames, extrapolated past the video's end at the last frame's pace."""
    times, durations = self._track.times[start:stop], self._durations[start:stop]
    missing = stop - start - len(times)
    times = np.concatenate([times, times[-1] + durations[-1] * np.arange(1, missing + 1)])
    return times, np.pad(durations, (0, missing), mode='edge')

  def _same_shot(self, run, index):
    """Whether a frame shows the run's face in the run's own shot."""
    shot = self._track.shot[run.start:index + 1]
    return index < len(self._track) and self._track.valid[index] and (shot == shot[0]).all()

  def _crops(self, group, run):
    """Crops, small crops and jaws of 4 shots; one that is missing or of another shot is replaced by
    the one before.
    """
    shown = []
    for shot in group:
      index = shot.frame.index
      shown.append(shot if index < run.stop or self._same_shot(run, index) else shown[-1])
    shown += shown[-1:] * (codec.TIME_FACTOR - len(shown))
    return (np.stack([shot.crop for shot in shown]), np.stack([shot.small_crop for shot in shown]),
            self._track.jaw[[shot.frame.index for shot in shown]])


def _box(affine, source, part, room):
  """Image pixels left, top, right, bottom around a part of a crop, clipped to the image.

  Args:
    affine: [2, 3], crop fraction to image pixel.
    source: the image's size, as `width` and `height`.
    part: left, top, right, bottom as crop fractions.
    room: extra space around it, as a share of the crop's side.
  """
  x0, y0, x1, y1 = part
  corners = affine @ np.array([(x0, x1, x0, x1), (y0, y0, y1, y1), (1, 1, 1, 1)], float)
  room = room * np.hypot(affine[:, 0], affine[:, 1]).astype(float)  # across and down
  limit = np.array((source.width, source.height))
  low = np.clip(np.floor(corners.min(1) - room), 0, limit - 1).astype(int)
  high = np.clip(np.ceil(corners.max(1) + room), low + 1, limit).astype(int)
  return *low.tolist(), *high.tolist()


def _moved(affine, at):
  """An affine into the sub-image whose left and top are `at`."""
  return affine - [[0, 0, at[0]], [0, 0, at[1]]]


class _Peek:
  """A stream of Shots that allows looking ahead."""

  def __init__(self, shots, first, clock):
    self._shots, self._clock, self._pending = shots, clock, []
    self.next_index = first

  def peek(self, count):
    """The next `count` shots without taking them; fewer at the end."""
    while len(self._pending) < count:
      with self._clock('wait for decode', 1):
        shot = next(self._shots, None)
      if shot is None:
        break
      self._pending.append(shot)
    return self._pending[:count]

  def take(self):
    """Takes the next shot."""
    self.peek(1)
    self.next_index += 1
    return self._pending.pop(0)
