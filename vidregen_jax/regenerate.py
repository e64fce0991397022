"""Regenerate the lower face in spans of a video so that the mouth follows new audio.

  python -m vidregen_jax.regenerate IN.mp4 --audio NEW.wav --span 1.20-2.04 --checkpoint DIR \
    --consent "Ann Lee, who is shown, agreed on 2026-05-01" --out OUT.mp4
  python -m vidregen_jax.regenerate IN.mp4 --patch 1.20-1.95=WORD.wav ...
  python -m vidregen_jax.regenerate IN.mp4 --edits EDITS.json ...

NEW.wav is the whole new soundtrack, in sync with the video. Inside the spans it replaces the
video's own sound, and the mouth follows it; outside them the sound stays. Without --span the spans
are found, wherever the two soundtracks differ. With --patch the new sound comes in pieces; if one
is longer or shorter than its span, the picture is retimed to it, and what follows is shifted.
EDITS.json holds spans or patches in a file: see `edit_list`.

If the source can be joined (H.264, HEVC, VP9 or AV1 in mp4, mov, mkv or webm), only the frames from
a span to the next key frame are re-encoded; all others are copied as they are. Beside OUT.mp4,
OUT.json says what was changed, by which model, with whose consent, and how long each stage took;
OUT.html shows it. The same facts are signed in OUT.mp4 itself as Content Credentials, which `python
-m vidregen_jax.inspect` verifies.
"""

import os
import pathlib
import sys

import numpy as np
from scipy import ndimage

from vidregen_jax import cli
from vidregen_jax.editing import audio_diff, edit_list, flags, soundtrack
from vidregen_jax.errors import UserError
from vidregen_jax.exports import pipeline
from vidregen_jax.media.timeline import spans
from vidregen_jax.provenance import consent as consents

_LONGEST_MARGIN = 1.0  # seconds
_NEAR = 4  # frames around a span that --adapt does not learn from either


def _read(argv):
  parser = flags.parser_of('regenerate', __doc__)
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
                      help='by which regeneration may extend beyond a span, to the quietest '
                           f'moment (default {audio_diff.MARGIN:g} for spans that are found, '
                           '0 for those that are given)')
  parser.add_argument('--whole', action='store_true', help='regenerate the whole video')
  parser.add_argument('--adapt', type=cli.number(0), metavar='MINUTES',
                      help='first tune the checkpoint to this person on the frames outside the '
                           'spans, for so long, and edit with the student of the result, which is '
                           'kept in OUT.adapted; needs the train extra')
  parser.add_argument('--perceptual', default='', metavar='DIR',
                      help='with --adapt: VGG16 with LPIPS heads; default: no LPIPS')
  options = parser.parse_args(argv)
  ways = {'--span': options.span, '--whole': options.whole, '--patch': options.patch,
          '--edits': options.edits}
  if len([way for way in ways.values() if way]) > 1:
    raise UserError(f'{" and ".join(w for w in ways if ways[w])} exclude each other: give one')
  if options.edits and options.audio:
    raise UserError(f'{options.edits} names the new sound itself: leave --audio out')
  edits = (edit_list.read(options.edits) if options.edits else edit_list.EditList(
      options.audio, tuple(map(spans.parse, options.span)), tuple(map(_patch, options.patch))))
  if bool(edits.audio) == bool(edits.patches):
    raise UserError('give either the whole new soundtrack with --audio, or its pieces with --patch')
  if options.margin is not None and not 0 <= options.margin <= _LONGEST_MARGIN:
    raise UserError(f'--margin {options.margin:g} is not between 0 and {_LONGEST_MARGIN:g} seconds')
  _check_adapt(options)
  return options, flags.edit_of(
      options, new_audio=edits.audio, spans=edits.spans, patches=edits.patches,
      margin=options.margin, find=not any(ways.values()))


def _check_adapt(options):
  if options.adapt is None:
    return
  if not options.adapt:
    raise UserError('--adapt 0: give the minutes that it may take')
  if options.face != 'largest':
    raise UserError(f'--adapt learns the largest face, and --face {options.face} names another: '
                    'adapt to footage of that one (`python -m vidregen_jax.adapt`), and name the '
                    'result by --checkpoint')
  folder = _adapted_folder(options)
  if os.path.lexists(folder):
    raise UserError(f'{folder} is there already: edit with it, --checkpoint {folder} --student, or '
                    'remove it')


def _adapted_folder(options):
  return pathlib.Path(options.out).with_suffix('.adapted')


def _load(options, ready):
  """The system to edit with: that of the flags, or with --adapt what is made of it first."""
  if options.adapt is None:
    return flags.loaded(options, ready)
  try:
    from vidregen_jax.adaptation import tuning
  except ModuleNotFoundError as error:
    raise UserError(f"--adapt needs {error.name}: pip install -e '.[train]'") from error
  from vidregen_jax.adaptation import footage

  source, film = pathlib.Path(ready.film.source.path), ready.film
  in_spans = np.zeros(film.source.frame_count, bool)
  in_spans[film.timeline.source[spans.frames(ready.sound.spans, film.times)]] = True
  # A frame beside the span is nearly one of it.
  left_out = ndimage.binary_dilation(in_spans, iterations=_NEAR)
  folder = _adapted_folder(options)
  tuning.tune(tuning.Request(
    system=pathlib.Path(options.checkpoint), own=(source, ),
    beside=tuple(footage.spread(footage.videos(footage.BESIDE))), perceptual=options.perceptual,
    consent=consents.told(ready.edit.consent), minutes=options.adapt,
    left_out={source: left_out}), folder)
  return pipeline.load(folder, student=True)


def _patch(text):
  span, separator, path = text.partition('=')
  if not separator or not path:
    raise UserError(f'patch {text!r} is not START-END=FILE, such as 1.20-1.95=word.wav')
  return soundtrack.Patch(*spans.parse(span), path)


def main(argv=None) -> int:
  return flags.carry_out(_read, argv, _load)


if __name__ == '__main__':
  sys.exit(main())
