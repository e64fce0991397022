"""Meshes of devices, several hosts of one run and how they end, and flags of the TPU compiler."""
