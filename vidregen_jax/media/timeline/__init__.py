"""Spans of time, and videos shown at other times than their own."""
