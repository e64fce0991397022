"""The one exception for mistakes that a user can mend."""


class UserError(ValueError):
  """A cause and a way out, in one line. Programs print it and exit with status 2."""
