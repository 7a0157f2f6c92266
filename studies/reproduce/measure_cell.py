"""Measure one cell of a plan: score a checkpoint on the evaluation tasks, or run a study on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ..catalog import find
from .evaluate import run_study, score_checkpoint
from .plan import SCORE, PlanCell
from .scales import TUNED, UNTIED, Scale, ScaleStudy, study_options

if TYPE_CHECKING:
    from ...leaderboard import Record
    from .settings import ReproductionSettings

Watch = Callable[[float, str], object]


def measure_cell(
    cell: PlanCell,
    scale_study: ScaleStudy,
    scale: Scale,
    checkpoint: Path,
    out: Path,
    *,
    settings: ReproductionSettings,
    watch: Watch,
) -> list[Record]:
    """Return the leaderboard records of a cell.

    Args:
        checkpoint: checkpoint of the cell's model.
        out: folder of the plan.
        watch: progress callback, called with the fraction done and a word.
    """
    if cell.kind == SCORE:
        return _score(cell, scale, checkpoint, out, settings)
    study = find(TUNED if cell.kind == UNTIED else cell.kind)

    def options(models: Any) -> Any:
        [model] = models
        return study.options(**study_options(scale_study, model.schedule, scale.block))

    return run_study(
        study,
        [checkpoint],
        options,
        out / "studies",
        device=settings.device,
        command=settings.command,
        dtype=scale.dtype,
        watch=watch,
    )


def _score(
    cell: PlanCell, scale: Scale, checkpoint: Path, out: Path, settings: ReproductionSettings
) -> list[Record]:
    if scale.tasks:
        return score_checkpoint(
            checkpoint,
            scale.tasks,
            out / "results" / f"{cell.run}.json",
            shots=scale.shots,
            limit=scale.items,
            device=settings.device,
            command=settings.command,
        )
    from ...tasks.benchmarks import run_suite
    from ..describe import describe
    from ..publish_suite import suite_records

    outcome = run_suite(
        str(checkpoint),
        data_dir=settings.data_dir,
        out=out / "results",
        device=settings.device,
        dtype=scale.dtype,
    )
    if outcome is None:  # not the first of several processes
        return []
    result, _ = outcome
    if result.missing:
        raise InputError(next(iter(result.missing.values())))
    about: dict[str, Any] = {"growloop": {"schedule": result.schedule}}
    describe(about, str(checkpoint))
    metadata = about["growloop"]
    return suite_records(result, metadata["model"], metadata["cost"], settings.command)
