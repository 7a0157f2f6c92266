"""Result of a scan, as read from its folder or returned from Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.strict_json import read_object, seal_problem
from ...models import Schedule
from .candidates import Candidate

FILE = "result.json"


@dataclass(frozen=True)
class ScanResult:
    """Outcome of a scan.

    Args:
        fields: fields of the result file.

    Example::

        result = ScanResult.read("map")
        result.verdict, result.chosen.schedule
    """

    fields: Mapping[str, Any]

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
        return Candidate(row["name"], row["edit"], schedule, blocks, row["applied"])

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``, the best gain first."""
        import pandas  # type: ignore[import-untyped]

        frame = pandas.DataFrame(self.rows)
        return frame.sort_values("score_gain", ascending=False, kind="stable", ignore_index=True)
