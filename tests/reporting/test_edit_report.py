"""The report of an edit: its JSON, what of it is signed, and what is said of it."""

import dataclasses
import json
from fractions import Fraction

import fake_report
import pytest

from vidregen_jax.errors import UserError
from vidregen_jax.faces import reidentify
from vidregen_jax.provenance import content_credentials
from vidregen_jax.reporting import edit_report, stage_clock

FACE = edit_report.FaceChoice(
  rule=(.25, .4), faces=(reidentify.Appearance(1, 0.0, 4.0, (.1, .2, .3, .4), 60.0, .9), ),
  chosen=(1, ), notes=('a doubt', ))
FULL = fake_report.make(
  'in.mp4', 'out.mp4', skipped=(edit_report.SkippedFrames(45, 47, 'no face'), ),
  confidence=((.9, .8), ), face=FACE, familiarity={'1': edit_report.Familiarity(
    share=.4, codec_error=11.5, distance=1.0, doubt='the model hardly knows this face')},
  occluded=(edit_report.OccludedFrames(30, 33, .2), ),
  frames_left_as_occluded=(edit_report.FrameRange(31, 32), ), retimed=True, left_out=('a track', ),
  fitted=edit_report.FaceFit(size=160, people={'1': edit_report.PersonFit(
    frames=72, crossed=True, shrinkage=.3)}),
  content_credentials=content_credentials.Signature('out.mp4', 'Ann Lee', True),
  stages={'track faces': stage_clock.Stage(1.0, 4, 250.0), 'sign': stage_clock.Stage(.5, 0)})
# The order of OUT.json, which scripts and people read.
FIELDS = [
  'source', 'audio', 'out', 'frames', 'retimed', 'consent', 'spans', 'regenerated_frames',
  'encoded_frames', 'why_all_are_encoded', 'left_out', 'frames_without_a_face', 'skipped',
  'confidence', 'face', 'familiarity', 'occluded', 'frames_left_as_occluded', 'references', 'fade',
  'fitted', 'options', 'original', 'model', 'sampler', 'seed', 'content_credentials', 'sha256',
  'stages', 'seconds', 'peak_memory_mb']


def through_json(report):
  return json.loads(json.dumps(report.to_json()))


@pytest.mark.parametrize('report', [FULL, fake_report.make('in.mp4', 'out.mp4'),
                                    fake_report.make('in.mp4', 'out.mp4', sampler=None)])
def test_a_report_survives_its_json(report):
  assert edit_report.EditReport.from_json(through_json(report)) == report


def test_the_json_has_the_documented_fields_in_their_order():
  document = through_json(FULL)
  assert list(document) == FIELDS
  assert list(document['source']) == ['path', 'sha256', 'frames', 'size', 'rate', 'credentials']
  assert document['source']['rate'] == '25' and document['face']['rule'] == [.25, .4]
  assert document['face']['faces'][0]['id'] == 1 and document['spans'] == [[1.2, 1.8], [2.4, 2.8]]
  # A stage that works on no frames has no time for one.
  assert document['stages']['sign'] == {'seconds': .5, 'frames': 0}


def test_a_report_of_an_earlier_version_is_read():
  document = through_json(FULL)
  for name in ('skipped', 'confidence', 'face', 'occluded', 'frames_left_as_occluded'):
    del document[name]
  del document['source']['credentials'], document['audio']['notes']
  report = edit_report.EditReport.from_json(document | {'of_a_later_version': 1})
  assert report.face is None and report.skipped == () and report.source.credentials is None
  assert report.source.rate == Fraction(25) and report.spans[1].stop == 2.8
  assert list(report.lines()) and list(report.facts())


@pytest.mark.parametrize(('changes', 'message'), [
  ({'frames': 'many'}, 'the report: frames is "many"'),
  ({'frames': 100.5}, 'the report: frames is 100.5'),
  ({'retimed': 1}, 'the report: retimed is 1'),
  ({'source': {}}, 'the report: source lacks the field path'),
  ({'source': 7}, 'the report: source is 7'),
  ({'spans': [[1.0]]}, r'the report: spans\[0\] is \[1.0\]: 2 values are needed'),
  ({'spans': None}, 'the report: spans is null'),
  ({'why_all_are_encoded': 3}, 'the report: why_all_are_encoded is 3'),
  ({'model': {'codec': None}}, 'the report: model: "codec" is null'),
])
def test_what_is_no_report_is_refused_by_name(changes, message):
  with pytest.raises(UserError, match=message):
    edit_report.EditReport.from_json(through_json(FULL) | changes)
  with pytest.raises(UserError, match=r'the report: source: rate is "1/0": a fraction'):
    document = through_json(FULL)
    document['source']['rate'] = '1/0'
    edit_report.EditReport.from_json(document)


def test_all_but_what_is_known_later_is_in_the_digest():
  document = through_json(FULL)
  whole = edit_report.digest(document)
  for name in FIELDS:
    other = document | {name: 'another'}
    later = name in ('sha256', 'content_credentials', *edit_report.MEASURED)
    assert (edit_report.digest(other) == whole) == later, name
  assert FULL.statement().report_sha256 == whole
  assert FULL.statement().facts == edit_report.signed_facts(document)


def test_what_is_said_on_a_terminal():
  lines = list(FULL.lines())
  assert lines[0] == 'regenerated_frames: [(30, 45), (60, 70)]'
  assert 'frames 45 to 46 are left as they are: no face' in lines and 'a doubt' in lines
  assert any('part of the face in 3 frames' in line and 'in 1 of them' in line for line in lines)
  assert lines[-1] == '100 frames instead of 100'
  quiet = list(fake_report.make('in.mp4', 'out.mp4').lines())
  assert len(quiet) == 5 and quiet[2] == 'frames_without_a_face: [45, 46, 48]'


def test_the_summary_counts_stretches():
  assert FULL.summary.startswith('25 of 100 frames regenerated in 2 stretches · 192 × 96 · 25 ')
  one = dataclasses.replace(FULL, regenerated_frames=(edit_report.FrameRange(0, 9), ))
  assert '9 of 100 frames regenerated in 1 stretch ·' in one.summary
