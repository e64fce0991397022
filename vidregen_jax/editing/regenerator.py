"""The walk through the regions of a video that makes frames anew, in order, in bounded memory."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.compositing import crossfade
from vidregen_jax.editing import soundtrack
from vidregen_jax.faces import crop_mask, in_video, landmarks
from vidregen_jax.inference import sampling
from vidregen_jax.media import planes, prefetch, video
from vidregen_jax.models import codec, pixels, streams

_AHEAD = 2 * codec.TIME_FACTOR  # frames that are decoded and cropped while the model works
_ROOM = 1 / 8  # of a crop's side: so far around it cropping looks
# Of a crop: what is pasted into, and the face, whose grain it shall have.
_PASTED = (crop_mask.LEFT, crop_mask.FACE[1], crop_mask.RIGHT, crop_mask.BOTTOM)


@dataclasses.dataclass(frozen=True, eq=False)
class Shot:
  """A frame, and what the model sees of it.

  Attributes:
    frame: as decoded.
    at: left and top of the part of its picture that is pasted into.
    image: that part, uint8 [h, w, 3]; None where the model does not see the frame.
    affine: [2, 3], crop fraction to pixel of `image`; None too.
    crop: uint8 [S, S, 3]; None too.
  """

  frame: video.Frame
  at: tuple[int, int] = (0, 0)
  image: np.ndarray | None = None
  affine: np.ndarray | None = None
  crop: np.ndarray | None = None


class Retake:
  """Walks through regions of the film, in order, and makes the frames of the runs as it goes.

  Frames are decoded and cropped in a thread, so that the model does not wait for them. Memory holds
  those, a latent frame's 4, those that wait for a run's end, and the sampler's state, however long
  the video.
  """

  def __init__(self, edit, machine, sampler, film, track, sound, encoder, references, clock):
    self._edit, self._machine, self._sampler, self._track = edit, machine, sampler, track
    self._film, self._sound, self._encoder = film, sound, encoder
    self._durations = np.diff(track.times, append=float(film.info.start_time + film.info.duration))
    self._references, self._clock = references, clock
    self._size = machine.models.codec.size

  def frames(self, runs, regions):
    """Yields every frame of the regions, in order, with what is to be pasted into it.

    Args:
      runs: run_plan.Run of what is made, ascending.
      regions: (start, stop) of frames, ascending; every run lies in one.

    Yields:
      Shot, and a new crop uint8 [S, S, 3], or None where the frame is left as it is.
    """
    for start, stop in regions:
      within = [run for run in runs if start <= run.start < stop]
      first = min([start, *(run.warm for run in within[:1])])
      with prefetch.Ahead(self._shots(first, within), _AHEAD) as coming:
        for shot, made in self._region(within, _Peek(coming, first, self._clock), stop):
          if shot.frame.index >= start:
            yield shot, made

  def _shots(self, first, runs):
    frames = self._film.frames(first)
    while True:
      with self._clock('decode', 1):
        frame = next(frames, None)
      if frame is None:
        return
      seen = any(run.warm <= frame.index < run.padded + codec.TIME_FACTOR for run in runs)
      affine = self._track.affine[frame.index]
      if not seen or not np.isfinite(affine).all():
        yield Shot(frame)
        continue
      with self._clock('crop', 1):
        shot = self._shot(frame, affine)
      yield shot

  def _shot(self, frame, affine):
    left, top, *_ = box = _box(affine, frame.source, (0, 0, 1, 1), _ROOM)
    image = planes.part(frame, box)
    crop = landmarks.crop(image, _moved(affine, box), self._size)
    inner = _box(affine, frame.source, _PASTED, 2 / self._size)
    image = image[inner[1] - top:inner[3] - top, inner[0] - left:inner[2] - left]
    # A copy, lest the rest be held too.
    return Shot(frame, inner[:2], image.copy(), _moved(affine, inner), crop)

  def _region(self, runs, source, stop):
    for run in runs:
      while source.next_index < run.warm:
        yield source.take(), None
      yield from self._run(run, source)
    while source.next_index < stop:
      yield source.take(), None

  def _run(self, run, source):
    """Yields the run's frames; those near its end wait for what is made of the real one behind."""
    times, reach = self._track.times, self._edit.fade
    behind = run.stop if reach and self._same_shot(run, run.stop) else None
    lacks, waiting = [], collections.deque()
    mended = lambda shot, new: (shot, crossfade.mend(new, times[shot.frame.index], lacks, reach))
    for start, crops, new in self._groups(run, source, behind):
      for index in range(start, start + codec.TIME_FACTOR):
        i = index - start
        if index in (run.start - 1, behind) and new is not None:
          lacks.append((times[index], crossfade.lack(crops[i], new[i])))
        if index < run.start:
          yield source.take(), None
        elif index < run.stop:
          waiting.append((source.take(), new[i]))
      while waiting and (behind is None
                         or times[waiting[0][0].frame.index] < times[behind] - reach):
        yield mended(*waiting.popleft())
    while waiting:
      yield mended(*waiting.popleft())

  def _groups(self, run, source, behind):
    """Yields (first frame's index, crops [4, S, S, 3], made crops or None) of 4 frames each.

    Of the real frames that warm a run up the last 4 are made too if the edge is to be mended; and
    so is the frame `behind` the run.
    """
    models, params = self._machine.models, self._machine.params
    end = run.padded + codec.TIME_FACTOR * (behind == run.padded)
    state, heard = self._begin(run, end)
    cache = self._encoder.start(2)
    for start in range(run.warm, end, codec.TIME_FACTOR):
      crops = self._crops(source.peek(codec.TIME_FACTOR), run)
      with self._clock('encode', codec.TIME_FACTOR):
        both = np.stack([crops, crop_mask.hide_lower_face(crops)])
        made, cache = self._encoder.advance(both, cache)
      inputs = self._inputs(run, start, made, heard)
      new = None
      if start < run.start:
        if self._edit.fade and start + codec.TIME_FACTOR == run.start:
          with self._clock('generate', codec.TIME_FACTOR):
            _, new = self._make(jax.tree.map(jnp.copy, state), inputs)
        with self._clock('warm up', codec.TIME_FACTOR):
          state, _ = sampling.warm(models, params, state, inputs)
          jax.block_until_ready(state)
      else:
        with self._clock('generate', codec.TIME_FACTOR):
          state, new = self._make(state, inputs)
      yield start, crops, new

  def _make(self, state, inputs):
    """The state after a latent frame, and its 4 made crops; `state` is used up."""
    models, params = self._machine.models, self._machine.params
    if self._sampler is None:  # nothing is to be made: the codec's own frames
      state, new = sampling.warm(models, params, state, inputs)
    else:
      state, new = sampling.step(models, self._sampler, params, state, inputs)
    return state, pixels.join_cells(pixels.to_uint8(np.asarray(new[0])), models.codec.cells)

  def _begin(self, run, end):
    """The sampler's state before a run, and what there is to hear up to frame `end`."""
    models, params = self._machine.models, self._machine.params
    shape, look = models.generator, models.generator.look_ahead
    total = (run.padded - run.warm) // codec.TIME_FACTOR
    times, durations = self._clocked(run.warm, end + codec.TIME_FACTOR * look)
    features = soundtrack.listen(self._sound, times, durations, self._machine.hear)
    with self._clock('listen', codec.TIME_FACTOR * look):
      begun = np.stack([next(features) for _ in range(look)])
    durations = durations.reshape(-1, codec.TIME_FACTOR).mean(1).astype(np.float32)
    # Audio that lies wholly past the end of the sound is unknown.
    end = float(self._sound.start) + self._sound.samples.shape[1] / self._sound.rate
    known = times[::codec.TIME_FACTOR] < end
    flat, channels = shape.cells**2, shape.latent_channels
    references = np.zeros((1, shape.references, flat, channels), np.float32)
    stills = self._references[int(self._track.person[run.start])]
    references[0, :len(stills)] = stills.reshape(-1, flat, channels)
    anchor = np.zeros((2, 1, flat, channels), np.float32)  # the frame, and its context
    if run.anchor is not None:
      after = np.arange(run.anchor, run.anchor + codec.TIME_FACTOR)
      crops = in_video.crops(self._film, after, self._track, self._size)
      both = np.stack([crops, crop_mask.hide_lower_face(crops)])
      anchor[:, 0] = self._encoder.alone(both).reshape(2, flat, channels)
    fixed = streams.Fixed(
      references=references, reference_valid=np.arange(shape.references)[None] < len(stills),
      anchor=anchor[0][:, list(shape.region)], anchor_context=anchor[1],
      anchor_valid=np.array([run.anchor is not None]), anchor_time=np.float32([total]))
    ahead = streams.Ahead(begun[None], known[None, :look], durations[None, :look])
    key = jax.random.fold_in(jax.random.key(self._edit.seed), run.start)
    state = sampling.init_state(models, params, key, streams.Start(fixed, ahead))
    return state, (features, known, durations)

  def _inputs(self, run, start, made, heard):
    features, known, durations = heard
    i, look = (start - run.warm) // codec.TIME_FACTOR, self._machine.models.generator.look_ahead
    with self._clock('listen', codec.TIME_FACTOR):
      audio = next(features)
    made = made.reshape(2, 1, -1, made.shape[-1]).astype(np.float32)
    return streams.Inputs(
      streams.Frames(target=made[0], context=made[1]),
      streams.Ahead(audio[None], known[i + look][None], durations[i + look][None]))

  def _clocked(self, start, stop):
    """Times and durations of frames, going on at the last frame's pace past the video's end."""
    times, durations = self._track.times[start:stop], self._durations[start:stop]
    missing = stop - start - len(times)
    times = np.concatenate([times, times[-1] + durations[-1] * np.arange(1, missing + 1)])
    return times, np.pad(durations, (0, missing), mode='edge')

  def _same_shot(self, run, index):
    """Whether a frame shows the run's face in the run's own shot."""
    shot = self._track.shot[run.start:index + 1]
    return index < len(self._track) and self._track.valid[index] and (shot == shot[0]).all()

  def _crops(self, group, run):
    """Crops of 4 shots; where one is missing or of no use to the run, the crop before it again."""
    crops = []
    for shot in group:
      index = shot.frame.index
      crops.append(shot.crop if index < run.stop or self._same_shot(run, index) else crops[-1])
    crops += crops[-1:] * (codec.TIME_FACTOR - len(crops))
    return np.stack(crops)


