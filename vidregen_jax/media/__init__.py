"""Real files in and out: pictures, sound, times. NumPy and PyAV; no JAX."""
