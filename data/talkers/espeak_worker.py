"""One utterance from espeak-ng, as a program of its own: the engine is GPL and is kept apart.

It is run by `speech.py` as a script, imports nothing of this project, and lives for exactly one
utterance: espeak-ng repeats itself bit for bit only for the first utterance after a seed is set.

  stdin   one JSON object {"text", "voice", "rate", "pitch", "pitch_range", "seed"}:
          words a minute, 0 to 99, 0 to 99
  stdout  one JSON line {"sample_rate", "events": [[ipa, start_ms], ...], "words": [[first
          character, characters, events before it], ...]} and then int16 samples; or one JSON line
          {"error": ...} and exit status 1
"""

import ctypes
import json
import sys

import espeakng_loader

SYNCHRONOUS = 2
PHONEME_EVENTS_AS_IPA = 1 | 2
LIST_TERMINATED, WORD, PHONEME = 0, 1, 7
RATE, PITCH, PITCH_RANGE = 1, 3, 4
UTF8 = 1


class EventId(ctypes.Union):
  _fields_ = [('number', ctypes.c_int), ('name', ctypes.c_char_p), ('string', ctypes.c_char * 8)]


class Event(ctypes.Structure):
  """espeak_EVENT of speak_lib.h."""

  _fields_ = [
    ('type', ctypes.c_int),
    ('unique_identifier', ctypes.c_uint),
    ('text_position', ctypes.c_int),
    ('length', ctypes.c_int),
    ('audio_position', ctypes.c_int),
    ('sample', ctypes.c_int),
    ('user_data', ctypes.c_void_p),
    ('id', EventId),
  ]


Callback = ctypes.CFUNCTYPE(
  ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


def synthesize(text, voice, rate, pitch, pitch_range, seed):
  """Returns (sample rate, [[ipa, start_ms], ...], words, little-endian int16 bytes).

  A word is [its first character, its characters, how many of the phonemes come before it].
  """
  library = ctypes.CDLL(espeakng_loader.get_library_path())
  sample_rate = library.espeak_Initialize(
    SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), PHONEME_EVENTS_AS_IPA
  )
  if sample_rate <= 0:
    raise OSError('espeak-ng could not be started')
  samples, events, words = bytearray(), [], []

  def collect(wave, count, event):
    if wave and count > 0:
      samples.extend(ctypes.string_at(wave, 2 * count))
    i = 0
    while event[i].type != LIST_TERMINATED:
      if event[i].type == PHONEME:
        symbol = event[i].id.string.decode('utf-8', errors='ignore')
        events.append([symbol, event[i].audio_position])
      elif event[i].type == WORD:
        words.append([event[i].text_position - 1, event[i].length, len(events)])
      i += 1
    return 0

  callback = Callback(collect)  # kept in a name: ctypes does not keep it alive
  library.espeak_SetSynthCallback(callback)
  if library.espeak_SetVoiceByName(voice.encode()) != 0:
    raise ValueError(f'espeak-ng has no voice {voice!r}')
  library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
  for parameter, value in ((RATE, rate), (PITCH, pitch), (PITCH_RANGE, pitch_range)):
    library.espeak_SetParameter(parameter, value, 0)
  encoded = text.encode()
  library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, UTF8, None, None)
  library.espeak_Synchronize()
  return sample_rate, events, words, bytes(samples)


def main():
  try:
    sample_rate, events, words, samples = synthesize(**json.loads(sys.stdin.read()))
  except (ValueError, OSError) as error:
    print(json.dumps({'error': str(error)}))
    raise SystemExit(1) from error
  header = json.dumps({'sample_rate': sample_rate, 'events': events, 'words': words})
  sys.stdout.buffer.write(header.encode() + b'\n' + samples)


if __name__ == '__main__':
  main()
