"""Progress bars on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec
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
    """Make a progress bar: live on a terminal and in a notebook, one line per minute in a log.

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
    notebook = in_notebook()
    live = notebook or sys.stderr.isatty()
    often: dict[str, Any] = {"delay": 0.5} if live else {"mininterval": LOG, "delay": LOG}
    # tqdm's own estimate of the interval would skip the first minutes of a log
    often["maxinterval"] = LOG
    return _kind(notebook)(things, what, total, leave=leave, disable=quiet, unit=unit, **often)


def _kind(notebook: bool) -> Any:
    """Return the class of bars: widgets in a notebook that has them, else text."""
    if notebook and find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm_notebook

        return tqdm_notebook
    return tqdm


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    return "ipykernel.kernelapp" in sys.modules
