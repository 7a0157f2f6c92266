"""Identify the models of records, and give each model a unique name.

Records with the same digest (or the same commit of a hub model) are of one model. Runs that differ
in their seed only share a key, so they form one line of the leaderboard. Older records without a
digest are identified by their description, and join the model with that description if there is
exactly one. If several models have the same label, a short distinguishing suffix is appended.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from .records import Model, Record

Key = tuple[str, ...]
"""Identity of a model, equal for runs that differ in their seed only."""
MAX_SUFFIX = 60  # characters of each part of a suffix
DescribedModel = tuple[str, Model]
"""``measured`` or ``reported``, and a model as a record describes it."""


class ModelIdentities:
    """Models of a set of records.

    Args:
        records: all records that are shown or compared together.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        newest: dict[DescribedModel, tuple[float, str]] = {}
        for record in records:
            model = record.kind, record.model
            newest[model] = max(newest.get(model, (-1.0, "")), (_seconds(record), record.id))
        self._models = _best_descriptions(newest)
        self._keys = _model_keys(set(self._models.values()))

    @cached_property
    def _suffixes(self) -> dict[Key, str]:
        return _label_suffixes(self._keys)

    def model(self, record: Record) -> Model:
        """Return a record's model, described by the most complete record of the same content."""
        return self._models[record.kind, record.model][1]

    def key(self, record: Record) -> Key:
        """Return the key of a record's model, the same for all training seeds."""
        return self._keys[self._models[record.kind, record.model]]

    def measurement_key(self, record: Record) -> tuple[object, ...]:
        """Return model, seed, task and conditions: equal for repeats of the same measurement."""
        return self.key(record), self.model(record).seed, record.task.key, record.measurement

    def suffix(self, record: Record) -> str:
        """Return the suffix that makes the label of a record's model unique; often empty."""
        return self._suffixes[self.key(record)]

    def label(self, record: Record) -> str:
        """Return the unique name of a record's model."""
        return model_label(self.model(record)) + self.suffix(record)


def model_label(model: Model) -> str:
    """Return the name of a model with its size and recipe, which two models may share."""
    size = f" {model.size}" if model.size and model.size not in model.name else ""
    return f"{model.name}{size}" + (f" ({model.recipe})" if model.recipe else "")


def _seconds(record: Record) -> float:
    return record.time.timestamp() if record.time else 0.0


def _best_descriptions(
    newest: dict[DescribedModel, tuple[float, str]],
) -> dict[DescribedModel, DescribedModel]:
    """Map each description to the most complete description of the same content."""
    by_content: dict[tuple[str, ...], list[DescribedModel]] = defaultdict(list)
    best: dict[DescribedModel, DescribedModel] = {}
    for described in newest:
        if described[1].content is None:
            best[described] = described
        else:
            by_content[(described[0], *described[1].content)].append(described)
    for same in by_content.values():
        most_complete = same[0]
        if len(same) > 1:
            most_complete = max(same, key=lambda m: (_field_count(m[1]), newest[m]))
        best |= dict.fromkeys(same, most_complete)
    return best


def _field_count(model: Model) -> int:
    """Number of fields that differ from their defaults."""
    return len(model.model_dump(exclude_defaults=True))


def _model_keys(models: set[DescribedModel]) -> dict[DescribedModel, Key]:
    """Map each model to its key."""
    by_description: dict[Key, list[DescribedModel]] = defaultdict(list)
    for described in models:
        by_description[(described[0], *described[1].described)].append(described)
    keys: dict[DescribedModel, Key] = {}
    for description, same in by_description.items():
        by_training: dict[str, list[DescribedModel]] = defaultdict(list)
        for described in same:
            if described[1].content is not None or described[1].training is not None:
                by_training[described[1].training or ""].append(described)
        for training, trained in by_training.items():
            keys |= _keys_of_training((*description, training), trained)
        described_keys = {keys[described] for described in same if described in keys}
        key = next(iter(described_keys)) if len(described_keys) == 1 else description
        keys |= {described: key for described in same if described not in keys}
    return keys


def _keys_of_training(key: Key, models: Sequence[DescribedModel]) -> dict[DescribedModel, Key]:
    """Give models that differ in their seed only one key; one each if a seed has several models."""
    contents: dict[int | None, set[tuple[str, ...]]] = defaultdict(set)
    for _, model in models:
        if model.content is not None:
            contents[model.seed].add(model.content)
    if all(len(same) == 1 for same in contents.values()):
        return dict.fromkeys(models, key)
    return {described: (*key, *(described[1].content or ())) for described in models}


SUFFIX_PARTS: tuple[Callable[[Model], str | None], ...] = (
    lambda model: None if model.step is None else f"step {model.step}",
    lambda model: model.changes,
    lambda model: model.schedule,
    lambda model: None if model.revision is None else model.revision[:12],
    lambda model: "/".join(model.folder[-2:-1]) or None,
    lambda model: "/".join(model.folder[-3:-1]) or None,
    lambda model: "/".join(model.folder[:-1]) or None,
    lambda model: model.digest and model.digest[:8],
    lambda model: model.family,
    lambda model: model.source,
    lambda model: model.training and model.training[:8],
)
"""Parts of a suffix, in order of preference; the first that distinguishes the models is used."""


def _label_suffixes(keys: dict[DescribedModel, Key]) -> dict[Key, str]:
    """Map each key to the suffix of its label."""
    by_label: dict[tuple[str, str], dict[Key, Model]] = defaultdict(dict)
    for (kind, model), key in sorted(keys.items(), key=lambda item: repr(item[0])):
        by_label[kind, model_label(model)].setdefault(key, model)
    return {
        key: text for same in by_label.values() for key, text in _distinct_suffixes(same).items()
    }


def _distinct_suffixes(models: dict[Key, Model]) -> dict[Key, str]:
    """Return the shortest suffixes that distinguish models of one label."""
    for count in (0, 1, 2, 3):
        for parts in itertools.combinations(SUFFIX_PARTS, count):
            texts = {
                key: ", ".join(text[:MAX_SUFFIX] for part in parts if (text := part(model)))
                for key, model in models.items()
            }
            if len(set(texts.values())) == len(texts):
                return {key: f" [{text}]" if text else "" for key, text in texts.items()}
    order = sorted(models)
    return {key: f" [{number}]" if number else "" for number, key in enumerate(order)}
