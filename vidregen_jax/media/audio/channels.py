"""Positions of the channels of a sound, and mixing to other channels.

Places are FFmpeg's names: FL, FC and FR in front, LFE for the bass, SL and SR at the sides, BL, BC
and BR behind. Downmixes are those of ITU-R BS.775-3, annex 4, which FFmpeg makes too.
"""

import numpy as np

# For files that do not say. Seven channels might be 6.1 as well, but this cuts off no bass.
_USUAL = {1: ('FC',), 2: ('FL', 'FR'), 3: ('FL', 'FR', 'FC'), 4: ('FL', 'FR', 'BL', 'BR'),
          5: ('FL', 'FR', 'FC', 'BL', 'BR'), 6: ('FL', 'FR', 'FC', 'LFE', 'BL', 'BR'),
          7: ('FL', 'FR', 'FC', 'BL', 'BR', 'SL', 'SR'),
          8: ('FL', 'FR', 'FC', 'LFE', 'BL', 'BR', 'SL', 'SR')}
_UNKNOWN = '?'  # begins the name of an unknown position
_FIELD = 'AMBI0'
BASS = ('LFE', 'LFE2')
_FRONT = ('FL', 'FR', 'FLC', 'FRC')
_AROUND = ('SL', 'SR', 'BL', 'BR', 'BC')
_LESS = 0.5**.5
# Where a channel goes that the target lacks: to the first of these whose positions all exist.
_INSTEAD = {
  'FL': [{'FC': _LESS}], 'FR': [{'FC': _LESS}], 'FC': [{'FL': _LESS, 'FR': _LESS}],
  'FLC': [{'FL': 1.0}, {'FC': _LESS}], 'FRC': [{'FR': 1.0}, {'FC': _LESS}],
  'BL': [{'SL': 1.0}, {'BC': _LESS}, {'FL': _LESS}, {'FC': .5}],
  'BR': [{'SR': 1.0}, {'BC': _LESS}, {'FR': _LESS}, {'FC': .5}],
  'SL': [{'BL': 1.0}, {'BC': _LESS}, {'FL': _LESS}, {'FC': .5}],
  'SR': [{'BR': 1.0}, {'BC': _LESS}, {'FR': _LESS}, {'FC': .5}],
  'BC': [{'BL': _LESS, 'BR': _LESS}, {'SL': _LESS, 'SR': _LESS}, {'FL': .5, 'FR': .5}, {'FC': .5}],
}
# Wide, high and low positions are taken for those beside, below or above them.
_SAME_AS = {'WL': 'FL', 'WR': 'FR', 'TFL': 'FL', 'TFR': 'FR', 'TFC': 'FC', 'TC': 'FC', 'TBL': 'BL',
            'TBR': 'BR', 'TBC': 'BC', 'TSL': 'SL', 'TSR': 'SR', 'SDL': 'SL', 'SDR': 'SR',
            'BFL': 'FL', 'BFR': 'FR', 'BFC': 'FC', 'DL': 'FL', 'DR': 'FR', 'BIL': 'FL', 'BIR': 'FR',
            'LFE2': 'LFE'}
# Layouts that an encoder writes so that all players agree on the channels, smallest first.
# FFmpeg's Opus confuses the channels of 5.0 and 6.1.
_WRITTEN = {
  'aac': {'mono': _USUAL[1], 'stereo': _USUAL[2], '3.0': _USUAL[3], '4.0': (*_USUAL[3], 'BC'),
          '5.0': _USUAL[5], '5.1': _USUAL[6], '7.1': _USUAL[8]},
  'libopus': {'mono': _USUAL[1], 'stereo': _USUAL[2], '3.0': _USUAL[3], 'quad': _USUAL[4],
              '5.1': _USUAL[6], '7.1': _USUAL[8]},
}


def usual(count: int) -> tuple[str, ...]:
  """The usual positions of so many channels, where the file does not say."""
  return _USUAL.get(count) or tuple(f'{_UNKNOWN}{i}' for i in range(count))


def places(layout) -> tuple[str, ...]:
  """The positions of a PyAV layout's channels, in order."""
  names = tuple(channel.name for channel in layout.channels)
  return names if are_said(layout) else usual(len(names))


