"""Outputs of ``growloop eval``: result folder, leaderboard records, table or JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..leaderboard import Store


@dataclass(frozen=True)
class Outputs:
    """Destinations of the results.

    Args:
        folder: folder for result files.
        leaderboard: folder of leaderboard records to add to; None for none.
        name: name of the model in records; None for that of its run, or its path.
        as_json, as_csv: print JSON or CSV instead of tables.
        picture: file to draw a curve to; None for none.
        command: command line, for records.
    """

    folder: str
    leaderboard: str | None
    name: str | None
    as_json: bool
    as_csv: bool
    picture: str | None
    command: str

    def check(self) -> Store | None:
        """Check name, picture and leaderboard before the slow part; return the store for records.

        Raises:
            InputError: a name that no record can have, or a folder that is not a store.
        """
        from ..leaderboard import Store
        from ..studies.describe import checked_name

        checked_name(self.name)
        if self.picture is not None:
            from ..studies.measure.charts import check_picture

            check_picture(self.picture)
        if self.leaderboard is None:
            return None
        store = Store(self.leaderboard)
        store.scan()
        return store

    def report(self, added: int) -> None:
        """Print how many records were added, if there is a leaderboard."""
        if self.leaderboard is not None:
            click.echo(f"{added} records added to {self.leaderboard}", err=True)
