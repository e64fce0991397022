"""Spans of time, and videos played at other times than their own."""
