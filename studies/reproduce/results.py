"""What cells have measured: a file for each, written whole, with records of the leaderboard."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ...core.files import write_atomically
from ...core.identity import changed_files, identify, listed
from ...core.strict_json import loads, read_object, seal_problem, sealed, short
from ..model_identity import changed, weights

if TYPE_CHECKING:
    from ...leaderboard import Record
    from .plan import Cell
    from .scales import Row
    from .settings import Settings

OF_EFFECTS = ("depth", "local-effects")
"""Cells whose numbers are effects of layers."""


class Kept:
    """The files of a plan's cells.

    Args:
        folder: of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, cell: str) -> Path:
        """The file of a cell."""
        return self.folder / f"{cell}.json"

    def has(self, cell: str) -> bool:
        """Whether it was measured, as it is measured today.

        Effects of layers were once measured with the first token of a text taken away too: a file
        of such a cell is kept, and replaced when the cell is measured again.
        """
        path = self.path(cell)
        if not path.is_file():
            return False
        if cell.partition("/")[0] not in OF_EFFECTS:
            return True
        from ...leaderboard.entries import sink_taken

        return not any(sink_taken(record.task) for record in self.records(cell))

    def check(self, cell: str, checkpoint: Path, data: Mapping[str, Path]) -> None:
        """Refuse what was measured of another model or on other data than there are now.

        Args:
            checkpoint: of the cell's model; one that is gone is not looked at, nor is such data.
            data: files that the cell reads, by name.

        Raises:
            InputError: naming what changed.
        """
        path = self.path(cell)
        try:
            content = read_object(path, weights=(dict, type(None)), data=(dict, type(None)))
        except ValueError:
            return  # refused where its records are read
        if checkpoint.is_dir() and changed(str(checkpoint), content.get("weights")):
            raise InputError(
                f"{path} is of another model than {checkpoint} holds now: move it away to measure "
                "this one, or give another --out"
            )
        if data and (recorded := content.get("data")) and (files := changed_files(data, recorded)):
            raise InputError(
                f"{listed(files)} changed since {path} was measured: restore that, move {path} "
                "away to measure again, or give another --out"
            )

    def keep(
        self,
        cell: Cell,
        row: Row,
        records: Sequence[Record],
        asked: Settings,
        seconds: float,
        checkpoint: Path,
        data: Mapping[str, Path],
    ) -> None:
        """Write what was found of a row.

        Args:
            asked: its device and command go where a record has none.
            checkpoint, data: that it was measured on, as for :meth:`check`.
        """
        import torch

        device = asked.device or ("cuda" if torch.cuda.is_available() else "cpu")
        found = []
        for record in records:
            fields = json.loads(record.to_json())
            if fields["model"]["name"] == cell.model:  # after its folder, which has the seed in it
                fields["model"]["name"] = row.model
            if row.cooldown is not None:
                fields["model"]["recipe"] = row.cooldown
            found.append({"device": device, "command": asked.command} | fields)
        gpu = device.startswith("cuda")
        content = {
            "format": "growloop cell",
            "cell": cell.id,
            "device": device,
            "machine": torch.cuda.get_device_name(device) if gpu else platform.machine(),
            "seconds": seconds,
            "weights": weights(str(checkpoint)),
            "data": identify(data),
            "records": found,
        }
        path = self.path(cell.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(sealed(content), indent=1).encode())

    def records(self, cell: str) -> list[Record]:
        """Of a cell.

        Raises:
            InputError: a file that is none of a cell.
        """
        from ...leaderboard import Record

        path = self.path(cell)
        try:
            content = read_object(path, records=list)
            if wrong := seal_problem(content):
                raise ValueError(wrong)
            return [Record.from_fields(dict(fields)) for fields in content["records"]]
        except (ValueError, TypeError) as error:
            reason = short(str(error).removeprefix(f"{path} is damaged: "))
            raise InputError(f"{path} is no file of a cell ({reason}): move it away") from error


def newest(log: Path) -> dict[str, Any] | None:
    """The last thing that a process has told about a cell in its log."""
    try:
        lines = log.read_bytes()[-8192:].splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            found = loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and "cell" in found:
            return found
    return None
