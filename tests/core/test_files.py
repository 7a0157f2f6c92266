"""Files and folders appear whole or not at all, and nothing else stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from growloop.core.files import (
    HOST,
    disk_error,
    naming,
    remove_leftovers,
    replacing,
    write_atomically,
)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "c", b"one")
    write_atomically(tmp_path / "a" / "b" / "c", lambda file: file.write(b"two"))
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    write_atomically(tmp_path / "c", b"one")
    with pytest.raises(OSError, match="No space left") as error:
        write_atomically(tmp_path / "c", full)
    assert error.value.filename == str(tmp_path / "c")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("c", b"one")]


@pytest.mark.parametrize("folder", [False, True])
def test_a_failed_write_leaves_no_folder_that_it_made(tmp_path: Path, folder: bool) -> None:
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a" / "b" / "c", folder):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_folder_names_the_file_where_it_was_to_be(tmp_path: Path) -> None:
    def fill() -> None:
        with replacing(tmp_path / "c", folder=True) as part:
            (part / "file").write_text("")
            (part / "file" / "below").write_text("")

    with pytest.raises(OSError, match="Not a directory") as error:
        fill()
    assert error.value.filename == str(tmp_path / "c" / "file" / "below")
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|exists") as error:
        write_atomically(tmp_path / "file" / "c", b"")
    assert str(tmp_path / "file") in str(error.value.filename)


@pytest.mark.parametrize("folder", [False, True])
def test_without_force_nothing_is_replaced(tmp_path: Path, folder: bool) -> None:
    def write() -> None:
        with replacing(tmp_path / "c", folder, force=False) as part:
            if not folder:
                part.write_text("mine")
            (tmp_path / "c").mkdir()  # another process is faster
            (tmp_path / "c" / "theirs").write_text("")

    with pytest.raises(FileExistsError):
        write()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["c", "theirs"]


@pytest.mark.parametrize("force", [False, True])
def test_many_writers_of_one_folder_leave_the_whole_of_one(tmp_path: Path, force: bool) -> None:
    def write(number: int) -> bool:
        try:
            with replacing(tmp_path / "c", folder=True, force=force) as part:
                for name in "abc":
                    (part / name).write_text(str(number))
                    time.sleep(0.001)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(write, range(24)))
    assert sum(done) == (24 if force else 1)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert len({path.read_text() for path in (tmp_path / "c").iterdir()}) == 1


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    gone = dead()
    for name in ("a", "b"):
        (tmp_path / f".{name}.{HOST}-{gone}-0.part").write_text("half")
    (tmp_path / f".f.{HOST}-{gone}-1.part").mkdir()
    (tmp_path / f".g.{HOST}-{gone}-2.old").mkdir()  # killed between two renames
    (tmp_path / f".d.{HOST}-{os.getpid()}-0.part").write_text("at work")
    (tmp_path / ".d.elsewhere-1-0.part").write_text("of another machine")
    remove_leftovers(tmp_path)
    kept = [".d.elsewhere-1-0.part", f".d.{HOST}-{os.getpid()}-0.part", "g"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_what_is_moved_aside_goes_when_its_place_is_taken(tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / f".g.{HOST}-{dead()}-2.old").mkdir()
    write_atomically(tmp_path / "other", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g", "other"]


def test_errors_of_libraries_that_stand_for_a_full_disk_are_known() -> None:
    found = disk_error(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert found is not None
    assert found.errno == errno.ENOSPC
    assert disk_error(ValueError("no")) is None
    with pytest.raises(OSError, match="No space") as error, naming("metrics.jsonl"):
        full()
    assert error.value.filename == "metrics.jsonl"


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "c")
    write_atomically(tmp_path / "link", b"one")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "c").read_bytes() == b"one"