def _box(affine, source, part, room):
  """Image pixels left, top, right, bottom around a part of a crop, clipped to the image.

  Args:
    affine: [2, 3], crop fraction to image pixel.
    source: the image's size, as `width` and `height`.
    part: left, top, right, bottom as crop fractions.
    room: around it, as a share of the crop's side.
  """
  x0, y0, x1, y1 = part
  corners = affine @ np.array([(x0, x1, x0, x1), (y0, y0, y1, y1), (1, 1, 1, 1)], float)
  room = room * np.hypot(affine[:, 0], affine[:, 1]).astype(float)  # across and down
  limit = np.array((source.width, source.height))
  low = np.clip(np.floor(corners.min(1) - room), 0, limit - 1).astype(int)
  high = np.clip(np.ceil(corners.max(1) + room), low + 1, limit).astype(int)
  return *low.tolist(), *high.tolist()


def _moved(affine, at):
  """An affine into the image's part that begins at left and top `at`."""
  return affine - [[0, 0, at[0]], [0, 0, at[1]]]


class _Peek:
  """Shots of a video, some of which can be looked at before they are taken."""

  def __init__(self, shots, first, clock):
    self._shots, self._clock, self._waiting = shots, clock, []
    self.next_index = first

  def peek(self, count):
    """The next `count` shots, fewer at the end."""
    while len(self._waiting) < count:
      with self._clock('wait for decode', 1):
        shot = next(self._shots, None)
      if shot is None:
        break
      self._waiting.append(shot)
    return self._waiting[:count]

  def take(self):
    """The next shot, which is then past."""
    self.peek(1)
    self.next_index += 1
    return self._waiting.pop(0)
