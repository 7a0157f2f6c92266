"""Group records that may be compared: same questions, training seed, study seed and precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ..model_identities import Key, ModelIdentities
from ..records import Record
from .claim import Comparison

PRECISIONS = ("float64", "float32", "bfloat16", "float16")  # most precise first


@dataclass(frozen=True)
class ComparableGroup:
    """Comparable records, one tuple per term of a comparison.

    Args:
        training_seed: seed of the training run.
        seed: seed of the evaluation or study.
        sides: per term, its records.
    """

    training_seed: int | None
    seed: int | None
    sides: tuple[tuple[Record, ...], ...]


@dataclass(frozen=True)
class _GroupKey:
    """Properties that all records of a group share.

    Args:
        questions: task key and matched fields.
        training_seed, seed: as in :class:`ComparableGroup`.
        arithmetic: precision and settings; None where FLOPs are compared.
    """

    questions: object
    training_seed: int | None
    seed: int | None
    arithmetic: tuple[str, str] | None


def comparable_groups(
    comparison: Comparison, sides: Sequence[Sequence[Record]], pattern: str
) -> list[ComparableGroup]:
    """Return the groups in which every term has records.

    Of a model measured in several precisions or settings, only the most frequent one is used: the
    same items again are not a further sample.

    Args:
        sides: per term, the records that pass its filter.
        pattern: shell patterns of task names, joined by ``|``.
    """
    patterns = pattern.split("|")
    models = ModelIdentities(record for side in sides for record in side)
    by_key: dict[_GroupKey, list[list[Record]]] = {}
    for place, side in enumerate(sides):
        for record in side:
            if comparison.quantity == "value" and not any(
                fnmatchcase(record.task.name, p) for p in patterns
            ):
                continue
            key = _GroupKey(
                _questions_key(comparison, record),
                models.model(record).seed,
                record.seed,
                record.arithmetic if comparison.quantity == "value" else None,
            )
            by_key.setdefault(key, [[] for _ in sides])[place].append(record)
    groups: list[tuple[_GroupKey, ComparableGroup]] = []
    for key, parts in by_key.items():
        parts = _keep_common_models(comparison, _select_levels(comparison, parts), models)
        if all(parts):
            group = ComparableGroup(key.training_seed, key.seed, tuple(map(tuple, parts)))
            groups.append((key, group))
    return _balance_training_seeds(_select_precision(groups), models)


def _select_precision(
    groups: Sequence[tuple[_GroupKey, ComparableGroup]],
) -> list[tuple[object, ComparableGroup]]:
    """Keep one precision and setting per question; return (questions, group) pairs."""
    counts = Counter((key.questions, key.arithmetic) for key, _ in groups)
    selected: dict[object, tuple[str, str] | None] = {}
    order = sorted(counts, key=lambda key: (-counts[key], _precision_rank(key[1])))
    for questions, arithmetic in order:
        selected.setdefault(questions, arithmetic)
    return [
        (key.questions, group) for key, group in groups if key.arithmetic == selected[key.questions]
    ]


def _precision_rank(arithmetic: tuple[str, str] | None) -> tuple[object, ...]:
    """Sort key: default settings first, then the most precise first."""
    if arithmetic is None:
        return ()
    dtype, settings = arithmetic
    place = PRECISIONS.index(dtype) if dtype in PRECISIONS else len(PRECISIONS)
    return bool(settings), place, dtype, settings


def _balance_training_seeds(
    groups: Sequence[tuple[object, ComparableGroup]], models: ModelIdentities
) -> list[ComparableGroup]:
    """Keep the questions, and per term the models, that all training seeds have.

    Then groups differ in their training seed only. Without any overlap all questions or
    models stay.
    """
    training_seeds = list(dict.fromkeys(group.training_seed for _, group in groups))
    questions = [
        {key for key, group in groups if group.training_seed == seed} for seed in training_seeds
    ]
    common = set.intersection(*questions) if questions else set()
    candidates = [group for key, group in groups if key in common or not common]
    balanced = list(candidates)
    for place in range(len(candidates[0].sides) if candidates else 0):
        shared = set.intersection(
            *(
                {
                    models.key(record)
                    for group in candidates
                    if group.training_seed == seed
                    for record in group.sides[place]
                }
                for seed in training_seeds
            )
        )
        if shared:
            balanced = [_keep_models(group, place, shared, models) for group in balanced]
    return [group for group in balanced if all(group.sides)]


def _keep_models(
    group: ComparableGroup, place: int, keys: set[Key], models: ModelIdentities
) -> ComparableGroup:
    """Keep only the records of some models in one term of a group."""
    sides = list(group.sides)
    sides[place] = tuple(record for record in sides[place] if models.key(record) in keys)
    return replace(group, sides=tuple(sides))


def _questions_key(comparison: Comparison, record: Record) -> tuple[object, ...]:
    """Return task key and matched fields, which must be equal for all records of a group."""
    task = record.task
    if comparison.vary == "shots":
        task = task.model_copy(update={"shots": None})
    questions: tuple[object, ...] = task.key if comparison.quantity == "value" else ()
    matched = []
    for name in comparison.match:
        of_model = name not in record.conditions and hasattr(record.model, name)
        matched.append(getattr(record.model, name) if of_model else record.conditions.get(name))
    return (*questions, *matched)


def _select_levels(comparison: Comparison, parts: list[list[Record]]) -> list[list[Record]]:
    """Keep per term the records at the lowest or highest common value of ``comparison.vary``."""
    if comparison.vary is None:
        return parts
    name = comparison.vary

    def level(record: Record) -> float | None:
        value = record.task.shots if name == "shots" else record.conditions.get(name)
        return float(value) if isinstance(value, (int, float)) else None

    common = set.intersection(*({level(record) for record in part} for part in parts)) - {None}
    levels = sorted(value for value in common if value is not None)
    if not levels:
        return [[] for _ in parts]
    if levels[0] == levels[-1] and len({term.level for term in comparison.terms}) > 1:
        return [[] for _ in parts]
    selected = {"least": levels[0], "most": levels[-1]}
    return [
        [record for record in part if term.level is None or level(record) == selected[term.level]]
        for term, part in zip(comparison.terms, parts, strict=True)
    ]


def _keep_common_models(
    comparison: Comparison, parts: list[list[Record]], models: ModelIdentities
) -> list[list[Record]]:
    """Keep, in terms of one side, only the models that all of them have."""
    kept = list(parts)
    for side in {term.side for term in comparison.terms} - {""}:
        places = [i for i, term in enumerate(comparison.terms) if term.side == side]
        common = set.intersection(*({models.key(r) for r in parts[i]} for i in places))
        for i in places:
            kept[i] = [record for record in parts[i] if models.key(record) in common]
    return kept
