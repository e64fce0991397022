"""Dataset builders. Offline; the package never imports them."""
