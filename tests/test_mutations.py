"""A few damaged files through every command; ``python tests/mutations.py`` damages thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from .mutating.cases import CASES
from .mutating.rounds import attempt
from .mutating.undamaged import check_undamaged, prepare

pytestmark = pytest.mark.slow

LIGHT = ("verify", "words", "template", "run-file", "records", "results", "study-records", "config")
"""Cases of a few milliseconds."""
SLOW = ("eval", "sft", "options-eval", "options-sft", "suite", "quickstart", "reproduce-",
        "options-reproduce")  # fmt: skip
QUICK = tuple(c.name for c in CASES if not c.name.startswith(SLOW))
"""Cases of less than a second: models that are scored or tuned are left to the search."""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole files of every kind."""
    folder = tmp_path_factory.mktemp("whole")
    prepare(folder, [case for case in CASES if case.name in QUICK])
    return folder


def test_every_command_succeeds_on_whole_files(origin: Path) -> None:
    check_undamaged(origin, [case for case in CASES if case.name in QUICK])


@pytest.mark.parametrize("part", range(4))
def test_damaged_files_end_in_a_sentence_or_a_result(origin: Path, part: int) -> None:
    for number in range(part * 8, part * 8 + 8):
        _, problem = attempt(number, 1, origin, QUICK)
        assert problem is None, f"round {number}: {problem}"


def test_damaged_small_files_end_in_a_sentence_or_a_result(origin: Path) -> None:
    for number in range(60):
        _, problem = attempt(number, 2, origin, LIGHT)
        assert problem is None, f"round {number}: {problem}"
