"""Plan of ``growloop reproduce --plan``: cells and their costs, as a table or as JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from .tables import Column, number, paragraph, print_csv, show, value

if TYPE_CHECKING:
    from ..studies.reproduce.plan import PlanCell
    from ..studies.reproduce.run import Reproduction


def print_plan(
    found: Reproduction,
    wanted: Sequence[PlanCell],
    mfu: float,
    peak: float,
    as_json: bool,
    as_csv: bool,
    again: str,
) -> None:
    """Print the plan.

    Args:
        wanted: cells of it.
        mfu, peak: of a GPU, where cells are for one.
        again: the command that carries it out.
    """
    content = described(found, wanted, mfu, peak, again)
    if as_json:
        click.echo(json.dumps(content, indent=2))
        return
    if as_csv:
        print_csv(content["cells"])
        return
    unit = content["hours_are"]
    columns = [
        number("cell"),
        Column("id"),
        number("steps", fold=1),
        number("tokens", fold=3),
        number("FLOPs", fold=2),
        value("hours"),
        Column("what it does"),
    ]
    rows = [
        [
            str(cell["number"]),
            cell["id"],
            str(cell["steps"] or ""),
            _short(cell["tokens"]),
            _short(cell["flops"]),
            f"{cell['hours']:.2f}",
            ("done: " if cell["done"] else "") + cell["does"],
        ]
        for cell in content["cells"]
    ]
    below = [cell["command"] or "" for cell in content["cells"]]
    show(columns, rows, below=below)
    for need in content["data"]:
        paragraph(f"data: {need['name']} in {need['path']}: {need['found']}", hanging=2)
    total = content["total"]
    paragraph(
        f"{total['cells']} cells, {total['tokens']:.3g} tokens and {total['flops']:.3g} FLOPs of "
        f"training, {total['hours']:,.1f} {unit}; {total['hours_left']:,.1f} are left"
    )
    for line in content["arrays"]:
        click.echo(line)


def described(
    reproduction: Reproduction, cells: Sequence[PlanCell], mfu: float, peak: float, again: str
) -> dict[str, Any]:
    """Return the plan as JSON values: cells, data, totals and Slurm commands."""
    from ..studies.reproduce.estimates import measure_rate
    from ..studies.reproduce.plan import TRAIN

    distributed = reproduction.scale.distributed
    reproduction.estimate.rate = (
        mfu * peak if distributed else measure_rate(reproduction.settings.device)
    )
    lines: list[dict[str, Any]] = []
    data: dict[str, dict[str, Any]] = {}
    for cell in cells:
        estimate, needs = reproduction.estimate(cell), reproduction.estimate.needs(cell)
        data |= {need.path: asdict(need) for need in needs}
        command = (
            reproduction.training_job(cell).shell_command
            if distributed and cell.kind == TRAIN
            else None
        )
        lines.append(
            {
                "number": cell.number,
                "id": cell.id,
                "kind": cell.kind,
                "does": cell.description,
                "needs": list(cell.needs),
                "data": [need.path for need in needs],
                "command": command,
                "done": reproduction.done(cell),
                **asdict(estimate),
            }
        )
    training = [line for line in lines if line["kind"] == TRAIN]
    device = reproduction.settings.device
    return {
        "scale": reproduction.scale.name,
        "hours_are": "GPU-hours" if distributed else f"hours of one process on {device}",
        "flops_per_second": reproduction.estimate.rate,
        "cells": lines,
        "data": list(data.values()),
        "total": {
            "cells": len(lines),
            "tokens": sum(line["tokens"] for line in training),
            "flops": sum(line["flops"] for line in training),
            "hours": sum(line["hours"] for line in lines),
            "hours_left": sum(line["hours"] for line in lines if not line["done"]),
        },
        "arrays": list(_arrays(cells, again)),
    }


def _arrays(cells: Sequence[PlanCell], again: str) -> Iterator[str]:
    """Yield a Slurm command for each group of cells that can run in parallel, in order."""
    from ..studies.reproduce.plan import TRAIN

    def part(cell: PlanCell) -> int:
        if cell.model is None:
            return 3
        return (1 if cell.needs else 0) if cell.kind == TRAIN else 2

    after = ""
    for _, group in groupby(sorted(cells, key=part), key=part):
        numbers = [cell.number for cell in group]
        together = numbers[-1] - numbers[0] == len(numbers) - 1 > 0
        span = f"{numbers[0]}-{numbers[-1]}" if together else ",".join(map(str, numbers))
        wrapped = shlex.quote(f"{again} --cell $SLURM_ARRAY_TASK_ID")
        yield f"id=$(sbatch --parsable {after}--array={span} --wrap {wrapped})"
        after = "--dependency=afterok:$id "


def _short(amount: float) -> str:
    return f"{amount:.2e}" if amount else ""
