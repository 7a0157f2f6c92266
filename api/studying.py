"""Studies of the paper on any checkpoints."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, one_of, shown, unknown
from ..core.tabular import Tabular
from ..tasks.loading import DTYPES, require_extra

if TYPE_CHECKING:
    from ..studies import Study as StudyDefinition
    from ..studies import StudyCell, StudyRecord

COMMAND = "growloop.study"
"""Command in records of studies from Python."""
TEXTS = ("text", "lens", "lens_text", "block", "schedule")
"""Options of text whose default is None."""


@dataclass(frozen=True)
class StudyResult(Tabular):
    """Result of :func:`growloop.study`.

    Args:
        definition: the study that ran.
        records: record of each cell.
        published: lines on what was added to a leaderboard.
    """

    definition: StudyDefinition
    records: tuple[StudyRecord, ...]
    published: tuple[str, ...] = ()

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the study's table: column -> value."""
        from ..studies.records import apply_to_records

        return apply_to_records(self.definition.table, self.records)

    def to_dict(self) -> dict[str, Any]:
        """Return table and records as plain values that JSON can hold."""
        records = [record.to_json() for record in self.records]
        return {"study": self.definition.name, "rows": self.to_rows(), "records": records}

    def chart(self, dark: bool = False) -> Any:
        """Draw the study's figure as an Altair chart.

        Args:
            dark: light on dark.

        Raises:
            InputError: Altair is not installed.
        """
        from ..studies.measure.charts import finish

        return finish(self.raw_chart(), dark)

    def raw_chart(self) -> Any:
        """Draw the study's figure without the theme."""
        from ..studies.records import apply_to_records

        return apply_to_records(self.definition.chart, self.records)

    def against(self, model: str) -> list[dict[str, Any]]:
        """Compare the other models with one on the same items, paired; return the rows.

        Raises:
            InputError: a study without per-item answers, or a model it did not measure.
        """
        from ..studies.compare import compare_models

        check_against(model, self.definition, list({r.model_name: None for r in self.records}))
        return compare_models(self.definition, self.records, model)

    @property
    def title(self) -> str:
        """Line above the table in a notebook."""
        return f"{self.definition.name}: {self.definition.question}"

    @property
    def notes(self) -> Sequence[str]:
        """Lines below the table in a notebook."""
        return self.published


def study(
    name: str,
    models: str | Path | Sequence[str | Path],
    *,
    out: str | Path = "studies",
    dtype: str = "float32",
    device: str | None = None,
    leaderboard: str | Path | None = None,
    cell: int | None = None,
    progress: bool = True,
    command: str = COMMAND,
    **settings: Any,
) -> StudyResult:
    """Run a study on checkpoints; ``growloop study`` prints this result.

    Results are stored below ``out``, so that a stopped study goes on and a finished one is read.

    Args:
        name: name of a study; ``growloop study list`` has all.
        models: hub ids, folders, GGUF files or ``package:NAME``.
        out: folder of records.
        dtype, device: what models are loaded to.
        leaderboard: folder of records to add what models are compared by to.
        cell: number of the only cell to measure.
        progress: show messages and bars on standard error.
        command: command stored in records.
        settings: options of the study, named as on the command line with underscores.

    Raises:
        InputError: an unknown study or option, or models that it cannot measure.

    Example::

        result = growloop.study("contributions", ["./plain", "./looped"], items=8)
        result.chart()
    """
    require_extra("eval", "a study")
    definition, options = study_and_options(name, settings)
    cells = plan_cells(definition, options, models)
    one_of("dtype", dtype, DTYPES)
    check_store(leaderboard, cell)
    if cell is not None:
        if not isinstance(cell, int) or not 0 <= cell < len(cells):
            raise InputError(f"cell is a number from 0 to {len(cells) - 1}, not {shown(cell)}")
        cells = [cells[cell]]
    check_places(out, leaderboard)
    from ..studies.runner import run_study

    say = _say if progress else lambda text: None
    records = run_study(definition, cells, options, out, command, say, dtype, device, progress)
    published = () if leaderboard is None else publish(records, leaderboard)
    return StudyResult(definition, tuple(records), published)


