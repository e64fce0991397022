"""Renders a pack: talking clips whose phonemes, landmarks and mouths are known.

  python -m data.talkers.make_pack --head HEAD.npz --out data/talkers/pack --clips 240 --workers 2

Each clip draws a person, a room, a voice and a sentence from its own seed, so a pack is the same
whoever renders it, with however many workers; and a larger pack is the smaller one continued: copy
the one in the repository, ask for `--train_clips 600`, and only the new ones are rendered.
Identities, voices and sentences of one split are in no other. Some clips more are for training
alone: in them the mouth rests long beside the sentence, in quiet or in no sound at all, so that
silence is learnt too. Stop it at any time: what is done is
a smaller pack, and the same command goes on from there. A clip in which the bundled tracker loses
the face in any frame is drawn anew.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import pathlib
import signal
import sys
from concurrent.futures import process
from fractions import Fraction

import cv2
import numpy as np
import tqdm

from data.talkers import appearance, articulation, clip, mesh, sentences, speech, truth
from vidregen_jax import errors, outputs
from vidregen_jax.faces import crop_geometry, tracks
from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import aac

_words = lambda text: tuple(text.split())

# Of 240 clips: 192, 16 and 32; then come the training clips with a long rest.
SHARES = {'train': 0.8, 'validation': 1 / 15, 'test': 2 / 15}
# Frames a second and how often; fast ones are dear to render and change nothing about a mouth.
RATES = {
  Fraction(25): 0.46, Fraction(24): 0.22, Fraction(30): 0.15, Fraction(30000, 1001): 0.14,
  Fraction(50): 0.02, Fraction(60): 0.01,
}  # fmt: skip
SECONDS = (2.0, 4.8)
RESTING = 24
FIRST_RESTING = 90_000  # index within the training split
REST = (1.4, 2.4)  # seconds, before the sentence or after it
SECONDS_WITH_REST = (3.2, 6.0)
NO_SOUND = -120.0  # dB of full scale: nothing is left of it in 16 bits
ENGLISH = 0.4
FIRST_IDENTITY = {'train': 0, 'validation': 1_000_000, 'test': 2_000_000}
MAX_ATTEMPTS = 8
CRF = 24
AUDIO_BIT_RATE = 48_000

# espeak-ng's voices of each language of sentences.GRAMMARS.
ACCENTS = {
  'en': ('en-us', 'en-us', 'en-gb-x-rp', 'en-gb-scotland', 'en-us-nyc', 'en-029'),
  'de': ('de',), 'es': ('es', 'es-419'), 'fr': ('fr', 'fr-be', 'fr-ch'), 'it': ('it',),
  'pt': ('pt', 'pt-br'), 'nl': ('nl',), 'pl': ('pl',), 'hi': ('hi',), 'ja': ('ja',),
  'cmn': ('cmn',),
}  # fmt: skip
# Its variants, which are its speakers, by how they sound; robots and whispers are left out.
HIGH_VARIANTS = {
  'train': _words('f1 f3 f4 Alicia Annie aunty belinda grandma shelby steph anika'),
  'validation': _words('f5 steph2'),
  'test': _words('f2 linda Andrea steph3'),
}
LOW_VARIANTS = {
  'train': _words('''m1 m2 m4 m5 m8 Alex Andy Diogo Gene2 Henrique Hugo Lee Mario Michael Nguyen
    Reed announcer benjamin boris david edward gustave ian iven2 iven4 kaukovalta marcelo michel
    miguel mike2 norbert paul quincy rob sandro travis victor klatt klatt3'''),
  'validation': _words('m7 edward2 robert'),
  'test': _words('m3 m6 adam Denis john max pablo grandpa'),
}
# hibari has one speaker, whom a shift of all frequencies makes into several.
HIBARI_SHIFTS = {
  'train': ((0.89, 1.06),), 'validation': ((1.10, 1.12),), 'test': ((0.84, 0.86), (1.16, 1.18))
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Plan:
  """Everything a clip is made from; the same plan gives the same clip."""

  clip_id: str
  split: str
  attempt: int
  seed: int
  size: int
  language: str
  voice: str
  pitch: int
  shift: float
  pace: float
  sentence: str
  identity: int
  rate: str
  lead: float
  tail: float
  loudness: float
  hiss: float

  @property
  def voice_name(self) -> str:
    """The speaker: engine, voice, variant, pitch and shift."""
    return f'{self.voice}@{self.pitch}x{self.shift:.3f}'


def draw_plan(seed: int, split: str, index: int, size: int, attempt: int = 0) -> Plan:
  """Draws the plan of clip `index` of a split; `attempt` counts the ones thrown away before it.

  From FIRST_RESTING on clips have a long rest, every other one of them without any noise.
  """
  random = np.random.default_rng([seed, sentences.SPLITS.index(split), index, attempt])
  # Languages go round in a fixed order, so that small splits have many and every one is trained.
  others = [language for language in sentences.GRAMMARS if language != 'en']
  english = int((index + 1) * ENGLISH) > int(index * ENGLISH)
  language = 'en' if english else others[(index - int((index + 1) * ENGLISH)) % len(others)]
  identity = FIRST_IDENTITY[split] + index + 10_000 * attempt
  person = appearance.Identity.draw(identity)
  shift = random.uniform(0.9, 1.12)
  # Every third English clip has the neural voice; it is a woman's, and no woman wears a beard here.
  if english and int(index * ENGLISH) % 3 == 0 and not person.beard:
    voice = 'hibari:heart'
    bands = HIBARI_SHIFTS[split]
    shift = random.uniform(*bands[random.integers(len(bands))])
  else:
    low = bool(person.beard) or random.random() < 0.35
    variant = random.choice((LOW_VARIANTS if low else HIGH_VARIANTS)[split])
    voice = f'espeak:{random.choice(ACCENTS[language])}+{variant}'
  plan = Plan(
    clip_id=f'{split}_{index:05d}', split=split, attempt=attempt, seed=seed, size=size,
    language=language, voice=voice, pitch=int(random.integers(35, 66)), shift=round(shift, 3),
    pace=round(random.uniform(1.04, 1.34), 3), sentence=sentences.draw(language, split, random),
    identity=identity, rate=str(random.choice(list(RATES), p=list(RATES.values()))),
    lead=round(random.uniform(0.12, 0.35), 3), tail=round(random.uniform(0.15, 0.4), 3),
    loudness=round(random.uniform(-25, -17), 2), hiss=round(random.uniform(-75, -55), 2),
  )  # fmt: skip
  if index < FIRST_RESTING:
    return plan
  side = ('lead', 'tail')[random.integers(2)]
  return dataclasses.replace(plan, hiss=(plan.hiss, NO_SOUND)[index % 2],
                             **{side: round(random.uniform(*REST), 3)})


def sound(plan: Plan):
  """Speaks a plan.

  Returns:
    (samples float32 [n], sample rate, phonemes, frames): the speech between two rests, at the
    plan's loudness over a little room noise, as long as `frames` frames.
  """
  utterance = speech.speak(
    plan.sentence, plan.voice, rate=plan.pace, pitch=plan.pitch, shift=plan.shift, seed=plan.seed
  )
  rate = Fraction(plan.rate)
  spoken = [p for p in utterance.phonemes if p[0] != speech.SILENCE]
  begin = max(spoken[0][1] - 0.02, 0.0)
  end = min(spoken[-1][2] + 0.05, utterance.duration)
  voice = utterance.samples[round(begin * utterance.sample_rate):
                            round(end * utterance.sample_rate)]
  frames = int((plan.lead + end - begin + plan.tail) * rate)
  random = np.random.default_rng([plan.seed, plan.identity, 5])
  samples = random.normal(0, 10 ** (plan.hiss / 20), round(frames / rate * utterance.sample_rate))
  first = round(plan.lead * utterance.sample_rate)
  level = 10 ** (plan.loudness / 20) / max(np.sqrt(np.mean(voice**2)), 1e-6)
  voice = voice * min(level, 0.9 / max(np.abs(voice).max(), 1e-6))
  samples[first : first + len(voice)] += voice[: len(samples) - first]
  move = plan.lead - begin
  duration = float(frames / rate)
  phonemes = [(speech.SILENCE, 0.0, spoken[0][1] + move)]
  phonemes += [(s, a + move, b + move) for s, a, b in utterance.phonemes if b > spoken[0][1]]
  phonemes = [(s, a, min(b, duration)) for s, a, b in phonemes if a < duration]
  if phonemes[-1][0] == speech.SILENCE:
    phonemes.pop()
  phonemes.append((speech.SILENCE, phonemes[-1][2], duration))
  return samples.astype(np.float32), utterance.sample_rate, tuple(phonemes), frames


def lasts(index: int, seconds) -> bool:
  """Whether a clip of that number is as long as it should be."""
  shortest, longest = SECONDS if index < FIRST_RESTING else SECONDS_WITH_REST
  return shortest <= seconds <= longest


def render(plan: Plan, head: mesh.Head, out: pathlib.Path, spoken) -> truth.Truth:
  """Writes the clip's mp4 and returns its truth, with the tracker's reading of that very file."""
  samples, sample_rate, phonemes, frames = spoken
  rate = Fraction(plan.rate)
  times = np.arange(frames) / float(rate)
  curves = articulation.curves(phonemes, times, plan.identity)
  pictures = clip.render_clip(
    head, appearance.Identity.draw(plan.identity), appearance.Scene.draw(plan.identity), curves,
    times, plan.size, plan.identity, threads=1,
  )  # fmt: skip
  path = out / f'{plan.clip_id}.mp4'
  info = video.VideoInfo(
    str(path), plan.size, plan.size, rate=rate, time_base=1 / rate,
    color_range=1, color_space=1, color_primaries=1, color_trc=1,
  )  # fmt: skip
  track_of_sound = aac.Soundtrack(samples[None], sample_rate, bit_rate=AUDIO_BIT_RATE)
  points = []
  with video_writer.Writer(path, info, crf=CRF, preset='medium', audio=track_of_sound) as writer:
    for pts, (picture, landmarks) in enumerate(pictures):
      writer.write(picture, pts, 1)
      points.append(landmarks)
  points = np.stack(points)
  track = tracks.track_file(path)
  return truth.Truth(
    plan=_as_json(plan),
    times=times, points68=points, phonemes=phonemes, lip_gap=clip.lip_gap(points),
    mouth_width=clip.mouth_width(points), affine=track.affine, valid=track.valid & ~track.filled,
    mouth_box=track.mouth_box, tracked_gap=track.lip_gap,
  )  # fmt: skip


def make_clip(head_path: str, out: str, seed: int, split: str, index: int, size: int) -> list[str]:
  """Makes one clip unless it is there; returns a line for each drawing that was thrown away.

  Raises:
    UserError: no drawing out of MAX_ATTEMPTS could be used.
  """
  cv2.setNumThreads(1)
  folder, notes = pathlib.Path(out) / split, []
  path = folder / f'{split}_{index:05d}.npz'
  if _is_done(path, seed, split, index, size):
    return notes
  head = mesh.load(head_path)
  for attempt in range(MAX_ATTEMPTS):
    plan = draw_plan(seed, split, index, size, attempt)
    spoken = sound(plan)
    seconds = spoken[-1] / Fraction(plan.rate)
    if not lasts(index, seconds):
      continue  # a sentence too short or too long is nothing to report
    clip_truth = render(plan, head, folder, spoken)
    lost = int((~clip_truth.valid).sum())
    if not lost:
      clip_truth.save(path)
      return notes
    path.with_suffix('.mp4').unlink()
    notes.append(f'{plan.clip_id}: no face in {lost} of {len(clip_truth.valid)} frames; redrawn')
  raise errors.UserError(
    f'{split} clip {index}: none of {MAX_ATTEMPTS} drawings could be used; try another --seed'
  )


def _as_json(plan: Plan) -> str:
  return json.dumps(dataclasses.asdict(plan) | {'voice_name': plan.voice_name}, ensure_ascii=False)


def _is_done(path: pathlib.Path, seed: int, split: str, index: int, size: int) -> bool:
  """Whether the clip is finished, and of this very drawing: the truth is written after the film."""
  if not (path.is_file() and path.with_suffix('.mp4').is_file()):
    return False
  known = truth.Truth.load(path)
  return known.plan == _as_json(draw_plan(seed, split, index, size, known['attempt']))


def write_index(out: pathlib.Path, seed: int, size: int, indices: dict[str, list[int]]) -> dict:
  """Lists every finished clip with its checksums; the same clips give the same file."""
  clips = []
  for split in indices:
    for index in indices[split]:
      path = out / split / f'{split}_{index:05d}.npz'
      if not path.is_file():
        continue
      known = truth.Truth.load(path)
      plan = json.loads(known.plan)
      if (plan['seed'], plan['size']) != (seed, size):
        continue  # of another pack, which this one was to replace
      clips.append(dict(
        clip_id=plan['clip_id'], split=split, frames=len(known.times), rate=plan['rate'],
        language=plan['language'], voice=plan['voice_name'], identity=plan['identity'],
        sentence=plan['sentence'], attempt=plan['attempt'], agreement=round(known.agreement, 4),
        video_sha256=truth.checksum(path.with_suffix('.mp4')), truth_sha256=truth.checksum(path),
      ))  # fmt: skip
  index = dict(size=size, seed=seed, crop=crop_geometry.CROP, clips=clips)
  path = out / truth.INDEX
  with outputs.whole_file(path) as part:
    part.write_text(json.dumps(index, indent=1, ensure_ascii=False) + '\n')
  return index


def report(out: pathlib.Path, index: dict) -> str:
  """A few lines about a finished pack."""
  clips = index['clips']
  seconds = np.array([c['frames'] / float(Fraction(c['rate'])) for c in clips])
  agreement = np.array([c['agreement'] for c in clips])
  weight = sum(f.stat().st_size for f in out.rglob('*') if f.is_file())
  worst = clips[int(agreement.argmin())]['clip_id']
  splits = ', '.join(f'{sum(c["split"] == s for c in clips)} {s}' for s in sentences.SPLITS)
  return (
    f'{len(clips)} clips ({splits}), {seconds.sum():.0f} s, mean {seconds.mean():.2f} s, '
    f'{sum(c["frames"] for c in clips)} frames, {weight / 1e6:.1f} MB\n'
    f'tracker against truth, lip gap: correlation median {np.median(agreement):.3f}, '
    f'min {agreement.min():.3f} ({worst})\n'
    f'{sum(c["attempt"] > 0 for c in clips)} clips were drawn more than once, for length or face'
  )


def split_indices(
  clips: int, train: int | None = None, resting: int = RESTING
) -> dict[str, list[int]]:
  """Which clips each split has; every split has one at least.

  Args:
    clips: of all splits, without those that rest.
    train: clips of the training split instead of its share of `clips`.
    resting: training clips with a long rest that come on top.

  Raises:
    UserError: fewer than three clips, none for training, or fewer than none.
  """
  if clips < 3:
    raise errors.UserError(f'{clips} clips are too few for three splits; ask for 3 or more')
  counts = {split: max(round(share * clips), 1) for split, share in SHARES.items()}
  counts['train'] = clips - counts['validation'] - counts['test'] if train is None else train
  if counts['train'] < 1:
    raise errors.UserError(f'{counts["train"]} clips train nothing; ask for 1 or more')
  if resting < 0:
    raise errors.UserError(f'{resting} clips with a rest cannot be made; ask for 0 or more')
  indices = {split: list(range(count)) for split, count in counts.items()}
  indices['train'] += range(FIRST_RESTING, FIRST_RESTING + resting)
  return indices


def main():
  parser = argparse.ArgumentParser(description='Renders a pack of talking clips.')
  parser.add_argument('--head', help='head model .npz (data.talkers.convert_ict makes one)')
  parser.add_argument('--out', default='data/talkers/pack')
  parser.add_argument('--clips', type=int, default=240, help='of all splits')
  parser.add_argument('--train_clips', type=int, help='of the training split, beyond its share')
  parser.add_argument('--resting_clips', type=int, default=RESTING,
                      help='of the training split, with a long rest, on top of all others')
  parser.add_argument('--size', type=int, default=256, help='pixels a side')
  parser.add_argument('--workers', type=int, default=2)
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a stop too
  out = pathlib.Path(args.out)
  try:
    if args.workers < 1:
      raise errors.UserError(f'{args.workers} workers do nothing; ask for 1 or more')
    mesh.load(args.head)  # a wrong path fails here, once, not in every worker
    indices = split_indices(args.clips, args.train_clips, args.resting_clips)
    for split in indices:
      (out / split).mkdir(parents=True, exist_ok=True)
    try:
      _make_all(args, indices)
    finally:  # a pack that was stopped is a smaller pack
      index = write_index(out, args.seed, args.size, indices)
    print(report(out, index))
  except errors.UserError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)
  except KeyboardInterrupt:
    print('stopped; run the same command again to go on', file=sys.stderr)
    sys.exit(130)


def _make_all(args, indices):
  # The splits grow together: a render stopped half-way leaves half a pack, not half the splits.
  jobs = [((place + 0.5) / len(indices[split]), split, i)
          for split in indices for place, i in enumerate(indices[split])]
  jobs.sort()
  pool = concurrent.futures.ProcessPoolExecutor(
    args.workers, mp_context=multiprocessing.get_context('spawn'),
    # Ctrl-C reaches every process; the workers finish the clip they are at.
    initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN),
  )  # fmt: skip
  try:
    waiting = [
      pool.submit(make_clip, args.head, args.out, args.seed, split, i, args.size)
      for _, split, i in jobs
    ]
    done = concurrent.futures.as_completed(waiting)
    for finished in tqdm.tqdm(done, total=len(waiting), unit='clip', smoothing=0.05):
      for note in finished.result():
        tqdm.tqdm.write(note)
  except process.BrokenProcessPool as error:
    raise errors.UserError(
      'a worker was killed, perhaps for memory; run again with fewer --workers'
    ) from error
  finally:
    pool.shutdown(cancel_futures=True)


if __name__ == '__main__':
  main()
