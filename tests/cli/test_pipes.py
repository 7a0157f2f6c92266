"""A result is on disk before it is printed: a reader that leaves loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..mutating.undamaged import prepare
from ..support.selection import slow_but
from ..tasks import tiny
from .printing import KINDS

EVAL = ["eval", "-t", "variable_assignment_code_d0", "--limit", "2", "--shots", "0", "--out", "out"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save("llama", tmp_path_factory.mktemp("llama"), layers=2))


def ran(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """A line of shell, with G for the command."""
    line = line.replace("G ", f"{sys.executable} -m growloop.cli ", 1)
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("| true", id="closed pipe"),
        pytest.param("2>&1 | true", id="both closed", marks=pytest.mark.slow),
    ],
)
def test_a_score_is_recorded_whatever_becomes_of_its_table(
    model: str, tmp_path: Path, end: str
) -> None:
    line = f"G {' '.join(EVAL)} --model {model} --name modèle --leaderboard r {end}"
    done = ran(tmp_path, line)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 2)
    assert len(list((tmp_path / "r").glob("*.jsonl"))) == 1
    assert len(list((tmp_path / "out").rglob("results*.json"))) == 1


TUNE = "--min-steps 1 --epochs 1 --precision fp32 --validations 1"
PRINTING = {
    # command -> what it leaves, whatever becomes of its output
    "generate copying -n 300 -o -": "",
    "generate copying -n 3 -o ä.jsonl": "ä.jsonl",
    "verify a.jsonl": "",
    "verify a.jsonl --json": "",
    "tasks": "",
    "tasks --json": "",
    "tasks show variable_assignment_code_d1": "",
    "inspect modèle": "",
    "inspect modèle --json": "",
    "eval --model modèle -t addition_2 --limit 2 -k 0 --out ó --leaderboard ò": "ò/*.jsonl",
    "loop modèle --schedule 1x2-1 --out ö": "ö/config.json",
    "grow modèle --operator lidas --block-size 1 --to 3 --out ü": "ü/config.json",
    "export looped --out é": "é/config.json",
    "tokenize a.jsonl --field prompt --out à": "à/index.json",
    "train run.yaml --dry-run": "",
    "train run.yaml --out è": "è/step-000000004/manifest.json",
    f"sft -m modèle -d pairs.jsonl -o ê {TUNE}": "ê/seed-0/step-000000001/manifest.json",
    "study list": "",
    "study show weight-similarity": "",
    "study weight-similarity -m modèle --out ô --leaderboard û": "û/*.jsonl",
    "study publish --out study --leaderboard î": "î/*.jsonl",
    "leaderboard add results.json --to ï": "ï/*.jsonl",
    "leaderboard check records": "",
    "leaderboard show records --study all": "",
    "leaderboard show records --json": "",
    "leaderboard build records --out â": "â/index.html",
    "claims records": "",
    "claims records --json": "",
    "recipe": "",
    "recipe 1.7b-lidas": "",
    "recipe 1.7b-lidas --out ë.yaml": "ë.yaml",
    "reproduce 360m --plan --only train/lidas* --device cpu": "",
    "reproduce 360m --plan --only train/lidas* --device cpu --format json": "",
}
CODES = {
    "ascii": (0,),
    "closed": (0, 2),
    "no reader": (0, 1),
    "one line read": (0, 1),
    "full": (0, 2),
}
"""Exit codes: 1 or 2 where something on standard output was lost."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that every command can read, with names beyond ASCII."""
    folder = tmp_path_factory.mktemp("whole")
    prepare(folder, ())
    (folder / "model").rename(folder / "modèle")
    return folder


@pytest.fixture(scope="module")
def commands() -> Iterator[subprocess.Popen[str]]:
    """The process whose forks run commands."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cli.printing"], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        yield process
        process.communicate("")


@pytest.mark.parametrize("kind", slow_but(["full"], KINDS))
def test_every_command_does_its_work_whatever_becomes_of_its_output(
    commands: subprocess.Popen[str], prepared: Path, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "ready"
    shutil.copytree(prepared, folder)
    before = set(folder.iterdir())
    assert commands.stdin is not None
    assert commands.stdout is not None
    commands.stdin.write(json.dumps([kind, str(folder), list(PRINTING)]) + "\n")
    commands.stdin.flush()
    ended = json.loads(commands.stdout.readline())
    assert list(ended) == list(PRINTING)
    wrong = []
    for line, (code, said) in ended.items():
        if code not in CODES[kind] or "Traceback" in said or "Exception ignored" in said:
            wrong.append(f"growloop {line}: exit code {code}\n{said[-600:]}")
        elif PRINTING[line] and not list(folder.glob(PRINTING[line])):
            wrong.append(f"growloop {line}: wrote no {PRINTING[line]}\n{said[-300:]}")
    kept = {pattern.split("/")[0] for pattern in PRINTING.values()} | {"ô", "ó"}
    wrong += [f"left {path}" for path in set(folder.iterdir()) - before if path.name not in kept]
    assert not wrong, "\n".join(wrong)
