"""The default run leaves out slow tests, the continuous one runs all."""

from __future__ import annotations

import pytest

from .support.imports import ROOT
from .support.selection import leaves_out_slow


@pytest.mark.parametrize(
    ("everything", "expression", "arguments", "left_out"),
    [
        (False, "", ["tests"], True),
        (False, "", ["tests/models/training/test_killing.py"], True),
        (True, "", ["tests"], False),
        (False, "slow", ["tests"], False),
        (False, "real", ["tests/tasks"], False),
        (False, "", ["tests/cli/test_pipes.py::test_one"], False),
    ],
)
def test_slow_tests_are_left_out_unless_they_are_asked_for(
    everything: bool, expression: str, arguments: list[str], left_out: bool
) -> None:
    assert leaves_out_slow(everything, expression, arguments) is left_out


def test_a_change_must_pass_the_slow_tests_too() -> None:
    lines = (ROOT / ".ci/run").read_text().splitlines()
    [command] = [line for line in lines if "test_command##" in line]
    assert command == 'eval "pytest ${test_command##*&& pytest} --all"'
    assert "test_command=$(readme pytest)" in lines