def study_and_options(name: str, settings: dict[str, Any]) -> tuple[StudyDefinition, Any]:
    """Return a study and its options.

    Raises:
        InputError: an unknown study, or an unknown or bad option.
    """
    from dataclasses import fields

    from ..studies.catalog import find

    definition = find(name)
    names: dict[str, str] = {}
    for each in fields(definition.options):
        flags = [flag for flag in each.metadata["flags"] if flag.startswith("--")]
        flag = flags[0][2:].replace("-", "_") if flags else each.name
        names |= {flag: each.name, each.name: each.name}
    given: dict[str, Any] = {}
    for setting, value in settings.items():
        if setting not in names:
            raise unknown(f"option of {name}", setting, names)
        if names[setting] in given:
            raise InputError(f"{setting} is given twice")
        given[names[setting]] = value
    defaults = {each.name: each.default for each in fields(definition.options)}
    given = {
        option: _as_default(option, value, defaults[option]) for option, value in given.items()
    }
    return definition, definition.options(**given)


def _as_default(option: str, value: Any, default: Any) -> Any:
    """Bring the value of an option to the type of its default: tuple, text, number or flag.

    Several values may be a list, a tuple, text with commas, or a single one; a block a pair.

    Raises:
        InputError: a value of another type.
    """
    if isinstance(default, tuple):
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        several = tuple(value) if isinstance(value, (list, tuple, range)) else (value,)
        kind = type(default[0]) if default else None
        if kind is not None and not all(_is_of(kind, each) for each in several):
            raise InputError(f"{option} takes values such as {shown(default)}, not {shown(value)}")
        return several
    if option == "block" and isinstance(value, (list, tuple)) and len(value) == 2:
        return f"{value[0]}:{value[1]}"
    if isinstance(value, Path):
        value = str(value)
    textual = default is None and option in TEXTS
    if value is not None and (textual or isinstance(default, str)) and not isinstance(value, str):
        raise InputError(f"{option} is text, not {shown(value)}")
    return value


def _is_of(kind: type, value: Any) -> bool:
    """Return whether a value may stand for the type of a default; integers for floats too."""
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def plan_cells(
    definition: StudyDefinition, options: Any, models: str | Path | Sequence[str | Path]
) -> list[StudyCell]:
    """Return the cells of a study on models.

    Raises:
        InputError: no models, a loaded model, or models that the study cannot measure.
    """
    from ..studies.checkpoints import read_models

    paths = [models] if isinstance(models, (str, Path)) else models
    if not isinstance(paths, (list, tuple)) or not all(isinstance(p, (str, Path)) for p in paths):
        raise InputError(
            "a study measures checkpoints by name or path: save a loaded model, and give its folder"
        )
    if not paths:
        raise InputError("a study needs at least one model")
    return definition.plan(read_models([str(path) for path in paths]), options)


def publish(records: Sequence[StudyRecord], leaderboard: str | Path) -> tuple[str, ...]:
    """Add what models are compared by to a leaderboard; return lines on what was added."""
    from ..leaderboard import Store
    from ..studies.publish import leaderboard_records, missing_reasons
    from ..studies.records import apply_to_records

    published = apply_to_records(leaderboard_records, records)
    added = Store(str(leaderboard)).add(published)
    there = len({record.id for record in published}) - added
    line = f"{added:,} records added to {leaderboard}, {there:,} were there already"
    return (line, *missing_reasons(records))


def check_store(folder: str | Path | None, cell: int | None = None) -> None:
    """Refuse a path that is not a folder of records, before the slow part.

    Raises:
        InputError: it is none, or a single cell is measured.
    """
    if folder is None:
        return
    from ..leaderboard import Store

    require_extra("leaderboard", "a leaderboard")
    if cell is not None:
        raise InputError(
            "--leaderboard needs all cells, --cell measures one: when all are done, growloop study "
            "publish adds them"
        )
    Store(str(folder)).scan()


def check_places(*places: str | Path | None) -> None:
    """Refuse paths that cannot be written, before the slow part.

    Raises:
        InputError: naming the first one.
    """
    for place in places:
        if not place:
            continue
        path = Path(place).absolute()
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        if there.is_file() and there != path:
            raise InputError(f"{place} is below a file")
        if not os.access(there, os.W_OK):
            raise InputError(f"{place} cannot be written")


def check_against(against: str, definition: StudyDefinition, models: Sequence[str]) -> None:
    """Check that the reference model is one of the models.

    Raises:
        InputError: it is not, or the study keeps no answers.
    """
    if definition.conditions is None:
        raise InputError(f"{definition.name} keeps no answers to compare models by")
    if against not in models:
        raise unknown("model", against, models)
    if len(models) < 2:
        raise InputError("--against compares models: give two or more")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
