"""Real files in and out: video, audio, faces, composition. NumPy, PyAV and LiteRT; no JAX."""
