"""An edit: the request, and everything about it that can be checked without a model.

  with prepared(edit) as ready:           # takes seconds
    report = editor.make(ready, pipeline.load(folder))

When the block ends without an error, the files that were made get their final names.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np

from vidregen_jax import outputs
from vidregen_jax.compositing import crossfade
from vidregen_jax.editing import (
  audio_diff,
  changed_spans,
  edit_options,
  reference_frames,
  soundtrack,
)
from vidregen_jax.errors import UserError
from vidregen_jax.inference import mouth_opening
from vidregen_jax.media import (
  containers,
  encoders,
  muxer,
  smart_render,
  smart_render_plan,
  source_quality,
  video,
  video_writer,
)
from vidregen_jax.media.audio import packet_splice
from vidregen_jax.media.timeline import retimed_video as films
from vidregen_jax.media.timeline import spans
from vidregen_jax.models import flow_matching
from vidregen_jax.provenance import consent as consents
from vidregen_jax.provenance import content_credentials
from vidregen_jax.reporting import edit_report, preview_sheet, sidecars

_SAME_TIME = .002  # seconds, more than Matroska rounds by
_LARGEST_SEED = 2**32 - 1  # JAX truncates larger ones to 32 bits
# x264's `medium` is as near to the source, but takes five times as long for three quarters of the
# bytes.
_PRESET = 'superfast'


@dataclasses.dataclass(frozen=True)
class Edit:
  """A request: what to edit, and how.

  Attributes:
    source: the video.
    original: what the video was made from by an earlier edit, to take the real frames from in the
      spans; '' if it is no edit itself.
    consent: consent.Consent, of the people who are shown.
    out: where to write.
    overwrite: whether to replace an existing output and the files beside it.
    new_audio: the new soundtrack; '' with patches.
    spans: (start, stop) seconds; empty for the whole video.
    find: whether to find the spans instead, wherever the two soundtracks differ.
    patches: soundtrack.Patch of each; empty where there is a new soundtrack.
    options: edit_report.EditOptions of each span or patch, in the order of time; empty where none
      has any of its own.
    margin: seconds by which regeneration may extend beyond a span, to the quietest moment; None for
      the default: none for given spans, `audio_diff.MARGIN` for spans that are found.
    fit: one of retiming.FITS, how the picture is fitted to a new soundtrack of another length; ''
      to cut the sound at the end of the picture.
    seed: of all noise.
    overrides: SamplerConfig fields to change.
    references: seconds of the stills that show the person; empty to choose them.
    face: whose mouth is changed, as `face_selection.parse` gives it.
    fade: seconds over which, at a span's edges, made faces turn into the real ones.
    keep_occluders: whether objects in front of the face keep their pixels.
    join: whether to copy untouched frames as they are, where the source allows it.
    lossless: whether to encode without loss.
    fit_face: whether to fit the model to the video's own frames; None: if its crops are small.
    opening: how far a fitted mouth opens: 1 as calibrated, 0 not at all, `mouth_opening.FURTHEST`
      at most.
    strict: whether to refuse a face that the model hardly knows, rather than warn.
    reconstruct: generate nothing, but paste the codec's reconstruction of the real faces, as a
      baseline.
    signer: certificates.Identity that signs what was done; None to leave it unsigned.
    page: whether to write a page beside the video.
    preview: where to write a sheet of stills, and then nothing else; '' for the video.
  """

  source: str
  consent: consents.Consent
  out: str
  new_audio: str = ''
  spans: tuple = ()
  original: str = ''
  overwrite: bool = False
  find: bool = False
  seed: int = 0
  overrides: tuple = ()
  references: tuple = ()
  patches: tuple = ()
  options: tuple = ()
  margin: float | None = None
  fit: str = ''
  face: str | int | tuple = 'largest'
  fade: float = 0.2
  keep_occluders: bool = True
  join: bool = True
  lossless: bool = False
  fit_face: bool | None = None
  opening: float = 1.
  strict: bool = False
  reconstruct: bool = False
  signer: sidecars.Identity | None = None
  page: bool = False
  preview: str = ''

  @property
  def sounds(self) -> list[str]:
    """The paths of all new sound."""
    return [self.new_audio] if self.new_audio else [patch.path for patch in self.patches]

  @property
  def other_openings(self) -> list[float]:
    """All that is asked for of mouths' openings and is not the calibrated one."""
    own = [one.opening for one in self.options if one.opening is not None]
    return [amount for amount in (self.opening, *own) if amount != 1]

  @property
  def outputs(self) -> list[pathlib.Path]:
    """All files that may be written."""
    return [pathlib.Path(self.preview)] if self.preview else sidecars.paths(self.out)


