"""Fits the model to the people of the video that is edited, on that video's own real frames.

Three things are fitted, all in closed form: the decoder's errors at the crop's own size
(`inference.decoder_fit`), the mean error of the linear prediction of the lower face
(`models.linear_prior`), and how the person's mouth opens and closes (`inference.mouth_opening`). Of
the prediction only the mean, as a freely fitted one remembers how the mouth moved. Besides, how the
person's mouth looks is kept, by how far open and how wide it is (`compositing.mouth_appearance`),
and what is seen within the open mouth (`compositing.mouth_shape`).

No frame is made by a fit to itself. In an edit of a few words, no frame of a span or of its
cross-fade is fitted. Where too little of the video is left, such as in a dub, the frames are cut
into parts by time, and a part is made by fits to the others. Each fit leaves out two parts that
follow each other, and a frame blends the two fits that leave out its own, so that nothing jumps
where a part ends. Only what is one for all of the video is fitted to all of them: in which
direction the mouth opens, the closed mouth, how the mouth looks when it is as far open and as wide,
and the open mouth's inside.
"""

import dataclasses
import itertools

import numpy as np
from scipy import ndimage

from vidregen_jax.compositing import jaw_line, lip_edges, mouth_shape
from vidregen_jax.editing import lip_motion, speaking_manner
from vidregen_jax.faces import crop_mask, landmarks
from vidregen_jax.inference import decoder_fit, mouth_opening, sampling, streaming_codec
from vidregen_jax.media.timeline import spans
from vidregen_jax.models import codec, linear_prior, lip_listener, pixels
from vidregen_jax.reporting import edit_report

SMALL = 256  # pixels of a codec's crop: below it, fitting is on by default
_LARGEST = 288  # pixels of the crops that are made
_GROUPS = 64  # latent frames that are read at most, and
_PIECE = 8  # in a row, if not all are read
_FRAMES = 128  # of theirs that are fitted at most
_FEWEST = 24  # frames outside the spans; with fewer, parts are crossed
_PARTS = 6
# Readings of latents shrink towards their mean, as regressions do: closed lips are read somewhat
# open, wide ones less wide. With these two, on the first six rendered test clips, readings have .92
# of the true gaps' deviation, and lips that are closed in truth are open in 3 % of the frames.
_CLOSED = .03  # is read of closed lips, or what is read of this person's, if that is more
_WIDER = 1.3
_MARGIN = 4  # frames around a span, besides its cross-fade, that are not fitted


@dataclasses.dataclass(frozen=True, eq=False)
class PersonFit:
  """What is fitted to one person.

  Attributes:
    frames: int [N], numbers of the fitted frames in the film, ascending.
    crossed: whether parts are made by fits to other parts.
    errors: [N, M*C], of the linear prediction, or [N, 0] where there is none.
    opening: how the person's mouth opens; None where the frames do not show it.
    decoder: decoder_fit.Fit to the N frames.
    regressions: of the decoder's errors: one, or if crossed, number i leaves out the parts i - 1
      and i.
    mouth: how theirs looks, and the teeth in it.
    rest: how much further open this person's closed lips are read in latents than they are, in
      distances between the eyes; None where the checkpoint has no readout.
    manner: how they move the lips for what is heard.
  """

  frames: np.ndarray
  crossed: bool
  errors: np.ndarray
  opening: mouth_opening.Opening | None
  decoder: decoder_fit.Fit
  regressions: tuple[decoder_fit.Regression, ...]
  mouth: mouth_shape.Mouth
  rest: float | None = None
  manner: speaking_manner.Manner = speaking_manner.USUAL

  def mixture(self, index: int) -> list[tuple[float, decoder_fit.Regression]]:
    """(share, regression) of those that make the latent frame that starts at frame `index`."""
    if not self.crossed:
      return [(1., self.regressions[0])]
    at = float(np.clip(_part(index, self.frames), 0, _PARTS))
    part = min(int(at), _PARTS - 1)
    shares = (1 - (at - part), self.regressions[part]), (at - part, self.regressions[part + 1])
    return [each for each in shares if each[0]]

  def adapted(self, expectation: linear_prior.Expectation, index: int) -> linear_prior.Expectation:
    """The linear prediction less its mean error, for the latent frame that starts at `index`."""
    if not self.errors.shape[1]:
      return expectation
    mean = sum(share * self.errors[regression.kept].mean(0)
               for share, regression in self.mixture(index))
    return dataclasses.replace(expectation, bias=expectation.bias + mean)

  def corrected(self, decoded, index: int) -> np.ndarray:
    """Decoded crops uint8 [4, S, S, 3] of the latent frame at `index` to uint8 [4, F, F, 3]."""
    return self.decoder.corrected(decoded, self.mixture(index))


