"""Leaderboard as one object: records of a folder, the paper's, and their entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.errors import InputError, unknown
from ..core.tabular import Tabular, html_table
from .entries import LeaderboardEntry, build_entries
from .export import entry_fields
from .paper import paper_rows
from .records import Record
from .store import Store

FOLDER = "records"
SHOWN = ("label", "study", "task", "shots", "metric", "value", "low", "high", "n", "seeds", "kind")
"""Columns in notebooks."""


@dataclass(frozen=True)
class Leaderboard(Tabular):
    """Records, and what is shown of them: one row a model and task, seeds averaged.

    Args:
        records: all records.
        left_out: problems of files and lines that were left out.
        selected: entries that are shown; None for all.
    """

    records: tuple[Record, ...]
    left_out: tuple[str, ...] = ()
    selected: tuple[LeaderboardEntry, ...] | None = field(default=None, repr=False)

    @cached_property
    def entries(self) -> tuple[LeaderboardEntry, ...]:
        """Entries: a model on a task, averaged over seeds."""
        return tuple(build_entries(self.records)) if self.selected is None else self.selected

    @property
    def studies(self) -> list[str]:
        """Names of the studies that entries are of."""
        return sorted({entry.first.study for entry in self.entries if entry.first.study})

    def select(
        self, tasks: str | Sequence[str] = "*", model: str = "*", study: str | None = "all"
    ) -> Leaderboard:
        """Select entries.

        Args:
            tasks: names or patterns of tasks, in a list or separated by commas.
            model: pattern for the name of the model.
            study: name of a study, ``all``, or None for plain evaluations alone.

        Raises:
            InputError: a study that no entry is of.
        """
        if study not in (None, "all", *self.studies):
            raise unknown("study", study, ["all", *self.studies])
        names = tasks.split(",") if isinstance(tasks, str) else tasks
        patterns = [name.strip() for name in names]
        selected = [
            entry
            for entry in self.entries
            if any(fnmatchcase(entry.task.name, pattern) for pattern in patterns)
            and fnmatchcase(entry.model.name, model)
            and study in ("all", entry.first.study)
        ]
        return replace(self, selected=tuple(selected))

    def __len__(self) -> int:
        return len(self.entries)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return all fields of each entry; docs/leaderboard.md names them."""
        return [entry_fields(entry) for entry in self.entries]

    @property
    def title(self) -> str:
        """Line above the table in a notebook."""
        return f"{len(self):,} results, {len(self.records):,} records"

    @property
    def notes(self) -> Sequence[str]:
        """Lines below the table in a notebook."""
        return [f"left out: {problem}" for problem in self.left_out[:10]]

    def _repr_html_(self) -> str:
        rows = [{name: row[name] for name in SHOWN} for row in self.to_rows()]
        return html_table(rows, self.title, self.notes)

    def chart(self) -> Any:
        """Draw each result with its 95 % interval, a panel a task, as an Altair chart.

        Raises:
            InputError: Altair is not installed, or there are no results.
        """
        from .site.result_chart import result_chart

        if not self.entries:
            raise InputError("there are no results to draw")
        return result_chart(self.to_rows())


def load(folder: str | Path = FOLDER, paper: bool = True) -> Leaderboard:
    """Load the records of a folder.

    Args:
        folder: folder of records; ``records`` may be missing.
        paper: add the paper's rows.

    Raises:
        InputError: there is no such folder, or it is not a folder of records.

    Example::

        growloop.leaderboard.load("records").select(tasks="reasoning_primitives*").to_pandas()
    """
    if not Path(folder).exists() and str(folder) != FOLDER:
        raise InputError(f"there is no folder {folder}")
    contents = Store(str(folder)).scan()
    records = (*contents.records, *(paper_rows() if paper else ()))
    return Leaderboard(records, tuple(str(problem) for problem in contents.problems))
