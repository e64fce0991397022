"""Models that run on a stream of frames: the sampler and the codec."""
