"""Bars of long work."""

from __future__ import annotations

import io
import sys

import pytest
from growloop.tasks.progress_bars import bar


class Terminal(io.StringIO):
    """A place that shows what is written at once."""

    def isatty(self) -> bool:
        return True


def written(monkeypatch: pytest.MonkeyPatch, to: io.StringIO, quiet: bool = False) -> str:
    monkeypatch.setattr(sys, "stderr", to)
    moments = iter(range(10_000))  # every look at the clock is a second later
    shown = bar("questions", range(200), quiet=quiet)
    shown._time = lambda: float(next(moments))
    shown.start_t = shown.last_print_t = 0.0
    assert list(shown) == list(range(200))
    return to.getvalue()


def test_a_log_gets_a_line_a_minute_and_a_terminal_a_live_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live, log = written(monkeypatch, Terminal()), written(monkeypatch, io.StringIO())
    assert live.count("questions:") > 10 > log.count("questions:") >= 2
    assert written(monkeypatch, Terminal(), quiet=True) == ""
