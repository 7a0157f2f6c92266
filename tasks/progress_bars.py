"""Progress bars on standard error."""

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
    """Make a progress bar: live on a terminal, one line per minute in a log.

    Args:
        what: label.
        things: iterable to wrap.
        total: number of steps, without ``things``.
        unit: unit of ``total``.
        quiet: show no bar.
        leave: leave the bar on the screen at the end.

    Returns:
        A ``tqdm`` bar.

    Example::

        for batch in bar("Scoring", batches):
            ...
    """
    live = sys.stderr.isatty()
    often: dict[str, Any] = {"delay": 0.5} if live else {"mininterval": LOG, "delay": LOG}
    # tqdm's own estimate of the interval would skip the first minutes of a log
    often["maxinterval"] = LOG
    return tqdm(things, what, total, leave=leave, disable=quiet, unit=unit, **often)
