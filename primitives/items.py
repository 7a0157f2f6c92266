"""What every primitive is: a frozen set of parameters that turns draws into columns of items.

``Task`` is one primitive with its parameters, ``Source`` one endless sequence of its items
(split and seed fixed), ``Batch`` a run of that sequence as columns, ``Item`` one element.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, shown, unknown, whole
from .bits import Array, Partition, draw, mix, stream_key
from .templating import Template
from .text import Column, Decimals, Piece, Slot, Table, escape, fill, squeeze, texts

MAX_SEED = 2**63 - 1
MAX_INDEX = 2**63 - 1
CONTROLS = ("none", "cut", "shuffled")
SAMPLE = 12  # items on which an own template is tried before it is used


def later(default: Any) -> Any:
    """A parameter that a task got after it had items.

    It stands in an item's parameters, and so in its coordinates, only where it is not the default:
    the items of the time before it stay what they are.
    """
    return dataclasses.field(default=default, metadata={"later": True})


@dataclass(frozen=True)
class Content:
    """``count`` items as columns.

    ``slots`` fill the prompt, ``choices`` (k, count) are codes of ``table``, and ``answer``
    (count,) says which choice is right. For a counterfactual control ``original`` (count,) is
    the answer of the item it was made from.
    """

    slots: dict[str, Column]
    table: Table
    choices: Array
    answer: NDArray[np.integer]
    original: NDArray[np.integer] | None = None


class Task(ABC):
    """One primitive with its parameters; a subclass is a frozen dataclass of them.

    Changing what a task writes for given parameters means raising its ``version``.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    summary: ClassVar[str]
    unkeyed: ClassVar[tuple[str, ...]] = ("control",)
    """Parameters that do not choose another item: a control shows the same one, altered."""
    delimiter: ClassVar[str] = " "
    """What stands between a prompt and its answer."""

    @property
    @abstractmethod
    def template(self) -> str:
        """Name of the packaged template."""

    @property
    @abstractmethod
    def partition(self) -> Partition:
        """The part of an item by which the splits are kept apart."""

    @abstractmethod
    def ranges(self, split: str) -> list[int]:
        """Ranges of the draws one item takes."""

    @abstractmethod
    def content(self, draws: Array, split: str) -> Content:
        """Items from draws ``(len(ranges), count)``."""

    @abstractmethod
    def context(self, slot: Callable[[str], str]) -> dict[str, Any]:
        """The template's variables, with ``slot(name)`` wherever an item's own text goes."""

    @property
    @abstractmethod
    def combinations(self) -> int:
        """How many different prompts there are over all splits (a lower bound)."""

    @property
    @abstractmethod
    def options(self) -> int:
        """How many choices an item has."""

    @abstractmethod
    def splits_of(self, prompts: list[str]) -> list[str]:
        """The split each prompt belongs to, worked out from what it states.

        For uncontrolled prompts in the packaged wording: a control has the split of the item
        it was made from.

        Raises:
            ValueError: a prompt is not of this task.
        """

    @property
    @abstractmethod
    def stem(self) -> tuple[str, tuple[str, ...]]:
        """A short name, and the parameters it already tells."""

    @property
    def label(self) -> str:
        """The name a result is reported under: the stem and what differs from the defaults.

        >>> make_task("variable_assignment", {"depth": 5, "order": "shuffled"}).label
        'variable_assignment_basic_d5:order=shuffled'
        """
        stem, told = self.stem
        try:
            defaults = type(self)(**{name: getattr(self, name) for name in told}).params
        except InputError:  # what the stem tells needs other parameters than the defaults
            defaults = type(self)().params
        rest = {k: v for k, v in self.params.items() if k not in told and v != defaults.get(k)}
        return ":".join([stem, *(f"{key}={value}" for key, value in rest.items())])

    @property
    def chance(self) -> float:
        return 1 / self.options

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as JSON-able values, without defaults of :func:`later` ones."""
        return {
            f.name: value
            for f in dataclasses.fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, f.name)) != f.default or not f.metadata.get("later")
        }

    @property
    def uncontrolled(self) -> Task:
        """The same task without a control."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}  # type: ignore[arg-type]
        return type(self)(**{**given, "control": "none"})

    @property
    def keyed(self) -> dict[str, Any]:
        """The parameters that choose the items."""
        return {k: v for k, v in self.params.items() if k not in self.unkeyed}

    def capacity(self, split: str) -> int:
        """How many different items ``split`` holds (a lower bound)."""
        return self.partition.share(self.combinations, split)


