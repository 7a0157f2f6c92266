"""Bars of work that takes long, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

LOG = 60.0  # seconds between the lines of a log


def bar(
    what: str,
    things: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    unit: str = "",
    quiet: bool = False,
    leave: bool = True,
) -> Any:
    """A bar: live on a terminal, a line a minute in a log.

    Args:
        what: is done.
        things: that are gone through with it.
        total: of them, where they are not given.
        unit: of the total.
        quiet: no bar.
        leave: it stays when all is done.
    """
    live = sys.stderr.isatty()
    often: dict[str, Any] = {"delay": 0.5} if live else {"mininterval": LOG, "delay": LOG}
    # tqdm's own estimate of when to look at the clock skips the first minutes of a log
    often["maxinterval"] = LOG
    return tqdm(things, what, total, leave=leave, disable=quiet, unit=unit, **often)
