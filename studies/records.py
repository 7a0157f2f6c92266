"""Records of study cells: one JSON file a cell, written whole.

A :class:`StudyRecord` holds what a cell measured as :class:`Row` objects, with the model, the
command and everything else that decided the numbers. ``to_json`` gives back the fields of the file
that ``from_json`` read, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from ..core.errors import InputError, shown
from ..core.identity import listed
from ..core.strict_json import SEAL, read_object, seal_problem, short
from .cells import StudyCell
from .runs import RunIdentity

FORMAT = "growloop study"
VERSION = 1
NO_CONTROL = "none"
MISSING: Any = object()
Result = TypeVar("Result")
NUMBER = (int, float)


class DamagedFieldError(ValueError):
    """Missing field of a record, or one of another type; the message names it."""


@dataclass(frozen=True)
class Row:
    """Number of a record, with its interval and the items it was measured on.

    Attributes hold the columns that several studies share. A study's own columns, such as
    ``start`` or ``loops``, are read with ``row["start"]``.

    >>> row = Row("acc", 0.5, 8, task="copying", answers="11110000", columns={"loops": 2})
    >>> row.value, row["loops"], row.correct[:5]
    (0.5, 2, [True, True, True, True, False])

    Args:
        metric: name of the metric.
        value: the number.
        n: number of items (questions, prompts or pairs of layers) that ``value`` is a mean of.
        task: label of the task; empty for a measurement on texts or weights.
        version: version of the task.
        fingerprint: digest of the items.
        texts: source of a diagnostic's prompts.
        split, seed: split of the items, and seed that drew them.
        shots, prompting: number of examples in the prompt, and how it differs from the task's own.
        chance: chance level.
        stderr: standard error over items.
        low, high: ends of the 95 % interval; None where there is none.
        answers: per-item correctness, one character 0 or 1 per item.
        each: value of each prompt.
        control: counterfactual control of the questions; ``none`` for questions as they are.
        of: original task of a control task; None for a row that is not a control.
        schedule: schedule that ran; None for the model's own, where the study does not
            record it.
        difference, p: paired difference to the reference row, and its p-value.
        columns: the study's own columns.
        names: columns in the order of the file; by default the order above.
    """

    metric: str
    value: float
    n: int
    task: str = ""
    version: int | str | None = None
    fingerprint: str | None = None
    texts: str | None = None
    split: str | None = None
    seed: int | None = None
    shots: int | None = None
    prompting: str | None = None
    chance: float | None = None
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    answers: str = ""
    each: Sequence[float] = ()
    control: str = NO_CONTROL
    of: str | None = None
    schedule: str | None = None
    difference: float | None = None
    p: float | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.names:
            shared = (name for name, default in _SHARED.items() if getattr(self, name) != default)
            object.__setattr__(self, "names", (*shared, *self.columns))

    @classmethod
    def make(cls, **columns: Any) -> Row:
        """Build a row from its columns, shared and the study's own, in the order given."""
        return cls.from_json(columns)

    @classmethod
    def from_json(cls, columns: Mapping[str, Any], where: str = "row") -> Row:
        """Read the columns of a row.

        Args:
            where: place of the row in its file, for messages.

        Raises:
            DamagedFieldError: a shared column is missing or of another type.
        """
        if not isinstance(columns, Mapping):
            raise DamagedFieldError(f"{where} is {shown(columns)}, not a row")
        shared: dict[str, Any] = {}
        for name, types in _TYPES.items():
            value = columns.get(name, MISSING)
            if value is MISSING:
                if _SHARED[name] is MISSING:
                    raise DamagedFieldError(f"{where}.{name} is missing")
                continue
            if not isinstance(value, types) or isinstance(value, bool):
                raise DamagedFieldError(f"{where}.{name} is {shown(value)}")
            shared[name] = value
        own = {name: value for name, value in columns.items() if name not in _TYPES}
        return cls(**shared, columns=own, names=tuple(columns))

    def to_json(self) -> dict[str, Any]:
        """Return all columns, in the order of the file."""
        return {name: self[name] for name in self.names}

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Any:
        if name not in self.names:
            raise KeyError(name)
        return getattr(self, name) if name in _TYPES else self.columns[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a column by name, or ``default`` where the row has none."""
        return self[name] if name in self.names else default

    def replace(self, **columns: Any) -> Row:
        """Return the row with some columns changed or added."""
        return Row.from_json({**self.to_json(), **columns})

    @property
    def correct(self) -> list[bool]:
        """Per-item correctness."""
        return [answer == "1" for answer in self.answers]


_TYPES: dict[str, tuple[type, ...]] = {
    "metric": (str,), "value": NUMBER, "n": (int,), "task": (str,),
    "version": (int, str, type(None)), "fingerprint": (str, type(None)),
    "texts": (str, type(None)), "split": (str, type(None)), "seed": (int, type(None)),
    "shots": (int, type(None)), "prompting": (str, type(None)), "chance": (*NUMBER, type(None)),
    "stderr": (*NUMBER, type(None)), "low": (*NUMBER, type(None)), "high": (*NUMBER, type(None)),
    "answers": (str,), "each": (list, tuple), "control": (str,), "of": (str, type(None)),
    "schedule": (str, type(None)), "difference": (*NUMBER, type(None)),
    "p": (*NUMBER, type(None)),
}  # fmt: skip
"""Shared columns of rows, with the types their values have."""
_SHARED: dict[str, Any] = {
    known.name: known.default if known.name not in ("metric", "value", "n") else MISSING
    for known in fields(Row)
    if known.name in _TYPES
}
"""Shared columns of rows, with their defaults; MISSING for those every row has."""


@dataclass(frozen=True)
class ModelFacts:
    """Facts about the measured model, as it was loaded.

    Args:
        architecture: class name of the model.
        schedule: schedule it ran by, in the paper's notation.
        layers: unique layer of each step.
        unique_layers, effective_depth: number of unique layers, and of steps.
        unique_parameters: parameters, tied layers counted once.
        dtype, device: what it was loaded to.
    """

    architecture: str
    schedule: str
    layers: list[int]
    unique_layers: int
    effective_depth: int
    unique_parameters: int
    dtype: str
    device: str | None = None

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> ModelFacts:
        """Read the field ``model`` of a record.

        Raises:
            DamagedFieldError: a fact is missing or of another type.
        """
        types: dict[str, tuple[type, ...]] = {
            "architecture": (str,), "schedule": (str,), "layers": (list,), "unique_layers": (int,),
            "effective_depth": (int,), "unique_parameters": (int,), "dtype": (str,),
        }  # fmt: skip
        known = {name: _typed(facts, name, kinds, "model.") for name, kinds in types.items()}
        return cls(**known, device=facts.get("device"))


@dataclass(frozen=True)
class StudyRecord:
    """Record of one cell.

    >>> record.rows[0].value  # doctest: +SKIP
    0.5

    Args:
        cell: the measured cell.
        id: name of the cell, as its file has it.
        model: facts about the measured model.
        rows: the measured numbers.
        data: further data of charts and the leaderboard; depends on the study.
        command: command line that measured it.
        growloop: version of growloop that measured it.
        weights: identity of the cell's model files (``files``, ``sha256``); None of a hub id.
        run: identity of the training run that made the cell's model.
        leaderboard: description and costs of the model for the leaderboard; None in older records.
        versions: versions of packages.
        time: when it was measured, in ISO 8601.
        seconds: wall-clock time of the measurement.
        checkpoint: path of the measured checkpoint where the study trained one.
        sealed: whether the file holds a SHA-256 of its content; older records do not.
    """

    cell: StudyCell
    id: str
    model: ModelFacts
    rows: tuple[Row, ...]
    data: Mapping[str, Any]
    command: str
    growloop: str = ""
    weights: Mapping[str, Any] | None = None
    run: RunIdentity | None = None
    leaderboard: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    time: str | None = None
    seconds: float | None = None
    checkpoint: str | None = None
    sealed: bool = field(default=False, repr=False, compare=False)

    @property
    def study(self) -> str:
        """Name of the study."""
        return self.cell.study

    @property
    def model_name(self) -> str:
        """Name of the model in tables and charts."""
        return self.cell.model

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of the cell."""
        return self.cell.params

    @property
    def weights_digest(self) -> str | None:
        """SHA-256 of the model's files; None where it is not known."""
        return None if self.weights is None else self.weights.get("sha256")

    @classmethod
    def read(cls, path: str | Path) -> StudyRecord:
        """Read a record from its file.

        A damaged record raises an error; it is never measured again silently.

        Raises:
            InputError: a file that is not a record, or a damaged one; names the file and the field.
        """
        try:
            content = read_object(Path(path))
            if problem := seal_problem(content):
                raise DamagedFieldError(problem)
            return cls.from_json(content)
        except ValueError as error:
            reason = short(str(error).removeprefix(f"{path} is damaged: "))
            raise InputError(f"{path} is not a study record ({reason}): move it away") from error

    @classmethod
    def from_json(cls, content: Any) -> StudyRecord:
        """Read the fields of a record file.

        Raises:
            DamagedFieldError: naming the field that is missing or of another type.
        """
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            raise DamagedFieldError(f"its format is not '{FORMAT}'")
        cell = _typed(content, "cell", (Mapping,))
        strings = {name: _typed(cell, name, (str,), "cell.") for name in ("model", "path")}
        mappings = {name: _typed(cell, name, (dict,), "cell.") for name in ("params", "options")}
        rows = _typed(content, "rows", (list,))
        training = _typed(content, "training", (Mapping, type(None)), default=None)
        return cls(
            cell=StudyCell(_typed(content, "study", (str,)), **strings, **mappings),
            id=_typed(cell, "id", (str,), "cell."),
            model=ModelFacts.from_json(_typed(content, "model", (Mapping,))),
            rows=tuple(Row.from_json(row, f"rows[{place}]") for place, row in enumerate(rows)),
            data=_typed(content, "data", (dict,)),
            command=_typed(content, "command", (str,)),
            growloop=_typed(content, "growloop", (str,), default=""),
            weights=_typed(content, "weights", (dict, type(None)), default=None),
            run=None if training is None else _run(training),
            leaderboard=_typed(content, "leaderboard", (dict, type(None)), default=None),
            versions=_typed(content, "versions", (dict,), default={}),
            time=_typed(content, "time", (str, type(None)), default=None),
            seconds=_typed(content, "seconds", (*NUMBER, type(None)), default=None),
            checkpoint=_typed(content, "checkpoint", (str, type(None)), default=None),
            sealed=SEAL in content,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields of the record file, in its order."""
        trained = {} if self.checkpoint is None else {"checkpoint": self.checkpoint}
        return {
            "format": FORMAT,
            "version": VERSION,
            "growloop": self.growloop,
            "study": self.study,
            "cell": {"id": self.id, **asdict(self.cell)},
            "model": asdict(self.model),
            "weights": self.weights,
            "training": None if self.run is None else asdict(self.run),
            "leaderboard": self.leaderboard,
            "versions": dict(self.versions),
            "command": self.command,
            "time": self.time,
            "seconds": self.seconds,
            "rows": [row.to_json() for row in self.rows],
            "data": self.data,
            **trained,
        }


def _typed(
    content: Mapping[str, Any],
    name: str,
    types: tuple[type, ...],
    place: str = "",
    default: Any = MISSING,
) -> Any:
    """Return a field that has one of the types; ``default`` where it is missing.

    Raises:
        DamagedFieldError: a missing field without a default, or a value of another type.
    """
    value = content.get(name, default)
    if value is MISSING:
        raise DamagedFieldError(f"{place}{name} is missing")
    if not isinstance(value, types):
        raise DamagedFieldError(f"{place}{name} is {shown(value)}")
    return value


def _run(training: Mapping[str, Any]) -> RunIdentity:
    return RunIdentity(
        _typed(training, "kind", (str,), "training."),
        _typed(training, "seed", (int,), "training."),
        _typed(training, "recipe", (str,), "training."),
    )


def record_path(cell: StudyCell, out: str | Path) -> Path:
    """Return the path of a cell's record below the folder ``--out``."""
    return Path(out) / "records" / cell.study / f"{cell.id}.json"


def apply_to_records(
    function: Callable[[Sequence[StudyRecord]], Result], records: Sequence[StudyRecord]
) -> Result:
    """Make a table, a chart or leaderboard records; report damage of old records in a sentence.

    Raises:
        InputError: the function fails, and some records are from before records were sealed.
    """
    try:
        return function(records)
    except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
        if getattr(error, "is_for_the_user", False):
            raise
        unsealed = [record.id for record in records if not record.sealed]
        if not unsealed:
            raise
        raise InputError(
            f"a record of {listed(unsealed)} is damaged ({type(error).__name__}: "
            f"{short(str(error))}): move it away to measure it again"
        ) from error
