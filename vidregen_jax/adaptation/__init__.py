"""Tunes a system to one person: their footage, two phases of training, the folder that results."""
