"""Studies: a plan of cells, a measurement of each, a table and a chart of their records.

A cell is measured once: its record is one JSON file, written whole, named after everything that
decides the numbers. So cells can run in any order, on any number of machines that share a folder,
and a killed study resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cells import StudyCell
from .checkpoints import ModelLoader, StudyModel
from .records import Row, StudyRecord

Table = list[dict[str, Any]]
"""Rows of a result table: column to value."""


@dataclass(frozen=True)
class Measurement:
    """Result of measuring a cell.

    Args:
        rows: the measured numbers.
        data: further data of charts and the leaderboard.
        checkpoint: path of the measured model where it is not the cell's: the study trained it.
        temporary: folders to remove once the record is written.
    """

    rows: Sequence[Row]
    data: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    temporary: Sequence[Path] = ()


@dataclass(frozen=True)
class SharedPass:
    """Forward pass that measures several cells of a model, which share most of the work.

    Args:
        key: cells of one model with equal keys are measured together.
        max_cells: largest number of cells in a pass; a killed pass is lost.
        measure: measurements of the cells, in their order.
    """

    key: Callable[[StudyCell], Hashable]
    max_cells: int
    measure: Callable[[Sequence[StudyCell], Any, ModelLoader, Path], list[Measurement]]


@dataclass(frozen=True)
class Study:
    """Study of the paper, or beyond it.

    Args:
        name: name on the command line.
        question: research question, in a sentence.
        figure: figure or table of the paper.
        cost: estimate in forward passes.
        options: frozen dataclass of the study's options (:mod:`.options`).
        plan: cells of models under options; raises InputError for what cannot be measured.
        measure: measurement of a cell; the folder is ``--out``.
        table: result table of records.
        chart: Altair chart of records.
        shared_pass: measures several cells at once, where that is cheaper.
        conditions: columns of rows, or parameters of cells (``cell.NAME`` where a row has a column
            of that name too), that identify a number of a model. Models are compared where these
            are equal. None for a study without per-item results.
        averaged_over: columns that distinguish repeated answers to the same items, which are
            averaged.
        variant: a column and its usual value; rows with another value are compared as a model of
            their own.
        example: options that the command needs.
        leaderboard: columns that distinguish rows of the same model, task and schedule, if all rows
            of a plug-in's study are for the leaderboard; None if none is. Of growloop's own
            studies :mod:`.publish` selects rows.
    """

    name: str
    question: str
    figure: str
    cost: str
    options: type[Any]
    plan: Callable[[Sequence[StudyModel], Any], list[StudyCell]]
    measure: Callable[[StudyCell, Any, ModelLoader, Path], Measurement]
    table: Callable[[Sequence[StudyRecord]], Table]
    chart: Callable[[Sequence[StudyRecord]], Any]
    shared_pass: SharedPass | None = None
    conditions: tuple[str, ...] | None = None
    averaged_over: tuple[str, ...] = ()
    variant: tuple[str, str] | None = None
    example: str = ""
    leaderboard: tuple[str, ...] | None = None
