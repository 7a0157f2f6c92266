"""Records that may be compared: the same questions, training, seed, precision and settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ..identities import Identities, Key
from ..records import Record
from .queries import Comparison

PRECISE = ("float64", "float32", "bfloat16", "float16")  # the first is the most precise


@dataclass(frozen=True)
class Group:
    """Comparable records of all terms, of one training and one seed of the measurement."""

    training: int | None
    seed: int | None
    sides: tuple[tuple[Record, ...], ...]


def groups_of(
    comparison: Comparison, sides: Sequence[Sequence[Record]], pattern: str
) -> list[Group]:
    """Where all terms have comparable records.

    Of a model that was measured in several precisions, or with several settings, those are taken
    that most groups have: the same items again are no further sample.
    """
    patterns = pattern.split("|")
    models = Identities(record for side in sides for record in side)
    by_key: dict[_Cell, list[list[Record]]] = {}
    for place, side in enumerate(sides):
        for record in side:
            if comparison.of == "value" and not any(
                fnmatchcase(record.task.name, p) for p in patterns
            ):
                continue
            cell = _Cell(
                _key(comparison, record),
                models.model(record).seed,
                record.seed,
                record.arithmetic if comparison.of == "value" else None,
            )
            by_key.setdefault(cell, [[] for _ in sides])[place].append(record)
    found: list[tuple[_Cell, Group]] = []
    for cell, parts in by_key.items():
        parts = _of_same_models(comparison, _at_levels(comparison, parts), models)
        if all(parts):
            found.append((cell, Group(cell.training, cell.seed, tuple(map(tuple, parts)))))
    return _of_all_trainings(_of_one_precision(found), models)


@dataclass(frozen=True)
class _Cell:
    """What the records of a group have in common.

    Args:
        alike: what they were asked, and whatever else must be alike.
        training: seed of it.
        seed: of the measurement.
        arithmetic: precision and settings.
    """

    alike: object
    training: int | None
    seed: int | None
    arithmetic: tuple[str, str] | None


def _of_one_precision(found: Sequence[tuple[_Cell, Group]]) -> list[tuple[object, Group]]:
    """For each question the groups of one precision, by what was asked."""
    counts = Counter((cell.alike, cell.arithmetic) for cell, _ in found)
    chosen: dict[object, tuple[str, str] | None] = {}
    for alike, arithmetic in sorted(counts, key=lambda key: (-counts[key], _precision(key[1]))):
        chosen.setdefault(alike, arithmetic)
    return [(cell.alike, group) for cell, group in found if cell.arithmetic == chosen[cell.alike]]


def _precision(arithmetic: tuple[str, str] | None) -> tuple[object, ...]:
    """The usual settings and the most precise first."""
    if arithmetic is None:
        return ()
    dtype, settings = arithmetic
    place = PRECISE.index(dtype) if dtype in PRECISE else len(PRECISE)
    return bool(settings), place, dtype, settings


def _of_all_trainings(found: Sequence[tuple[object, Group]], models: Identities) -> list[Group]:
    """The questions, and of each side the models, that every training has.

    So trainings differ in their seed alone; of models or questions that have none in common all
    are kept.
    """
    trainings = list(dict.fromkeys(group.training for _, group in found))
    keys = [{key for key, group in found if group.training == t} for t in trainings]
    common = set.intersection(*keys) if keys else set()
    groups = [group for key, group in found if key in common or not common]
    kept = list(groups)
    for place in range(len(groups[0].sides) if groups else 0):
        shared = set.intersection(
            *(
                {models.key(r) for g in groups if g.training == t for r in g.sides[place]}
                for t in trainings
            )
        )
        if shared:
            kept = [_only(group, place, shared, models) for group in kept]
    return [group for group in kept if all(group.sides)]


def _only(group: Group, place: int, some: set[Key], models: Identities) -> Group:
    """A group with some models of one side."""
    sides = list(group.sides)
    sides[place] = tuple(record for record in sides[place] if models.key(record) in some)
    return replace(group, sides=tuple(sides))


def _key(comparison: Comparison, record: Record) -> tuple[object, ...]:
    """What must be alike."""
    task = record.task
    if comparison.vary == "shots":
        task = task.model_copy(update={"shots": None})
    asked: tuple[object, ...] = task.key if comparison.of == "value" else ()
    alike = []
    for name in comparison.match:
        known = name not in record.conditions and hasattr(record.model, name)
        alike.append(getattr(record.model, name) if known else record.conditions.get(name))
    return (*asked, *alike)


def _at_levels(comparison: Comparison, parts: list[list[Record]]) -> list[list[Record]]:
    """The records with the least or the most of what varies that all terms have."""
    if comparison.vary is None:
        return parts
    name = comparison.vary

    def level(record: Record) -> float | None:
        found = record.task.shots if name == "shots" else record.conditions.get(name)
        return float(found) if isinstance(found, (int, float)) else None

    common = set.intersection(*({level(record) for record in part} for part in parts)) - {None}
    levels = sorted(found for found in common if found is not None)
    if not levels:
        return [[] for _ in parts]
    if levels[0] == levels[-1] and len({term.level for term in comparison.terms}) > 1:
        return [[] for _ in parts]
    chosen = {"least": levels[0], "most": levels[-1]}
    return [
        [record for record in part if term.level is None or level(record) == chosen[term.level]]
        for term, part in zip(comparison.terms, parts, strict=True)
    ]


def _of_same_models(
    comparison: Comparison, parts: list[list[Record]], models: Identities
) -> list[list[Record]]:
    """Of each side only models that all its terms have."""
    found = list(parts)
    for side in {term.side for term in comparison.terms} - {""}:
        places = [i for i, term in enumerate(comparison.terms) if term.side == side]
        common = set.intersection(*({models.key(r) for r in parts[i]} for i in places))
        for i in places:
            found[i] = [record for record in parts[i] if models.key(record) in common]
    return found
