"""Generation of items: in memory, or to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from ..core.errors import InputError, unknown, whole
from ..core.tabular import Tabular
from ..primitives import SPLITS, Item, Report, Source, Template, different, export, make_task
from ..primitives.items import MAX_INDEX


@dataclass(frozen=True)
class GeneratedItems(Tabular, Sequence[Item]):
    """Items of a primitive: a sequence of :class:`growloop.primitives.Item`, made when used.

    Args:
        sources: source of each split.
        each: number of items a split.
        path: file or folder that they were written to; None without.
        reports: report on each split that was written, with the fingerprint of its items.
    """

    sources: tuple[Source, ...]
    each: int
    path: Path | None = None
    reports: tuple[Report, ...] = ()

    @cached_property
    def _items(self) -> list[Item]:
        return [item for source in self.sources for item in different(source, self.each)]

    def __len__(self) -> int:
        return self.each * len(self.sources)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> list[Item]: ...
    def __getitem__(self, place: int | slice) -> Item | list[Item]:
        return self._items[place]

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the fields of each item: prompt, target, choices, answer and coordinates."""
        return [item.record() for item in self._items]

    def to_dict(self) -> dict[str, Any]:
        """Return the items and the reports on what was written."""
        return {"rows": self.to_rows(), "reports": [vars(report) for report in self.reports]}

    def __repr__(self) -> str:
        task, splits = self.sources[0].task, ", ".join(source.split for source in self.sources)
        return f"<{len(self):,} items of {task.name}, {splits}>"

    @property
    def title(self) -> str:
        """Line above the table in a notebook."""
        return repr(self)[1:-1]

    def _repr_html_(self) -> str:
        from ..core.tabular import html_table

        names = "prompt", "target", "choices"
        some = [
            {name: getattr(item, name) for name in names}
            for source in self.sources
            for item in different(source, min(self.each, 3))
        ]
        note = f"the first {len(some)} of {len(self):,}" if len(some) < len(self) else ""
        return html_table(some, self.title, [note] if note else [])


def generate(
    task: str,
    items: int = 1000,
    *,
    split: str | Sequence[str] = "test",
    seed: int = 0,
    template: str | Path | Template | None = None,
    out: str | Path | None = None,
    format: str | None = None,
    force: bool = False,
    workers: int = 1,
    progress: Callable[[int], None] = lambda index: None,
    params: Mapping[str, object] | None = None,
    **more: object,
) -> GeneratedItems:
    """Generate items of a reasoning primitive, and write them if ``out`` is given.

    Item i of a split depends on the task, its version, its parameters, the split, the seed and i
    alone.

    Args:
        task: name of a primitive, e.g. ``copying``.
        items: number of different items a split.
        split: one split, or several; a file other than ``format="datasets"`` holds one.
        seed: 0 to 2**63 - 1.
        template: file of a Jinja2 template in place of the task's prompt.
        out: file or folder to write; ``-`` is standard output.
        format: ``jsonl``, ``parquet`` or ``datasets``; by default by the name of ``out``.
        force: replace what is there.
        workers: processes that write.
        progress: called with the number of indices done.
        params: parameters of the task by name.
        more: further parameters of the task, e.g. ``depth=2``.

    Raises:
        InputError: an unknown task, split or parameter, a value that is not allowed, or an output
            that cannot be written.

    >>> items = generate("variable_assignment", 3, style="code", depth=2)
    >>> len(items), items[0].target in items[0].choices
    (3, True)
    """
    made = make_task(task, {**(params or {}), **more})
    if isinstance(template, (str, Path)):
        template = Template.from_file(str(template))
    splits = [split] if isinstance(split, str) else list(dict.fromkeys(split))
    for name in splits:
        if name not in SPLITS:
            raise unknown("split", name, [*SPLITS, "all"])
    sources = tuple(Source(made, name, seed, template) for name in splits)
    count = whole("items", items, 1, None if out is not None else MAX_INDEX)
    if not sources:
        raise InputError("no split is given")
    if out is None:
        if format is not None:
            raise InputError("format is about a file: give out too")
        found = GeneratedItems(sources, count)
        _ = found[0]  # refuses a count that the splits do not hold
        return found
    if format is None:
        format = "parquet" if str(out).endswith(".parquet") else "jsonl"
    reports = export(
        sources,
        count,
        out,
        format,
        force=force,
        workers=whole("jobs", workers, 1),
        progress=progress,
    )
    return GeneratedItems(sources, count, Path(out), tuple(reports))