def _part(index, frames):
  """How many of the parts of some frames lie before a frame, as a fraction."""
  return _PARTS * (np.asarray(index) - frames[0]) / (frames[-1] + 1 - frames[0])


def kept(frames, crossed) -> list[np.ndarray]:
  """For each regression, the frames that it is fitted to, bool [N]."""
  if not crossed:
    return [np.ones(len(frames), bool)]
  part = _part(frames, frames).astype(int)
  return [(part != i - 1) & (part != i) for i in range(_PARTS + 1)]


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
  """What is fitted to the people of a video.

  Attributes:
    size: F, side of the crops to make.
    people: by number of the person; those with too few frames are missing.
    points: reads faces in crops; None where nobody is fitted.
    hears: whether lips open as is heard.
  """

  size: int
  people: dict[int, PersonFit]
  points: lip_edges.Points | None = None
  hears: bool = False

  def adapted(self, person: int, params: sampling.Params, index: int, opening: float,
              gaps=None) -> sampling.Params:
    """The parameters for a person's latent frame that starts at frame `index`.

    Args:
      person, index: of the latent frame.
      params: of the model.
      opening: how far the mouth opens, as in `mouth_opening.Opening.by`.
      gaps: [4] that lips should be apart; None if that is not known.
    """
    fit = self.people.get(person)
    if not fit:
      return params
    gaps = np.nan if gaps is None else gaps
    return dataclasses.replace(params, expectation=fit.adapted(params.expectation, index),
                               opening=fit.opening and fit.opening.by(opening, gaps))

  def corrected(self, person: int, decoded, index: int) -> np.ndarray:
    """A person's decoded crops uint8 [4, S, S, 3], made at frame `index`: uint8 [4, F, F, 3]."""
    fit = self.people.get(person)
    if fit:
      return fit.corrected(decoded, index)
    return decoder_fit.enlarged(decoded, self.size)

  def motion(self, person: int, listener) -> lip_motion.LipMotion | None:
    """How a person's lips should move; None if nobody listens, or the person is not fitted."""
    fit = self.people.get(person)
    return lip_motion.LipMotion(listener, fit.manner) if listener and fit else None

  def read(self, person: int, gaps) -> lip_listener.Lips | None:
    """Lips of [4], as they should be seen of gaps [4] that are read in latents.

    None if the checkpoint has no readout, or the person is not fitted.
    """
    fit = self.people.get(person)
    if gaps is None or not fit:
      return None
    gaps = _WIDER * np.maximum(gaps - max(fit.rest, _CLOSED), 0)
    return lip_listener.Lips(gaps, np.full_like(gaps, np.nan))

  def shaped(self, person: int, crops, jaws, lips, amount: float, width,
             seconds: float) -> np.ndarray:
    """A fitted person's crops uint8 [4, F, F, 3] with lips as they should be, and their own jaw.

    Crops in which no face is seen stay as they are.

    Args:
      person: whose crops they are.
      crops: to shape.
      jaws: [4, 23, 2] crop fractions of the jaw in the frames that they are pasted into.
      lips: of `read`, or of `lip_motion.LipMotion`.
      amount: how far the mouth opens, as in `mouth_opening.Opening.by`.
      width: lip_motion.MouthWidth of the frames before.
      seconds: from frame to frame.
    """
    made, mouth = [], self.people[person].mouth
    for crop, jaw, gap, wider in zip(crops, jaws, *lips, strict=True):
      points = self.points(crop)
      if points is not None:
        crop, points = jaw_line.met(crop, points, jaw)
        wide = width(1 + min(amount, 1) * (wider - 1), landmarks.mouth_width(points), seconds)
        crop = mouth_shape.seen_to_be(crop, points, amount * gap, wide, mouth, self.points)
      made.append(crop)
    return np.stack(made)

  def report(self, opening: float) -> edit_report.FaceFit | None:
    """What is reported of it and of the opening that was asked for; None if nothing is fitted."""
    people = {str(person): edit_report.PersonFit(
      frames=len(fit.frames), crossed=fit.crossed,
      opening=opening if self.hears or fit.rest is not None or fit.opening else None,
      manner=fit.manner.share if self.hears else None,
      pace=fit.manner.pace if self.hears else None,
      rounding=fit.manner.rounding if self.hears else None,
      shrinkage=float(np.median([window.penalty for regression in fit.regressions
                                 for window in regression.windows.values()])))
      for person, fit in self.people.items()}
    return edit_report.FaceFit(size=self.size, people=people) if people else None


