"""Search for layers that are worth repeating."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, one_of, shown
from ..tasks.loading import DTYPES, require_extra

if TYPE_CHECKING:
    from ..studies.scan.result import ScanResult

COMMAND = "growloop.scan"
"""Command in records of scans from Python."""


def scan(
    model: str | Path,
    out: str | Path | None = None,
    *,
    dtype: str = "bfloat16",
    device: str | None = None,
    picture: str | None = None,
    leaderboard: str | Path | None = None,
    save_to: str | Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], object] | None = None,
    progress: bool = True,
    command: str = COMMAND,
    **settings: Any,
) -> ScanResult:
    """Find the layers of a checkpoint that are worth repeating; ``growloop scan`` prints this.

    Args:
        model: hub id, folder, GGUF file or ``package:NAME``.
        out: folder of the scan, where it goes on after a kill; None for a temporary one.
        dtype, device: what the model is loaded to.
        picture: file of the map.
        leaderboard: folder of records to add the winner to.
        save_to: folder to write the winner to as a looped checkpoint.
        overwrite: replace a checkpoint there.
        say: receives progress messages.
        progress: print progress messages to standard error, without ``say``.
        command: command stored in the result.
        settings: see :class:`growloop.studies.scan.settings.Settings`, such as
            ``probes=("copying_real_words",), items=200``.

    Raises:
        InputError: bad settings, or a model that cannot be scanned.

    Example::

        result = growloop.scan("./checkpoint", probes=("copying_real_words",))
        result.verdict, result.chosen.schedule
        result.chart()
    """
    require_extra("eval", "a scan")
    one_of("dtype", dtype, DTYPES)
    if not isinstance(model, (str, Path)):
        raise InputError(
            "a scan reads a checkpoint by name or path: save a loaded model, and give its folder, "
            f"not {shown(model)}"
        )
    if picture is not None:
        from ..studies.measure.charts import check_picture

        check_picture(picture)
    if save_to is not None:
        from ..models.checkpoints import check_out

        check_out(save_to, overwrite)
    from ..studies.scan.finish import run

    return run(
        str(model),
        out,
        say or (_say if progress else _silent),
        command,
        dtype,
        device,
        picture=picture,
        leaderboard=None if leaderboard is None else str(leaderboard),
        save_to=None if save_to is None else str(save_to),
        overwrite=overwrite,
        **settings,
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _silent(text: str) -> None:
    pass
