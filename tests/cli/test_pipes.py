"""A result is on disk before it is printed: a reader that leaves loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..tasks import tiny

EVAL = ["eval", "-t", "variable_assignment_code_d0", "--limit", "2", "--shots", "0", "--out", "out"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save("llama", tmp_path_factory.mktemp("llama"), layers=2))


def ran(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of shell, with G for the command."""
    line = line.replace("G ", f"{sys.executable} -m growloop.cli ", 1)
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("end", "environment"),
    [
        pytest.param("| true", {}, id="closed pipe"),
        pytest.param("2>&1 | true", {}, id="both closed", marks=pytest.mark.slow),
        pytest.param(">&-", {}, id="no output", marks=pytest.mark.slow),
        pytest.param("", {"PYTHONIOENCODING": "ascii"}, id="ascii", marks=pytest.mark.slow),
        pytest.param("> /dev/full", {}, id="full", marks=pytest.mark.slow),
    ],
)
def test_a_score_is_recorded_whatever_becomes_of_its_table(
    model: str, tmp_path: Path, end: str, environment: dict[str, str]
) -> None:
    line = f"G {' '.join(EVAL)} --model {model} --name modèle --leaderboard r {end}"
    done = ran(tmp_path, line, **environment)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 2)
    assert len(list((tmp_path / "r").glob("*.jsonl"))) == 1
    assert len(list((tmp_path / "out").rglob("results*.json"))) == 1