@dataclasses.dataclass(frozen=True)
class Chosen:
  """Frames to fit to.

  Attributes:
    groups: first frames of groups of 4, ascending; none if there are too few frames.
    crossed: as in PersonFit.
  """

  groups: tuple[int, ...]
  crossed: bool


def choose(film, track, in_spans, fade) -> Chosen:
  """Chooses the frames to fit to one person.

  Args:
    film: retimed_video.Film.
    track: face_track.Track along it, valid where it shows the person.
    in_spans: bool [F], the frames to be regenerated.
    fade: seconds of the cross-fade.
  """
  usable = track.valid & ~track.filled
  rate = len(in_spans) / float(film.info.duration)
  near = ndimage.binary_dilation(in_spans, iterations=_MARGIN + int(np.ceil(fade * rate)))
  near |= np.isin(film.timeline.source, film.timeline.source[near])  # shown twice, if retimed
  for each, crossed in ((usable & ~near, False), (usable, True)):
    groups = _groups(each, track.shot)
    if len(groups) * codec.TIME_FACTOR >= _FEWEST:
      return Chosen(tuple(groups), crossed)
  return Chosen((), False)


def _groups(usable, shot):
  """First frames of groups of 4 in one shot: all, or pieces of several spread over the video."""
  cuts = np.flatnonzero(np.diff(shot)) + 1
  groups = []
  for start, stop in spans.stretches(usable):
    edges = [start, *cuts[(cuts > start) & (cuts < stop)].tolist(), stop]
    for first, last in itertools.pairwise(edges):
      groups += range(first, last - codec.TIME_FACTOR + 1, codec.TIME_FACTOR)
  if len(groups) <= _GROUPS:
    return groups
  begin = np.linspace(0, len(groups) - _PIECE, _GROUPS // _PIECE).astype(int)
  return [groups[i] for at in begin for i in range(at, at + _PIECE)]


def fit(film, track, chosen, stills, machine, encoder, progress) -> Fitted:
  """Fits the model to people.

  Args:
    film: retimed_video.Film.
    track: face_track.Track along it.
    chosen: by person, Chosen.
    stills: by person, latents [R, H, W, C] of their references.
    machine: pipeline.System.
    encoder: streaming_codec.Encoder.
    progress: called with the number of frames that were read.
  """
  some = {person: each.groups for person, each in chosen.items() if each.groups}
  if not some:
    return Fitted(machine.models.codec.size, {})
  size = _size(track, [start for groups in some.values() for start in groups],
               machine.models.codec.size)
  decoder = streaming_codec.Decoder(machine.models.codec, machine.params.codec,
                                    machine.params.latent_mean, machine.params.latent_std)
  people, points = {}, lip_edges.Points()
  for person, groups in some.items():
    stride = -(-codec.TIME_FACTOR * len(groups) // _FRAMES)
    frames, decoded, native, latents = [], [], [], []
    for piece in _pieces(groups):
      source = film.frames(piece[0])
      encoding, decoding = encoder.start(2), decoder.start(1)
      for start in piece:
        small, own = _crops(itertools.islice(source, codec.TIME_FACTOR), track,
                            machine.models.codec.size, size)
        both, encoding = encoder.advance(np.stack([small, crop_mask.hide_lower_face(small)]),
                                         encoding)
        made, decoding = decoder.advance(both[:1], decoding)
        made = pixels.join_cells(pixels.to_uint8(made[0]), machine.models.codec.cells)
        some_of_them = range(0, codec.TIME_FACTOR, stride)
        frames += [start + i for i in some_of_them]
        decoded += [made[i] for i in some_of_them]
        native += [own[i] for i in some_of_them]
        latents += [both[:, 0]] * len(some_of_them)
        progress(codec.TIME_FACTOR)
    frames, crossed = np.array(frames), chosen[person].crossed
    errors = _errors(machine, np.stack(latents), stills[person])
    residuals = _residuals(errors[::len(some_of_them)], machine.params.expectation)
    gaps = np.array([track.lip_gap[at:at + codec.TIME_FACTOR].mean() for at in groups])
    opening = None if residuals is None else mouth_opening.fit(residuals, gaps)
    fitted = decoder_fit.Fit(np.stack(decoded), np.stack(native))
    people[person] = PersonFit(frames, crossed, errors, opening, fitted,
                               tuple(map(fitted.regression, kept(frames, crossed))),
                               mouth_shape.known(native, track.lip_gap[frames], points),
                               _rest(machine.lips, residuals, gaps),
                               speaking_manner.of_person(film, track, groups, machine))
  return Fitted(size, people, points, machine.listener is not None)


def _size(track, frames, smallest):
  """The side of the crops to make: the faces' own, in steps of 16 pixels."""
  scale = np.hypot(*track.affine[frames][:, :, 0].T)
  return int(max(smallest, min(np.ceil(np.median(scale) / 16) * 16, _LARGEST)))


def _pieces(groups):
  """Groups in pieces of consecutive ones."""
  cuts = np.flatnonzero(np.diff(groups) != codec.TIME_FACTOR) + 1
  return [list(piece) for piece in np.split(np.array(groups), cuts)]


def _crops(shown, track, *sizes):
  """Crops uint8 [N, S, S, 3] of each size S of some frames."""
  crops = [[landmarks.crop(frame.image, track.affine[frame.index], size) for size in sizes]
           for frame in shown]
  return [np.stack(each) for each in zip(*crops, strict=True)]


def _errors(machine, latents, stills):
  """Errors [N, M*C] of the linear prediction for latents [N, 2, H, W, C] of faces and contexts."""
  expectation, count = machine.params.expectation, len(latents)
  if not expectation.kernel.size:
    return np.zeros((count, 0), np.float32)
  faces, contexts = np.moveaxis(latents.reshape(count, 2, -1, latents.shape[-1]), 1, 0)
  reference = np.mean(stills.reshape(len(stills), -1, stills.shape[-1]), 0)[None]
  expected = np.asarray(expectation(contexts[None], reference)[0])
  return (faces[:, np.asarray(expectation.region)] - expected).reshape(count, -1)


def _residuals(errors, expectation):
  """Errors [N, M*C] of the prediction as residuals [N, M, C]; None where there is no prediction.

  The errors are taken from their mean, as that is added to the prediction.
  """
  if not errors.shape[1]:
    return None
  residuals = (errors - errors.mean(0)).reshape(len(errors), len(expectation.scale), -1)
  return residuals / np.asarray(expectation.scale)[:, None]


def _rest(lips, residuals, gaps) -> float | None:
  """`PersonFit.rest`, of residuals [N, M, C] and lip gaps [N]; 0 where nothing is known of them."""
  if lips is None:
    return None
  known = np.isfinite(gaps)
  if residuals is None or not known.any():
    return 0.
  read, seen = lips(residuals[known]).mean(1), gaps[known]
  return float((read - seen)[mouth_opening.resting(seen)].mean())
