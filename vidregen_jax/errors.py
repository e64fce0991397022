"""Exceptions for mistakes that a user can fix."""


class UserError(ValueError):
  """A cause and a remedy, in one line. Programs print it and exit with status 2."""


class BadRecord(UserError):
  """One clip of a dataset cannot be trained on; the others can."""
