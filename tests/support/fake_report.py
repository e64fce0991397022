"""A report such as `regenerate` writes, made without an edit."""

from vidregen_jax.provenance import consent


def said(source, out, words='Ann Lee, who is shown, agreed', **changes):
  """The report; `changes` replace fields of it."""
  return {
    'source': {'path': str(source), 'sha256': '5a' * 32, 'frames': 100, 'size': [192, 96],
               'rate': '25'},
    'audio': {'files': [{'path': '/some where/new.wav', 'sha256': '5b' * 32}],
              'seconds_past_the_video': 0.0, 'why_all_is_encoded': None},
    'out': str(out), 'frames': 100, 'retimed': False, 'consent': vars(consent.of(words)),
    'spans': [[1.2, 1.8], [2.4, 2.8]], 'regenerated_frames': [(30, 45), (60, 70)],
    'encoded_frames': [(28, 50), (58, 75)], 'why_all_are_encoded': None, 'left_out': [],
    'frames_without_a_face': [45, 46, 48], 'references': [3, 9], 'fade': 0.2,
    'model': {'codec': '5c' * 32, 'generator': '5d' * 32},
    'sampler': {'steps': 2, 'solver': 'euler', 'guidance_audio': 1.5}, 'seed': 0,
    'content_credentials': None, 'sha256': '5e' * 32,
    'stages': {'generate': {'seconds': 1.5, 'frames': 25, 'ms_per_frame_median': 60.0}},
    **changes,
  }
