"""One source from end to end: a folder of its own, which appears whole or not at all.

  account.json          what became of every part of the source; the same bytes whenever it is made
  64.array_record ...   the clips' records, by size, if there are any
  *.jpg                 pictures of what is kept and of what is left out
  seconds.json          processor seconds by step, the only file that differs from run to run

A finished folder is kept for as long as the source, its row of the manifest and the bounds are the
same, so a build that was stopped goes on where it was.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import time

import cv2
import numpy as np

from data.talking_faces import cutting, filters, probing, record, scorer_curve, speaker
from vidregen_jax import documents, files, outputs
from vidregen_jax.errors import UserError
from vidregen_jax.faces import crop_geometry, face_track, tracks
from vidregen_jax.media import video

ACCOUNT, SECONDS = 'account.json', 'seconds.json'
STEPS = ('probe', 'sound', 'faces', 'speaker', 'crops', 'records', 'pictures')
_VERSION = 2  # of what is made; a change makes all sources anew
_PICTURES = 4  # of what is left out of a source, the longest
_HEIGHT = 180  # pixels of a picture
_STRIP = 4  # crops side by side, of what is kept
_LEAST_LISTED = 0.2  # seconds; shorter stretches of a source are counted, and not listed


@dataclasses.dataclass(frozen=True)
class Job:
  """A source to be prepared.

  Attributes:
    path: of the file.
    origin: what its records say of it; `origin.source` names its folder.
    split: 'train', 'validation', 'test' or '', as the manifest says.
    work: folder of all sources' folders.
    sizes: of the crops, ascending.
    bounds: of what is kept.
  """

  path: pathlib.Path
  origin: cutting.Origin
  split: str
  work: pathlib.Path
  sizes: tuple[int, ...]
  bounds: filters.Bounds

  @property
  def folder(self) -> pathlib.Path:
    """Where the result is; no folder has a million others in it."""
    return self.work / self.origin.source[:2] / self.origin.source

  def made_from(self) -> dict:
    """What the result depends on, in JSON's values."""
    try:
      found = os.stat(self.path)
      state = [found.st_size, found.st_mtime_ns]
    except OSError:
      state = None
    said = json.dumps(dataclasses.asdict(self.origin), sort_keys=True).encode()
    return {
      'version': _VERSION, 'file': state, 'row': hashlib.sha256(said).hexdigest(),
      'sizes': list(self.sizes), 'bounds': dataclasses.asdict(self.bounds),
      'crop': crop_geometry.CROP, 'scorer': scorer_curve.digest(),
    }


def account(job: Job) -> dict | None:
  """The account of a source, if it is finished and of this very job; otherwise None."""
  path = job.folder / ACCOUNT
  if not path.exists():
    return None
  found = documents.read(path, most=100_000_000)
  return found if found['made_from'] == job.made_from() else None


def prepare(job: Job) -> dict:
  """Prepares a source, unless it is finished; returns its account."""
  found = account(job)
  if found is not None:
    return found
  with outputs.whole_folder(job.folder) as part:
    found = _Preparation(job, part).run()
    files.write_json(part / ACCOUNT, found)
  return found


def lost(job: Job, cause: str) -> dict:
  """Accounts for a source whose worker ended; returns its account."""
  with outputs.whole_folder(job.folder) as part:
    found = _empty(job) | {'left_out': [
      {'start': 0.0, 'stop': 0.0, 'reason': 'ended its worker', 'detail': cause, 'picture': None}]}
    files.write_json(part / ACCOUNT, found)
    files.write_json(part / SECONDS, {})
  return found


def _empty(job):
  return {'made_from': job.made_from(), 'source': job.origin.source, 'person': job.origin.person,
          'split': job.split, 'media': None, 'faces': 0, 'clips': [], 'left_out': [],
          'frames_trimmed': 0}


