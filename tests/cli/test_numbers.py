"""Every option that takes a whole number ends at once with any: done, or refused in a sentence."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from growloop.cli import main

from ..support.commands import run
from ..tasks import tiny

SECONDS = 150  # of a busy machine: all are refused or done in a few
NUMBERS = (10**18, -1, 0)
TASK = ("-t", "variable_assignment_code_d0")
GIVEN: dict[str, tuple[str, ...]] = {
    # command: the least that it can be given; M is a model, folders are of one test
    "eval": ("-m", "M", *TASK, "--limit", "1", "--items", "5", "--shots", "0", "--out", "r"),
    "export": ("M", "--block", "1:2", "--out", "o"),
    "loop": ("M", "--block", "1:2", "--out", "o"),
    "grow": ("M", "--operator", "lidas", "--to", "8", "--block-size", "2", "--out", "o"),
    "inspect": ("M", "--config-only"),
    "leaderboard serve": (),
    "reproduce": ("laptop", "--plan", "--fast", "--out", "o"),
    "sft": ("-m", "M", "--data", "d.jsonl", "--out", "o", "--epochs", "1", "--min-steps", "1",
            "--seq-len", "64"),
    "study": ("swaps", "-m", "M", "--out", "o", "--plan"),
    "tasks show": ("variable_assignment_code_d0", "--shots", "0"),
    "tokenize": ("d.txt", "--out", "o"),
    "train": ("run.yaml", "--plan"),
}  # fmt: skip
MINIMAL = {
    "name": "tiny",
    "steps": 4,
    "precision": "fp32",
    "model": {"preset": "lessons"},
    "data": {"curriculum": [{"lessons": {"repeats": 1.0}}], "seq_len": 256, "batch_size": 4},
    "optimizer": {"warmup": 0},
}


class Late(BaseException):
    """A command that has not ended in time."""


def whole_options(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Commands, and their options that take whole numbers."""
    ctx = click.Context(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            if (inner := command.get_command(ctx, name)) is not None:
                yield from whole_options(inner, (*path, name))
        return
    for param in command.params:
        if isinstance(param.type, (click.types.IntParamType, click.IntRange)):
            yield " ".join(path), max(param.opts, key=len)


OPTIONS = [
    (command, option)
    for command, option in whole_options(main)
    if (not command.startswith("generate") or command == "generate copying")
    and command != "quickstart"  # any seed begins to train
]
SLOW = ("reproduce",)
"""Commands that plan more than a second before they end."""
FIELDS = [
    "steps", "seed", "micro_batch_size", "log_every", "validate_every", "patience",
    "regulariser_block", "data.seq_len", "data.batch_size", "optimizer.warmup",
    "optimizer.cooldown", "checkpoints.every", "checkpoints.keep",
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save("llama", tmp_path_factory.mktemp("llama"), layers=4))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text(json.dumps({"prompt": "a b", "target": "c"}) + "\n")
    (tmp_path / "d.txt").write_text("a = 1\n" * 20)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(MINIMAL))
    return tmp_path


def ended(*arguments: str) -> Any:
    """What a command came to, within seconds: no traceback, exit code 0 or 2."""

    def late(*_: object) -> None:
        raise Late(arguments)

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        result = run(*arguments)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 2), result.output
    if result.exit_code == 2:
        [said] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert len(said) < 400
    return result


@pytest.mark.parametrize("number", NUMBERS, ids=["huge", "negative", "zero"])
@pytest.mark.parametrize(
    ("command", "option"),
    [pytest.param(*given, marks=pytest.mark.slow if given[0] in SLOW else ()) for given in OPTIONS],
    ids=lambda given: given.replace(" ", "-"),
)
def test_any_number_ends_a_command_at_once(
    folder: Path, model: str, command: str, option: str, number: int
) -> None:
    if (command, option) == ("leaderboard serve", "--port") and number == 0:
        pytest.skip("any free port: it serves")
    given = GIVEN.get(command, ("--out", "o"))
    words = [model if word == "M" else word for word in given]
    if option in words:
        del words[words.index(option) : words.index(option) + 2]
    ended(*command.split(), *words, f"{option}={number}")


@pytest.mark.parametrize("number", [10**15, 10**18, -1, 0], ids=str)
@pytest.mark.parametrize("field", FIELDS)
def test_any_number_in_a_run_file_is_planned_or_refused_at_once(
    folder: Path, field: str, number: int
) -> None:
    ended("train", "run.yaml", "--plan", "--set", f"{field}={number}")
