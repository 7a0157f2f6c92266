"""Result of a scan, as read from its folder or returned from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.strict_json import read_object, seal_problem
from ...core.tabular import Tabular, html_table
from ...models import Schedule
from .candidates import OWN, Candidate

FILE = "result.json"


SHOWN = ("name", "score_gain", "accuracy_gain", "accuracy", "items", "better", "extra_flops")
"""Columns in notebooks."""


@dataclass(frozen=True)
class ScanResult(Tabular):
    """Outcome of a scan: a row a candidate.

    Args:
        fields: fields of the result file.
        lines: verdict, notations and written files, for people.

    Example::

        result = ScanResult.read("map")
        result.verdict, result.chosen.schedule
    """

    fields: Mapping[str, Any]
    lines: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: str | Path) -> ScanResult:
        """Read the result of a finished scan.

        Raises:
            InputError: there is none, or it is damaged.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise InputError(f"{folder} holds no finished scan")
        fields = read_object(path, rows=list, verdict=str, chosen=str)
        if seal_problem(fields):
            raise InputError(f"{path} is damaged: it was changed after the scan")
        return cls(fields)

    @property
    def verdict(self) -> str:
        """Verdict in one sentence."""
        return str(self.fields["verdict"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows, one per candidate; see :class:`.stage.Estimate` for the columns."""
        return [dict(row) for row in self.fields["rows"]]

    @property
    def chosen(self) -> Candidate:
        """Chosen candidate; the unedited model where no edit is better."""
        row = next(row for row in self.fields["rows"] if row["name"] == self.fields["chosen"])
        blocks = tuple((int(a), int(b), int(times)) for a, b, times in row["blocks"])
        schedule = Schedule.parse(row["schedule"], stored=True)
        kv = row.get("kv", OWN)  # results of earlier versions have none
        return Candidate(row["name"], row["edit"], schedule, blocks, row["applied"], kv)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the rows, the best gain first."""
        return sorted(self.rows, key=lambda row: -float(row["score_gain"]))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the result file."""
        return dict(self.fields)

    def chart(self) -> Any:
        """Draw the map of blocks, and gain against FLOPs, as an Altair chart.

        Raises:
            InputError: Altair is not installed.
        """
        from ..measure.charts import finish
        from .chart import chart

        return finish(chart(self))

    @property
    def title(self) -> str:
        """Line above the table in a notebook."""
        return f"{self.fields['model']}: chosen {self.fields['chosen']}"

    @property
    def notes(self) -> Sequence[str]:
        """Lines below the table in a notebook: verdict, notations, written files."""
        return self.lines or (self.verdict,)

    def _repr_html_(self) -> str:
        rows = [{name: row[name] for name in SHOWN} for row in self.to_rows()]
        return html_table(rows, self.title, self.notes)
