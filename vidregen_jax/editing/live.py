"""Frames and sound that come one after another: the mouth follows the sound, a second later.

  for image in frames(images, sound, machine, rate=25, seed=0):
    show(image)

Images and sound are drawn from their iterators as they are needed, and no more: a frame is made
when the sound up to `delay` seconds after it has come, and a few more images. What is made depends
on what came alone, and not on the pieces in which it came. Memory holds seconds, however long it
takes.

Beside an edit of a file this is plain: of the person only the mouth is learned, how it looks and
how fast it moves, from the first second or stills, and from later images too; nothing that hides
the face is looked for, and no grain is added.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from vidregen_jax.compositing import colour_limits, jaw_line, lip_edges, mouth_shape, paste
from vidregen_jax.editing import lip_motion, reference_frames, speaking_manner
from vidregen_jax.errors import UserError
from vidregen_jax.exports import pipeline
from vidregen_jax.faces import (
  crop_mask,
  detect_and_track,
  face_track,
  landmarks,
  observations,
  shot_boundaries,
)
from vidregen_jax.inference import decoder_fit, sampling, streaming_codec
from vidregen_jax.models import audio_timeline, codec, flow_matching, log_mel, pixels, streams

RATE = log_mel.SAMPLE_RATE  # of the sound, a second
_STEP = 2 * codec.TIME_FACTOR  # frames that are made at once
_SOON = 4  # frames after these that smooth the face's place
_HEARD = 3.0  # seconds of sound that the audio encoder hears: 6 say no more of the lips
_MORE = .4  # seconds of sound after the last that is used, so that its features are settled
_LEARNED = 24  # frames that show the person, if no stills do
_RECENT = 50  # frames in which a face's place is smoothed
_PATIENCE = 8  # frames for which a face may be lost
_GAPS = 500  # images whose lip gaps tell how the person speaks
_LARGEST = 192  # pixels of the crops in which mouths are shaped


def delay(rate: float, look_ahead: int) -> float:
  """Seconds of sound that must have come after a frame began, before it is made.

  Args:
    rate: frames a second.
    look_ahead: latent frames of sound that the generator hears ahead.
  """
  return (_STEP + codec.TIME_FACTOR * look_ahead) / rate + (
    audio_timeline.CONTEXT_SAMPLES / audio_timeline.RATE) + _MORE


def frames(images: Iterable[np.ndarray], sound: Iterable[np.ndarray], machine: pipeline.System, *,
           rate: float, seed: int, stills: Iterable[np.ndarray] = (),
           sampler: flow_matching.SamplerConfig | None = None) -> Iterator[np.ndarray]:
  """Yields each image, with a mouth that follows the sound.

  Args:
    images: uint8 [H, W, 3] RGB, all of one size, evenly in time.
    sound: float32 [n] each, mono, `RATE` a second; the first sample belongs to the first image.
      After its end all is silent.
    machine: the loaded system.
    rate: images a second.
    seed: of the noise.
    stills: uint8 [H, W, 3] that show the person clearly. If there are none, the first second of
      the images does, and is yielded as it came.
    sampler: settings; None for the checkpoint's.

  Raises:
    UserError: an image or a piece of sound is of another form, or a still shows no face.
  """
  face, heard = _Face(rate), _Heard(sound)
  known = _known(machine, [(_checked(image, ()), _still(image, number))
                           for number, image in enumerate(stills, start=1)])
  mouth, held, shown, coming = None, [], [], iter(images)
  for start in _counted(_STEP):
    while len(held) < _STEP + _SOON and (image := next(coming, None)) is not None:
      held.append(_checked(image, held))
      face.see(held[-1])
    if not held:
      return
    group, held = held[:_STEP], held[_STEP:]
    places = face.places(start, len(group))
    if known is None:
      shown = [*shown, *group][-_RECENT:]
      if start + _STEP >= _LEARNED:
        known = _learned(shown, face.places(start + len(group) - len(shown), len(shown)), machine)
      yield from group
      continue
    if not places.valid.all():
      mouth = None  # the next frames with a face begin anew
      known = known.showing(np.full(len(group), np.nan))
      yield from group
      continue
    mouth = mouth or _Mouth(machine, sampler or machine.sampler, known, heard, rate, seed, start)
    mouth.known = known = _seen_again(known, group, places)
    yield from mouth.on(group, places, start)


def _counted(step):
  count = 0
  while True:
    yield count
    count += step


def _checked(image, held) -> np.ndarray:
  image = np.asarray(image)
  if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
    raise UserError(f'an image is {image.dtype} {image.shape}: give uint8 [H, W, 3], RGB')
  if held and image.shape != held[-1].shape:
    raise UserError(f'an image is {image.shape[1]} x {image.shape[0]} after one of '
                    f'{held[-1].shape[1]} x {held[-1].shape[0]}')
  return image


class _Heard:
  """The sound that has come: its last seconds, by the number of the sample."""

  def __init__(self, pieces):
    self._coming, self._samples, self._begin = iter(pieces), np.zeros(0, np.float32), 0
    self.end = None  # the number of samples, once all have come

  def window(self, stop: int) -> tuple[np.ndarray, int]:
    """The `_HEARD` seconds up to a sample, and the first of them; silent past the end.

    Later windows must not stop earlier.
    """
    while self.end is None and self._begin + len(self._samples) < stop:
      piece = next(self._coming, None)
      if piece is None:
        self.end = self._begin + len(self._samples)
        break
      piece = np.asarray(piece, np.float32)
      if piece.ndim != 1 or not np.isfinite(piece).all():
        raise UserError(f'a piece of sound is {piece.shape}, or not finite: give float32 [n], '
                        f'mono, {RATE} a second')
      self._samples = np.concatenate([self._samples, piece])
    first = max(stop - round(_HEARD * RATE), 0)
    self._samples = self._samples[max(first - self._begin, 0):]
    self._begin = max(self._begin, first)
    part = self._samples[:stop - first]
    return np.pad(part, (0, stop - first - len(part))), first


class _Face:
  """The largest face of the images, followed until it is lost."""

  def __init__(self, rate):
    self._follower, self._rate, self._number = detect_and_track.Follower(), rate, None
    self._count, self._base, self._lost = 0, 0, 0
    self._seen, self._empty = observations.Observations(), []  # from image `_base` on

  def see(self, image):
    """Looks for the face in the next image."""
    self._size = image.shape[1::-1]
    faces = self._follower(image, False)
    if self._number not in faces:
      self._lost += 1
      if faces and (self._number is None or self._lost > _PATIENCE):
        side = lambda number: np.hypot(*landmarks.similarity(faces[number].points)[:2])
        self._number, self._base = max(faces, key=side), self._count
        self._seen, self._empty = observations.Observations(), []
    if self._number in faces:
      self._lost = 0
      self._seen.add(self._count - self._base, image, faces[self._number], False, False)
    self._empty.append(shot_boundaries.shows_nothing(image))
    self._count += 1

  def places(self, start, count) -> face_track.Track:
    """Where the face is in `count` images from `start` on, of those that were seen lately."""
    track = self._track()
    places = track.at(np.arange(start - self._base, start - self._base + count).clip(0))
    early = np.arange(start, start + count) < self._base
    places = dataclasses.replace(places, valid=places.valid & ~early)
    self._forget()
    return places

  def _track(self):
    count = self._count - self._base
    times, shot = np.arange(count) / self._rate, np.zeros(count, int)
    pieces = self._seen.pieces(times, shot, np.array(self._empty), self._size,
                               False) if self._seen.frames else ()
    faces = face_track.FaceTracks(times, shot, list(pieces), self._size)
    track = faces.track(faces.pieces)
    return dataclasses.replace(track, mouth_box=face_track.largest_mouths(track).astype(np.float32))

  def _forget(self):
    """Forgets what is older than `_RECENT` images."""
    if self._count - self._base > 2 * _RECENT:
      passed = self._count - self._base - _RECENT
      self._base += passed
      self._seen, self._empty = self._seen.since(passed), self._empty[passed:]


@dataclasses.dataclass(frozen=True, eq=False)
class _Known:
  """What is known of the person.

  Attributes:
    references: latents [N, HW, C] of what shows them best, no more than the model takes.
    mouth: theirs.
    size: F, side of the crops in which mouths are shaped.
    limits: of the face's colours, which every image widens.
    points: reads faces in crops; None where nobody listens for lips, and none are shaped.
    gaps: [N] between the lips in images of late; nan where no face was seen.
  """

  references: np.ndarray
  mouth: mouth_shape.Mouth
  size: int
  limits: colour_limits.ColourLimits
  points: lip_edges.Points | None = None
  gaps: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))

  def showing(self, gaps) -> '_Known':
    """The same after images with some lip gaps [N]."""
    return dataclasses.replace(self, gaps=np.append(self.gaps, gaps)[-_GAPS:])


def _still(image, number) -> np.ndarray:
  """Where the face of a still is, [2, 3], crop fraction to pixel.

  Raises:
    UserError: it shows none.
  """
  face = _Face(25)
  face.see(image)
  place = face.places(0, 1)
  if not place.valid[0]:
    raise UserError(f'no face was found in still {number}: give one that shows it from the front')
  return place.affine[0]


def _known(machine, stills, more=()) -> _Known | None:
  """What stills show of the person, (image, affine) each, and `more` of the mouth; None without."""
  if not stills:
    return None
  model = machine.models
  crops = lambda some, size: np.stack([landmarks.crop(*each, size) for each in some])
  encoder = _encoder(machine)
  latents = encoder.stills(crops(stills[:model.generator.references], model.codec.size))
  size, mouth, points = model.codec.size, mouth_shape.Mouth(), None
  if machine.listener is not None:
    scale = np.median([np.hypot(*affine[:, 0]) for _, affine in stills])
    size = int(np.clip(np.ceil(scale / 16) * 16, size, max(size, _LARGEST)))
  shown = crops([*stills, *more], size)
  if machine.listener is not None:
    points = lip_edges.Points()
    faces = [points(crop) for crop in shown]
    gaps = np.array([np.nan if face is None else landmarks.lip_gap(face) for face in faces])
    mouth = mouth_shape.known(shown, gaps, points)
  return _Known(latents.reshape(len(latents), -1, latents.shape[-1]), mouth, size,
                colour_limits.ColourLimits(shown), points)


def _learned(shown, places, machine) -> _Known | None:
  """What images show of the person; None if none does."""
  chosen = reference_frames.choose(places, np.zeros(len(places), bool),
                                   machine.models.generator.references)
  seen = lambda which: [(shown[i], places.affine[i]) for i in which]
  known = _known(machine, seen(chosen.tolist()), seen(np.flatnonzero(places.valid).tolist()))
  return known and known.showing(np.where(places.valid, places.lip_gap, np.nan))


def _seen_again(known, group, places) -> _Known:
  """What is known of the person after some more images, of which the widest open mouth is read."""
  if known.points is None:
    return known
  widest = int(np.nanargmax(places.lip_gap))
  crop = landmarks.crop(group[widest], places.affine[widest], known.size)
  known.limits.see(crop)
  seen = known.points(crop)
  mouth = known.mouth if seen is None else mouth_shape.seen_again(known.mouth, crop, seen)
  return dataclasses.replace(known, mouth=mouth).showing(places.lip_gap)


def _encoder(machine):
  return streaming_codec.Encoder(machine.models.codec, machine.params.codec,
                                 machine.params.latent_mean, machine.params.latent_std)


class _Mouth:
  """Makes the mouth in consecutive frames, from `start` on."""

  def __init__(self, machine, sampler, known, heard, rate, seed, start):
    self._machine, self._sampler, self._heard, self._rate = machine, sampler, heard, rate
    self.known, references = known, known.references
    self._seen = None  # points of the last crop
    self._encoder = _encoder(machine)
    self._cache = self._encoder.start(2)
    shape = machine.models.generator
    self._ahead = shape.look_ahead
    self._durations = np.float32([1 / rate])
    self._motion = machine.listener and lip_motion.LipMotion(machine.listener)
    self._width = lip_motion.MouthWidth()
    features, valid = self._features(start, self._ahead)
    flat, channels = shape.cells**2, shape.latent_channels
    stills = np.zeros((1, shape.references, flat, channels), np.float32)
    stills[0, :len(references)] = references
    fixed = streams.Fixed(
      references=stills, reference_valid=np.arange(shape.references)[None] < len(references),
      anchor=np.zeros((1, len(shape.region), channels), np.float32),
      anchor_context=np.zeros((1, flat, channels), np.float32), anchor_valid=np.array([False]),
      anchor_time=np.float32([0]))
    ahead = streams.Ahead(features[None], valid[None],
                          np.repeat(self._durations, self._ahead)[None])
    self._state = sampling.init_state(machine.models, machine.params, jax.random.fold_in(
      jax.random.key(seed), start), streams.Start(fixed, ahead))

  def on(self, group, places, start):
    """Yields the images of a group, whose first frame is `start`, with the mouth on them."""
    models, params = self._machine.models, self._machine.params
    size = models.codec.size
    crops = np.stack([landmarks.crop(image, affine, size)
                      for image, affine in zip(group, places.affine, strict=True)])
    crops = np.pad(crops, [(0, _STEP - len(group))] + 3 * [(0, 0)], mode='edge')
    count = _STEP // codec.TIME_FACTOR
    features, valid = self._features(start + codec.TIME_FACTOR * self._ahead, count)
    both = np.stack([crops, crop_mask.hide_lower_face(crops)])
    latents, self._cache = self._encoder.advance(both, self._cache)
    latents = latents.reshape(2, count, 1, -1, latents.shape[-1]).astype(np.float32)
    if self._motion:
      self._motion.manner = speaking_manner.of_images(
        self.known.gaps, self._motion.heard, self._rate)
    made = []  # while one latent frame is finished the next is computed
    for latent in range(-(-len(group) // codec.TIME_FACTOR)):
      at = slice(latent * codec.TIME_FACTOR, (latent + 1) * codec.TIME_FACTOR)
      inputs = streams.Inputs(
        streams.Frames(target=latents[0, latent], context=latents[1, latent]),
        streams.Ahead(features[latent][None], valid[latent][None], self._durations))
      self._state, cells = sampling.step(models, self._sampler, params, self._state, inputs)
      made.append((at, cells, self._motion and self._motion.next(1 / self._rate)))
    for at, cells, lips in made:
      faces = pixels.join_cells(pixels.to_uint8(np.asarray(cells[0])), models.codec.cells)
      faces = faces if lips is None else decoder_fit.enlarged(faces, self.known.size)
      for i in range(at.start, min(at.stop, len(group))):
        own = landmarks.crop(group[i], places.affine[i], self.known.size)
        face = faces[i - at.start]
        if lips is not None:
          face = self._shaped(face, own, places.jaw[i], *(of[i - at.start] for of in lips))
        mask = crop_mask.paste_mask(len(face), places.jaw[i], places.mouth_box[i])
        yield paste.paste(group[i], paste.match_rim(face, own, mask), places.affine[i], mask, own)

  def _shaped(self, crop, own, jaw, gap, wider):
    """A made crop uint8 [F, F, 3] with lips as they should be; `own` and `jaw` are the image's."""
    if self.known.mouth.interior is not None:  # before that, nothing is known of the open mouth
      crop = self.known.limits(crop, own)
    self._seen = self.known.points(crop, self._seen)
    if self._seen is None:
      return crop
    crop, self._seen = jaw_line.met(crop, self._seen, jaw)
    width = self._width(wider, landmarks.mouth_width(self._seen), 1 / self._rate)
    return mouth_shape.shaped(crop, self._seen, gap, width, self.known.mouth)

  def _features(self, first, count):
    """Audio features of `count` latent frames from frame `first` on, and which lie in the sound.

    The lips that are heard in them are kept.
    """
    times = (first + np.arange(codec.TIME_FACTOR * count)) / self._rate
    stop = times[-1] + 1 / self._rate + audio_timeline.CONTEXT_SAMPLES / audio_timeline.RATE + _MORE
    samples, begin = self._heard.window(round(stop * RATE))
    states = self._machine.listen(samples)
    following = times[-1] + np.arange(1, codec.TIME_FACTOR) / self._rate
    windows = audio_timeline.sample_at(
      states, audio_timeline.from_each(np.append(times, following) - begin / RATE), 1 / self._rate)
    windows = windows.reshape(count, codec.TIME_FACTOR, *windows.shape[1:])
    end = np.inf if self._heard.end is None else self._heard.end / RATE
    valid = times[::codec.TIME_FACTOR] < end
    if self._motion:
      for each, within in zip(windows, valid, strict=True):
        self._motion.hear(each, within)
    return windows[:, 0], valid
