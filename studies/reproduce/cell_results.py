"""Store results of plan cells: a JSON file per cell, written atomically, of leaderboard records."""

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
    from .plan import PlanCell
    from .scales import ScaleModel
    from .settings import ReproductionSettings

EFFECT_STUDIES = ("depth", "local-effects")
"""Studies whose cells measure effects of layers."""


class CellResults:
    """Result files of the cells of a plan, one JSON file per cell.

    Args:
        folder: folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, cell: str) -> Path:
        """Return the file of a cell, by the cell's id."""
        return self.folder / f"{cell}.json"

    def has(self, cell: str) -> bool:
        """Return True if a cell has current results.

        Results of earlier versions that ablated the first token of a prompt too are outdated; the
        next measurement replaces their file.
        """
        path = self.path(cell)
        if not path.is_file():
            return False
        if cell.partition("/")[0] not in EFFECT_STUDIES:
            return True
        from ...leaderboard.entries import first_token_ablated

        return not any(first_token_ablated(record.task) for record in self.read(cell))

    def check(self, cell: str, checkpoint: Path, data: Mapping[str, Path]) -> None:
        """Refuse results of another model or other data.

        Args:
            checkpoint: checkpoint of the cell's model; ignored if it was deleted.
            data: name -> file the cell reads; deleted files are ignored.

        Raises:
            InputError: the model or a data file changed.
        """
        path = self.path(cell)
        try:
            content = read_object(path, weights=(dict, type(None)), data=(dict, type(None)))
        except ValueError:
            return  # reported when the records are read
        if checkpoint.is_dir() and changed(str(checkpoint), content.get("weights")):
            raise InputError(
                f"{path} was measured on another model than {checkpoint} holds now: "
                "move it away to measure this one, or give another --out"
            )
        if data and (recorded := content.get("data")) and (files := changed_files(data, recorded)):
            raise InputError(
                f"{listed(files)} changed since {path} was measured: restore that, move {path} "
                "away to measure again, or give another --out"
            )

    def write(
        self,
        cell: PlanCell,
        model: ScaleModel,
        records: Sequence[Record],
        settings: ReproductionSettings,
        seconds: float,
        checkpoint: Path,
        data: Mapping[str, Path],
    ) -> None:
        """Write the records of a cell.

        Args:
            model: the cell's model in the scale.
            settings: device and command, for records that have none.
            seconds: duration of the measurement.
            checkpoint, data: measured checkpoint and data files, as for :meth:`check`.
        """
        import torch

        device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        rows = []
        for record in records:
            fields = json.loads(record.to_json())
            if fields["model"]["name"] == cell.run:  # the folder, which includes the seed
                fields["model"]["name"] = model.record_name
            if model.cooldown is not None:
                fields["model"]["recipe"] = model.cooldown
            rows.append({"device": device, "command": settings.command} | fields)
        gpu = device.startswith("cuda")
        content = {
            "format": "growloop cell",
            "cell": cell.id,
            "device": device,
            "machine": torch.cuda.get_device_name(device) if gpu else platform.machine(),
            "seconds": seconds,
            "weights": weights(str(checkpoint)),
            "data": identify(data),
            "records": rows,
        }
        path = self.path(cell.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(sealed(content), indent=1).encode())

    def read(self, cell: str) -> list[Record]:
        """Read the records of a cell.

        Raises:
            InputError: the file is not a result file.
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
            raise InputError(
                f"{path} is not the file of a cell ({reason}): move it away"
            ) from error


def last_progress(log: Path) -> dict[str, Any] | None:
    """Return the last progress message in a log: keys cell, share, word; None if there is none."""
    try:
        lines = log.read_bytes()[-8192:].splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            message = loads(line)
        except ValueError:
            continue
        if isinstance(message, dict) and "cell" in message:
            return message
    return None
