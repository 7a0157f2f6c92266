from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.primitives import SPLITS, Source, export, fingerprint, make_task, uniqueness, verify

VA = make_task("variable_assignment", {"depth": 2, "style": "code"})


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_file_holds_the_items_of_its_source(tmp_path: Path) -> None:
    out = tmp_path / "va.jsonl"
    src = Source(VA, "train", 3)
    [report] = export([src], 500, out)
    assert read(out) == [item.row() for item in src.items(0, 500)]
    assert report.fingerprint == fingerprint(src, 500)
    assert report.repeats == 0


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_workers_change_no_byte(tmp_path: Path, method: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("growloop.primitives.writing.JOB", 700)
    src = Source(make_task("preschool_math"), "test", 0)
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    assert export([src], 5000, one) == export([src], 5000, two, workers=2, start_method=method)
    assert one.read_bytes() == two.read_bytes()


def test_repeats_of_a_small_task_are_left_out_and_the_next_items_taken(tmp_path: Path) -> None:
    task = make_task("addition", {"operands": 2, "digits": 2})  # 2,000 test items
    out = tmp_path / "add.jsonl"
    [report] = export([Source(task, "test", 0)], 1000, out)
    rows = read(out)
    assert len({row["prompt"] for row in rows}) == 1000
    indices = [row["index"] for row in rows]
    assert indices == sorted(indices)
    assert report.repeats == indices[-1] + 1 - 1000 > 0
    assert verify([out]).ok


def test_a_repeat_against_the_odds_is_found_after_writing(tmp_path: Path, monkeypatch: Any) -> None:
    # pretend that the task is large: only the proof after writing can notice the repeats
    monkeypatch.setattr("growloop.primitives.writing.expected_repeats", lambda *_: 0.0)
    task = make_task("addition", {"operands": 2, "digits": 2})
    out = tmp_path / "add.jsonl"
    [report] = export([Source(task, "test", 0)], 1000, out)
    assert report.repeats > 0
    assert verify([out]).ok


@pytest.mark.parametrize("count", [1001, 10**6])
def test_too_small_a_space_is_refused_with_its_capacity(tmp_path: Path, count: int) -> None:
    task = make_task("addition", {"operands": 2, "digits": 2})
    with pytest.raises(
        InputError, match="holds 2,000 different items; at most half of them, 1,000"
    ):
        export([Source(task, "test", 0)], count, tmp_path / "x.jsonl")
    assert not list(tmp_path.iterdir())


def test_selection_stops_at_the_last_item_it_needs() -> None:
    task = make_task("addition", {"operands": 2, "digits": 1})  # 20 test items
    src = Source(task, "test", 0)
    selection = uniqueness.select(src, 10)
    kept = [i for i in range(selection.stop) if i not in selection.repeats.tolist()]
    assert len(kept) == 10
    assert kept[-1] == selection.stop - 1
    assert len({src[i].prompt for i in kept}) == 10


def test_parquet_holds_the_same_items(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    src = Source(make_task("symbolic_igsm", {"control": "shuffled"}), "test", 0)
    [lines] = export([src], 300, tmp_path / "a.jsonl")
    [table] = export([src], 300, tmp_path / "a.parquet", "parquet")
    assert lines.fingerprint == table.fingerprint
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert rows == read(tmp_path / "a.jsonl")
    assert verify([tmp_path / "a.parquet"]).ok


def test_a_folder_loads_with_datasets_and_has_a_card(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    sources = [Source(make_task("copying", {"words": "real"}), split, 1) for split in SPLITS]
    reports = export(sources, 50, tmp_path / "copy", "datasets")
    loaded = datasets.load_dataset(str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == set(SPLITS)
    for src in sources:
        assert list(loaded[src.split]) == [item.row() for item in src.items(0, 50)]
    card = (tmp_path / "copy" / "README.md").read_text()
    for report in reports:
        assert report.fingerprint in card
    assert "license: apache-2.0" in card
    assert "MIT" in card
    assert verify([tmp_path / "copy"]).ok


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_files_of_any_tasks_load_together(tmp_path: Path, format: str) -> None:
    datasets = pytest.importorskip("datasets")
    files = []
    for name, params in (("copying", {}), ("preschool_math", {"control": "cut"}), ("p_hop", {})):
        out = tmp_path / f"{name}.{format}"
        export([Source(make_task(name, params), "test", 0)], 5, out, format)
        files.append(str(out))
    for order in (files, files[::-1]):
        loaded = datasets.load_dataset(
            "json" if format == "jsonl" else format,
            data_files=order,
            split="train",
            cache_dir=str(tmp_path / "cache"),
        )
        assert len(loaded) == 15
        assert json.loads(loaded[0]["params"])


def test_splits_that_shared_an_item_would_not_be_exported(tmp_path: Path, monkeypatch: Any) -> None:
    sources = [Source(VA, split, 0) for split in ("train", "test")]
    monkeypatch.setattr(Source, "batch", _same_batch(Source.batch))
    with pytest.raises(RuntimeError, match=r"belongs to|share"):
        export(sources, 20, tmp_path / "out", "datasets")
    assert not list(tmp_path.iterdir())


def _same_batch(batch: Any) -> Any:
    """Give every split the items of train."""
    return lambda self, a, b: batch(Source(self.task, "train", self.seed), a, b)


def test_existing_output_is_kept_without_force(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists: choose another name"):
        export([Source(VA, "test", 0)], 5, out)
    assert out.read_text() == "mine"
    export([Source(VA, "test", 0)], 5, out, force=True)
    assert len(read(out)) == 5
    folder = tmp_path / "folder"
    for force in (False, True):
        export([Source(VA, "test", 0)], 5 + force, folder, "datasets", force=force)
    assert len(read(folder / "data" / "test.jsonl")) == 6
    assert {p.name for p in tmp_path.iterdir()} == {"a.jsonl", "folder"}


def test_a_file_is_not_replaced_by_a_folder_nor_a_folder_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is not a folder"):
        export([Source(VA, "test", 0)], 5, tmp_path / "file", "datasets", force=True)
    with pytest.raises(InputError, match="is not a file"):
        export([Source(VA, "test", 0)], 5, tmp_path / "folder", force=True)


def test_force_replaces_nothing_but_files_and_data_sets(tmp_path: Path) -> None:
    thesis = tmp_path / "important" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    with pytest.raises(InputError, match="holds files that do not belong to a data set"):
        export([Source(VA, "test", 0)], 5, thesis.parent, "datasets", force=True)
    assert thesis.read_text() == "mine"
    with pytest.raises(InputError, match="is not a file"):
        export([Source(VA, "test", 0)], 5, "/dev/null", force=True)


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    export([Source(VA, "test", 0)], 5, tmp_path / "link", force=True)
    assert (tmp_path / "link").is_symlink()
    assert len(read(tmp_path / "target")) == 5


def test_standard_output_is_never_rewound(tmp_path: Path) -> None:
    out = tmp_path / "log"
    out.write_text("precious\n")
    command = [sys.executable, "-m", "growloop.cli", "generate", "addition", "--operands", "2"]
    for seed in range(70, 73):
        with open(out, "a") as file:
            subprocess.run([*command, "-n", "900", "--seed", str(seed), "-o", "-"], stdout=file)
    lines = out.read_text().splitlines()
    assert lines[0] == "precious"
    assert len(lines) == 1 + 3 * 900


@pytest.mark.slow
def test_a_terminated_export_removes_what_it_wrote(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "growloop.cli", "generate", "variable_assignment"]
    command += ["--depth", "2", "-n", "50000000", "-o", str(tmp_path / "a.jsonl")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for _ in range(400):
        if list(tmp_path.iterdir()):
            break
        time.sleep(0.05)
    process.terminate()
    assert process.wait() == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        export([Source(VA, "test", 0)], 5, tmp_path / "none" / "a.jsonl")
    with pytest.raises(InputError, match="cannot write"):
        export([Source(VA, "test", 0)], 5, tmp_path / ("x" * 300))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("growloop.primitives.items.Batch.rows", full)
    with pytest.raises(InputError, match="No space left on device"):
        export([Source(VA, "test", 0)], 5, tmp_path / "a.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_killed_export_leaves_no_file_under_its_name(tmp_path: Path) -> None:
    out = tmp_path / "big.jsonl"
    command = [sys.executable, "-m", "growloop.cli", "generate", "variable_assignment"]
    command += ["--items", "50000000", "--depth", "2", "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    partial = []
    for _ in range(400):
        partial = list(tmp_path.glob(".big.jsonl.*.part"))
        if partial and partial[0].stat().st_size:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert partial
    assert not out.exists()
    export([Source(VA, "test", 0)], 5, out)  # the next one cleans up
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
def test_ctrl_c_in_all_processes_at_once_ends_them_all(tmp_path: Path) -> None:
    out = tmp_path / "big.jsonl"
    command = [sys.executable, "-m", "growloop.cli", "generate", "variable_assignment"]
    command += ["--items", "50000000", "--jobs", "2", "--out", str(out)]
    for written in (0, 1):  # while workers start, and later
        process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # children of a background job ignore Ctrl-C, and would hand that on
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        for _ in range(400):
            partial = list(tmp_path.glob(".big.jsonl.*.part"))
            if partial and partial[0].stat().st_size >= written:
                break
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 1
        assert b"Traceback" not in said
        assert not list(tmp_path.iterdir())


def test_a_closed_standard_output_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(InputError, match="standard output is closed"):
        export([Source(VA, "test", 0)], 5, "-")


def test_an_interrupted_export_removes_what_it_wrote(tmp_path: Path) -> None:
    def interrupt(index: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export([Source(VA, "test", 0)], 50_000, tmp_path / "a.jsonl", progress=interrupt)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count must be a whole number from 1"),
        ({"count": -4}, "count must be a whole number from 1"),
        ({"count": 2**80}, "count must be a whole number from 1"),
        ({"count": 1.5}, "count must be a whole number"),
        ({"format": "jsnl"}, "did you mean 'jsonl'"),
        ({"format": "parquet", "out": "-"}, "standard output"),
        ({"workers": 0}, "workers must be a whole number from 1"),
        ({"sources": []}, "one split"),
        ({"format": "parquet", "workers": 2}, "written by one process"),
        ({"sources": [Source(VA, "test", s) for s in (0, 1)], "format": "datasets"}, "twice"),
        (
            {
                "sources": [Source(VA, "test", 0), Source(make_task("copying"), "train", 0)],
                "format": "datasets",
            },
            "holds one task",
        ),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: Any, message: str) -> None:
    given: dict[str, Any] = {"sources": [Source(VA, "test", 0)], "count": 5}
    given |= {"out": tmp_path / "a"} | arguments
    with pytest.raises(InputError, match=message):
        export(given.pop("sources"), given.pop("count"), given.pop("out"), **given)


NULL_EXPORT = """
import io, resource, sys
from growloop.primitives import Source, make_task
from growloop.primitives.writing import _line_writer
from growloop.primitives.uniqueness import everything

class Null(io.RawIOBase):
    def write(self, data):
        return len(data)

source = Source(make_task("variable_assignment", {"depth": 2}), "train", 0)
_line_writer(lambda index: None, 1, None)(Null(), source, everything(int(sys.argv[1])))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_count() -> None:
    def peak(count: int) -> int:
        command = [sys.executable, "-c", NULL_EXPORT, str(count)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    # KiB; up to four million items have 8 bytes each for the proof that all differ
    assert peak(800_000) < peak(50_000) + 30_000
