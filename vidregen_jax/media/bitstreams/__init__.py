"""Coded video, as far as joining it needs."""
