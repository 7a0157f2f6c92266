"""Locks that end with the process that holds them, however it ends (``flock``)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import InputError
from .files import naming

LOCK = ".lock"  # of a folder


class InUseError(InputError):
    """Another process holds a lock; the message says which."""


@contextlib.contextmanager
def locked(path: Path, shared: bool, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a lock file.

    Args:
        shared: with others that say so too.
        what: is not possible while another process holds it, in the message.
        patience: seconds to wait for it.

    Raises:
        InUseError: another process holds it.
        OSError: the file cannot be written; ``filename`` is ``path``.
    """
    end = time.monotonic() + patience
    with contextlib.ExitStack() as stack:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(path, "a+", encoding="utf-8"))
            while not _taken(file, shared):
                if time.monotonic() >= end:
                    file.seek(0)
                    holder = file.read().strip() or "another process"
                    raise InUseError(f"{what} by {holder}: wait for it, or give another --out")
                time.sleep(0.1)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield


def _taken(file: IO[str], shared: bool) -> bool:
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
