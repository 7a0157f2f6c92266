"""Which tests the default run leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

LEFT_OUT = ("slow", "real")
"""Marks of tests that the default run leaves out."""


def slow(*values: Any) -> list[Any]:
    """Parameters that the default run leaves out.

    >>> [parameter.values for parameter in slow(1, 2)]
    [(1,), (2,)]
    """
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def slow_but(default: Sequence[str], values: Iterable[str]) -> list[Any]:
    """``values``, of which only those in ``default`` are in the default run.

    >>> [getattr(each, "values", each) for each in slow_but(["a"], ["a", "b"])]
    ['a', ('b',)]
    """
    return [value if value in default else slow(value)[0] for value in values]


def leaves_out_slow(everything: bool, expression: str, arguments: Iterable[str]) -> bool:
    """Tell whether a run of pytest leaves out the tests with a mark of :data:`LEFT_OUT`.

    It does so unless it is told which tests to run.

    Args:
        everything: ``--all`` was given.
        expression: the one of ``-m``.
        arguments: files, folders and single tests.
    """
    return not (everything or expression or any("::" in argument for argument in arguments))
