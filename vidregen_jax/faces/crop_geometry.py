"""The geometry of the canonical crop and of its hidden part, as it is recorded in files.

Codec, generator and datasets fit together only if a face lay at the same place of the crop, and the
same part of it was hidden, when they were made. No shape shows whether it was. So each of them
records its geometry, which is compared with this version's whenever it is read.
"""

from vidregen_jax import documents
from vidregen_jax.errors import UserError
from vidregen_jax.faces import crop_mask

# Of a dataset of crops. All lengths are fractions of the crop's side.
CROP = {name: list(at) for name, at in zip(('left_eye', 'right_eye', 'nose'), crop_mask.ANCHORS,
                                           strict=True)}
# Of what was made with the lower face hidden: latents and models.
MASKED_CROP = CROP | {
  'top': crop_mask.TOP, 'bottom': crop_mask.BOTTOM, 'left': crop_mask.LEFT,
  'right': crop_mask.RIGHT, 'top_radius': crop_mask.TOP_RADIUS,
  'bottom_radius': crop_mask.BOTTOM_RADIUS, 'grey': crop_mask.HIDDEN}
# Of files without a record. They are older than the records, and until these began no model or
# dataset was published with any other geometry: so they are accepted as long as it is this.
UNRECORDED = {
  'left_eye': [.32, .30], 'right_eye': [.68, .30], 'nose': [.50, .50],
  'top': .37, 'bottom': .98, 'left': .04, 'right': .96, 'top_radius': .06, 'bottom_radius': .28,
  'grey': 128}


def check(recorded, expected: dict, source: str, way_out: str) -> None:
  """Compares a recorded geometry with this version's.

  Args:
    recorded: what the record in a JSON file says; None if there is none.
    expected: CROP or MASKED_CROP.
    source: what was made with it, for the message.
    way_out: what to do about it, for the message.

  Raises:
    UserError: they differ; names the first field that does, with both values.
  """
  if recorded is None:
    recorded = {name: UNRECORDED.get(name) for name in expected}
  if not isinstance(recorded, dict):
    raise UserError(f'{source}: its record of the crop is {documents.short(recorded)}, which is '
                    f'none: {way_out}')
  for name in [*expected, *recorded]:
    values = [documents.short(record.get(name)) for record in (recorded, expected)]
    if values[0] != values[1]:
      raise UserError(f'{source}: made for another crop of the face, whose {name} is {values[0]}, '
                      f'where this version of vidregen_jax has {values[1]}: {way_out}, or use the '
                      'version that made it')
