"""The plan to reproduce the paper at a scale: cells with stable names, in an order that works.

A cell is a training, the scores of a model, a study of a model, or what is made of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ...core.errors import InputError
from ..catalog import STUDIES
from .scales import TUNED, UNTIED, Scale

TRAIN, SCORE, RECORDS, PAGE = "train", "score", "records", "page"
CLOSING = (RECORDS, PAGE)
TELLS = {
    SCORE: "answers to the evaluation tasks",
    TUNED: "What do examples to fine-tune on teach?",
    UNTIED: "And with a layer of its own for each step?",
    RECORDS: "all that was measured as records of the leaderboard",
    PAGE: "the page and the claims",
}


@dataclass(frozen=True)
class Cell:
    """A part of a plan.

    Args:
        number: in the plan.
        kind: train, score, the name of a study, records, page.
        row: kind of model, None for all of them.
        seed: of the training.
        needs: ids of cells that must be done before.
    """

    number: int
    kind: str
    row: str | None = None
    seed: int | None = None
    needs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Stable name: the same in every plan that has the cell."""
        return self.kind if self.row is None else f"{self.kind}/{self.row}/{self.seed}"

    @property
    def model(self) -> str:
        """Folder of its training."""
        return f"{self.row}-{self.seed}"

    @property
    def tells(self) -> str:
        """What it does, in words."""
        if self.kind == TRAIN:
            return "the model" + (" from before the cooldown on" if self.needs else "")
        return TELLS.get(self.kind) or STUDIES[self.kind][0]


def cells(scale: Scale, seeds: int) -> tuple[Cell, ...]:
    """The plan of a scale: trainings, those that go on from others, scores, studies, the rest."""
    found: list[Cell] = []

    def add(kind: str, row: str, *needs: str) -> None:
        for seed in range(seeds):
            needed = tuple(f"{TRAIN}/{need}/{seed}" for need in needs)
            found.append(Cell(len(found), kind, row, seed, needed))

    for row in scale.rows:
        add(TRAIN, row.name, *([row.base] if row.base else []))
    for row in scale.rows:
        add(SCORE, row.name, row.name)
    for ask in scale.asks:
        for row in scale.rows:
            if ask.of(row.name):
                add(ask.study, row.name, row.name)
    for kind in CLOSING:
        found.append(Cell(len(found), kind))
    return tuple(found)


def chosen(plan: Sequence[Cell], pattern: str | None) -> tuple[Cell, ...]:
    """The cells whose name, or a part of it, is like a pattern.

    >>> from .scales import LAPTOP
    >>> [cell.id for cell in chosen(cells(LAPTOP, 1), "train/*lidas*")]
    ['train/lidas/0']

    Raises:
        InputError: there are none.
    """
    if pattern is None:
        return tuple(plan)
    found = tuple(
        cell
        for cell in plan
        if fnmatchcase(cell.id, pattern) or any(fnmatchcase(p, pattern) for p in cell.id.split("/"))
    )
    if not found:
        kinds = ", ".join(dict.fromkeys(cell.kind for cell in plan))
        raise InputError(
            f"no cell is like '{pattern}': they are called KIND/MODEL/SEED, such as "
            f"{plan[0].id}; kinds are {kinds}"
        )
    return found
