"""The source video with its frames in the order and at the times of a timeline."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.media import video
from vidregen_jax.media.timeline import retiming as timelines

_BACKWARDS = 32  # frames that are decoded at a time where the video runs backwards


@dataclasses.dataclass(frozen=True)
class Film:
  """A source video played along a timeline.

  Attributes:
    source: video.VideoInfo of the file.
    timeline: which of its frames are shown, and when.
  """

  source: video.VideoInfo
  timeline: timelines.Timeline

  @classmethod
  def of(cls, info: video.VideoInfo) -> 'Film':
    """The source as it is."""
    end = int(info.stamps[0]) + info.duration / info.time_base
    return cls(info, timelines.of_source(info.stamps, end))

  @property
  def info(self) -> video.VideoInfo:
    """The VideoInfo of the retimed video."""
    timeline, base = self.timeline, self.source.time_base
    return dataclasses.replace(
        self.source, frame_count=len(timeline),
        start_time=self.source.seconds(int(timeline.pts[0])),
        duration=(timeline.end - int(timeline.pts[0])) * base, stamps=timeline.pts)

  @property
  def is_the_source(self) -> bool:
    return self.timeline.is_the_sources and len(self.timeline) == self.source.frame_count

  @property
  def times(self) -> np.ndarray:
    """When each frame is shown, seconds [N] from where the source starts."""
    return np.array([float(self.source.seconds(pts)) for pts in self.timeline.pts.tolist()])

  def frames(self, first: int = 0) -> Iterator[video.Frame]:
    """Yields the frames from `first` on, numbered and timed as they are shown."""
    timeline = self.timeline
    ends = np.r_[timeline.pts[1:], timeline.end]
    for index, frame in enumerate(self._decoded(timeline.source[first:].tolist()), start=first):
      pts = int(timeline.pts[index])
      if frame.pts == pts:
        yield dataclasses.replace(frame, index=index)
      else:
        yield video.Frame(index, pts, self.source.seconds(pts), int(ends[index]) - pts,
                          frame.source)

  def _decoded(self, order):
    """The source's frames in this order; few are held at a time."""
    decode = functools.partial(video.frames, self.source.path, stamps=self.source.stamps)
    at = 0
    while at < len(order):
      stop = at + 1
      if stop < len(order) and order[stop] < order[at]:
        while stop < len(order) and order[stop] < order[stop - 1] and stop - at < _BACKWARDS:
          stop += 1
        held = {frame.index: frame for frame in decode(order[stop - 1], order[at] + 1)}
        for index in order[at:stop]:
          if index not in held:
            raise self.too_few(index)
          yield held[index]
      else:
        while stop < len(order) and order[stop] >= order[stop - 1]:
          stop += 1
        ahead = decode(order[at], order[stop - 1] + 1)
        frame = None
        for index in order[at:stop]:
          while frame is None or frame.index < index:
            frame = next(ahead, None)
            if frame is None:
              raise self.too_few(index)
          yield frame
      at = stop

  def too_few(self, index: int) -> UserError:
    """The error for a frame of the source that cannot be decoded."""
    return UserError(f'{self.source.path}: it has packets for {self.source.frame_count} frames, '
                     f'and frame {index} of them cannot be decoded; re-encode it first')
