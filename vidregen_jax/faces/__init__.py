"""Faces found, followed through a video, known again, and brought to one canonical crop."""
