"""Plan of a reproduction: cells with stable ids, ordered so that a cell follows those it needs.

A cell trains a model, scores it, runs a study on it, or combines the results of all cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ...core.errors import InputError
from ..catalog import QUESTIONS
from .scales import TUNED, UNTIED, Scale

TRAIN, SCORE, RECORDS, PAGE = "train", "score", "records", "page"
FINAL = (RECORDS, PAGE)  # kinds of cells that combine the results of the others
DESCRIPTIONS = {
    SCORE: "score on the evaluation tasks",
    TUNED: "fine-tune on different numbers of examples",
    UNTIED: "the same with untied layers",
    RECORDS: "collect the records of all cells",
    PAGE: "build the page, test the claims",
}


@dataclass(frozen=True)
class PlanCell:
    """Unit of work of a plan.

    Args:
        number: index in the plan.
        kind: train, score, the name of a study, records, or page.
        model: name of the model in the scale; None for a cell that combines all models.
        seed: seed of the training run.
        needs: ids of the cells that must be done first.
    """

    number: int
    kind: str
    model: str | None = None
    seed: int | None = None
    needs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Stable id, the same in every plan with this cell, e.g. ``train/lidas/0``."""
        return self.kind if self.model is None else f"{self.kind}/{self.model}/{self.seed}"

    @property
    def run(self) -> str:
        """Name and folder of the training run, e.g. ``lidas-0``."""
        return f"{self.model}-{self.seed}"

    @property
    def description(self) -> str:
        """Describe the cell in a line."""
        if self.kind == TRAIN:
            return "train the model" + ("'s cooldown" if self.needs else "")
        return DESCRIPTIONS.get(self.kind) or QUESTIONS[self.kind][0]


def plan_cells(scale: Scale, seeds: int) -> tuple[PlanCell, ...]:
    """Return the cells of a scale: training runs, scores, studies, then records and page."""
    cells: list[PlanCell] = []

    def add(kind: str, model: str, *bases: str) -> None:
        for seed in range(seeds):
            needs = tuple(f"{TRAIN}/{base}/{seed}" for base in bases)
            cells.append(PlanCell(len(cells), kind, model, seed, needs))

    for model in scale.models:
        add(TRAIN, model.name, *([model.base] if model.base else []))
    for model in scale.models:
        add(SCORE, model.name, model.name)
    for scale_study in scale.studies:
        for model in scale.models:
            if scale_study.includes(model.name):
                add(scale_study.study, model.name, model.name)
    for kind in FINAL:
        cells.append(PlanCell(len(cells), kind))
    return tuple(cells)


def select_cells(plan: Sequence[PlanCell], pattern: str | None) -> tuple[PlanCell, ...]:
    """Return the cells whose id, or a part of it, matches a shell pattern; None matches all.

    >>> from .scales import LAPTOP
    >>> [cell.id for cell in select_cells(plan_cells(LAPTOP, 1), "train/*lidas*")]
    ['train/lidas/0']

    Raises:
        InputError: no cell matches.
    """
    if pattern is None:
        return tuple(plan)
    selected = tuple(
        cell
        for cell in plan
        if fnmatchcase(cell.id, pattern) or any(fnmatchcase(p, pattern) for p in cell.id.split("/"))
    )
    if not selected:
        kinds = ", ".join(dict.fromkeys(cell.kind for cell in plan))
        raise InputError(
            f"no cell is like '{pattern}': they are called KIND/MODEL/SEED, such as "
            f"{plan[0].id}; kinds are {kinds}"
        )
    return selected
