"""Serve a site on this machine with the standard library's HTTP server."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ...core.errors import InputError


def server(folder: str | Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of a folder on 127.0.0.1; call its ``serve_forever``.

    Args:
        port: port number; 0 for any free one.

    Raises:
        InputError: the port is in use.
    """
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        reason = f"{error.strerror}: give another --port"
        raise InputError(f"cannot listen on port {port}: {reason}") from None
