"""How a result looks in a notebook: as the video that was made."""

import base64
import html
import mimetypes
import pathlib

_LARGEST = 25_000_000  # bytes that are put into a notebook; a larger video is linked


def video(path: str, caption: str) -> str | None:
  """HTML that plays a video, for a notebook cell; None if there is none at the path.

  Args:
    path: of the video, seen from the notebook.
    caption: a line below it.
  """
  file = pathlib.Path(path)
  if not file.is_file():
    return None
  kind = mimetypes.guess_type(path)[0] or 'video/mp4'
  source = path
  if file.stat().st_size <= _LARGEST:
    source = f'data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}'
  return ('<figure><video controls loop style="max-width:100%" '
          f'src="{html.escape(source, quote=True)}"></video>'
          f'<figcaption>{html.escape(caption)}</figcaption></figure>')