@dataclasses.dataclass(frozen=True)
class Prepared:
  """An edit that has been checked as far as is possible without a model.

  Attributes:
    edit: the request; its spans are filled in if they had to be found.
    output_files: get their final names when the block of `prepared` ends without an error.
    sound: the output's sound, and the film that it belongs to.
    crf: rate factor of the frames that are encoded anew, x264's; 0 to lose nothing.
    join_plan: smart_render_plan.Plan around the spans, or the reason why every frame is re-encoded.
    source_credentials: the source's own credentials, from `content_credentials.of_source`.
    notes: lines to print for the user.
    options: edit_report.EditOptions of each edit.
    original: Film of the video's original; None if it has none.
    owner: int [F], the edit that each frame of the film belongs to.
  """

  edit: Edit
  output_files: outputs.Outputs
  sound: soundtrack.Composed
  join_plan: smart_render_plan.Plan | str
  crf: float
  source_credentials: content_credentials.SourceCredentials | None
  notes: tuple[str, ...] = ()
  options: tuple[edit_report.EditOptions, ...] = (edit_report.EditOptions(), )
  owner: np.ndarray | None = None
  original: films.Film | None = None

  @property
  def film(self) -> films.Film:
    """The real frames: of the video, or of its original."""
    return self.original or self.sound.film


@contextlib.contextmanager
def prepared(edit: Edit) -> Iterator[Prepared]:
  """Checks an edit, cheapest checks first, and reserves the names of its outputs.

  Args:
    edit: the request.

  Yields:
    Prepared. After the block, the files that were written get their final names.

  Raises:
    UserError: the request is wrong; nothing is written then.
  """
  _check_settings(edit)
  if edit.preview:
    preview_sheet.check(edit.preview)
  with outputs.Outputs(edit.outputs, edit.overwrite) as output_files:
    info = video.probe(edit.source)
    _check_times(info)
    edit, notes = _with_spans(edit, info)
    soundtrack.check_samples(info, edit.new_audio, edit.patches)
    sound = _composed(edit, info)
    options = edit_options.aligned(edit.options, sound.edits)
    if mute := [span for span, one in zip(sound.edits, options, strict=True) if one.mute]:
      sound = soundtrack.muted(sound, mute)
    in_spans = spans.frames(sound.spans, sound.film.times)
    if not in_spans.any():
      raise UserError(f'no frame of {edit.source} starts in the span: make it at least one frame, '
                      f'{float(1 / info.rate):.3f} s, long')
    if edit.references:
      reference_frames.check(edit.references, sound.film.times, in_spans)
    stretches = spans.stretches(in_spans)
    join_plan = _join_plan(edit, sound.film, stretches)
    crf = _rate_factor(edit, sound.film, join_plan, stretches[0][0])
    writer(edit, sound, join_plan, crf, output_files.rehearsal(edit.out)).rehearse()
    yield Prepared(edit, output_files, sound, join_plan, crf,
                   content_credentials.of_source(edit.source), notes, options,
                   edit_options.owners(sound.film.times, sound.edits),
                   _original(edit, sound.film) if edit.original else None)


def _original(edit, film) -> films.Film:
  """The film of an edited video's original, frame for frame.

  Raises:
    UserError: it is not its original, or the edit moves frames.
  """
  info, own = video.probe(edit.original), film.source
  same = (info.frame_count, info.width, info.height, info.pix_fmt) == (
    own.frame_count, own.width, own.height, own.pix_fmt)
  original = films.Film.of(info)
  if not same or np.abs(original.times - films.Film.of(own).times).max() > _SAME_TIME:
    raise UserError(f'--original {edit.original} has other frames than {edit.source}: give the '
                    'video that it was made from')
  if not film.is_the_source:
    raise UserError('--original cannot be given with an edit that moves frames, which a patch of '
                    'another length and --fit do')
  return original


def _composed(edit, info) -> soundtrack.Composed:
  """The output's sound, as the source's own packets where source and output allow it."""
  sound = soundtrack.patched(soundtrack.compose(info, edit.new_audio, edit.spans, edit.patches,
                                                edit.fit))
  sound = dataclasses.replace(sound, edits=tuple(sound.spans))
  if edit.margin:
    sound = soundtrack.with_margin(sound, edit.margin)
  if isinstance(sound.written, packet_splice.Patched) and not containers.takes_sound(
      edit.out, sound.written.codec):
    why = f'{edit.out} cannot hold {sound.written.codec}'
    return dataclasses.replace(sound, written=sound.track, why_all_is_encoded=why)
  return sound