class _Preparation:
  """The steps of one source, and what they found."""

  def __init__(self, job, folder):
    self.job, self.folder = job, folder
    self.seconds = dict.fromkeys(STEPS, 0.0)
    self.found = _empty(job)
    self.info = None

  @contextlib.contextmanager
  def _step(self, name):
    began = time.process_time()  # of all threads: decoders have their own
    try:
      yield
    finally:
      self.seconds[name] += time.process_time() - began

  def run(self) -> dict:
    cv2.setNumThreads(1)
    try:
      self._prepare()
    except probing.LeftOut as left:
      self._leave_out([speaker.Stretch(0, 0, left.reason, left.detail)])
    files.write_json(self.folder / SECONDS,
                     {name: round(spent, 3) for name, spent in self.seconds.items()})
    return self.found

  def _prepare(self):
    job = self.job
    with self._step('probe'):
      self.info = info = probing.pictures(job.path)
      times = np.array([float(info.seconds(stamp)) for stamp in info.stamps.tolist()])
    self.found['media'] = {
      'seconds': round(float(info.duration), 3), 'frames': info.frame_count,
      'width': info.width, 'height': info.height, 'codec': info.codec,
      'rate': round(float(info.rate), 3)}
    with self._step('sound'):
      sound = probing.sound(info)
    self.found['media']['channels'] = sound.channels
    with self._step('faces'):
      faces = self._faces(info)
    self.found['faces'] = len(faces.pieces)
    with self._step('speaker'):
      takes, left = speaker.choose(faces, sound, job.bounds,
                                   functools.partial(scorer_curve.of, info, sound))
    left = list(left)
    with contextlib.ExitStack() as stack:
      writers = {}
      for take in takes:
        pieces, beyond = cutting.parts(take, times, sound, job.bounds)
        left += beyond
        for start, stop in pieces:
          left += self._clip(take, start, stop, times, sound, writers, stack)
    self._leave_out(left, times)

  def _faces(self, info) -> face_track.FaceTracks:
    try:
      return tracks.follow_parts(info, [(0, info.frame_count)])
    except UserError as error:
      raise probing.LeftOut('unreadable', str(error).removeprefix(f'{info.path}: ')) from error

  def _clip(self, take, start, stop, times, sound, writers, stack):
    """Writes one clip; returns what is left out instead."""
    job, sizes = self.job, self.job.sizes
    with self._step('crops'):
      try:
        made = cutting.crops(self.info, take.piece.track, take.piece.start, start, stop, sizes)
      except probing.LeftOut as left:
        return [speaker.Stretch(start, stop, left.reason, left.detail)]
      why = filters.of_crops(made[sizes[-1]][filters.some(stop - start)], job.bounds)
    if why:
      return [speaker.Stretch(start, stop, *why)]
    with self._step('records'):
      clip = cutting.clip(len(self.found['clips']), take, start, stop, times, sound, job.origin)
      for size in sizes:
        if size not in writers:
          writers[size] = record.writer(self.folder / f'{size}.array_record')
          stack.callback(writers[size].close)
        writers[size].write(record.encode(size, clip | {'frames': made[size]}))
    with self._step('pictures'):
      picture = f'{clip["clip_id"]}.jpg'
      chosen = made[sizes[-1]][np.linspace(0, stop - start - 1, _STRIP).round().astype(int)]
      strip = np.concatenate([cv2.resize(each, (_HEIGHT, _HEIGHT), interpolation=cv2.INTER_AREA)
                              for each in chosen], 1)
      _write_picture(self.folder / picture, strip)
    self.found['clips'].append({
      'clip_id': clip['clip_id'], 'start': round(float(times[start]), 3),
      'stop': round(float(times[stop - 1]), 3), 'frames': stop - start,
      'seconds': round(len(clip['audio']) / 16_000, 3), 'offset': take.offset.seconds,
      'at': _centre(take.piece, self.info), 'moved': take.moved,
      'agreement': take.offset.agreement, 'lead': take.offset.lead, 'picture': picture})
    return []

  def _leave_out(self, stretches, times=None):
    """Lists stretches, with pictures of the longest."""
    rows = []
    short = [one for one in stretches if one.stop > one.start
             and times[one.stop - 1] - times[one.start] < _LEAST_LISTED]
    if self.found['clips']:
      self.found['frames_trimmed'] = sum(one.stop - one.start for one in short)
      stretches = [one for one in stretches if one not in short]
    for one in stretches:
      seconds = (0.0, 0.0)
      if times is not None and one.stop > one.start:
        seconds = (round(float(times[one.start]), 3), round(float(times[one.stop - 1]), 3))
      elif self.info is not None:
        seconds = (0.0, round(float(self.info.duration), 3))
      rows.append((one, {'start': seconds[0], 'stop': seconds[1], 'reason': one.reason,
                         'detail': one.detail, 'picture': None}))
    length = lambda row: row[1]['stop'] - row[1]['start']
    longest = sorted(rows, key=length, reverse=True)[:_PICTURES]
    with self._step('pictures'):
      for number, (one, said) in enumerate(longest):
        if self.info is not None:
          said['picture'] = self._picture(one, number)
    self.found['left_out'] += [said for _, said in rows]

  def _picture(self, one, number):
    """The name of a picture of the middle of a stretch; None if that cannot be decoded."""
    info = self.info
    middle = (one.start + one.stop) // 2 if one.stop else info.frame_count // 2
    width = max(round(info.width * _HEIGHT / info.height), 2)
    try:
      frame = next(video.frames(info.path, middle, middle + 1, stamps=info.stamps), None)
    except UserError:
      return None  # the stretch says already that it cannot be read
    if frame is None:
      return None
    name = f'left_{number}.jpg'
    turned = np.rot90(frame.small(width, _HEIGHT), -(info.rotation // 90))
    _write_picture(self.folder / name, turned)
    return name


def _centre(piece, info):
  """Where a face is on average, in fractions of the picture as it is stored."""
  middle = (piece.box[:, :2] + piece.box[:, 2:]) / 2
  return [round(float(x), 3) for x in np.nanmean(middle, 0) / (info.width, info.height)]


def _write_picture(path, image):
  done, data = cv2.imencode('.jpg', np.ascontiguousarray(image[..., ::-1]),
                            [cv2.IMWRITE_JPEG_QUALITY, 85])
  if not done:
    raise OSError(f'{path} cannot be encoded')
  path.write_bytes(data)
