"""Models run in a stream: the sampler and the codec."""
