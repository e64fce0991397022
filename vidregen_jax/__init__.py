"""Lip-sync video editing: a causal codec and a streaming flow-matching generator, in JAX."""

__version__ = '0.1.0'
