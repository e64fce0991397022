"""The page of supported media says what the program does."""

import re

import pytest
from conftest import ROOT

from vidregen_jax.media import containers, opening, smart_render_plan

PAGE = (ROOT / 'docs' / 'supported-media.md').read_text()


def _row(first):
  """The cells of the table's row that begins so."""
  line, = [line for line in PAGE.splitlines() if line.startswith(f'| {first} |')]
  return [cell.strip() for cell in line.strip('|').split('|')]


def test_what_is_read_is_what_is_opened():
  named = [name for kind in ('Film', 'Sound') for name in re.findall('`(\\w+)`', _row(kind)[1])]
  assert sorted(named) == sorted(opening.DEMUXERS)


@pytest.mark.parametrize('suffix', ['.mp4', '.m4v', '.mov', '.mkv', '.webm'])
def test_outputs_hold_what_the_page_says(suffix):
  names = {'h264': 'H.264', 'hevc': 'HEVC', 'vp9': 'VP9', 'av1': 'AV1', 'ffv1': 'FFV1'}
  line, = [line for line in PAGE.splitlines() if line.startswith('|') and f'`{suffix}`' in line]
  _, pictures, sound, joined = (cell.strip() for cell in line.strip('|').split('|'))
  kind = containers.of(f'out{suffix}')
  held = {names[codec] for codec in kind.video}
  assert set(pictures.split(', ')) <= held
  assert set(re.findall('|'.join(names.values()), joined)) == held - {'FFV1'}
  assert sound == {'aac': 'AAC', 'libopus': 'Opus'}[kind.sound]


def test_the_page_names_all_outputs_and_all_codecs_that_are_joined():
  assert set(re.findall(r'`(\.\w+)`', PAGE)) == set(containers._KINDS)
  assert set(smart_render_plan.CODINGS) == {'h264', 'hevc', 'vp9', 'av1'}
  # FFmpeg's one name each: mov and webm are these.
  assert set(smart_render_plan.SOURCES) == {'mp4', 'matroska'}