T = TypeVar("T", bound=type[Task])
TASKS: dict[str, type[Task]] = {}


def register(task: T) -> T:
    """Make a task known by its name."""
    TASKS[task.name] = task
    return task


def _converted(field: dataclasses.Field[Any], value: object) -> object:
    """``value``, read as the type of ``field`` where it is a string from a command line."""
    kind = str(field.type)
    given = value
    if isinstance(value, str) and "str" not in kind:
        text = value.strip().lower()
        if "None" in kind and text in {"none", "null", ""}:
            return None
        if "bool" in kind:
            value = {"true": True, "false": False, "1": True, "0": False}.get(text, value)
        else:
            value = int(text) if re.fullmatch(r"-?[0-9]{1,30}", text) else value
    wanted: tuple[type, ...] = (bool,) if "bool" in kind else (int,) if "int" in kind else (str,)
    if value is None and "None" in kind:
        return None
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        name = {bool: "true or false", int: "a whole number", str: "a text"}[wanted[0]]
        raise InputError(f"parameter {field.name} must be {name}, not {shown(given)}")
    return value


def make_task(name: str, params: Mapping[str, object] | None = None) -> Task:
    """A task by name; parameters may be strings, as they come from a command line.

    >>> make_task("variable_assignment", {"style": "code", "depth": "2"}).chance
    0.2

    Raises:
        InputError: unknown task or parameter, or a value that is not allowed.
    """
    if name not in TASKS:
        raise unknown("task", name, sorted(TASKS))
    kind = TASKS[name]
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
    given = {}
    for key, value in (params or {}).items():
        if key not in fields:
            raise unknown(f"parameter of {name}", key, fields)
        given[key] = _converted(fields[key], value)
    return kind(**given)


def params_text(params: Mapping[str, Any]) -> str:
    """Parameters as files hold them: JSON text, since they differ from task to task."""
    return json.dumps(params, ensure_ascii=False)


