"""Files and folders that are written whole or not at all.

Content goes to a temporary path beside the target, is flushed to the disk, and is renamed: readers
see the old content or the new, never a part. A failed write removes its temporary path; that of a
killed process is removed by the next process that writes into the same folder.
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
LEFT = re.compile(rf"\.(.+)\.{re.escape(HOST)}-(\d+)-\d+\.(part|old)")
"""Temporary names of this machine: name of the target, process, what it is."""
OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY)

Content = bytes | Callable[[BinaryIO], object]
"""Of a file: the bytes, or a function that writes them into the open file."""
_numbers = itertools.count()  # temporary names of threads of one process differ


def write_atomically(path: str | Path, content: Content, force: bool = True) -> None:
    """Write a file whole or not at all; its folder is made.

    Args:
        content: bytes, or a function that is given the open binary file.
        force: replace a file that is there.

    Raises:
        OSError: it cannot be written; ``filename`` is ``path``. FileExistsError without ``force``.

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
    """A temporary path that takes the place of ``path`` if all goes well, else vanishes.

    Folders above it are made. A link stays, and what it points to is replaced.

    Args:
        folder: the temporary path is an empty folder; else there is nothing at it yet.
        force: replace what is there.

    Raises:
        OSError: something cannot be written; ``filename`` is the file below ``path`` that it was to
            be. FileExistsError without ``force`` where ``path`` exists, now or at the end.
    """
    target = Path(os.path.realpath(path))
    stem = target.parent / f".{target.name}.{HOST}-{os.getpid()}-{next(_numbers)}"
    temporary, old = Path(f"{stem}.part"), Path(f"{stem}.old")
    made: list[Path] = []
    try:
        if not force and target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        made = _make_folder(target.parent)
        remove_leftovers(target.parent)
        if folder:
            temporary.mkdir()
        yield temporary
        for written in (*temporary.rglob("*"), temporary) if folder else (temporary,):
            _sync(written)
        if folder:
            _place_folder(temporary, target, old, force)
        else:
            _place_file(temporary, target, force)
        with contextlib.suppress(OSError):  # not every file system can
            _sync(target.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        for parent in reversed(made):
            with contextlib.suppress(OSError):  # another process has put something there
                parent.rmdir()
        if not isinstance(error, Exception) or (found := disk_error(error)) is None:
            raise
        where = str(found.filename or path).replace(str(temporary), str(path))
        raise OSError(found.errno, found.strerror or str(found), where) from error


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Give an ``OSError`` from inside the name of the file that is read or written."""
    try:
        yield
    except OSError as error:
        name = error.filename or str(path)
        raise OSError(error.errno, error.strerror or str(error), name) from error


def disk_error(error: BaseException) -> OSError | None:
    """The ``OSError`` that an exception is, or stands for; None for any other.

    Libraries written in Rust and C++ (safetensors, tokenizers, torch) raise exceptions of their own
    where a disk is full.

    >>> disk_error(RuntimeError("I/O error: No space left on device (os error 28)"))
    OSError(28, 'No space left on device')
    """
    if isinstance(error, OSError):
        return error
    if found := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(found[1]), os.strerror(int(found[1])))
    inner = error.__cause__ or error.__context__
    if isinstance(inner, OSError) and "PytorchStreamWriter" in str(error):
        return inner
    return None


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary paths in a folder that killed processes of this machine have left.

    What was moved aside is put back where nothing has taken its place.
    """
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            found = LEFT.fullmatch(path.name)
            if found is None or _alive(int(found[2])):
                continue
            place = folder / found[1]
            if found[3] == "old" and not place.exists():
                path.rename(place)  # killed between two renames
            elif path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _place_file(temporary: Path, target: Path, force: bool) -> None:
    if force:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)  # refuses what another process has put there meanwhile
        temporary.unlink()
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        temporary.replace(target)


def _place_folder(temporary: Path, target: Path, old: Path, force: bool) -> None:
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
            # else another process was faster: what it has put there is replaced
        if moved:
            shutil.rmtree(old, ignore_errors=True)


def _moved(path: Path, aside: Path) -> bool:
    """Move a folder that may not be there; whether it was."""
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    return True


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it; the ones that were missing, the highest first."""
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
