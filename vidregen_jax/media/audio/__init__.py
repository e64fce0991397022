"""Sound: samples, channels, packets."""
