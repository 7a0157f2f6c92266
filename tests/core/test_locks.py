"""Locks exclude each other, also where a holder removes its lock file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from growloop.core.locks import InUseError, locked


def test_a_lock_excludes_others_and_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    with (
        locked(path, False, "it is held"),
        pytest.raises(InUseError, match=rf"it is held by process {os.getpid()} on"),
        locked(path, False, "it is held"),
    ):
        pass
    with locked(path, True, "it is held"), locked(path, True, "it is held"):
        pass


def test_who_waited_for_a_removed_lock_file_holds_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    held, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with locked(path, False, "it is held", patience=30):
            held.set()
            leave.wait(30)

    waiting = threading.Thread(target=wait)
    with locked(path, False, "it is held"):
        waiting.start()
        assert not held.wait(0.3)
        path.unlink()
        path.parent.rmdir()
    assert held.wait(30)
    with pytest.raises(InUseError), locked(path, False, "it is held"):
        pass
    leave.set()
    waiting.join()


def test_a_lock_file_that_cannot_be_written_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with (
        pytest.raises(OSError, match="No space left") as error,
        locked(tmp_path / ".lock", False, "it is held"),
    ):
        pass
    assert error.value.filename == str(tmp_path / ".lock")
    assert not list(tmp_path.iterdir())
