"""Exclusive use of a work folder: it holds one plan, and one process works in it at a time."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import InputError
from ..core.files import write_atomically
from ..core.locks import LOCK, locked

BEGIN = ".begin.lock"
PATIENCE = 30  # seconds to wait for another process that starts


@contextlib.contextmanager
def use_folder(out: Path, file: str, text: str, kind: str, shared: bool = False) -> Iterator[None]:
    """Lock a folder for one plan; a new folder is created.

    Args:
        out: the folder.
        file: name of the file in it that holds the plan.
        text: content of that file: a folder with another plan is refused.
        kind: noun of the plan, in messages.
        shared: whether other processes with ``shared`` may use the folder too.

    Raises:
        InputError: the folder has another plan or other files; another process uses it.
    """
    plan = out / file
    with contextlib.ExitStack() as stack:
        try:
            refuse_other(out, plan, text, kind)
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(out / LOCK, shared, f"{out} is in use"))
            with locked(out / BEGIN, False, f"{out} is begun", PATIENCE):
                refuse_other(out, plan, text, kind)  # another process may have started
                if not plan.is_file():
                    write_atomically(plan, text.encode())
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot use the folder {out}: {reason}") from error
        yield


def refuse_other(out: Path, plan: Path, text: str, kind: str) -> None:
    """Refuse a folder with another plan.

    Args:
        plan: file of the plan.
        text: content that the file must have.
        kind: noun of the plan, in messages.

    Raises:
        InputError: the folder holds other files, or another plan.
    """
    if out.is_dir() and not plan.is_file() and _has_files(out):
        raise InputError(f"{out} holds something else: give another --out")
    if plan.is_file() and plan.read_text(encoding="utf-8") != text:
        raise InputError(
            f"{out} holds a {kind} with another size, seed or version: give another --out"
        )


def _has_files(folder: Path) -> bool:
    return any(not path.name.startswith(".") for path in folder.iterdir())


@contextlib.contextmanager
def quiet_libraries(log: Path) -> Iterator[None]:
    """Redirect standard error of libraries and their subprocesses to a file."""
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
