"""File locks (``flock``), which the system releases when their process ends."""

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

LOCK = ".lock"  # name of a folder's lock file


class InUseError(InputError):
    """Lock held by another process; the message names the process."""


@contextlib.contextmanager
def locked(path: Path, shared: bool, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a lock file inside a ``with`` block.

    Args:
        path: lock file, which is created and never removed.
        shared: allow other shared locks at the same time.
        what: state that the lock guards, such as ``runs/a is trained``. The message continues with
            the process that holds the lock.
        patience: seconds to wait for the lock.

    Raises:
        InUseError: another process holds the lock.
        OSError: the file cannot be written; ``filename`` is ``path``.

    Example::

        with locked(run / "lock", shared=False, what=f"{run} is trained"):
            train(run)
    """
    end = time.monotonic() + patience
    with contextlib.ExitStack() as stack:
        with naming(path):
            file = _open(path, stack)
            while not (acquired := _acquire(file, shared)) or _removed(file, path):
                if acquired:  # the holder before failed and removed the file
                    file = _open(path, stack)
                    continue
                if time.monotonic() >= end:
                    file.seek(0)
                    holder = file.read().strip() or "another process"
                    raise InUseError(f"{what} by {holder}: wait for it, or give another --out")
                time.sleep(0.1)
            _write_holder(file, path, shared)
        yield


def _write_holder(file: IO[str], path: Path, shared: bool) -> None:
    """Write the process into its lock file; a full disk leaves no lock file."""
    file.truncate(0)
    try:
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError:
        if not shared:
            path.unlink(missing_ok=True)
        raise


def _open(path: Path, stack: contextlib.ExitStack) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return stack.enter_context(open(path, "a+", encoding="utf-8"))


def _removed(file: IO[str], path: Path) -> bool:
    """Return whether an open file is no longer the one at its path."""
    try:
        return not os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return True


def _acquire(file: IO[str], shared: bool) -> bool:
    """Try to lock a file; return whether it worked."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
