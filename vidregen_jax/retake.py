"""The walk through the regions of a video that makes frames anew, in order, in bounded memory."""

import collections

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax import edges, pixels, sample, soundtrack
from vidregen_jax.media import faces
from vidregen_jax.models import codec


class Retake:
  """Walks through regions of the film, in order, and makes the frames of the runs as it goes.

  Memory holds a latent frame's 4 frames, those that wait for a run's end, and the sampler's state,
  however long the video.
  """

  def __init__(self, edit, machine, sampler, film, track, sound, encoder, references, paster,
               clock):
    self._edit, self._machine, self._sampler, self._track = edit, machine, sampler, track
    self._film, self._sound, self._encoder = film, sound, encoder
    self._durations = np.diff(track.times, append=float(film.info.start_time + film.info.duration))
    self._references, self._paster, self._clock = references, paster, clock
    self._size = machine.models.codec.size

  def frames(self, runs, regions):
    """Yields (frame, image) of every frame of the regions, in order.

    Args:
      runs: spans.Run of what is made, ascending.
      regions: (start, stop) of frames, ascending; every run lies in one.

    Yields:
      video.Frame of the film, and uint8 [H, W, 3] or None where the frame is left as it is.
    """
    for start, stop in regions:
      within = [run for run in runs if start <= run.start < stop]
      first = min([start, *(run.warm for run in within[:1])])
      source = _Ahead(self._film.frames(first), first, self._clock)
      for frame, image in self._region(within, source, stop):
        if frame.index >= start:
          yield frame, image

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
    behind = run.stop if reach and run.stop < len(times) and self._track.valid[run.stop] else None
    lacks, waiting = [], collections.deque()
    for start, crops, new in self._groups(run, source, behind):
      for index in range(start, start + codec.TIME_FACTOR):
        i = index - start
        if index in (run.start - 1, behind) and new is not None:
          lacks.append((times[index], edges.lack(crops[i], new[i])))
        if index < run.start:
          yield source.take(), None
        elif index < run.stop:
          waiting.append((source.take(), crops[i], new[i]))
      while waiting and (behind is None or times[waiting[0][0].index] < times[behind] - reach):
        yield self._pasted(*waiting.popleft(), lacks)
    while waiting:
      yield self._pasted(*waiting.popleft(), lacks)

  def _pasted(self, frame, crop, new, lacks):
    with self._clock('paste', 1):
      new = edges.mend(new, self._track.times[frame.index], lacks, self._edit.fade)
      return frame, self._paster(frame, crop, new)

  def _groups(self, run, source, behind):
    """Yields (first frame's index, crops [4, S, S, 3], made crops or None) of 4 frames each.

    Of the real frames that warm a run up the last 4 are made too if the edge is to be mended; and
    so is the frame `behind` the run.
    """
    models, params = self._machine.models, self._machine.params
    end = run.padded + codec.TIME_FACTOR * (behind == run.padded)
    state, features, heard = self._begin(run, end)
    cache = self._encoder.start(2)
    for start in range(run.warm, end, codec.TIME_FACTOR):
      group = source.peek(codec.TIME_FACTOR)
      with self._clock('crop', codec.TIME_FACTOR):
        crops = self._crops(group)
      with self._clock('encode', codec.TIME_FACTOR):
        both = np.stack([crops, pixels.hide_lower_face(crops)])
        made, cache = self._encoder.advance(both, cache)
      inputs = self._inputs(run, start, made, features, heard)
      new = None
      if start < run.start:
        if self._edit.fade and start + codec.TIME_FACTOR == run.start:
          with self._clock('generate', codec.TIME_FACTOR):
            _, new = self._make(jax.tree.map(jnp.copy, state), inputs)
        with self._clock('warm up', codec.TIME_FACTOR):
          state, _ = sample.warm(models, params, state, inputs)
          jax.block_until_ready(state)
      else:
        with self._clock('generate', codec.TIME_FACTOR):
          state, new = self._make(state, inputs)
      yield start, crops, new

  def _make(self, state, inputs):
    """The state after a latent frame, and its 4 made crops; `state` is used up."""
    models, params = self._machine.models, self._machine.params
    if self._sampler is None:  # nothing is to be made: the codec's own frames
      state, new = sample.warm(models, params, state, inputs)
    else:
      state, new = sample.step(models, self._sampler, params, state, inputs)
    return state, pixels.join_cells(pixels.to_uint8(np.asarray(new[0])), models.codec.cells)

  def _begin(self, run, end):
    """The sampler's state before a run, and the audio up to frame `end`."""
    models, params = self._machine.models, self._machine.params
    shape, look = models.generator, models.generator.look_ahead
    total = (run.padded - run.warm) // codec.TIME_FACTOR
    times, durations = self._clocked(run.warm, end + codec.TIME_FACTOR * look)
    with self._clock('listen', end - run.warm):
      features = soundtrack.listen(self._sound, times, durations, self._machine.listen)
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
      crops = self._film.crops(after, self._track, self._size)
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
      anchor_distance=np.float32(max(total - i, 1))[None])

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

  def __init__(self, frames, first, clock):
    self._frames, self._clock, self._waiting = frames, clock, []
    self.next_index = first

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
