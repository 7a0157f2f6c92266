"""Atomic writing of files and folders.

Content is written to a temporary path next to the target, flushed to disk, and renamed. Readers see
the old content or the new, never a part. A failed write removes its temporary path. If a process is
killed, the next process that writes into the folder removes the temporary path.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

HOST = re.sub(r"[^\w.]", "_", socket.gethostname())
LEFTOVER = re.compile(rf"\.(.+)\.{re.escape(HOST)}-(\d+)-\d+\.(part|old)")
"""Temporary names of this machine; groups: name of the target, process id, part or old."""
OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY)  # errors of a rename onto an existing folder

Content = bytes | Callable[[BinaryIO], object]
"""Content of a file: bytes, or a function that writes them into the open file."""
_numbers = itertools.count()  # makes temporary names unique among threads


def write_atomically(path: str | Path, content: Content, force: bool = True) -> None:
    """Write a file atomically; create its folder if missing.

    Args:
        content: bytes, or a function that writes into the open binary file.
        force: replace an existing file.

    Raises:
        FileExistsError: the file exists, and ``force`` is False.
        OSError: the file cannot be written; ``filename`` is ``path``.

    Example::

        write_atomically("records/a.json", b"{}")
        write_atomically("state.pt", lambda file: torch.save(state, file))
    """
    with replacing(path, force=force) as temporary, open(temporary, "wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            content(file)


@contextlib.contextmanager
def replacing(path: str | Path, folder: bool = False, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` if the block succeeds, else is removed.

    Missing parent folders are created. If ``path`` is a symbolic link, its target is replaced.

    Args:
        folder: create the temporary path as an empty folder; else nothing exists at it.
        force: replace an existing ``path``.

    Raises:
        FileExistsError: ``path`` exists at the start or the end, and ``force`` is False.
        OSError: a file cannot be written; ``filename`` is its final path.
    """
    target = Path(os.path.realpath(path))
    stem = target.parent / f".{target.name}.{HOST}-{os.getpid()}-{next(_numbers)}"
    temporary, old = Path(f"{stem}.part"), Path(f"{stem}.old")
    created: list[Path] = []
    try:
        if not force and target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        created = _make_folder(target.parent)
        remove_leftovers(target.parent)
        if folder:
            temporary.mkdir()
        yield temporary
        for entry in (*temporary.rglob("*"), temporary) if folder else (temporary,):
            _sync(entry)
        if folder:
            _place_folder(temporary, target, old, force)
        else:
            _place_file(temporary, target, force)
        with contextlib.suppress(OSError):  # not supported by every file system
            _sync(target.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        for parent in reversed(created):
            with contextlib.suppress(OSError):  # another process has written there
                parent.rmdir()
        if not isinstance(error, Exception) or (cause := disk_error(error)) is None:
            raise
        where = str(cause.filename or path).replace(str(temporary), str(path))
        raise OSError(cause.errno, cause.strerror or str(cause), where) from error


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Add ``path`` as ``filename`` to an ``OSError`` raised inside the ``with`` block."""
    try:
        yield
    except OSError as error:
        name = error.filename or str(path)
        raise OSError(error.errno, error.strerror or str(error), name) from error


def disk_error(error: BaseException) -> OSError | None:
    """Return the ``OSError`` behind an exception; None if there is none.

    Libraries in Rust and C++ (safetensors, tokenizers, torch) raise their own exceptions when a
    disk is full.

    >>> disk_error(RuntimeError("I/O error: No space left on device (os error 28)"))
    OSError(28, 'No space left on device')
    """
    if isinstance(error, OSError):
        return error
    if match := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(match[1]), os.strerror(int(match[1])))
    inner = error.__cause__ or error.__context__
    if isinstance(inner, OSError) and "PytorchStreamWriter" in str(error):
        return inner
    return None


def remove_leftovers(folder: Path) -> None:
    """Remove temporary paths of killed processes of this machine from a folder.

    A folder that was moved aside is restored if nothing has replaced it.
    """
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            match = LEFTOVER.fullmatch(path.name)
            if match is None or _alive(int(match[2])):
                continue
            target = folder / match[1]
            if match[3] == "old" and not target.exists():
                path.rename(target)  # killed between two renames
            elif path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _place_file(temporary: Path, target: Path, force: bool) -> None:
    """Rename a file to its target; without ``force`` fail if the target exists."""
    if force:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)  # fails if another process has written it meanwhile
        temporary.unlink()
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        temporary.replace(target)


def _place_folder(temporary: Path, target: Path, old: Path, force: bool) -> None:
    """Rename a folder to its target, after moving an existing target to ``old`` (``force``).

    If the rename fails, the old folder is moved back.
    """
    placed = False
    while not placed:
        moved = force and _moved(target, old)
        try:
            temporary.rename(target)
            placed = True
        except OSError as error:
            if moved and not target.exists():
                old.rename(target)
                raise
            if error.errno not in OCCUPIED:
                raise
            if not force:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            # else another process was faster: replace its folder
        if moved:
            shutil.rmtree(old, ignore_errors=True)


def _moved(path: Path, aside: Path) -> bool:
    """Move a folder; return whether it existed."""
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    return True


def _make_folder(folder: Path) -> list[Path]:
    """Create a folder and its parents; return the created ones, the highest first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True
