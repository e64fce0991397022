"""The GRID corpus, from archives that the user downloads."""