def _check_settings(edit):
  """Checks the settings that need no file."""
  if not 0 <= edit.fade <= crossfade.LONGEST:
    raise UserError(f'--fade {edit.fade:g} is not between 0 and {crossfade.LONGEST:g} seconds')
  if not 0 <= edit.opening <= mouth_opening.FURTHEST:
    raise UserError(f'--opening {edit.opening:g} is not between 0, a closed mouth, and '
                    f'{mouth_opening.FURTHEST:g}')
  if edit.fit_face is False and edit.other_openings:
    raise UserError(f'an opening of {edit.other_openings[0]:g} needs the fit to the face, which '
                    'shows how this mouth opens: leave --no-fit_face out')
  if not 0 <= edit.seed <= _LARGEST_SEED:
    raise UserError(f'--seed is not between 0 and {_LARGEST_SEED}')
  sampler(edit, flow_matching.SamplerConfig(1, 'euler', 1.0, 1.0, 1.0))


def sampler(edit: Edit, usual: flow_matching.SamplerConfig) -> flow_matching.SamplerConfig:
  """The checkpoint's sampler settings with the edit's overrides.

  Raises:
    UserError: a value that the sampler does not accept.
  """
  try:
    return dataclasses.replace(usual, **dict(edit.overrides))
  except UserError as error:
    raise UserError(f'--{error}') from error


def _check_times(info):
  if (np.diff(info.stamps) <= 0).any():
    at = float(info.stamps[1:][np.diff(info.stamps) <= 0][0] * info.time_base)
    raise UserError(f'{info.path}: two of its frames have the same time, {at:.3f} s: re-encode it '
                    'first')


def _with_spans(edit, info):
  """The edit with its spans found, if that was asked for, and notes about them.

  Raises:
    UserError: the soundtracks do not differ.
  """
  if not edit.find:
    return edit, ()
  margin = audio_diff.MARGIN if edit.margin is None else edit.margin
  differences = changed_spans.differences(info, edit.new_audio, margin)
  edit = dataclasses.replace(edit, find=False, margin=None)
  if differences is None:
    why = _why_all(info, edit.new_audio)
    return edit, (f'{why}, so the whole video is regenerated', )
  if not differences:
    raise UserError(f'{edit.new_audio} sounds like {info.path} from end to end: there is '
                    'nothing to regenerate; --whole does so anyway')
  where = ', '.join(f'{a:.2f}-{b:.2f}' for a, b in differences)
  edit = dataclasses.replace(edit, spans=tuple(differences))
  return edit, (f'the soundtracks differ at {where} s', )


def _why_all(info, new_audio):
  """Why spans cannot be found, in words."""
  if not info.has_audio:
    return f'{info.path} has no soundtrack to compare with'
  late, of = changed_spans.lag(info, new_audio), f'the soundtrack differs from that of {info.path}'
  if not late:
    return f'all but a tenth of {of}'
  return (f'{of} everywhere, as it is the same but {abs(late):.3f} s '
          f'{"later" if late > 0 else "earlier"} (an encoder may have done that: a wav has no such '
          'lag)')


def _join_plan(edit, film, stretches) -> smart_render_plan.Plan | str:
  """The plan to join new frames with the source's packets, or the reason why there is none."""
  if edit.lossless or not edit.join:
    return f'--{"lossless" if edit.lossless else "reencode"} re-encodes all of it'
  if not film.is_the_source:
    return 'its frames are retimed'
  return smart_render_plan.plan(film.info, edit.out, stretches)


def _rate_factor(edit, film, join_plan, first) -> float:
  """How well frames are encoded anew: as the source was, measured from a frame of the film on."""
  info = film.info
  if edit.lossless:
    return 0
  if isinstance(join_plan, str):
    chosen = encoders.choose(info, edit.out, source_quality.FINEST, _PRESET)
    coder = dataclasses.replace(chosen, options={})
  else:
    coding = join_plan.coding
    coder = encoders.Coder(coding.encoder, info.pix_fmt, coding.options)
  return source_quality.rate_factor(film.source, coder, int(film.timeline.source[first]), _PRESET)


def writer(edit, sound, join_plan, crf, part) -> muxer.Muxer:
  """The writer of the output, for a plan or the reason why there is none."""
  settings = dict(audio=sound.written, keep=edit.source, crf=crf, preset=_PRESET, part=part)
  if isinstance(join_plan, str):
    return video_writer.Writer(edit.out, sound.film.info, **settings)
  return smart_render.Joined(edit.out, sound.film.info, join_plan, **settings)
