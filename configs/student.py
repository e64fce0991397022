"""Stage 3, the student: samples in a few unguided steps what takes the generator many guided ones.

  python -m vidregen_jax.train --config=configs/student.py:tiny --workdir=out/student
  python -m vidregen_jax.regenerate IN.mp4 ... --checkpoint=out/student/export

The sizes are those of configs/generator.py, and so is every field that is not named here. The
export is the teacher's, with the student in it.
"""

from configs import deltas, generator

# What a student changes of the generator's config.
_CHANGES = {
  'stage': 'student',
  'teacher': 'out/generator/export',
  # Guidance needs dropped streams. The student is never guided, and is trained on what it will see.
  'drop_history': 0.2,
  'drop_reference': 0.0,
  'drop_each_reference': 0.1,
  'drop_audio': 0.0,
  'drop_all': 0.0,
  'copies': 1,
  'num_steps': 20_000,
  'learning_rate': 5e-5,
  'warmup_steps': 500,
  'sampler.steps': 2,
  'sampler.guidance_appearance': 1.0,
  'sampler.guidance_audio': 1.0,
}

# What a small one changes besides.
_SMALL = {
  'num_steps': 200,
  'learning_rate': 4e-4,
  'warmup_steps': 20,
  'ema': 0.98,
  'eval_every': 200,
  'checkpoint_every': 50,
}


def get_config(size='large'):
  """Args: size: as in configs/generator.py. Returns: ConfigDict of plain values."""
  config = generator.get_config(size)
  deltas.apply(config, _CHANGES | (_SMALL if size in ('tiny', 'talkers') else {}))
  config.teacher_config = f'configs/generator.py:{size}'
  return config
