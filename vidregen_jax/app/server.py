"""What answers the browser: the page, and the files of open sessions, for as long as it is needed.

The browser may load nothing from elsewhere, and only pages of this address may ask: whatever other
pages are open in it cannot read or start anything here.
"""

import os
import pathlib
import socket
import threading

import fastapi
import uvicorn
from fastapi.responses import FileResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware

from vidregen_jax.app import job_queue, page, sessions
from vidregen_jax.errors import UserError

_LOOPBACK = ('127.0.0.1', 'localhost', '::1')
# Gradio makes functions from text, and style sheets as it goes.
_POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
           "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
           "media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; "
           "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
           "frame-ancestors 'self'")
_HEADERS = {'Content-Security-Policy': _POLICY, 'Referrer-Policy': 'no-referrer',
            'X-Content-Type-Options': 'nosniff', 'Cross-Origin-Resource-Policy': 'same-origin'}
_PATIENCE = 1  # seconds for which open connections may hold up the end


class Server:
  """Serves the app in threads of its own; a context manager, after which no file is left.

  Args:
    studio: edits.Studio.
    folder: that it may fill, and that its caller removes.
    host, port: where to; 0 for any free port.
    max_mb: megabytes that an uploaded file may have.

  Attributes:
    address: of the page.

  Raises:
    UserError: the port cannot be had.
  """

  def __init__(self, studio, folder: pathlib.Path, host: str, port: int, max_mb: int):
    self._socket = _bound(host, port)
    port = self._socket.getsockname()[1]
    self.address = f'http://{f"[{host}]" if ":" in host else host}:{port}'
    # Gradio is told these by the environment alone.
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ['GRADIO_TEMP_DIR'] = str(folder / 'uploads')
    (folder / 'sessions').mkdir()
    self._queue = job_queue.Queue()
    opened = sessions.Sessions(folder / 'sessions')
    app = _app(opened, host)
    self._end_streams = page.mount(app, page.Page(studio, opened, self._queue, max_mb), max_mb)
    # Its own configuration of logging would close the handlers that others have, and their streams.
    self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level='error',
                                                 timeout_graceful_shutdown=_PATIENCE))
    self._thread = threading.Thread(
      target=self._server.run, kwargs={'sockets': [self._socket]}, daemon=True)

  def __enter__(self) -> 'Server':
    self._queue.__enter__()
    self._thread.start()
    return self

  def __exit__(self, *_) -> None:
    self._end_streams()
    self._server.should_exit = True
    self._queue.__exit__()
    self._thread.join()
    self._socket.close()

  def wait(self, seconds: float) -> bool:
    """Waits for the server to end of itself; returns whether it has."""
    self._thread.join(seconds)
    return not self._thread.is_alive()


class _Private:
  """Adds the headers to every answer, and leaves streams as they are."""

  def __init__(self, app):
    self._app = app

  async def __call__(self, scope, receive, send):
    async def headed(message):
      if message['type'] == 'http.response.start':
        MutableHeaders(scope=message).update(_HEADERS)
      await send(message)

    await self._app(scope, receive, headed)


def _bound(host, port) -> socket.socket:
  try:
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
  except (OSError, OverflowError) as error:
    reason = os.strerror(error.errno) if getattr(error, 'errno', None) else error
    raise UserError(f'{host}, port {port}: cannot be used ({reason}): give another --port, or 0 '
                    'for any that is free') from error


def _app(opened, host) -> fastapi.FastAPI:
  """Serves the files of open sessions, with the headers that keep them and the page private."""
  app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

  @app.get('/files/{token}/{version}/{name:path}')
  def file(token: str, version: str, name: str):
    path = opened.file(token, name)
    if path is None:
      return Response(status_code=404)
    return FileResponse(path, headers={'Cache-Control': 'no-store'})

  app.add_middleware(_Private)
  if host in _LOOPBACK:
    # Against names elsewhere that are made to lead here.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOOPBACK, '[::1]'])
  return app
