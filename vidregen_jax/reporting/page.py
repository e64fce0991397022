"""OUT.html: a page that plays source and edit in step, shows what was changed, and says how.

It is one file. Its policy forbids it any connection, and any script but its own.
"""

import base64
import hashlib
import html
import json
import pathlib
import re
from fractions import Fraction
from importlib import resources

import cv2
import numpy as np

from vidregen_jax import terminal
from vidregen_jax.faces import crop_mask
from vidregen_jax.reporting import proxy_video

_ICONS = {
  'previous': 'M2 2h2v12H2zM14 2v12L5 8z',
  'back': 'M11 3v10L4 8z',
  'play': 'M4 2l10 6-10 6z',
  'forward': 'M5 3l7 5-7 5z',
  'next': 'M12 2h2v12h-2zM2 2l9 6-9 6z',
}
_SUBPIXELS = 16


def make(film, edited, said, affines) -> bytes:
  """The page, UTF-8.

  Args:
    film: films.Film, the source as it is shown.
    edited: the file that was made of it.
    said: the report of `regenerate`.
    affines: by number of each regenerated frame, [2, 3] from crop fractions to stored pixels.
  """
  shown = proxy_video.make(film, edited, said['regenerated_frames'])
  style, script = (_own(name) for name in ('page.css', 'page.js'))
  policy = ("default-src 'none'; base-uri 'none'; form-action 'none'; media-src blob:; "
            f"style-src '{_hash(style)}'; script-src '{_hash(script)}'")
  fields = {
    'policy': policy, 'style': style, 'script': script,
    'title': _text(pathlib.Path(said['out']).name),
    'summary': _text(_summary(said)),
    'spans': ''.join(_span(*row) for row in enumerate(
      zip(said['regenerated_frames'], _times(film, said), strict=True), start=1)),
    'left_out': _left_out(shown, film),
    'facts': ''.join(f'<dt>{_text(name)}</dt><dd>{value}</dd>'
                     for name, value in _facts(said)),
    'stages': ''.join(_stage(name, row) for name, row in said['stages'].items()),
    'data': json.dumps(_data(film, shown, said, affines)).replace('<', '\\u003c'),
    'film': base64.b64encode(shown.data).decode(),
    **{f'icon_{name}': f'<svg viewBox="0 0 16 16" aria-hidden="true"><path d="{path}"/></svg>'
       for name, path in _ICONS.items()},
  }
  # All at once: what a field holds is not looked through for further fields.
  return re.sub(r'{{(\w+)}}', lambda match: fields[match[1]], _own('page.html')).encode()


def outline() -> np.ndarray:
  """The edge of what is pasted, where half of a pixel is the new one: crop fractions [n, 2]."""
  size = 512
  inside = np.uint8(crop_mask.lower_face_mask(size, soft=True) > .5)
  (edge,), _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
  return (cv2.approxPolyDP(edge, 1.5, True)[:, 0] + .5) / size


def _own(name) -> str:
  return resources.files('vidregen_jax.reporting').joinpath(name).read_text(encoding='utf-8')


def _hash(text) -> str:
  """A content security policy's name of a text in the page."""
  return 'sha256-' + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _packed(values, kind) -> str:
  return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()


def _data(film, shown, said, affines) -> dict:
  """What the script needs."""
  times = film.times
  parts, first = [], 0
  for start, stop in shown.parts:
    parts.append({'start': start, 'stop': stop, 'first': first, 'time': float(times[start])})
    first += stop - start
  made = [index for a, b in shown.parts for row in said['regenerated_frames']
          for index in range(max(a, row[0]), min(b, row[1]))]
  view = np.vstack([shown.view, (0, 0, 1)])
  placed = [(view @ np.vstack([affines[index], (0, 0, 1)]))[:2] for index in made]
  placed = np.clip(np.rint(np.array(placed).reshape(-1, 6) * _SUBPIXELS), -32768, 32767)
  return {
    'frames': said['frames'], 'width': shown.width, 'height': shown.height, 'parts': parts,
    'tick': proxy_video.TICK, 'clock': _packed(shown.clock, '<u4'), 'sounds': shown.sounds,
    'made': said['regenerated_frames'], 'encoded': said['encoded_frames'],
    'faceless': _stretches(said['frames_without_a_face']),
    'outline': np.round(outline(), 4).tolist(), 'affine': _packed(placed, '<i2'),
  }


def _stretches(frames) -> list:
  """Ascending numbers as (start, stop) of those that follow on each other."""
  rows = []
  for frame in frames:
    if rows and rows[-1][1] == frame:
      rows[-1][1] = frame + 1
    else:
      rows.append([frame, frame + 1])
  return rows


