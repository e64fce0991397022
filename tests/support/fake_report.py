"""A report such as `regenerate` writes, made without an edit."""

import dataclasses
from fractions import Fraction

from vidregen_jax.provenance import consent
from vidregen_jax.reporting import edit_report, stage_clock


def make(source, out, /, words='Ann Lee, who is shown, agreed',
         **changes) -> edit_report.EditReport:
  """The report; `changes` replace parts of it."""
  frames = lambda *rows: tuple(edit_report.FrameRange(*row) for row in rows)
  return dataclasses.replace(edit_report.EditReport(
    source=edit_report.Source(path=str(source), sha256='5a' * 32, frames=100, size=(192, 96),
                              rate=Fraction(25)),
    audio=edit_report.NewSound(files=(edit_report.File('/some where/new.wav', '5b' * 32),),
                               seconds_past_the_video=0.0, why_all_is_encoded=None),
    out=str(out), frames=100, retimed=False, consent=consent.of(words),
    spans=(edit_report.TimeSpan(1.2, 1.8), edit_report.TimeSpan(2.4, 2.8)),
    regenerated_frames=frames((30, 45), (60, 70)), encoded_frames=frames((28, 50), (58, 75)),
    why_all_are_encoded=None, left_out=(), frames_without_a_face=(45, 46, 48), references=(3, 9),
    fade=0.2, model={'codec': '5c' * 32, 'generator': '5d' * 32},
    sampler={'steps': 2, 'solver': 'euler', 'guidance_audio': 1.5}, seed=0, sha256='5e' * 32,
    stages={'generate': stage_clock.Stage(1.5, 25, 60.0)}), **changes)
