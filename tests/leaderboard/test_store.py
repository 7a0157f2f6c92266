"""The store: nothing valid is lost, whatever happens around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from growloop.core.errors import InputError
from growloop.leaderboard import Store, check

from .making import made


def test_records_are_kept_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "store")
    assert store.read() == ()
    assert store.add([made(0.1), made(0.2), made(0.1)]) == 2
    assert store.add([made(0.2), made(0.1)]) == 0
    assert store.add([made(0.2), made(0.3)]) == 1
    assert {record.value for record in Store(store.folder).read()} == {0.1, 0.2, 0.3}
    assert check(store.folder) == ()


def test_the_same_records_give_the_same_file_in_any_order(tmp_path: Path) -> None:
    Store(tmp_path / "a").add([made(0.1), made(0.2)])
    Store(tmp_path / "b").add([made(0.2), made(0.1)])
    (a,), (b,) = (list((tmp_path / name).iterdir()) for name in "ab")
    assert (a.name, a.read_bytes()) == (b.name, b.read_bytes())


def test_stores_are_merged_by_putting_their_files_together(tmp_path: Path) -> None:
    for name, values in (("a", (0.1, 0.2)), ("b", (0.2, 0.3))):
        Store(tmp_path / name).add([made(value) for value in values])
    for file in (tmp_path / "b").iterdir():
        file.rename(tmp_path / "a" / file.name)
    assert sorted(record.value for record in Store(tmp_path / "a").read()) == [0.1, 0.2, 0.3]
    assert check(tmp_path / "a") == ()


def test_other_line_ends_are_no_damage(tmp_path: Path) -> None:
    Store(tmp_path).add([made(0.1), made(0.2)])
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert check(tmp_path) == ()


def test_damage_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add([made(0.1), made(0.2)])
    (file,) = tmp_path.iterdir()
    store.add([made(0.3)])
    lines = file.read_text().splitlines()
    file.write_text(lines[0] + "\n" + lines[1].replace('"n":100', '"n":-1') + "\n")
    (problem,) = check(tmp_path)
    assert str(problem).startswith(f"{file.name}, line 2: n: ")
    assert len(store.scan().records) == 2
    with pytest.raises(InputError, match=f"{file.name}, line 2: n: "):
        store.read()


def test_a_damaged_file_is_not_written_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add([made(0.1), made(0.2)])
    (file,) = tmp_path.iterdir()
    file.write_text("damaged")
    with pytest.raises(InputError, match="is damaged"):
        store.add([made(0.1), made(0.2)])
    assert file.read_text() == "damaged"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],  # the second line cut
        lambda text: text.splitlines(keepends=True)[0],  # the second line lost
        lambda text: text.replace('"n":100', '"n":101'),
        lambda text: text + text.replace('"n":100', '"n":102'),
        lambda text: "",
    ],
)
def test_every_change_of_a_file_is_noticed(change: object, tmp_path: Path) -> None:
    Store(tmp_path).add([made(0.1), made(0.2)])
    (file,) = tmp_path.iterdir()
    file.write_text(change(file.read_text()))  # type: ignore[operator]
    assert check(tmp_path)


def test_what_does_not_belong_there_is_named(tmp_path: Path) -> None:
    Store(tmp_path).add([made()])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "README.md").write_text("about these records")
    (tmp_path / ".gitattributes").write_text("* text")
    (tmp_path / "large.jsonl").write_bytes(b"x" * 5_000_000)
    assert {problem.file for problem in check(tmp_path)} == {
        "notes.txt",
        "folder.jsonl",
        "large.jsonl",
    }
    assert len(Store(tmp_path).scan().records) == 1


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        check(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        check(tmp_path / "file")
    with pytest.raises(InputError, match="is a file"):
        Store(tmp_path / "file").add([made()])


WRITER = """
import sys
from growloop.leaderboard import Model, Record, Store, Task
store, first = Store(sys.argv[1]), int(sys.argv[2])
for number in range(first, first + 40):
    model = Model(name=f"model-{number}")
    tasks = [Task(name=f"task-{place}") for place in range(20)]
    store.add([Record(model=model, task=task, value=number / 1000) for task in tasks])
    print(number, flush=True)
"""


def writer(folder: Path, first: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    writers = [writer(tmp_path, first) for first in (0, 20, 60)]  # two of them share 20 models
    for process in writers:
        process.communicate()
        assert process.returncode == 0
    names = {record.model.name for record in Store(tmp_path).read()}
    assert names == {f"model-{number}" for number in range(100)}
    assert len(Store(tmp_path).read()) == 2000


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_killed_writer_leaves_whole_files_and_what_it_had_told(tmp_path: Path) -> None:
    told: set[int] = set()
    for attempt in range(4):
        process = writer(tmp_path, 40 * attempt)
        assert process.stdout is not None
        told.add(int(process.stdout.readline()))
        time.sleep(0.005 * attempt)
        process.send_signal(signal.SIGKILL)
        told |= {int(line) for line in process.stdout if line.strip()}
        process.wait()
        process.stdout.close()
    assert check(tmp_path) == ()
    kept = [record.model.name for record in Store(tmp_path).read()]
    assert {f"model-{number}" for number in told} <= set(kept)
    assert all(kept.count(name) == 20 for name in set(kept))


def test_a_file_is_json_lines_that_anything_can_read(tmp_path: Path) -> None:
    Store(tmp_path).add([made(0.1), made(0.2)])
    (file,) = tmp_path.iterdir()
    assert sorted(json.loads(line)["value"] for line in file.read_text().splitlines()) == [0.1, 0.2]
