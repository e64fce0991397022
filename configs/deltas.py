"""What a size, a stage or a pod changes of a config: fields by the names that flags give them."""


def apply(config, fields):
  """Changes fields of a config in place.

  Args:
    config: ConfigDict.
    fields: dict of new values by dotted name, as in {'model.size': 64}.

  Raises:
    KeyError: the config has no such field.
    TypeError: a value is of another type than the field.
  """
  config.lock()
  config.update_from_flattened_dict(fields)
  config.unlock()
