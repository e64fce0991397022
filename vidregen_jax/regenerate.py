"""Regenerate the lower face in spans of a video so that the mouth follows new audio.

  python -m vidregen_jax.regenerate IN.mp4 --audio NEW.wav --span 1.20-2.04 --checkpoint DIR \
    --consent "Ann Lee, who is shown, agreed on 2026-05-01" --out OUT.mp4
  python -m vidregen_jax.regenerate IN.mp4 --patch 1.20-1.95=WORD.wav ...
  python -m vidregen_jax.regenerate IN.mp4 --edits EDITS.json ...

NEW.wav is the whole new soundtrack, in time with the video; inside the spans it is what is heard
and what the mouth follows, outside them the video's own sound stays. Without --span the spans are
found: wherever the two soundtracks differ. With --patch the new sound comes in pieces; where one is
longer or shorter than its span, the picture is retimed to it, and what follows moves. EDITS.json
says either of these in a file: see `edit_list`.

Where the source can be joined (H.264, HEVC, VP9 or AV1 in mp4, mov, mkv or webm), only the frames
from a span to the next key frame are encoded anew; all others are copied as they are. Beside
OUT.mp4, OUT.json says what was changed, by which model, with whose consent, and how long each stage
took; OUT.html shows it. The same is signed in OUT.mp4 itself (Content Credentials); `python -m
vidregen_jax.inspect` reads them.
"""

import dataclasses
import sys

from vidregen_jax import differences, edit_list, editing_flags, soundtrack, spans
from vidregen_jax.errors import UserError
from vidregen_jax.media import video

_LONGEST_MARGIN = 1.0  # seconds


def _read(argv):
  parser = editing_flags.parser_of('regenerate', __doc__)
  parser.add_argument('--audio', default='', metavar='NEW.wav',
                      help='the whole new soundtrack: any audio or video file')
  parser.add_argument('--span', action='append', default=[], metavar='START-END',
                      help='seconds to regenerate; can be given several times; default: where '
                           'the new soundtrack differs from the old one')
  parser.add_argument('--patch', action='append', default=[], metavar='START-END=WORD.wav',
                      help='instead of --audio: sound for a span of seconds, as long as it is; the '
                           'picture is retimed to it; can be given several times')
  parser.add_argument('--edits', default='', metavar='EDITS.json',
                      help='spans or patches from a file, which also names their sound')
  parser.add_argument('--margin', type=float, metavar='SECONDS',
                      help='by which a mouth may be made anew beyond a span, to where it is '
                           f'quietest (default {differences.MARGIN:g} for spans that are found, '
                           '0 for those that are given)')
  parser.add_argument('--whole', action='store_true', help='regenerate the whole video')
  given = parser.parse_args(argv)
  ways = {'--span': given.span, '--whole': given.whole, '--patch': given.patch,
          '--edits': given.edits}
  if len([way for way in ways.values() if way]) > 1:
    raise UserError(f'{" and ".join(w for w in ways if ways[w])} exclude each other: give one')
  if given.edits and given.audio:
    raise UserError(f'{given.edits} names the new sound itself: leave --audio out')
  wanted = (edit_list.read(given.edits) if given.edits else edit_list.EditList(
      given.audio, tuple(map(spans.parse, given.span)), tuple(map(_patch, given.patch))))
  if bool(wanted.audio) == bool(wanted.patches):
    raise UserError('give either the whole new soundtrack with --audio, or its pieces with --patch')
  if given.margin is not None and not 0 <= given.margin <= _LONGEST_MARGIN:
    raise UserError(f'--margin {given.margin:g} is not between 0 and {_LONGEST_MARGIN:g} seconds')
  found = not any(ways.values())
  edit = editing_flags.asked(
      given, new_audio=wanted.audio, spans=wanted.spans, patches=wanted.patches,
      margin=0.0 if found else given.margin or 0.0)
  info = video.probe(given.source)  # a wrong path is told before a model is loaded
  if found:
    margin = differences.MARGIN if given.margin is None else given.margin
    edit = dataclasses.replace(edit, spans=_found_spans(info, given.audio, margin))
  soundtrack.check(info, edit.new_audio, edit.spans, edit.patches)
  return given, edit


def _patch(text):
  span, separator, path = text.partition('=')
  if not separator or not path:
    raise UserError(f'patch {text!r} is not START-END=FILE, such as 1.20-1.95=word.wav')
  return soundtrack.Patch(*spans.parse(span), path)


def _found_spans(info, new_audio, margin):
  """Spans in which the sound is new, told to the user; none for the whole video.

  Raises:
    UserError: there are none.
  """
  found = soundtrack.differences(info, new_audio, margin)
  if found is None:
    print(f'{_why_all(info, new_audio)}, and so the whole video is made anew')
    return ()
  if not found:
    raise UserError(f'{new_audio} sounds as {info.path} does from end to end: there is nothing to '
                    'regenerate; --whole does it all the same')
  print('the soundtracks differ at ' + ', '.join(f'{a:.2f}-{b:.2f}' for a, b in found) + ' s')
  return tuple(found)


def _why_all(info, new_audio):
  """Why no spans are found, in words."""
  if not info.has_audio:
    return f'{info.path} has no soundtrack to compare with'
  late, of = soundtrack.lag(info, new_audio), f'the soundtrack differs from that of {info.path}'
  if not late:
    return f'all but a tenth of {of}'
  return (f'{of} everywhere, as it is the same {"later" if late > 0 else "earlier"} by '
          f'{abs(late):.3f} s (an encoder may have done that: a wav has no such lag)')


def main(argv=None) -> int:
  return editing_flags.carry_out(_read, argv)


if __name__ == '__main__':
  sys.exit(main())
