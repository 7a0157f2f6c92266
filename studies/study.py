"""What all studies share: a plan of cells, records of those that are done, a table and a chart.

A cell is measured once: its record is one JSON file, written whole, named after everything that
decides the numbers. So cells can run in any order, on any number of machines that share a folder,
and a killed study goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.identity import task_by_content
from .checkpoints import Loaded, Model

Record = dict[str, Any]
Table = list[dict[str, Any]]
"""Rows of a result table: column to value."""
FILES = {"text", "lens", "lens_text"}
"""Options that are files."""


def option(
    default: Any, about: str, later: bool = False, drawn: bool = False, before: Any = None
) -> Any:
    """A field of a study's options, with what ``growloop study show`` says of it.

    Args:
        later: there are records of the time before it, which are of its default.
        drawn: it decides no number, but what the chart shows of those that there are, or what is
            kept beside them.
        before: value that records of the time before the option were measured with, where that is
            not its default: those are read for this value alone.
    """
    unsaid = (default,) if later else () if before is None else (before,)
    return field(default=default, metadata={"about": about, "unsaid": unsaid, "drawn": drawn})


@dataclass(frozen=True)
class Cell:
    """One measurement: a model and what is asked of it.

    Args:
        study: its name.
        model: the name of the model.
        path: where it is.
        params: what tells this cell from the others of the model.
        options: of the study, as far as they decide the numbers.
    """

    study: str
    model: str
    path: str
    params: dict[str, Any]
    options: dict[str, Any]

    @cached_property
    def id(self) -> str:
        """Stable name: the same question has the same in any run.

        Files in the names of tasks (word lists) count by their content.
        """
        asked = {
            "study": self.study,
            "params": _by_content(self.params),
            "options": _by_content(self.options),
        }
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        said = "-".join(re.sub(r"[^\w.=-]", "_", str(value)) for value in self.params.values())
        return "-".join(part for part in (self.model, said[:80], digest[:8]) if part)


@dataclass(frozen=True)
class Together:
    """How a study measures several cells in one pass, because they share most of the work.

    Args:
        alike: cells of one model for which this is equal go together.
        most: so many of them: what is killed is lost.
        measure: the values of each.
    """

    alike: Callable[[Cell], Hashable]
    most: int
    measure: Callable[[Sequence[Cell], Any, Loaded, Path], list[dict[str, Any]]]


@dataclass(frozen=True)
class Study:
    """A study.

    Args:
        name: as typed.
        asks: the question, in a sentence.
        figure: where it is in the paper.
        cost: an estimate in forward passes.
        options: a frozen dataclass of them.
        plan: the cells of models under options; refuses what cannot be done.
        measure: the values of a cell: ``{"rows": results, "data": what charts need}``, and the
            ``checkpoint`` they are of where that is not the cell's; ``finished`` are folders that
            nobody needs once the record is written.
        table: records as rows.
        chart: records as an Altair chart.
        together: measures several cells at once, where that is cheaper.
        compares: fields of rows, or parameters of cells (``cell.NAME`` where a row has the name
            too), that tell the numbers of a model apart; models are compared where they are alike.
            None for a study that keeps no answers.
        variant: a field of rows and its usual value; with another one the model is another, which
            is compared too.
        example: options that a call cannot do without.
        over: fields that tell several answers to the same items apart, which are averaged.
    """

    name: str
    asks: str
    figure: str
    cost: str
    options: type[Any]
    plan: Callable[[Sequence[Model], Any], list[Cell]]
    measure: Callable[[Cell, Any, Loaded, Path], dict[str, Any]]
    table: Callable[[Sequence[Record]], Table]
    chart: Callable[[Sequence[Record]], Any]
    together: Together | None = None
    compares: tuple[str, ...] | None = None
    over: tuple[str, ...] = ()
    variant: tuple[str, str] | None = None
    example: str = ""


def settled(options: Any, *without: str) -> dict[str, Any]:
    """Options as a record keeps them, without those that are in the cell's parameters.

    Files are named by their content: another of the same name makes other cells. An option that
    came later is kept where it is not the value that was usual before: what was measured then
    stays measured.
    """
    kept = asdict(options)
    for known in fields(options):
        unsaid = kept[known.name] in known.metadata["unsaid"]
        if unsaid or known.metadata["drawn"] or known.name in without:
            del kept[known.name]
    for name in FILES & kept.keys():
        if kept[name] is not None and (path := Path(kept[name])).is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            kept[name] = f"{path.name}@{digest[:12]}"
    found: dict[str, Any] = json.loads(json.dumps(kept))
    return found


def _by_content(value: Any) -> Any:
    """Parameters or options with the files in them named by content."""
    if isinstance(value, dict):
        return {name: _by_content(inside) for name, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_by_content(inside) for inside in value]
    return task_by_content(value) if isinstance(value, str) else value
