"""Tables on terminals: nothing is cut, and what is folded is said, at any width."""

from __future__ import annotations

import json
import os
import re
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from growloop.cli import evaluation_tables, main, quickstart, study, suite, tables
from growloop.cli.board import Board, _duration
from growloop.cli.progress import Progress
from growloop.cli.tables import Column, cells, layout, number, value, wrap
from growloop.leaderboard import Cost, Model, Record, Store, Task
from growloop.studies.catalog import find
from growloop.studies.records import StudyRecord, apply_to_records
from growloop.studies.reproduce.quickstart_report import ModelSummary
from growloop.tasks.benchmarks import BENCHMARKS, TaskResult, summarise
from growloop.tasks.results import Row

WIDTHS = (60, 80, 120)
GOLDEN = sorted((Path(__file__).parents[1] / "studies" / "golden").glob("*.json"))
LONG = "lessons-lidas-assignment-retrofit-2-3 (cooldown assignment-1 50% + assignment-2 30%)"


@pytest.fixture(params=WIDTHS)
def terminal(request: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """A terminal so wide, as commands see it."""
    monkeypatch.setattr(tables, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


def shown(line: str) -> str:
    """What a command prints."""
    result = CliRunner().invoke(main, shlex.split(line))
    assert result.exit_code == 0, result.output
    return result.stdout


def check(text: str, wide: int, names: list[str], numbers: list[str]) -> None:
    """Nothing is cut or too wide, and all of it is there."""
    assert "…" not in text
    assert max(map(cells, text.splitlines())) <= wide, text
    for found in numbers:
        assert re.search(rf"(?<!\S){re.escape(found)}(?!\S)", text), (found, text)
    for name in names:  # it may be wrapped, with other columns between its lines
        pieces = re.findall(tables.PIECE, name)
        assert all(piece.strip() in text for piece in pieces), (name, text)


def test_leaderboard_show_keeps_model_score_and_interval(
    terminal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = Model(name="tiny-loop", family="looped", unique_layers=3, effective_layers=6)
    cost = Cost(unique_parameters=222_144, inference_flops=3.98e6)
    other = model.model_copy(update={"name": "lessons-lidas-assignment", "recipe": LONG})
    Store("records").add(
        [
            Record(model=m, task=Task(name="copying", chance=0.1), value=v, n=100, cost=cost)
            for m, v in ((model, 0.75), (other, 0.5))
        ]
    )
    text = shown("leaderboard show --no-paper")
    check(text, terminal, ["tiny-loop", LONG], ["0.750", "0.500", "0.652 – 0.829", "100 items"])
    folded = terminal < 100
    assert ("(folded: " in text) is folded
    assert ("FLOPs/token" in text.split("(folded")[0]) is not folded


def test_the_papers_rows_fit_too(
    terminal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = shown("leaderboard show")
    check(text, terminal, ["LIDAS 1.7B (cooldown NMT 20%, layers 12-15 once more)"], ["0.566"])
    every = shown("leaderboard show --study all")
    check(every, terminal, [], [])


def test_claims_keep_effect_and_interval(
    terminal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"looped": 0.5, "standard": 0.4}
    Store("records").add(
        [
            Record(
                model=Model(
                    name=f"30M-{name}", family=name, size="30M", seed=s, unique_layers=8  # type: ignore[arg-type]
                ),
                task=Task(name="reasoning_primitives", chance=0.1),
                value=share + (s / 1000 if name == "looped" else 0),
                n=100,
                stderr=0.01,
            )
            for name, share in names.items()
            for s in range(3)
        ]
    )  # fmt: skip
    text = shown("claims -c looping-at-equal-parameters")
    check(text, terminal, ["looping-at-equal-parameters"], [])
    assert "+0.101 [+0.099, +0.103]" in text  # in one line
    check(shown("claims"), terminal, [], [])


def test_tasks_recipes_and_studies_fit(terminal: int) -> None:
    check(shown("tasks"), terminal, ["variable_assignment_code_d0"], ["0.200"])
    check(shown("recipe"), terminal, ["1.7b-lidas"], [])
    check(shown("study list"), terminal, ["in-context-scaling"], [])
    about, _, example = shown("study show in-context-scaling").partition("Example:\n")
    check(about, terminal, [], [])
    assert example.count("\n") == 1  # to be copied: it stays whole


def test_a_plan_keeps_cell_and_hours(terminal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growloop.studies.reproduce.estimates.measure_rate", lambda device: 1e11)
    text = shown("reproduce laptop --plan --fast")
    plan = json.loads(shown("reproduce laptop --plan --fast --format json"))["cells"]
    table, _, commands = text.partition("\nid=$(")  # commands are to be copied: they stay whole
    check(table, terminal, [c["id"] for c in plan], [f"{c['hours']:.2f}" for c in plan])
    assert all("$SLURM_ARRAY_TASK_ID')" in line for line in commands.splitlines())


STUDIES: dict[str, dict[str, Any]] = {
    "in-context-scaling": {
        "task": "variable_assignment_code_d0", "shots": 4, "value": 0.75, "low": 0.7, "high": 0.8,
        "difference": 0.1, "p (Holm of 12)": 0.0123, "control gain": 0.01, "n": 1000, "chance": 0.2,
    },
    "inference-scaling": {
        "task": "variable_assignment_code_d0", "chosen of": 41, "block": "6:10 ×2", "plain": 0.5,
        "repeated": 0.75, "gain": 0.25, "low": 0.2, "high": 0.3, "p (Holm of 2)": 0.001, "n": 1000,
        "chance": 0.2, "control plain": 0.2, "control": 0.21,
    },
    "trade-offs": {
        "schedule": "3x2", "unique": 222144, "FLOPs": 3.98e6, "training": 1.2e14,
        "what": "gap closed", "against": LONG, "value": 0.5, "low": 0.4, "high": 0.6,
        "p (Holm of 9)": None, "n": 500, "chance": 0.2,
    },
    "adaptive-exit": {
        "task": "variable_assignment_math_d0", "criterion": "entropy", "threshold": 0.125,
        "steps": 4.5, "of": 6, "saved": 0.25, "FLOPs saved": 0.2, "decoding": 0.1, "a look": 0.5,
        "accuracy": 0.75, "all steps": 0.8, "difference": -0.05, "low": -0.1, "high": 0.0,
        "p (Holm of 8)": 0.25, "n": 400, "chance": 0.2,
    },
    "sample-efficiency": {
        "ties": "untied", "examples": 64, "depth": 2, "seeds": 3, "value": 0.5, "low": 0.4,
        "high": 0.6, "gain": "+0.050 [+0.010, +0.090] ± 0.020", "p gain (Holm of 9)": 0.01,
        "n": 300, "chance": 0.2,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_studies_keep_model_value_and_error(
    terminal: int, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"model": model, **STUDIES[name]} for model in (LONG, "plain")]
    rows[1] |= {"value" if "value" in rows[1] else "low": 0.4321}
    study._print(rows)
    text = capsys.readouterr().out
    kept = {key: found for row in rows for key, found in row.items() if key in study.VALUES}
    check(text, terminal, [LONG, "plain"], [study._cell(found) for found in kept.values()])
    gone = [key for key in rows[0] if key not in text.replace("\n", " ")]
    assert not gone, (gone, text)  # each column is shown, or named as folded


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_tables_of_real_records_keep_model_value_and_error(
    terminal: int, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = StudyRecord.read(path)
    rows = apply_to_records(find(record.study).table, [record])
    study._print(rows)
    text = capsys.readouterr().out
    if rows:
        kept = [study._cell(row[key]) for row in rows for key in row if key in study.VALUES]
        check(text, terminal, [record.model_name], [found for found in kept if found])


def test_an_evaluation_keeps_task_value_and_error(
    terminal: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        Row("reasoning_primitives", 0, None, 5, "acc", 0.296, 0.0061, 0.16, None),
        Row("variable_assignment_code_d0", 1, 1000, 5, "acc", 0.531, 0.0158, 0.2, "ab"),
        Row("gsm8k", 0, 1319, 5, "exact_match", 0.0125, None, None, None),
    ]
    evaluation_tables.print_table(f"{LONG} (bfloat16)", rows)
    names = ["variable_assignment_code_d0", "exact_match"]
    check(capsys.readouterr().out, terminal, names, ["0.5310", "0.0158", "0.0125"])
    many = [Row(r.task, r.level, r.n, k, "acc", k / 64, 0.01, r.chance, None)
            for r in rows[1:] for k in range(9)]  # fmt: skip
    evaluation_tables.print_curve("tiny", many, list(range(9)))
    text = capsys.readouterr().out
    check(text, terminal, names[:1], [f"{k / 64:.4f}" for k in range(9)])
    heads = [line.split() for line in text.splitlines() if line.startswith("task")]
    assert [int(head) for line in heads for head in line if head.isdigit()] == list(range(9))


def test_a_suite_keeps_every_column_of_its_row(
    terminal: int, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {
        name: TaskResult(name, "acc", 0.25 + place / 1000, 0.01, 1000, 5, "", "")
        for place, name in enumerate(BENCHMARKS)
    }
    result = summarise("tiny", {"limit": None}, scores, None, {})
    suite._print(result)
    text = capsys.readouterr().out
    numbers = [f"{cell.value:.2f}" for cell in result.cells if cell.value is not None]
    check(text, terminal, list(BENCHMARKS), numbers)


def test_quickstart_keeps_model_and_mean(terminal: int, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"copying": 0.5, "variable assignment, basic": 0.25, "variable assignment, code": 0.1}
    standings = tuple(
        ModelSummary("q", "looped", kind, (3, 6), 222_144, 1e14, 0.123, 0.004, 100, 0.16, columns)
        for kind in ("Loop(3x2)", "Standard 6")
    )
    quickstart._print_table(standings)
    text = capsys.readouterr().out
    check(text, terminal, ["Loop(3x2)", "Standard 6"], ["0.123 ± 0.004"])


COLUMNS = (Column("model"), Column("task"), number("n", fold=2), number("p", fold=1), value("acc"))
ROWS = [["a" * 40, "one", "100", "0.5", "0.1"], ["b" * 40, "two", "100", "0.25", "0.2"]]


@pytest.mark.parametrize(
    ("limit", "folded", "constant"),
    [(200, (), ()), (36, (), ()), (32, (), (2,)), (26, (3,), (2,)), (9, (3,), (2,))],
)
def test_what_is_alike_in_all_rows_is_folded_first(
    limit: int, folded: tuple[int, ...], constant: tuple[int, ...]
) -> None:
    found = layout(COLUMNS, ROWS, limit)
    assert (found.folded, found.constant) == (folded, constant)
    assert {place for block in found.blocks for place, _ in block} >= {0, 1, 4}


def test_values_that_do_not_fit_beside_each_other_stand_below() -> None:
    columns = [Column("task"), *(value(str(shots)) for shots in range(9))]
    found = layout(columns, [["copying", *["0.1234"] * 9]], 30)
    assert len(found.blocks) > 1
    assert all(block[0][0] == 0 for block in found.blocks)  # each names its rows
    assert [p for block in found.blocks for p, _ in block[1:]] == list(range(1, 10))


def test_a_terminal_that_is_too_narrow_gets_wider_lines_but_whole_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "9")
    tables.show(COLUMNS, ROWS)
    text = capsys.readouterr().out
    assert "0.1" in text
    assert text.count("a") >= 40
    assert "…" not in text


def test_wide_letters_take_two_cells_and_long_words_are_broken() -> None:
    assert cells("模型") == 4
    assert cells("e\u0301") == 1
    assert wrap("模型模型", 5) == ["模型", "模型"]
    assert wrap("a-name-that_is long", 8) == ["a-name-", "that_is", "long"]
    assert wrap("  member_of_a_group", 9) == ["  member_", "  of_a_", "  group"]
    assert wrap("", 5) == [""]


def test_a_file_gets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")
    text = shown("leaderboard show --model 'LIDAS' --tasks hellaswag")
    assert "folded" not in text
    assert text.splitlines()[1].split() == [
        "model", "kind", "layers", "parameters", "FLOPs/token", "n", "seeds", "score", "95", "%",
        "interval", "over", "above", "chance",
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_real_terminal_is_measured(tmp_path: Path) -> None:
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
    command = [sys.executable, "-m", "growloop.cli", "leaderboard", "show", "-t", "hellaswag"]
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    started = subprocess.Popen(command, stdout=theirs, cwd=tmp_path, env=kept)
    os.close(theirs)
    text = _all(lambda: os.read(ours, 65536))
    started.wait()
    os.close(ours)
    plain = re.sub(r"\x1b\[\d*m|\r", "", text)
    check(plain, 60, ["LIDAS 1.7B"], [])
    assert "(folded: " in plain


def _all(read: Callable[[], bytes]) -> str:
    """What comes from a terminal until its other end is closed."""
    found = b""
    try:
        while part := read():
            found += part
    except OSError:  # Linux: the other end is closed
        pass
    return found.decode()


def test_a_log_has_a_line_a_minute_with_the_time_left(
    capfd: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    with Board({"train": 300.0, "score": 100.0, "older": 100.0}, lambda: now) as board:
        board("older", 1.0, "")
        board("train", 0.25, "loss 4.00")  # done by an earlier run
        for now in (30.0, 59.0, 60.0, 61.0, 119.0, 130.0):
            board("train", 0.25 + now / 300, "loss 3.00")
        now = 180.0
        board("train", 1.0, "")
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        "older: there already",
        "train: loss 4.00",
        "in all: 1 of 3 parts and 34% of the time done, about 4 minutes left",
        "in all: 1 of 3 parts and 51% of the time done, about 3 minutes left",
        "train: done",
    ]


def test_the_time_left_is_in_the_unit_that_reads_best() -> None:
    durations = [_duration(seconds) for seconds in (5, 60, 89, 100, 5300, 5400)]
    assert durations == [
        "less than a minute", "about 1 minute", "about 1 minute", "about 2 minutes",
        "about 88 minutes", "about 1.5 hours",
    ]  # fmt: skip


@pytest.mark.parametrize("wide", WIDTHS)
def test_progress_never_cuts_a_number(wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    monkeypatch.setenv("COLUMNS", str(wide))
    name = "sample-efficiency/loop-1-2x2-1/2"
    with Board({name: 1.0}) as board, board.console.capture() as capture:
        board.bars.update(board.tasks[name], completed=0.43, word="step 1,234 of 3,500")
        Console.print(board.console, board.bars.get_renderable())
    text = capture.get()
    assert "…" not in text
    assert " 43 %" in text
    assert {"1,234", "3,500"} <= set(text.split())
    training = Progress(1_234_567, show=False)
    training(123_456, {"loss": 2.345, "tokens_per_second": 123_456})
    with training.bar.console.capture() as capture:
        training.bar.console.print(training.bar.get_renderable())
    text = capture.get()
    assert "…" not in text
    assert {"2.345,", "123,456", "123456/1234567"} <= set(text.split())
