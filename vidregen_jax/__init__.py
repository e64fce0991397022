"""Lip-sync video editing: a causal codec and a streaming flow-matching generator, in JAX."""