@dataclass(frozen=True)
class Item:
    """One question. ``answer`` is the index of the right one of ``choices``; ``target`` is it."""

    id: str
    task: str
    version: int
    split: str
    seed: int
    index: int
    params: dict[str, Any]
    prompt: str
    target: str
    choices: list[str]
    answer: int
    original_answer: int | None = None

    def record(self) -> dict[str, Any]:
        """The item as fingerprints count it: ``original_answer`` only under a control."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.original_answer is None:
            del fields["original_answer"]
        return fields

    def row(self) -> dict[str, Any]:
        """The item as files hold it: the same columns, of the same types, for every task.

        ``params`` is JSON text, and ``original_answer`` is ``answer`` where no control changed it.
        """
        original = self.answer if self.original_answer is None else self.original_answer
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return fields | {"params": params_text(self.params), "original_answer": original}


@dataclass(frozen=True)
class Source:
    """The items of ``task`` in ``split`` under ``seed``; item ``i`` depends on nothing else.

    Args:
        task: a primitive with its parameters, e.g. ``make_task("copying")``.
        split: train, validation, test or fewshot; two splits never share an item.
        seed: 0 to 2**63 - 1.
        own_template: a template to use in place of the task's.

    >>> source = Source(make_task("variable_assignment"), "test", 0)
    >>> source[17] == source.items(10, 20)[7]
    True
    """

    task: Task
    split: str
    seed: int = 0
    own_template: Template | None = None

    def __post_init__(self) -> None:
        whole("seed", self.seed, 0, MAX_SEED)
        self.task.partition.interval(self.split)

    def __reduce__(self) -> tuple[type[Source], tuple[Task, str, int, Template | None]]:
        return Source, (self.task, self.split, self.seed, self.own_template)

    @cached_property
    def key(self) -> NDArray[np.uint64]:
        task = self.task
        return stream_key(task.name, task.version, task.keyed, self.split, self.seed)

    @cached_property
    def params(self) -> dict[str, Any]:
        """The task's parameters, and the hash of the template where it is not the task's own."""
        if self.own_template is None:
            return self.task.params
        digest = hashlib.sha256(self.own_template.source.encode()).hexdigest()[:16]
        return {**self.task.params, "template": f"sha256:{digest}"}

    @cached_property
    def prefix(self) -> str:
        """What every id of this source begins with."""
        text = json.dumps(self.params, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{self.task.name}@{self.task.version}/{digest}/{self.split}/{self.seed}/"

    @cached_property
    def template(self) -> Template:
        return self.own_template or Template.packaged(self.task.template)

    @cached_property
    def pieces(self) -> list[Piece] | None:
        """The compiled prompt; None for a template that must be rendered item by item."""
        pieces = self.template.pieces(self.task.context)
        if self.own_template is None:
            return pieces
        values = self._values(self._columns(0, SAMPLE), SAMPLE)
        prompts = [self._render(strings) for strings in values]
        if pieces is not None and texts(pieces, self._columns(0, SAMPLE).slots, SAMPLE) == prompts:
            return pieces
        self._require_every_slot(values, prompts)
        return None

    def _render(self, strings: Mapping[str, str]) -> str:
        """One prompt by Jinja2 itself, from the string of each slot."""
        return self.template.render(self.task.context(lambda slot: strings[slot]))

    def _values(self, content: Content, count: int) -> list[dict[str, str]]:
        columns = {name: column.strings() for name, column in content.slots.items()}
        return [{name: column[i] for name, column in columns.items()} for i in range(count)]

    def _require_every_slot(self, values: list[dict[str, str]], prompts: list[str]) -> None:
        """Refuse a template that must be rendered by Jinja2 and writes the same for two values.

        (Of a compiled template it is known which slots it writes.)
        """
        for slot in values[0]:
            for strings, prompt in zip(values, prompts, strict=True):
                for other in values:
                    changed = {**strings, slot: other[slot]}
                    if changed != strings and self._render(changed) == prompt:
                        raise InputError(f"template {self.template.name}: it loses '{slot}'")

    @cached_property
    def _ranges(self) -> list[int]:
        return self.task.ranges(self.split)

    @cached_property
    def chunk(self) -> int:
        """Items worked on at a time, so that memory stays bounded. Never changes an item."""
        [prompt] = self.batch(0, 1).prompts()
        return max(1, min(8192, 2**19 // len(self._ranges), 2**23 // (len(prompt) + 256)))

    @cached_property
    def packaged(self) -> Source:
        """The same items in the packaged wording, which can be read back."""
        return Source(self.task, self.split, self.seed)

    @cached_property
    def uncontrolled(self) -> Source:
        """The items these were made from, in the packaged wording."""
        return Source(self.task.uncontrolled, self.split, self.seed)

    def _columns(self, start: int, count: int) -> Content:
        return self.task.content(draw(self.key, start, count, self._ranges), self.split)

    def batch(self, start: int, stop: int) -> Batch:
        """Items ``start..stop-1``, drawn in one go; see :meth:`batches` for many."""
        if not 0 <= start <= stop <= MAX_INDEX:
            raise InputError(f"items {start} to {stop}: indices run from 0 to {MAX_INDEX}")
        content = self._columns(start, stop - start)
        slots = dict(content.slots)
        pieces = self.pieces
        if pieces is None:
            prompts = [self._render(strings) for strings in self._values(content, stop - start)]
            codes = np.arange(len(prompts), dtype=np.uint32)
            slots = {"prompt": Column(codes, Table(prompts))}
            pieces = [Slot("prompt")]
        return Batch(self, np.arange(start, stop, dtype=np.uint64), content, slots, pieces)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The same items as ``batch(start, stop)``, a cache-sized chunk at a time."""
        for begin in range(start, stop, self.chunk):
            yield self.batch(begin, min(begin + self.chunk, stop))

    def items(self, start: int, stop: int) -> list[Item]:
        """Items ``start..stop-1``."""
        return [item for batch in self.batches(start, stop) for item in batch.items()]

    def __getitem__(self, index: int) -> Item:
        return self.batch(index, index + 1).items()[0]


def _literal(**fields: object) -> bytes:
    return json.dumps(fields, ensure_ascii=False)[1:-1].encode()


