"""A folder that is worked in: whose it is, and that nobody else works in it at the same time.

Locks are ``flock``: they end with the process that holds them, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..models.training.shards import write_whole
from ..primitives.errors import InputError

LOCK, BEGIN = ".lock", ".begin.lock"
PATIENCE = 30  # seconds to wait for another process that begins too


@contextlib.contextmanager
def worked_in(out: Path, file: str, text: str, kind: str, shared: bool = False) -> Iterator[None]:
    """Hold a folder, which is made, or holds what was begun with the same ``text`` in ``file``.

    Args:
        kind: of what is begun, in messages.
        shared: with others that say so too.

    Raises:
        InputError: a folder of something else, or one that another process works in.
    """
    plan = out / file
    with contextlib.ExitStack() as stack:
        try:
            _refuse_other(out, plan, text, kind)
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(out / LOCK, shared, f"{out} is in use"))
            with locked(out / BEGIN, False, f"{out} is begun", PATIENCE):
                _refuse_other(out, plan, text, kind)  # begun meanwhile
                if not plan.is_file():
                    write_whole(plan, text.encode())
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot use the folder {out}: {reason}") from error
        yield


def _refuse_other(out: Path, plan: Path, text: str, kind: str) -> None:
    if out.is_dir() and not plan.is_file() and _holds_something(out):
        raise InputError(f"{out} holds something else: give another --out")
    if plan.is_file() and plan.read_text(encoding="utf-8") != text:
        raise InputError(f"{out} holds a {kind} of another size or version: give another --out")


def _holds_something(folder: Path) -> bool:
    return any(not path.name.startswith(".") for path in folder.iterdir())


@contextlib.contextmanager
def locked(path: Path, shared: bool, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a lock file.

    Args:
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


@contextlib.contextmanager
def quiet_libraries(log: Path) -> Iterator[None]:
    """What libraries, and programs they call, write to standard error goes to a file."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with open(log, "ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
