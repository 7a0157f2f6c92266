"""A folder that is worked in: whose it is, and that nobody else works in it at the same time."""

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
PATIENCE = 30  # seconds to wait for another process that begins too


@contextlib.contextmanager
def worked_in(out: Path, file: str, text: str, kind: str, shared: bool = False) -> Iterator[None]:
    """Hold a folder, which is made, or holds what was begun with the same ``text`` in ``file``.

    Args:
        kind: of what is begun, in messages.
        shared: with others that say so too.

    Raises:
        InputError: a folder of something else.
        InputError: another process works in it.
    """
    plan = out / file
    with contextlib.ExitStack() as stack:
        try:
            refuse_other(out, plan, text, kind)
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(out / LOCK, shared, f"{out} is in use"))
            with locked(out / BEGIN, False, f"{out} is begun", PATIENCE):
                refuse_other(out, plan, text, kind)  # begun meanwhile
                if not plan.is_file():
                    write_atomically(plan, text.encode())
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot use the folder {out}: {reason}") from error
        yield


def refuse_other(out: Path, plan: Path, text: str, kind: str) -> None:
    """Refuse a folder of something else.

    Args:
        plan: file in it that holds ``text``.
        kind: of what is begun, in messages.

    Raises:
        InputError: it holds other files, or a plan of another text.
    """
    if out.is_dir() and not plan.is_file() and _holds_something(out):
        raise InputError(f"{out} holds something else: give another --out")
    if plan.is_file() and plan.read_text(encoding="utf-8") != text:
        raise InputError(f"{out} holds a {kind} of another size or version: give another --out")


def _holds_something(folder: Path) -> bool:
    return any(not path.name.startswith(".") for path in folder.iterdir())


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