def _times(film, said) -> list:
  """Seconds at which each run of regenerated frames begins and ends."""
  ends = np.r_[film.times, float(film.info.start_time + film.info.duration)]
  return [(float(ends[a]), float(ends[b])) for a, b in said['regenerated_frames']]


def _clock(seconds) -> str:
  minutes, rest = divmod(round(seconds * 1000), 60_000)
  return f'{minutes}:{rest // 1000:02}.{rest % 1000:03}'


def _summary(said) -> str:
  made, count = sum(b - a for a, b in said['regenerated_frames']), len(said['regenerated_frames'])
  width, height = said['source']['size']
  return (f'{made} of {said["frames"]} frames regenerated in {count} '
          f'{"stretch" if count == 1 else "stretches"} · {width} × {height} · '
          f'{float(Fraction(said["source"]["rate"])):.5g} frames a second')


def _span(number, row) -> str:
  (start, stop), (begin, end) = row
  return (f'<li><span class="number">{_clock(begin)} – {_clock(end)}</span>'
          f'<span class="quiet">frames {start} to {stop - 1}, {end - begin:.2f} s</span>'
          f'<button type="button" data-go="{start}" aria-label="Go to stretch {number}">Go to'
          '</button></li>')


def _left_out(shown, film) -> str:
  seen = sum(b - a for a, b in shown.parts)
  if seen == len(film.times):
    return ''
  return (f'<p class="note">The player holds {seen} of {len(film.times)} frames: what was changed '
          'and what lies around it.</p>')


def _facts(said):
  """Yields (name, HTML) of what an editor wants to know and to keep."""
  text = _text
  consent = said['consent']
  lines = (consent['statement'] or '').splitlines()
  words = (f'<p class="consent">{"<br>".join(map(text, lines))}</p>' if consent['statement'] else
           f'<p>in the file {text(pathlib.Path(consent["file"]).name)}, which is kept apart</p>')
  yield 'Consent', words + _digest(consent['sha256'])
  yield 'Source', _file(said['source'])
  credentials = said['source'].get('credentials')
  if credentials:
    signer = credentials['signer']
    yield 'Credentials of the source', ''.join(f'<p>{text(line)}</p>' for line in (
      [f'Signed by {signer or "nobody known"}, and not sound:', *credentials['problems']]
      if credentials['state'] == 'Invalid' else [f'Sound, signed by {signer}']))
  yield 'New sound', ''.join(map(_file, said['audio']['files']))
  yield 'Edited video', _file({'path': said['out'], 'sha256': said['sha256']})
  signed = said['content_credentials']
  if signed:
    by = f'Signed by {signed["signer"]}, in {pathlib.Path(signed["where"]).name}'
    own = ', with a certificate that this computer made for itself' * signed['local_certificate']
    yield 'Content Credentials', f'<p>{text(by + own)}</p>'
  else:
    yield 'Content Credentials', '<p>Not signed</p>'
  yield 'Model', ''.join(f'<p>{text(name)}</p>{_digest(value)}'
                         for name, value in said['model'].items())
  sampler = said['sampler'] or {'made': 'nothing: the codec alone'}
  settings = sampler | {'seed': said['seed'], 'fade': said['fade']}
  yield 'Settings', text(', '.join(f'{name.replace("_", " ")} {value}'
                                   for name, value in settings.items()))
  encoded = sum(b - a for a, b in said['encoded_frames'])
  why = said['why_all_are_encoded']
  yield 'Encoded anew', text(f'all frames: {why}' if why else
                             f'{encoded} of {said["frames"]} frames; all others are the source’s '
                             'packets')
  if said['frames_without_a_face']:
    yield 'No face found', text(f'in {len(said["frames_without_a_face"])} frames of the spans, '
                                'which are as they were')
  if said['left_out']:
    yield 'Left out', text(', '.join(said['left_out']))


def _file(row) -> str:
  return f'<p>{_text(pathlib.Path(row["path"]).name)}</p>{_digest(row["sha256"])}'


def _text(words) -> str:
  """HTML of one line of text, without what could turn or hide what stands beside it."""
  return html.escape(terminal.printable(words))


def _digest(value) -> str:
  return f'<p><code>sha256 {_text(value)}</code></p>'


def _stage(name, row) -> str:
  cells = row['seconds'], row['frames'], row.get('ms_per_frame_median', '')
  return (f'<tr><th scope="row">{_text(name)}</th>'
          + ''.join(f'<td>{_text(cell)}</td>' for cell in cells) + '</tr>')
