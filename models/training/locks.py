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

from ...core.errors import InputError

LOCK = ".lock"  # of a folder


@contextlib.contextmanager
def locked(path: Path, shared: bool, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a lock file.

    Args:
        shared: with others that say so too.
        what: is not possible while another process holds it, in the message.
        patience: seconds to wait for it.

    Raises:
        InputError: another process holds it.
    """
    end = time.monotonic() + patience
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        while not _taken(file, shared):
            if time.monotonic() >= end:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise InputError(f"{what} by {holder}: wait for it, or give another --out")
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
