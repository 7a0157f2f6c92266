"""What a cell of a plan measures of a model: scores, or a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ..catalog import find
from .measurements import scored, studied
from .plan import SCORE, Cell
from .scales import TUNED, UNTIED, Ask, Scale, options_for

if TYPE_CHECKING:
    from ...leaderboard import Record
    from .settings import Settings

Watch = Callable[[float, str], object]


def measure(
    cell: Cell,
    ask: Ask,
    scale: Scale,
    checkpoint: Path,
    out: Path,
    *,
    asked: Settings,
    watch: Watch,
) -> list[Record]:
    """Records of a cell.

    Args:
        checkpoint: of the model.
        out: folder of the plan.
    """
    if cell.kind == SCORE:
        return _score(cell, scale, checkpoint, out, asked)
    study = find(TUNED if cell.kind == UNTIED else cell.kind)

    def options(models: Any) -> Any:
        [model] = models
        return study.options(**options_for(ask, model.schedule, scale.block))

    given: dict[str, Any] = {"device": asked.device, "command": asked.command, "watch": watch}
    return studied(study, [checkpoint], options, out / "studies", dtype=scale.dtype, **given)


def _score(cell: Cell, scale: Scale, checkpoint: Path, out: Path, asked: Settings) -> list[Record]:
    if scale.tasks:
        file = out / "results" / f"{cell.model}.json"
        given: dict[str, Any] = {"device": asked.device, "command": asked.command}
        given |= {"shots": scale.shots, "limit": scale.items}
        return scored(checkpoint, scale.tasks, file, **given)
    from ...tasks.benchmarks import run_suite
    from ..describe import describe
    from ..publish_suite import suite_records

    found = run_suite(
        str(checkpoint),
        data_dir=asked.data_dir,
        out=out / "results",
        device=asked.device,
        dtype=scale.dtype,
    )
    if found is None:  # not the first of several processes
        return []
    result, _ = found
    if result.missing:
        raise InputError(next(iter(result.missing.values())))
    about: dict[str, Any] = {"growloop": {"schedule": result.schedule}}
    describe(about, str(checkpoint))
    own = about["growloop"]
    return suite_records(result, own["model"], own["cost"], asked.command)
