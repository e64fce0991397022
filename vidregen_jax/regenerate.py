"""Regenerate the lower face in spans of a video so that the mouth follows new audio.

  python -m vidregen_jax.regenerate IN.mp4 --audio NEW.wav --span 1.20-2.04 --checkpoint DIR \
    --consent "Ann Lee, who is shown, agreed on 2026-05-01" --out OUT.mp4
  python -m vidregen_jax.regenerate IN.mp4 --patch 1.20-1.95=WORD.wav ...
  python -m vidregen_jax.regenerate IN.mp4 --words "two soon" --transcript IN.srt ...
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

import sys

from vidregen_jax import commands
from vidregen_jax.api import edits
from vidregen_jax.editing import audio_diff, flags
from vidregen_jax.media.timeline import transcripts


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
  parser.add_argument('--words', action='append', default=[], metavar='WORDS',
                      help='instead of --span: words of the transcript, such as "two soon"; can be '
                           'given several times')
  parser.add_argument('--replace', action='append', default=[], metavar='WORDS=WORD.wav',
                      help='instead of --patch: sound for words of the transcript; can be given '
                           'several times')
  parser.add_argument('--transcript', default='', metavar='FILE',
                      help='what is said when, for --words and --replace: '
                           f'{", ".join(transcripts.SUFFIXES)}')
  parser.add_argument('--edits', default='', metavar='EDITS.json',
                      help='spans or patches from a file, which also names their sound; or a '
                           'timeline: .otio, .otioz, .fcpxml, .xml or .edl')
  parser.add_argument('--margin', type=float, metavar='SECONDS',
                      help='by which regeneration may extend beyond a span, to the quietest '
                           f'moment (default {audio_diff.MARGIN:g} for spans that are found, '
                           '0 for those that are given)')
  parser.add_argument('--original', default='', metavar='VIDEO',
                      help='where IN.mp4 is an edit that is to be refined: the video that it was '
                           'made from, of which the real frames in the spans are taken')
  parser.add_argument('--whole', action='store_true', help='regenerate the whole video')
  options = parser.parse_args(argv)
  return edits.edit, flags.arguments(options) | dict(
    audio=options.audio, spans=options.span, patches=options.patch, words=options.words,
    replace=options.replace, transcript=options.transcript, edits=options.edits,
    margin=options.margin, original=options.original, whole=options.whole)


def main(argv=None) -> int:
  return commands.run(lambda: _read(argv))


if __name__ == '__main__':
  sys.exit(main())
