"""Run a scan and write its files, as the command line does."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...leaderboard import Store
from ..checkpoints import ModelLoader
from ..measure import charts
from ..publish import leaderboard_records
from . import outputs
from .chart import chart
from .result import ScanResult
from .search import scan


def run(
    model: str,
    out: str | Path | None,
    say: Callable[[str], object],
    command: str,
    dtype: str,
    device: str | None,
    picture: str | None = None,
    leaderboard: str | None = None,
    save_to: str | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> ScanResult:
    """Scan a model and write table, notations, map, records and the winner.

    Args:
        model, out, say, command, dtype, device, settings: see :func:`.search.scan`; without ``out``
            the result is only returned.
        picture: file of the map.
        leaderboard: store that the winner's test rows are added to.
        save_to: folder of the winner as a looped checkpoint.
        overwrite: replace a checkpoint there.
    """
    if leaderboard is not None:
        Store(leaderboard).scan()  # refuses what is not a folder of records, before the slow part
    with contextlib.ExitStack() as stack:
        if out is None:
            out = stack.enter_context(tempfile.TemporaryDirectory())
        return _run(
            model, Path(out), say, command, dtype, device, picture, leaderboard, save_to,
            overwrite, settings,
        )  # fmt: skip


def _run(
    model: str,
    folder: Path,
    say: Callable[[str], object],
    command: str,
    dtype: str,
    device: str | None,
    picture: str | None,
    leaderboard: str | None,
    save_to: str | None,
    overwrite: bool,
    settings: dict[str, Any],
) -> ScanResult:
    result = scan(
        model, out=folder, dtype=dtype, device=device, say=say, command=command, **settings
    )
    lines = [result.verdict, *(f"{k}: {v}" for k, v in outputs.notations(result).items()
                               if k != "mergekit")]  # fmt: skip
    outputs.write_table(result, folder)
    outputs.write_notations(result, folder)
    if picture is not None:
        lines.append(f"map: {charts.save(chart(result), picture)}")
    record = outputs.write_record(result, ModelLoader(dtype, device), folder)
    if leaderboard is not None and record is not None:
        added = Store(leaderboard).add(leaderboard_records([record]))
        lines.append(f"{added} records added to {leaderboard}")
    if save_to is not None and result.chosen.edit != "none":
        lines.append(f"saved: {outputs.save_best(result, save_to, overwrite=overwrite)}")
    return replace(result, lines=tuple(lines))
