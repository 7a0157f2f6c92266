"""Run a scan and write its files, as the command line does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Finished:
    """Result of a scan and what is said about it.

    Args:
        result: the result.
        table: rows for a terminal.
        lines: verdict, notations and written files.
    """

    result: ScanResult
    table: list[dict[str, Any]]
    lines: list[str]


def run(
    model: str,
    out: str,
    say: Callable[[str], object],
    command: str,
    dtype: str,
    device: str | None,
    picture: str | None = None,
    leaderboard: str | None = None,
    save_to: str | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Finished:
    """Scan a model and write table, notations, map, records and the winner.

    Args:
        model, out, say, command, dtype, device, settings: see :func:`.search.scan`.
        picture: file of the map.
        leaderboard: store that the winner's test rows are added to.
        save_to: folder of the winner as a looped checkpoint.
        overwrite: replace a checkpoint there.
    """
    if leaderboard is not None:
        Store(leaderboard).scan()  # refuses what is no folder of records, before the slow part
    result = scan(model, out=out, dtype=dtype, device=device, say=say, command=command, **settings)
    folder = Path(out)
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
    return Finished(result, outputs.table(result), lines)
