"""Configs: flat data, one function `get_config(size)` per stage."""
