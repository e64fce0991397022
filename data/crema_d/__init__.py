"""CREMA-D, from a clone or an archive of it that the user downloads."""
