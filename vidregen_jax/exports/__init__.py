"""Models as folders: written, checked, packed, and as StableHLO."""