@dataclass(frozen=True)
class Batch:
    """A run of a source's items as columns, ready to be written as texts."""

    source: Source
    indices: NDArray[np.uint64]
    content: Content
    slots: dict[str, Column]
    pieces: list[Piece]

    def __len__(self) -> int:
        return len(self.indices)

    def without(self, skip: NDArray[np.uint64]) -> Batch:
        """The batch less the items whose index is in ``skip``."""
        keep = ~np.isin(self.indices, skip)
        if keep.all():
            return self
        content = Content(
            {n: Column(c.codes[keep], c.table) for n, c in self.content.slots.items()},
            self.content.table,
            self.content.choices[:, keep],
            self.content.answer[keep],
            None if self.content.original is None else self.content.original[keep],
        )
        slots = {n: Column(c.codes[keep], c.table) for n, c in self.slots.items()}
        return Batch(self.source, self.indices[keep], content, slots, self.pieces)

    def prompts(self) -> list[str]:
        return texts(self.pieces, self.slots, len(self))

    def hashes(self) -> NDArray[np.uint64]:
        """A 64-bit hash of each prompt."""
        if self.source.own_template is not None:  # two fillings may read the same
            digests = [blake2b(p.encode(), digest_size=8).digest() for p in self.prompts()]
            return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
        return mix(fill(self.pieces, self.slots, len(self)).view("<u8").T, len(self))

    def _choices(self) -> list[Column]:
        return [Column(codes, self.content.table) for codes in self.content.choices]

    def _target(self) -> Column:
        codes = self.content.choices[self.content.answer, np.arange(len(self))]
        return Column(codes, self.content.table)

    def targets(self) -> list[str]:
        return self._target().strings()

    def choices(self) -> list[list[str]]:
        """The options of each item, ``count`` lists of ``k``."""
        return [list(row) for row in zip(*(c.strings() for c in self._choices()), strict=True)]

    def lines(self) -> bytes:
        """The items as JSON lines: :meth:`Item.record` of each. Fingerprints are of these."""
        return self._lines(self.source.params, self.content.original)

    def rows(self) -> bytes:
        """The items as files hold them: :meth:`Item.row` of each, as JSON lines."""
        original = self.content.original
        return self._lines(
            params_text(self.source.params), self.content.answer if original is None else original
        )

    @staticmethod
    def counted(source: Source, rows: bytes) -> bytes:
        """What fingerprints count of :meth:`rows`: the bytes of :meth:`lines`.

        Cheaper than writing both: quotes inside JSON strings are escaped, so what is replaced
        stands nowhere else.
        """
        flat, params = (_literal(params=p) for p in (params_text(source.params), source.params))
        lines = rows.replace(flat, params)
        if source.task.params["control"] == "none":
            return re.sub(rb', "original_answer": \d+}\n', b"}\n", lines)
        return lines

    def _lines(self, params: object, original: NDArray[Any] | None) -> bytes:
        source, task = self.source, self.source.task
        columns: dict[str, Column] = dict(self.slots)
        columns["#index"] = Decimals(self.indices)
        columns["#target"] = self._target()
        columns["#answer"] = Decimals(self.content.answer)

        head = {"task": task.name, "version": task.version, "split": source.split}
        pieces: list[Piece] = [b'{"id": "' + escape(source.prefix).encode(), Slot("#index")]
        pieces += [b'", ' + _literal(**head, seed=source.seed) + b', "index": ', Slot("#index")]
        pieces += [b", " + _literal(params=params) + b', "prompt": "']
        for piece in self.pieces:
            if isinstance(piece, bytes):
                pieces.append(escape(piece.decode()).encode())
            else:
                pieces.append(Slot(piece.name, escape=True))
        pieces += [b'", "target": "', Slot("#target", escape=True), b'", "choices": [']
        for i, column in enumerate(self._choices()):
            columns[f"#choice{i}"] = column
            pieces += [b'"' if i == 0 else b', "', Slot(f"#choice{i}", escape=True), b'"']
        pieces += [b'], "answer": ', Slot("#answer")]
        if original is not None:
            columns["#original"] = Decimals(original)
            pieces += [b', "original_answer": ', Slot("#original")]
        return squeeze(fill([*pieces, b"}\n"], columns, len(self)))

    def items(self) -> list[Item]:
        source, task = self.source, self.source.task
        original = self.content.original
        return [
            Item(
                id=f"{source.prefix}{index}",
                task=task.name,
                version=task.version,
                split=source.split,
                seed=source.seed,
                index=index,
                params=source.params,
                prompt=prompt,
                target=choices[answer],
                choices=choices,
                answer=answer,
                original_answer=None if original is None else int(original[i]),
            )
            for i, (index, prompt, choices, answer) in enumerate(
                zip(
                    self.indices.tolist(),
                    self.prompts(),
                    self.choices(),
                    self.content.answer.tolist(),
                    strict=True,
                )
            )
        ]
