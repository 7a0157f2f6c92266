"""Shows a site on this machine: the loopback address only, files of one folder only."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ...core.errors import InputError

HOSTS = {"127.0.0.1", "localhost", "[::1]"}


class _Handler(SimpleHTTPRequestHandler):
    def send_head(self) -> Any:
        """Answer (GET and HEAD), but not to a name that someone else made lead here."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in HOSTS:
            self.send_error(403, "this is shown on this machine only")
            return None
        if "\0" in unquote(self.path):
            self.send_error(404, "no such page")
            return None
        return super().send_head()

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing of each request."""

    def list_directory(self, path: str | object) -> None:
        """No folder has a list."""
        self.send_error(404, "no such page")


def server(folder: str | Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of a folder on 127.0.0.1; call ``serve_forever``.

    Args:
        port: any free one if 0.

    Raises:
        InputError: the port is taken.
    """
    try:
        handler = partial(_Handler, directory=str(folder))
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        reason = f"{error.strerror}: give another --port"
        raise InputError(f"cannot listen on port {port}: {reason}") from None