def are_said(layout) -> bool:
  """Whether a PyAV layout says where its channels are."""
  names = [channel.name for channel in layout.channels]
  return len(set(names)) == len(names) and not set(names) & {'NONE', 'UNK', 'UNSD'}


def written(channels: tuple[str, ...], encoder: str) -> tuple[str, tuple[str, ...]]:
  """The smallest layout of an encoder with room for all channels: its name and its positions.

  Side channels become back channels, as in 5.1, if there are no others; a back centre goes to both
  back channels; high, low and intermediate ones join their neighbours.
  """
  known = {_plain(place) for place in channels if _is_known(place)}
  known = {{'FLC': 'FL', 'FRC': 'FR'}.get(place, place) for place in known}
  parted = known - {'BC'} | {'BL', 'BR'} if 'BC' in known else known
  for target in (known, parted):
    if not target & {'BL', 'BR'}:
      target = {{'SL': 'BL', 'SR': 'BR'}.get(place, place) for place in target}
    for name, theirs in _WRITTEN[encoder].items():
      if target <= {*theirs}:
        return name, theirs
  raise AssertionError(f'no layout for {channels}')


def matrix(source: tuple[str, ...], target: tuple[str, ...]) -> np.ndarray:
  """The mixing matrix from one set of channels to another, float32 [target, source].

  Left and right become a single channel by their mean; a single channel goes to both at full gain.
  Unknown channels are treated likewise. Bass is dropped if the target has no channel for it.
  """
  gains = np.zeros((len(target), len(source)), np.float32)
  if source == target:
    return np.eye(len(source), dtype=np.float32)
  if not are_known(source + target) or len(source) == 1 or (len(source), len(target)) == (2, 1):
    speakers = ('FC',) if 'FC' in target else ('FL', 'FR')
    # The first channel of ambisonics is the omnidirectional one.
    share = np.eye(1, len(source))[0] if source[0] == _FIELD else 1 / len(source)
    gains[[place in speakers for place in target] if are_known(target) else slice(None)] = share
    return gains
  for column, place in enumerate(source):
    place = place if place in target else _plain(place)
    ways = [{place: 1.0}, *_INSTEAD.get(place, ())]
    way = next((way for way in ways if all(other in target for other in way)), {})
    for other, gain in way.items():
      # A channel that joins an existing one is attenuated.
      crowded = place not in target and place in _AROUND and other in source
      gains[target.index(other), column] = min(gain, _LESS) if crowded else gain
  return gains


def are_known(channels: tuple[str, ...]) -> bool:
  """Whether the positions of all channels are known."""
  return all(map(_is_known, channels))


def mix(matrix: np.ndarray, samples: np.ndarray) -> np.ndarray:
  """Mixes samples, float32 [source, n]; unlike a product, bit-identical however they are cut."""
  mixture = np.zeros((len(matrix), samples.shape[1]), np.float32)
  for row, gains in zip(mixture, matrix, strict=True):
    for gain, channel in zip(gains, samples, strict=True):
      if gain:
        row += np.float32(gain) * channel
  return mixture


def _plain(place):
  """The position among those of the downmixes that stands for this one."""
  place = _SAME_AS.get(place, place)
  return place if place in _INSTEAD or place in BASS else 'FC'


def _is_known(place):
  return not place.startswith((_UNKNOWN, _FIELD[:-1]))


def voice(source: tuple[str, ...]) -> np.ndarray:
  """The gains that extract speech: centre plus mean of the other fronts, float32 [1, source].

  Without any of these, it is the mean of all channels except the bass.
  """
  centre = np.array([name == 'FC' for name in source], np.float32)
  front = np.array([name in _FRONT for name in source], np.float32)
  if not centre.any() and not front.any():
    return matrix(source, ('FC',)) if not _is_known(source[0]) else _mean(source)
  return (centre + front / max(front.sum(), 1))[None].astype(np.float32)


def _mean(source):
  weights = np.array([name not in BASS for name in source], np.float32)
  weights = weights if weights.any() else np.ones_like(weights)
  return weights[None] / weights.sum()
