"""The newcomer's demo: a clip that the bundled model never saw, edited, translated and streamed.

  python -m demo          with the bundled model
  python -m demo train    train a tiny model on the bundled talkers first, and work with that;
                          --steps=20 trains and streams shortly, to see that it runs

  out/words.mp4         three of its words are replaced, and nothing else
  out/translation.mp4   the mouth follows another soundtrack from beginning to end
  out/stream.mp4        20 seconds of a camera's frames follow a microphone, live

Beside each lies a page (.html), which plays source and result and reveals what was made. What is
measured is in out/report.json. Everything goes to out/. Trainings resume where they were stopped,
and what is done is kept.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import time

import numpy as np

from vidregen_jax import files, terminal

OUT = pathlib.Path('out')
PACK = pathlib.Path('data/talkers/pack')
SOURCE, TRUTH = PACK / 'twins' / 'source.mp4', PACK / 'twins' / 'truth.mp4'
BUNDLED = pathlib.Path('checkpoints/talkers')
TRAINED = OUT / 'generator' / 'export'
CONSENT = 'The person shown is rendered and the voice is synthetic; nobody had to be asked.'
OLD_WORDS, NEW_WORDS = 'wrote four poems', 'opened the window'  # of source and of truth
STREAM_SECONDS, SHORT_SECONDS = 20, 3

TRAINING = (
  ('crops of the bundled clips', ['data.talkers.talkers', '--size', '64', '--data_dir', str(OUT)]),
  ('the codec', ['vidregen_jax.train', '--config=configs/codec.py:tiny',
                 f'--workdir={OUT}/codec']),
  ('latents and audio features', [
    'vidregen_jax.encode_latents', f'--codec={OUT}/codec/export', f'--dataset={OUT}/talkers/64',
    '--audio_encoder=checkpoints/whisper-base', '--layers=1,3,6', '--window_seconds=6',
    '--splits=train,validation', '--noflip', f'--out={OUT}/latents/64']),
  ('the generator', ['vidregen_jax.train', '--config=configs/generator.py:tiny',
                     f'--workdir={OUT}/generator']),
)


def step(title, module, *arguments):
  """Runs a program of the project; its mistake ends the demo."""
  arguments = list(map(str, arguments))
  terminal.say_text(f'\n== {title}\n$ python -m {shlex.join([module, *arguments])}')
  begin = time.monotonic()
  status = subprocess.run([sys.executable, '-m', module, *arguments], check=False).returncode
  if status:
    sys.exit(status)
  return time.monotonic() - begin


def train(steps):
  """Trains codec and generator; what an earlier run finished is not done again.

  Args:
    steps: of each training; None for the configs' own.
  """
  seconds = {}
  for title, command in TRAINING:
    short = [f'--config.num_steps={steps}'] if steps and 'vidregen_jax.train' in command else []
    seconds[title] = round(step(title, *command, *short))
  minutes = sum(seconds.values()) / 60
  terminal.say_text(f'\nseconds: {json.dumps(seconds)}; {minutes:.1f} minutes in all')


# --------------------------------------------------------------------------------------------------
# An edit by words
# --------------------------------------------------------------------------------------------------


def edit_words(checkpoint):
  """Replaces words of the clip by words that the same voice says in the other one.

  Returns:
    What was changed, and how many pixels outside: a dict for the report.
  """
  from vidregen_jax.media import video, video_writer
  from vidregen_jax.media.audio import waveform
  from vidregen_jax.media.timeline import transcripts

  # Each frame can be decoded alone, as in what editing programs write: otherwise all frames that
  # follow would have to be encoded anew, as they depend on the span.
  take, sound, out = OUT / 'take.mp4', OUT / 'words.wav', OUT / 'words.mp4'
  samples, rate, _ = waveform.read(SOURCE)
  video_writer.write_clip(take, (frame.image for frame in video.frames(SOURCE)),
                          video.probe(SOURCE).rate, samples, rate, key_every=1)
  transcript, new_samples = SOURCE.with_suffix('.TextGrid'), waveform.read(TRUTH)[0]
  old, new = (transcripts.read(path).find(words) for path, words in (
    (transcript, OLD_WORDS), (TRUTH.with_suffix('.TextGrid'), NEW_WORDS)))
  begin, end, first, last = (round(time * rate) for time in (
    old.start, old.stop, new.start, new.stop))
  samples[:, begin:end] = 0  # the new words are a little shorter
  samples[:, begin:begin + last - first] = new_samples[:, first:last]
  waveform.write_wav(sound, samples, rate)

  step(f'the edit: "{OLD_WORDS}" becomes "{NEW_WORDS}"', 'vidregen_jax.regenerate', take,
       '--audio', sound, '--words', OLD_WORDS, '--transcript', transcript,
       '--checkpoint', checkpoint, '--consent', CONSENT, '--out', out, '--overwrite')

  made = json.loads(out.with_suffix('.json').read_text())
  start, stop = made['regenerated_frames'][0][0], made['regenerated_frames'][-1][1]
  changed = [int(np.any(before.image != after.image, axis=-1).sum()) for before, after in zip(
    video.frames(take), video.frames(out), strict=True)]
  outside = sum(changed[:start]) + sum(changed[stop:])
  said = ' '.join(word.text for word in transcripts.read(transcript).words)
  terminal.say(f'before: "{said}"')
  terminal.say(f'after:  "{said.replace(OLD_WORDS, NEW_WORDS)}"')
  terminal.say(f'new lower faces in frames {start} to {stop - 1} of {len(changed)}; in all others '
               f'{outside} pixels changed')
  return {'replaced': OLD_WORDS, 'by': NEW_WORDS, 'frames': len(changed),
          'regenerated_frames': [start, stop], 'pixels_changed_outside': outside}


# --------------------------------------------------------------------------------------------------
# A translation
# --------------------------------------------------------------------------------------------------


def translate(checkpoint):
  """Gives the clip another soundtrack, and measures the mouth against the truth.

  Returns:
    Correlations of lip gaps over the frames: a dict for the report.
  """
  from vidregen_jax.evaluation import lip_gap_probe, lip_sync
  from vidregen_jax.faces import tracks
  from vidregen_jax.media import video, video_writer
  from vidregen_jax.media.audio import waveform

  out = OUT / 'translation.mp4'
  step('the translation', 'vidregen_jax.translate', SOURCE, '--audio', TRUTH,
       '--checkpoint', checkpoint, '--consent', CONSENT, '--out', out, '--overwrite')

  frames = [[frame.image for frame in video.frames(path)] for path in (SOURCE, out, TRUTH)]
  rows = [np.concatenate(row, axis=1) for row in zip(*frames, strict=True)]
  video_writer.write_clip(OUT / 'side_by_side.mp4', rows, video.probe(SOURCE).rate,
                          *waveform.read(TRUTH)[:2])

  old, new = (lip_sync.read_truth(path.with_suffix('.npz')) for path in (SOURCE, TRUTH))
  seen = tracks.track_file(out)
  correlations = {
    'with the new sound (truth)': lip_gap_probe.correlation(seen.lip_gap, new.truth(seen.times)),
    'with the old sound (truth)': lip_gap_probe.correlation(seen.lip_gap, old.truth(seen.times)),
    'between the two truths': lip_gap_probe.correlation(new.truth(seen.times),
                                                        old.truth(seen.times)),
    'of the tracker with the truth, on the true video':
      lip_gap_probe.correlation(new.tracked_gap, new.lip_gap),
  }
  terminal.say_text('lip gap in the translated video, correlation over its frames:')
  for name, value in correlations.items():
    terminal.say(f'  {value:6.3f}  {name}')
  return correlations


# --------------------------------------------------------------------------------------------------
# A stream
# --------------------------------------------------------------------------------------------------


def stream(checkpoint, length):
  """Streams the clip, back and forth, with the sound of the truth and of the pack's test clips.

  Args:
    checkpoint: folder.
    length: seconds.

  Returns:
    How it kept up and followed: a dict for the report.
  """
  from vidregen_jax.evaluation import lip_gap_probe, lip_sync
  from vidregen_jax.faces import tracks
  from vidregen_jax.media import video, video_writer
  from vidregen_jax.media.audio import waveform

  camera, microphone, out = OUT / 'camera.mp4', OUT / 'microphone.wav', OUT / 'stream.mp4'
  info, heard, gaps = video.probe(SOURCE), [], []
  rate = float(info.rate)
  there = [frame.image for frame in video.frames(SOURCE)]
  back_and_forth = [*there, *there[-2:0:-1]]
  count = round(length * rate)
  video_writer.write_clip(camera, [back_and_forth[i % len(back_and_forth)] for i in range(count)],
                          info.rate)
  for path in [TRUTH, *sorted((PACK / 'test').glob('*.mp4'))]:
    samples, sample_rate, _ = waveform.read(path)
    known = lip_sync.read_truth(path.with_suffix('.npz'))
    frames = int(known.seconds * rate)
    heard.append(samples[:, :round(frames / rate * sample_rate)])
    gaps.append(known.truth(np.arange(frames) / rate))
    if sum(map(len, gaps)) >= count:
      break
  waveform.write_wav(microphone, np.concatenate(heard, 1)[:, :length * sample_rate],
                     sample_rate)

  seconds = step(f'the stream, {length} seconds', 'examples.live', camera, microphone,
                 '--checkpoint', checkpoint, '--consent', CONSENT, '--page', '--out', out)

  seen = tracks.track_file(out)
  made = slice(round(rate), None)  # the first second shows the person, and comes as it is
  follows = lip_gap_probe.correlation(seen.lip_gap[made], np.concatenate(gaps)[:count][made])
  terminal.say(f'its lip gap follows the sound with a correlation of {follows:.3f}')
  return {'seconds': round(seconds, 1), 'lip_gap_correlation': follows}


def main():
  parser = argparse.ArgumentParser(prog='python -m demo', description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('what', nargs='?', choices=('train', ), help='train a tiny model first')
  parser.add_argument('--steps', type=int, help="of each training; default: the configs' own")
  given = parser.parse_args()
  terminal.begin()
  OUT.mkdir(exist_ok=True)
  if given.what:
    train(given.steps)
  checkpoint, began = TRAINED if given.what else BUNDLED, time.monotonic()
  files.write_json(OUT / 'report.json', {
    'words': edit_words(checkpoint), 'translation': translate(checkpoint),
    'stream': stream(checkpoint, SHORT_SECONDS if given.steps else STREAM_SECONDS)})
  terminal.say_text(f'\nmade in {time.monotonic() - began:.0f} seconds:')
  for name, what in (('words', 'the edit by words'), ('translation', 'the translation'),
                     ('stream', 'the stream')):
    terminal.say(f'{f"{OUT}/{name}.mp4":26}{what}')
    terminal.say(f'{f"{OUT}/{name}.html":26}plays both and reveals what was made')
  terminal.say(f'{f"{OUT}/side_by_side.mp4":26}source | translation | truth')
  terminal.say(f'{f"{OUT}/report.json":26}what was measured')


if __name__ == '__main__':
  main()
