"""Stage 3, the student: what the generator makes in many guided steps, in a few and one branch.

  python -m vidregen_jax.train --config=configs/student.py:tiny --workdir=out/student
  python -m vidregen_jax.regenerate IN.mp4 ... --checkpoint=out/student/export --student

The sizes are those of configs/generator.py, and so is every field that is not named here. The
export is the teacher's, with the student in it.
"""

from configs import generator


def get_config(size='large'):
  """Args: size: as in configs/generator.py. Returns: ConfigDict of plain values."""
  config = generator.get_config(size)
  config.stage = 'student'
  config.teacher = 'out/generator/export'
  config.teacher_config = f'configs/generator.py:{size}'

  # Hidden streams are the teacher's matter: the student sees what it will see, and is never guided.
  config.drop_history = 0.2
  config.drop_reference = 0.0
  config.drop_each_reference = 0.1
  config.drop_audio = 0.0
  config.drop_all = 0.0
  config.copies = 1

  config.num_steps = 20_000
  config.learning_rate = 5e-5
  config.warmup_steps = 500

  config.sampler.steps = 2
  config.sampler.guidance_appearance = 1.0
  config.sampler.guidance_audio = 1.0
  if size in ('tiny', 'talkers'):
    config.num_steps = 200
    config.learning_rate = 4e-4
    config.warmup_steps = 20
    config.ema = 0.98
    config.eval_every = 200
    config.checkpoint_every = 50
  return config
