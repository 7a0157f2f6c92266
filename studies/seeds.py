"""Several trainings of one run with different seeds: their mean, and how sure it is.

A checkpoint says in ``training.json`` which run it is of, and with which seed. Trainings that
differ in nothing but name and seed are one kind. For a kind a study's table has the mean over seeds
with Student's t-interval, and for two kinds the mean of the differences of equal seeds; a chart has
one line. A single training is shown as it is.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..core.statistics import SHARE, Interval, seeds_interval
from ..core.strict_json import loads
from .intervals import ends

if TYPE_CHECKING:
    from .checkpoints import Model
    from .study import Record, Table

    MakesTable = Callable[[Sequence[Record]], Table]
    Within = Interval | Callable[[dict[str, Any]], Interval | None] | None

IDLE = {
    "name", "seed", "micro_batch_size", "parallel", "compile", "gradient_checkpointing",
    "log_every", "validate_every", "trackers", "checkpoints",
}  # fmt: skip
"""What two trainings of a kind may differ in, beside where their files are."""
KEPT = ("n", "texts", "chance")  # columns that say what a mean over seeds is of


@dataclass(frozen=True)
class Training:
    """What a checkpoint says of its training.

    Args:
        kind: name of the run, without its seed.
        seed: of weights and data.
        recipe: a digest of all else that decided the weights.
    """

    kind: str
    seed: int
    recipe: str

    @classmethod
    def read(cls, path: str) -> Training | None:
        """Of a folder; None for what was not made by ``growloop train``."""
        try:
            told = loads((Path(path) / "training.json").read_text(encoding="utf-8"))
            run = told["run"]
            name, seed = str(run["name"]), int(run["seed"])
            kept = {key: value for key, value in run.items() if key not in IDLE}
            kept |= {"model": _placeless(run.get("model"), "path"), "step": told.get("step")}
            kept |= {"data": _placeless(run.get("data"), "sources", "examples", "validation")}
            kept |= _began_with(run)
            kept["events"] = [_change(event) for event in run.get("events") or ()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None
        digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]
        return cls(seedless(name, seed), seed, digest)


def seedless(name: str, seed: int) -> str:
    """The name of a run without its seed.

    >>> seedless("standard-s1", 1), seedless("loop_seed-2", 2), seedless("standard-s1", 3)
    ('standard', 'loop', 'standard-s1')
    """
    return re.sub(rf"[-_.](?:s|seed)[-_]?{seed}$", "", name) or name


def _placeless(part: Any, *places: str) -> Any:
    """A part of a run file without where its files are."""
    if not isinstance(part, dict):
        return part
    return part | {name: sorted(part[name]) if isinstance(part.get(name), dict)
                   else part.get(name) is not None for name in places}  # fmt: skip


def _began_with(run: dict[str, Any]) -> dict[str, Any]:
    """Of a run that goes on from a checkpoint: the kind of that, and the name of its examples."""
    path, data = (run.get("model") or {}).get("path"), run.get("data") or {}
    if path is None:
        return {}
    base = Training.read(path)
    name = data.get("examples") and Path(data["examples"]).name
    return {"base": path if base is None else [base.kind, base.recipe], "examples": name}


def _change(event: dict[str, Any]) -> dict[str, Any]:
    """An event without what only looks at the model."""
    return {key: value for key, value in event.items() if key not in ("evaluate", "checkpoint")}


@dataclass(frozen=True)
class Kind:
    """Trainings that differ in their seed alone.

    Args:
        name: of the run.
        models: seed to the name of a model; two or more.
    """

    name: str
    models: dict[int, str]

    @property
    def label(self) -> str:
        """In a legend."""
        return f"{self.name} ({len(self.models)} seeds)"


def named(models: Sequence[Model]) -> list[Model]:
    """Models with names that records can tell apart: equal ones get their seeds, or steps.

    Raises:
        InputError: names that stay equal; trainings that are the same.
    """
    count = Counter((model.name, model.training and model.training.kind) for model in models)
    found = []
    for model in models:
        told = model.training
        if told is not None and count[model.name, told.kind] > 1:
            model = replace(model, name=f"{model.name}-s{told.seed}")
        found.append(model)
    if len(twice := Counter(model.path for model in found)) < len(found):
        raise InputError(f"{twice.most_common(1)[0][0]} is given twice")
    names = Counter(model.name for model in found)
    found = [_at_step(model) if names[model.name] > 1 else model for model in found]
    if len({model.name for model in found}) < len(found):
        raise InputError("two of the models have the same name: rename their folders")
    _check_kinds(found)
    return found


def _at_step(model: Model) -> Model:
    """Told from other checkpoints of its run."""
    step = re.search(r"step-0*(\d+)/*$", model.path)
    return model if step is None else replace(model, name=f"{model.name}@{step[1]}")


def _check_kinds(models: Sequence[Model]) -> None:
    """Refuse kinds whose seeds cannot be averaged."""
    by_recipe: dict[tuple[str, str], list[Model]] = {}
    for model in models:
        if model.training is not None:
            key = model.training.kind, model.training.recipe
            by_recipe.setdefault(key, []).append(model)
    kinds: set[str] = set()
    for (kind, _), alike in by_recipe.items():
        seeds: dict[int, str] = {}
        for model in alike:
            assert model.training is not None
            if model.training.seed in seeds and len({m.training for m in alike}) > 1:
                raise InputError(
                    f"{seeds[model.training.seed]} and {model.name} are the same training, seed "
                    f"{model.training.seed} of {kind}: leave one out"
                )
            seeds[model.training.seed] = model.name
        if len(seeds) > 1:
            if kind in kinds:
                raise InputError(
                    f"the models are of two different runs that are both called {kind}, each with "
                    "several seeds: give them in two calls"
                )
            kinds.add(kind)


def kinds_of(records: Sequence[Record]) -> list[Kind]:
    """The kinds with two or more seeds among the models of records."""
    found: dict[tuple[str, str], dict[int, str]] = {}
    for record in records:
        if told := record.get("training"):
            models = found.setdefault((told["kind"], told["recipe"]), {})
            models[told["seed"]] = record["cell"]["model"]
    several = {key: models for key, models in found.items() if len(models) > 1}
    return [Kind(name, dict(sorted(models.items()))) for (name, _), models in several.items()]


def about(training: Training | None) -> dict[str, Any] | None:
    """What a record says of it."""
    return None if training is None else asdict(training)


def names(records: Sequence[Record]) -> list[str]:
    """What the legend of a chart lists: models, and a kind for those of several seeds."""
    label = _labels(kinds_of(records))
    models = [record["cell"]["model"] for record in records]
    return list(dict.fromkeys(label.get(model, model) for model in models))


def _labels(kinds: Sequence[Kind]) -> dict[str, str]:
    return {model: kind.label for kind in kinds for model in kind.models.values()}


def lines(
    records: Sequence[Record],
    values: Sequence[dict[str, Any]],
    *keys: str,
    of: Sequence[str] = ("value",),
    within: Within = None,
) -> list[dict[str, Any]]:
    """The values of a chart, with one line for each kind.

    Args:
        records: of the study.
        values: points with ``model``, ``keys``, numbers, ``low`` and ``high``.
        keys: what tells the points of a model apart.
        of: the numbers; the first has the interval.
        within: range of the first of them, for all rows or by row; None for one without bounds.
    """
    kinds = kinds_of(records)
    label = _labels(kinds)
    found = [value for value in values if value["model"] not in label]
    for kind in kinds:
        for rows in _by_key(values, kind, keys, of[0]).values():
            if len(rows) == len(kind.models):
                some = next(iter(rows.values()))
                means = {name: _average([row[name] for row in rows.values()]) for name in of}
                over = _interval(list(rows.values()), of[0], within)
                found.append({**some, "model": kind.label, **means, **over})
    order = {name: place for place, name in enumerate(names(records))}
    return sorted(found, key=lambda value: order[value["model"]])


def over_seeds(
    *keys: str,
    of: str = "value",
    means: Sequence[str] = (),
    within: Within = None,
) -> Callable[[MakesTable], MakesTable]:
    """Adds the means over seeds, and differences of kinds, to a study's table.

    Args:
        keys: columns that tell the rows of a model apart.
        of: the column whose interval is in ``low`` and ``high``.
        means: columns that are averaged without one.
        within: range of ``of``, for all rows or by row; None for one without bounds.
    """

    def decorate(table: MakesTable) -> MakesTable:
        @functools.wraps(table)
        def with_seeds(records: Sequence[Record]) -> Table:
            rows, kinds = table(records), kinds_of(records)
            by_key = [_by_key(rows, kind, keys, of) for kind in kinds]
            return [
                *rows,
                *(
                    _mean(f"{kind.name}: mean of {len(some)} seeds", some, None, keys, of, means,
                          within)
                    for kind, found in zip(kinds, by_key, strict=True)
                    for some in found.values()
                    if len(some) == len(kind.models)
                ),
                *(
                    _mean(f"{second.name} minus {first.name}: mean of {len(seeds)} seeds", mine,
                          theirs, keys, of, means, within)
                    for i, second in enumerate(kinds)
                    for j, first in enumerate(kinds[:i])
                    for key, mine in by_key[i].items()
                    if (theirs := by_key[j].get(key))
                    and len(seeds := mine.keys() & theirs.keys()) > 1
                ),
            ]  # fmt: skip

        return with_seeds

    return decorate


def _by_key(
    rows: Sequence[dict[str, Any]], kind: Kind, keys: Sequence[str], of: str
) -> dict[tuple[Any, ...], dict[int, dict[str, Any]]]:
    """What tells the rows of a model apart, to seed, to row; without rows that have no number."""
    seeds = {model: seed for seed, model in kind.models.items()}
    found: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["model"] in seeds and row.get(of, 0) is not None:
            key = tuple(row[name] for name in keys)
            found.setdefault(key, {})[seeds[row["model"]]] = row
    return found


def _mean(
    name: str,
    mine: dict[int, dict[str, Any]],
    theirs: dict[int, dict[str, Any]] | None,
    keys: Sequence[str],
    of: str,
    means: Sequence[str],
    within: Within,
) -> dict[str, Any]:
    """A row of means over seeds; with ``theirs``, of the differences of equal seeds."""
    seeds = sorted(mine if theirs is None else mine.keys() & theirs.keys())

    def values(column: str) -> list[float]:
        pairs = [(mine[s][column], theirs[s][column] if theirs else 0.0) for s in seeds]
        return [a - b for a, b in pairs if a is not None and b is not None]

    first = mine[seeds[0]]
    row: dict[str, Any] = dict.fromkeys(first) | {key: first[key] for key in keys}
    for column in KEPT if theirs is None else KEPT[:2]:
        if column in row and len({mine[seed][column] for seed in seeds}) == 1:
            row[column] = first[column]
    for column in means:
        if len(found := values(column)) == len(seeds):
            row[column] = statistics.fmean(found)
    found = values(of)
    mean = round(statistics.fmean(found), 12)  # differences that are 0 are
    if theirs is None:
        over = _interval([mine[seed] for seed in seeds], of, within)
    else:
        found = [round(value, 12) for value in found]
        over = ends(seeds_interval(found, _of_difference(_range(first, within))))
    return row | {"model": name, of: mean} | over


def _average(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value is not known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _interval(rows: Sequence[dict[str, Any]], of: str, within: Within) -> dict[str, float | None]:
    """Over seeds; of shares that do not differ the widest over items, of others none."""
    over = seeds_interval([row[of] for row in rows], _range(rows[0], within))
    items = [row.get(name) for row in rows for name in ("low", "high")]
    known = [end for end in items if end is not None]
    if over is None and _range(rows[0], within) == SHARE and len(known) == len(items):
        over = min(known), max(known)
    return ends(over)


def _range(row: dict[str, Any], within: Within) -> Interval | None:
    return within(row) if callable(within) else within


def _of_difference(within: Interval | None) -> Interval | None:
    """The range of a difference of two numbers of a range."""
    return None if within is None else (within[0] - within[1], within[1] - within[0])
