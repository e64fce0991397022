"""OUT.html: a page that plays source and edit in step, and shows what was changed and how.

It is a single file. Its content security policy forbids any connection, and any other script.
"""

import base64
import hashlib
import pathlib
from importlib import resources
from typing import NamedTuple

import cv2
import jinja2
import numpy as np
from markupsafe import Markup

from vidregen_jax import terminal
from vidregen_jax.faces import crop_mask
from vidregen_jax.reporting import edit_report, proxy_video

_ICONS = {
  'previous': 'M2 2h2v12H2zM14 2v12L5 8z',
  'back': 'M11 3v10L4 8z',
  'play': 'M4 2l10 6-10 6z',
  'forward': 'M5 3l7 5-7 5z',
  'next': 'M12 2h2v12h-2zM2 2l9 6-9 6z',
}
_SUBPIXELS = 16


class _Stretch(NamedTuple):
  """A range of regenerated frames, and the seconds at which it begins and ends."""

  frames: edit_report.FrameRange
  begin: float
  end: float


def make(film, edited, report: edit_report.EditReport, affines) -> bytes:
  """The page, UTF-8.

  Args:
    film: retimed_video.Film, the retimed source.
    edited: path of the edited video.
    report: of the edit.
    affines: by frame number, for each regenerated frame: [2, 3], crop fraction to stored pixel.
  """
  proxy = proxy_video.make(film, edited, report.regenerated_frames)
  style, script = (_own(name) for name in ('page.css', 'page.js'))
  return _TEMPLATES.get_template('page.html').render(
    policy=("default-src 'none'; base-uri 'none'; form-action 'none'; media-src blob:; "
            f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"),
    style=Markup(style), script=Markup(script), icons=_ICONS,
    title=pathlib.PurePath(report.out).name, summary=report.summary, facts=report.facts(),
    stretches=_stretches(film, report), stages=report.stages,
    shown_frames=sum(stop - start for start, stop in proxy.parts), all_frames=len(film.times),
    data=_data(film, proxy, report, affines),
    film=Markup(base64.b64encode(proxy.data).decode())).encode()


def _clock(seconds) -> str:
  minutes, rest = divmod(round(seconds * 1000), 60_000)
  return f'{minutes}:{rest // 1000:02}.{rest % 1000:03}'


def _printable(value):
  """A template value without characters that could reorder or hide the text around it."""
  return value if isinstance(value, Markup) else terminal.printable(value)


# Every value in the template is escaped, except for what this module itself marks as Markup.
_TEMPLATES = jinja2.Environment(
  loader=jinja2.PackageLoader('vidregen_jax.reporting', ''), autoescape=True,
  undefined=jinja2.StrictUndefined, finalize=_printable, keep_trailing_newline=True)
_TEMPLATES.filters['clock'] = _clock


def outline() -> np.ndarray:
  """The outline of the pasted region, where the mask is one half: crop fractions [n, 2]."""
  size = 512
  inside = np.uint8(crop_mask.lower_face_mask(size, soft=True) > .5)
  (edge,), _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
  return (cv2.approxPolyDP(edge, 1.5, True)[:, 0] + .5) / size


def _own(name) -> str:
  return resources.files('vidregen_jax.reporting').joinpath(name).read_text(encoding='utf-8')


def _hash(text) -> str:
  """The source expression of an inline text in a content security policy."""
  return 'sha256-' + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _packed(values, kind) -> str:
  return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()


def _data(film, proxy, report, affines) -> dict:
  """The data that the page's script reads."""
  times = film.times
  parts, first = [], 0
  for start, stop in proxy.parts:
    parts.append({'start': start, 'stop': stop, 'first': first, 'time': float(times[start])})
    first += stop - start
  regenerated = [index for a, b in proxy.parts for start, stop in report.regenerated_frames
                 for index in range(max(a, start), min(b, stop))]
  view = np.vstack([proxy.view, (0, 0, 1)])
  placed = [(view @ np.vstack([affines[index], (0, 0, 1)]))[:2] for index in regenerated]
  placed = np.clip(np.rint(np.array(placed).reshape(-1, 6) * _SUBPIXELS), -32768, 32767)
  return {
    'frames': report.frames, 'width': proxy.width, 'height': proxy.height, 'parts': parts,
    'tick': proxy_video.TICK, 'clock': _packed(proxy.clock, '<u4'), 'sounds': proxy.sounds,
    'made': report.regenerated_frames, 'encoded': report.encoded_frames,
    'faceless': _ranges(report.frames_without_a_face),
    'outline': np.round(outline(), 4).tolist(), 'affine': _packed(placed, '<i2'),
  }


def _ranges(frames) -> list:
  """Ascending numbers as [start, stop] of consecutive ones."""
  rows = []
  for frame in frames:
    if rows and rows[-1][1] == frame:
      rows[-1][1] = frame + 1
    else:
      rows.append([frame, frame + 1])
  return rows


def _stretches(film, report) -> list[_Stretch]:
  ends = np.r_[film.times, float(film.info.start_time + film.info.duration)]
  return [_Stretch(frames, float(ends[frames.start]), float(ends[frames.stop]))
          for frames in report.regenerated_frames]
