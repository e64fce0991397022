"""What `import vidregen_jax` offers: models, edits, streams and the proof of what was done."""

import os

# On a CPU, XLA tells two lines of stderr of every program that it loads from the compile cache,
# saying that it was compiled for features that no processor has (+prefer-no-gather). XLA reads this
# when it is imported; 1 is JAX's own setting, which programs inherit from one that has imported it.
if os.environ.get('TF_CPP_MIN_LOG_LEVEL', '1') == '1':
  os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
# OpenBLAS reads this when NumPy is imported. Its threads wait by spinning, and take the processors
# from XLA's, which work beside them: with one, frames take a fifth less time on two cores.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
