"""Records that may be compared: of the same questions, the same training, the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from .queries import Comparison
from .records import Record


@dataclass(frozen=True)
class Group:
    """Comparable records of all terms, of one training and one seed of the measurement."""

    training: int | None
    seed: int | None
    sides: tuple[tuple[Record, ...], ...]


def groups_of(
    comparison: Comparison, sides: Sequence[Sequence[Record]], pattern: str
) -> list[Group]:
    """Where all terms have comparable records."""
    patterns = pattern.split("|")
    by_key: dict[tuple[object, int | None, int | None], list[list[Record]]] = {}
    for place, side in enumerate(sides):
        for record in side:
            if comparison.of == "value" and not any(
                fnmatchcase(record.task.name, p) for p in patterns
            ):
                continue
            key = (_key(comparison, record), record.model.seed, record.seed)
            by_key.setdefault(key, [[] for _ in sides])[place].append(record)
    found: list[tuple[object, Group]] = []
    for (alike, training, seed), parts in by_key.items():
        parts = _of_same_models(comparison, _at_levels(comparison, parts))
        if all(parts):
            found.append((alike, Group(training, seed, tuple(map(tuple, parts)))))
    return _of_all_trainings(found)


def _of_all_trainings(found: Sequence[tuple[object, Group]]) -> list[Group]:
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
        models = set.intersection(
            *(
                {r.model.identity for g in groups if g.training == t for r in g.sides[place]}
                for t in trainings
            )
        )
        if models:
            kept = [_only(group, place, models) for group in kept]
    return [group for group in kept if all(group.sides)]


def _only(group: Group, place: int, models: set[tuple[str, ...]]) -> Group:
    """A group with some models of one side."""
    sides = list(group.sides)
    sides[place] = tuple(record for record in sides[place] if record.model.identity in models)
    return replace(group, sides=tuple(sides))


def _key(comparison: Comparison, record: Record) -> tuple[object, ...]:
    """What must be alike."""
    task = record.task
    if comparison.vary == "shots":
        task = task.model_copy(update={"shots": None})
    asked: tuple[object, ...] = task.key if comparison.of == "value" else ()
    alike = []
    for name in comparison.match:
        known = hasattr(record.model, name)
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


def _of_same_models(comparison: Comparison, parts: list[list[Record]]) -> list[list[Record]]:
    """Of each side only models that all its terms have."""
    found = list(parts)
    for side in {term.side for term in comparison.terms} - {""}:
        places = [i for i, term in enumerate(comparison.terms) if term.side == side]
        common = set.intersection(*({r.model.identity for r in parts[i]} for i in places))
        for i in places:
            found[i] = [record for record in parts[i] if record.model.identity in common]
    return found
