"""Items of a primitive: one endless, random-access sequence per task, split and seed.

``Source`` is such a sequence, ``Batch`` a run of it as columns, ``Item`` one element.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, whole
from .bits import draw, mix, stream_key
from .task import Content, Task
from .templating import Template
from .text import Column, Decimals, Piece, Slot, Table, escape, fill, squeeze, texts

MAX_SEED = 2**63 - 1
MAX_INDEX = 2**63 - 1
SAMPLE = 12  # items that a user's template is tried on before it is used


def params_text(params: Mapping[str, Any]) -> str:
    """Format parameters for files, as JSON text, since they differ from task to task."""
    return json.dumps(params, ensure_ascii=False)


@dataclass(frozen=True)
class Item:
    """Question of a task, with its answer choices and its coordinates.

    Args:
        id: unique id: task, version, parameters, split, seed, index.
        index: position in the sequence of its source.
        target: text of the right choice.
        answer: index of the right choice in ``choices``.
        original_answer: index of the right choice before a control changed the item (see
            :mod:`.task`); None without a control.
    """

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
        """Return the fields that a fingerprint hashes: ``original_answer`` only with a control."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.original_answer is None:
            del fields["original_answer"]
        return fields

    def row(self) -> dict[str, Any]:
        """Return the item as a file row, with the same columns and types for every task.

        ``params`` is JSON text; without a control ``original_answer`` equals ``answer``.
        """
        original = self.answer if self.original_answer is None else self.original_answer
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return fields | {"params": params_text(self.params), "original_answer": original}


@dataclass(frozen=True)
class Source:
    """Items of a task in a split under a seed; item ``i`` depends on nothing else.

    Args:
        task: a primitive with its parameters, e.g. ``make_task("copying")``.
        split: train, validation, test or fewshot; two splits never share an item.
        seed: 0 to 2**63 - 1.
        own_template: user's template in place of the packaged one.

    >>> from growloop.primitives import make_task
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
        """Philox key of the source's random numbers, ``(2,)``."""
        task = self.task
        return stream_key(task.name, task.version, task.keyed, self.split, self.seed)

    @cached_property
    def params(self) -> dict[str, Any]:
        """Task parameters, plus the hash of a user's template."""
        if self.own_template is None:
            return self.task.params
        digest = hashlib.sha256(self.own_template.source.encode()).hexdigest()[:16]
        return {**self.task.params, "template": f"sha256:{digest}"}

    @cached_property
    def prefix(self) -> str:
        """Common prefix of the ids of all items."""
        text = json.dumps(self.params, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{self.task.name}@{self.task.version}/{digest}/{self.split}/{self.seed}/"

    @cached_property
    def template(self) -> Template:
        if self.own_template is not None:
            return self.own_template
        own = self.task.template
        return own if isinstance(own, Template) else Template.packaged(own, type(self.task))

    @cached_property
    def pieces(self) -> list[Piece] | None:
        """Compiled prompt; None for a template that Jinja2 must render item by item."""
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
        """Render one prompt with Jinja2 from the string of each slot."""
        return self.template.render(self.task.context(lambda slot: strings[slot]))

    def _values(self, content: Content, count: int) -> list[dict[str, str]]:
        columns = {name: column.strings() for name, column in content.slots.items()}
        return [{name: column[i] for name, column in columns.items()} for i in range(count)]

    def _require_every_slot(self, values: list[dict[str, str]], prompts: list[str]) -> None:
        """Refuse an uncompiled template whose output does not depend on every slot.

        Slots of a compiled template are checked when it is compiled.
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
        """Items per batch, which bounds memory. It never changes an item."""
        [prompt] = self.batch(0, 1).prompts()
        return max(1, min(8192, 2**19 // len(self._ranges), 2**23 // (len(prompt) + 256)))

    @cached_property
    def packaged(self) -> Source:
        """Same items in the packaged wording, which can be parsed back."""
        return Source(self.task, self.split, self.seed)

    @cached_property
    def uncontrolled(self) -> Source:
        """Original items without the control, in the packaged wording."""
        return Source(self.task.uncontrolled, self.split, self.seed)

    def _columns(self, start: int, count: int) -> Content:
        return self.task.content(draw(self.key, start, count, self._ranges), self.split)

    def batch(self, start: int, stop: int) -> Batch:
        """Draw items ``start..stop-1`` at once; see :meth:`batches` for many."""
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
        """Yield the items of ``batch(start, stop)``, a cache-sized chunk at a time."""
        for begin in range(start, stop, self.chunk):
            yield self.batch(begin, min(begin + self.chunk, stop))

    def items(self, start: int, stop: int) -> list[Item]:
        """Return items ``start..stop-1``."""
        return [item for batch in self.batches(start, stop) for item in batch.items()]

    def __getitem__(self, index: int) -> Item:
        return self.batch(index, index + 1).items()[0]


def _literal(**fields: object) -> bytes:
    return json.dumps(fields, ensure_ascii=False)[1:-1].encode()


@dataclass(frozen=True)
class Batch:
    """Consecutive items of a source as columns.

    Args:
        indices: index of each item, ``(count,)`` uint64.
        content: choices and answers.
        slots: slot name -> column that fills it in the prompt.
        pieces: literals and slots of the prompt.
    """

    source: Source
    indices: NDArray[np.uint64]
    content: Content
    slots: dict[str, Column]
    pieces: list[Piece]

    def __len__(self) -> int:
        return len(self.indices)

    def without(self, skip: NDArray[np.uint64]) -> Batch:
        """Return the batch without the items whose index is in ``skip``."""
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
        """Compute a 64-bit hash of each prompt, ``(count,)``."""
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
        """Return the choices of each item, ``count`` lists of ``k``."""
        return [list(row) for row in zip(*(c.strings() for c in self._choices()), strict=True)]

    def lines(self) -> bytes:
        """Format items as JSON lines of :meth:`Item.record`; fingerprints are of these."""
        return self._lines(self.source.params, self.content.original)

    def rows(self) -> bytes:
        """Format items as JSON lines of :meth:`Item.row`, as in files."""
        original = self.content.original
        return self._lines(
            params_text(self.source.params), self.content.answer if original is None else original
        )

    @staticmethod
    def counted(source: Source, rows: bytes) -> bytes:
        """Convert the bytes of :meth:`rows` to those of :meth:`lines`, for fingerprints.

        This is cheaper than formatting twice. Quotes inside JSON strings are escaped, so the
        replaced fields occur nowhere else.
        """
        flat, params = (_literal(params=p) for p in (params_text(source.params), source.params))
        lines = rows.replace(flat, params)
        if source.task.params.get("control", "none") == "none":
            return re.sub(rb', "original_answer": \d+}\n', b"}\n", lines)
        return lines

    def _lines(self, params: object, original: NDArray[Any] | None) -> bytes:
        """Format all items as JSON lines; ``original`` adds the field ``original_answer``."""
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
