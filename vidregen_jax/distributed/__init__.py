"""Meshes of devices, several hosts of one run, and how they end together."""
