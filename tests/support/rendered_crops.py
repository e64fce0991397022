"""Crops of a rendered person."""

from vidregen_jax.evaluation import lip_sync
from vidregen_jax.faces import landmarks, tracks
from vidregen_jax.media import video


def widest_and_closed(pack_folder, size):
  """Crops uint8 [size, size, 3] of the first test clip, the mouth widest and closed."""
  clip = lip_sync.read_clips(pack_folder, 'test')[0]
  track, found = tracks.track_file(clip.path), []
  for index in (int(track.lip_gap.argmax()), int(track.lip_gap.argmin())):
    frame, = video.frames(clip.path, index, index + 1)
    found.append(landmarks.crop(frame.image, track.affine[index], size))
  return found
