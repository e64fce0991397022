"""The learned parts, pure: (params, x, cache) -> (y, cache)."""
