"""Which records are of one model, and what each model is called.

Identity is content: records with one digest (or one commit of a hub model) are of one model, those
with different ones of different models; trainings that differ in their seed alone make one line.
Records without a digest, of the time before it, are told apart by what they say of their model, and
belong to the model of that description if there is but one. Names are labels: where several models
have one label, the shortest of what tells them apart is appended.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from .records import Model, Record

Key = tuple[str, ...]
"""Equal of records of one model, and of trainings of it that differ in their seed alone."""
LONGEST = 60  # characters of what is appended
Kind = tuple[str, Model]
"""Measured or reported, and a model as a record describes it."""


class Identities:
    """The models of some records.

    Args:
        records: all that are shown or compared together.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        newest: dict[Kind, tuple[float, str]] = {}
        for record in records:
            kind = record.kind, record.model
            newest[kind] = max(newest.get(kind, (-1.0, "")), (_seconds(record), record.id))
        self._models = _best_described(newest)
        self._keys = _keys(set(self._models.values()))

    @cached_property
    def _apart(self) -> dict[Key, str]:
        return _apart(self._keys)

    def model(self, record: Record) -> Model:
        """The model of a record, as the best of all records of the same content describes it."""
        return self._models[record.kind, record.model][1]

    def key(self, record: Record) -> Key:
        """Equal for records of one model, its seeds apart."""
        return self._keys[self._models[record.kind, record.model]]

    def cell(self, record: Record) -> tuple[object, ...]:
        """What was measured on what: the same again is a repetition, not a further sample."""
        return self.key(record), self.model(record).seed, record.task.key, record.asked

    def apart(self, record: Record) -> str:
        """What is appended to the label of a record's model, often nothing."""
        return self._apart[self.key(record)]

    def label(self, record: Record) -> str:
        """What the model of a record is called where several stand together."""
        return model_label(self.model(record)) + self.apart(record)


def model_label(model: Model) -> str:
    """What a model is called, if no other is called the same."""
    size = f" {model.size}" if model.size and model.size not in model.name else ""
    return f"{model.name}{size}" + (f" ({model.recipe})" if model.recipe else "")


def _seconds(record: Record) -> float:
    return record.time.timestamp() if record.time else 0.0


def _best_described(newest: dict[Kind, tuple[float, str]]) -> dict[Kind, Kind]:
    """For each model, as described, that description of its content which says most."""
    by_content: dict[tuple[str, ...], list[Kind]] = defaultdict(list)
    found: dict[Kind, Kind] = {}
    for kind in newest:
        if kind[1].content is None:
            found[kind] = kind
        else:
            by_content[(kind[0], *kind[1].content)].append(kind)
    for same in by_content.values():
        best = same[0]
        if len(same) > 1:
            best = max(same, key=lambda kind: (_fields(kind[1]), newest[kind]))
        found |= dict.fromkeys(same, best)
    return found


def _fields(model: Model) -> int:
    """How many fields say something."""
    return len(model.model_dump(exclude_defaults=True))


def _keys(models: set[Kind]) -> dict[Kind, Key]:
    by_description: dict[Key, list[Kind]] = defaultdict(list)
    for kind in models:
        by_description[(kind[0], *kind[1].described)].append(kind)
    found: dict[Kind, Key] = {}
    for described, some in by_description.items():
        by_training: dict[str, list[Kind]] = defaultdict(list)
        for kind in some:
            if kind[1].content is not None or kind[1].training is not None:
                by_training[kind[1].training or ""].append(kind)
        for training, trained in by_training.items():
            found |= _of_one_training((*described, training), trained)
        known = {found[kind] for kind in some if kind in found}
        own = next(iter(known)) if len(known) == 1 else described
        found |= {kind: own for kind in some if kind not in found}
    return found


def _of_one_training(key: Key, some: Sequence[Kind]) -> dict[Kind, Key]:
    """One key for models that differ in their seed alone; one each where a seed has several."""
    contents: dict[int | None, set[tuple[str, ...]]] = defaultdict(set)
    for _, model in some:
        if model.content is not None:
            contents[model.seed].add(model.content)
    if all(len(same) == 1 for same in contents.values()):
        return dict.fromkeys(some, key)
    return {kind: (*key, *(kind[1].content or ())) for kind in some}


TOLD: tuple[Callable[[Model], str | None], ...] = (
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
"""What tells models of one name apart, the first that does being appended to the name."""


def _apart(keys: dict[Kind, Key]) -> dict[Key, str]:
    """By key, what is appended to the label."""
    by_label: dict[tuple[str, str], dict[Key, Model]] = defaultdict(dict)
    for (kind, model), key in sorted(keys.items(), key=lambda item: repr(item[0])):
        by_label[kind, model_label(model)].setdefault(key, model)
    return {key: text for some in by_label.values() for key, text in _told(some).items()}


def _told(some: dict[Key, Model]) -> dict[Key, str]:
    for count in (0, 1, 2, 3):
        for chosen in itertools.combinations(TOLD, count):
            texts = {
                key: ", ".join(text[:LONGEST] for told in chosen if (text := told(model)))
                for key, model in some.items()
            }
            if len(set(texts.values())) == len(texts):
                return {key: f" [{text}]" if text else "" for key, text in texts.items()}
    order = sorted(some)
    return {key: f" [{number}]" if number else "" for number, key in enumerate(order)}
