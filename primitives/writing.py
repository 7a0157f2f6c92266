"""Writes items to files: JSON lines, Parquet, or a folder that ``datasets`` can load.

A file appears under its name only when it is whole: it is written beside it and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, unknown, whole
from .items import MAX_INDEX, Source
from .uniqueness import (
    NEGLIGIBLE,
    Hashes,
    Selection,
    all_different,
    check_capacity,
    everything,
    expected_repeats,
    select,
    worth_hashing,
)

FORMATS = ("jsonl", "parquet", "datasets")
STDOUT = "-"
JOB = 2**16  # items a worker process takes at a time
PROVED = 1000  # items whose split is worked out again from their prompts, on every export

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Report:
    """What :func:`export` wrote for one split."""

    split: str
    count: int
    fingerprint: str
    """SHA-256 of the items as JSON lines."""
    repeats: int
    """Indices left out because they draw an item again."""
    capacity: int
    """Different items the split can hold (a lower bound)."""


@dataclass(frozen=True)
class Block:
    """Some items: the index they end at, their JSON lines, the hashes of their prompts."""

    stop: int
    lines: bytes
    hashes: Hashes


@dataclass(frozen=True)
class Written:
    """What one split came to; ``hashes`` are sorted, and empty if not worth comparing."""

    fingerprint: str
    repeats: int
    hashes: Hashes


def _job(source: Source, start: int, stop: int, repeats: NDArray[np.uint64]) -> Block:
    """The JSON lines of a run of indices, and the hashes of their prompts."""
    kept = [batch.without(repeats) for batch in source.batches(start, stop)]
    return Block(
        stop, b"".join(b.lines() for b in kept), np.concatenate([b.hashes() for b in kept])
    )


def _blocks(
    source: Source, selection: Selection, workers: int, method: str | None
) -> Iterator[Block]:
    """A selection in the order of its indices."""
    if workers == 1:
        for start in range(0, selection.stop, source.chunk):
            stop = min(start + source.chunk, selection.stop)
            yield _job(source, start, stop, selection.repeats)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context(method)) as pool:
        waiting: deque[Future[Block]] = deque()
        try:
            for start in range(0, selection.stop, JOB):
                stop = min(start + JOB, selection.stop)
                repeats = selection.repeats
                repeats = repeats[(repeats >= start) & (repeats < stop)]
                waiting.append(pool.submit(_job, source, start, stop, repeats))
                if len(waiting) > 2 * workers:  # bounded: a slow disk must not fill the memory
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


Write = Callable[[BinaryIO, Source, Selection], tuple[str, Hashes]]
"""Writes a selection; returns the fingerprint and the prompt hashes."""


def _write_different(out: BinaryIO, source: Source, count: int, write: Write) -> Written:
    """Write the first ``count`` different items.

    Where a repeat is unlikely, writing comes first and the proof after it: hashing everything
    beforehand would cost as much again as writing.
    """
    rewindable = out.seekable()
    likely = expected_repeats(source, count) > (0.01 if rewindable else NEGLIGIBLE)
    selection = select(source, count) if likely else everything(count)
    fingerprint, hashes = write(out, source, selection)
    if len(hashes) and not all_different(hashes):
        if not rewindable:
            raise RuntimeError("an item came twice against all odds")
        out.seek(0)
        out.truncate()
        selection = select(source, count)
        fingerprint, hashes = write(out, source, selection)
        hashes.sort()
    return Written(fingerprint, len(selection.repeats), hashes)


def _line_writer(progress: Progress, workers: int, method: str | None) -> Write:
    def write(out: BinaryIO, source: Source, selection: Selection) -> tuple[str, Hashes]:
        digest = hashlib.sha256()
        hashes = [np.zeros(0, np.uint64)]
        hashed = worth_hashing(source, selection.stop)

        def store(lines: bytes) -> None:
            out.write(lines)
            digest.update(lines)

        # both calls release the interpreter: the next block is made while one is stored
        with ThreadPoolExecutor(1) as thread:
            stored = thread.submit(store, b"")
            for block in _blocks(source, selection, workers, method):
                stored.result()
                stored = thread.submit(store, block.lines)
                if hashed:
                    hashes.append(block.hashes)
                progress(block.stop)
            stored.result()
        return digest.hexdigest(), np.concatenate(hashes)

    return write


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "format parquet needs pyarrow: pip install 'growloop[data]', or use --format jsonl"
        ) from error
    return pyarrow


def _parquet_writer(progress: Progress) -> Write:
    """Columns as in a JSON line; ``params`` is JSON text, since it differs from task to task."""
    pa = _pyarrow()
    text, number = pa.string(), pa.int64()
    fields = [("id", text), ("task", text), ("version", number), ("split", text)]
    fields += [("seed", number), ("index", number), ("params", text), ("prompt", text)]
    fields += [("target", text), ("choices", pa.list_(text)), ("answer", number)]

    def write(out: BinaryIO, source: Source, selection: Selection) -> tuple[str, Hashes]:
        digest = hashlib.sha256()
        hashes = [np.zeros(0, np.uint64)]
        params = json.dumps(source.params)
        controlled = source.task.params["control"] != "none"
        schema = pa.schema([*fields, ("original_answer", number)] if controlled else fields)
        with pa.parquet.ParquetWriter(out, schema) as writer:
            for batch in source.batches(0, selection.stop):
                kept = batch.without(selection.repeats)
                rows = [item.record() | {"params": params} for item in kept.items()]
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                digest.update(kept.lines())
                hashes.append(kept.hashes())
                progress(int(batch.indices[-1]) + 1)
        return digest.hexdigest(), np.concatenate(hashes)

    return write


@contextlib.contextmanager
def _replacing(path: Path, force: bool, folder: bool = False) -> Iterator[Path]:
    """A temporary path that takes the place of ``path`` if all goes well, else vanishes.

    Raises:
        InputError: ``path`` exists and ``force`` is not set, or cannot be written.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        if path.exists() and not force:
            raise InputError(f"{path} exists: choose another name, or replace it with --force")
        if path.exists() and path.is_dir() != folder:
            raise InputError(f"{path} is {'not ' if folder else ''}a folder")
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {path.parent}")
        if folder:
            temporary.mkdir()
        yield temporary
        if folder and path.exists():
            old = path.parent / f".{path.name}.{os.getpid()}.old"
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            temporary.unlink()


def _prove_split(source: Source, count: int) -> None:
    """Check, from the prompts, that the items are of the split they are meant for."""
    if source.own_template is not None:  # only the packaged prompts can be read back
        return
    batch = source.batch(0, min(PROVED, count))
    found = source.task.splits_of(batch.prompts(), batch.targets())
    wrong = [i for i, split in enumerate(found) if split != source.split]
    if wrong:
        raise RuntimeError(f"item {wrong[0]} of split {source.split} belongs to {found[wrong[0]]}")


def _prove_disjoint(sources: Sequence[Source], written: Sequence[Written]) -> None:
    """Compare the hashes of all items of all splits."""
    for (a, first), (b, second) in combinations(zip(sources, written, strict=True), 2):
        common = np.intersect1d(first.hashes, second.hashes, assume_unique=True)
        if len(common):
            raise RuntimeError(f"splits {a.split} and {b.split} share {len(common)} items")


def export(
    sources: Sequence[Source],
    count: int,
    out: str | Path,
    format: str = "jsonl",
    *,
    force: bool = False,
    workers: int = 1,
    start_method: str | None = None,
    progress: Progress = lambda index: None,
) -> list[Report]:
    """Write the first ``count`` different items of each source.

    Args:
        sources: one task in one split; several splits only for ``format="datasets"``.
        count: items a split.
        out: a file, a folder for ``datasets``, or ``-`` for standard output (JSON lines).
        format: jsonl, parquet or datasets.
        force: replace what is there.
        workers: processes that generate; changes no byte of the result.
        start_method: how they are started (``spawn``, ``fork``, ``forkserver``).
        progress: called with the number of indices done.

    Raises:
        InputError: bad arguments, too small a task, or an output that cannot be written.
    """
    whole("count", count, 1, MAX_INDEX)
    whole("workers", workers, 1, 256)
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if not sources or (len(sources) > 1 and format != "datasets"):
        raise InputError(f"format {format} holds one split; use --format datasets for several")
    if str(out) == STDOUT and format != "jsonl":
        raise InputError(f"format {format} cannot be written to standard output; use jsonl")
    if format == "parquet":
        _pyarrow()
    for source in sources:
        _ = source.pieces  # a broken template is refused before anything is written
        check_capacity(source, count)
        _prove_split(source, count)
    write = (
        _parquet_writer(progress)
        if format == "parquet"
        else _line_writer(progress, workers, start_method)
    )
    path = Path(out)
    if str(out) == STDOUT:
        written = [_write_different(sys.stdout.buffer, sources[0], count, write)]
        sys.stdout.buffer.flush()
    elif format == "datasets":
        with _replacing(path, force, folder=True) as folder:
            (folder / "data").mkdir()
            written = []
            for source in sources:
                with open(folder / "data" / f"{source.split}.jsonl", "wb") as file:
                    written.append(_write_different(file, source, count, write))
            _prove_disjoint(sources, written)
            card = dataset_card(sources, _reports(sources, count, written))
            (folder / "README.md").write_text(card, encoding="utf-8")
    else:
        with _replacing(path, force) as temporary, open(temporary, "wb") as file:
            written = [_write_different(file, sources[0], count, write)]
    return _reports(sources, count, written)


def _reports(sources: Sequence[Source], count: int, written: Sequence[Written]) -> list[Report]:
    return [
        Report(
            split=source.split,
            count=count,
            fingerprint=part.fingerprint,
            repeats=part.repeats,
            capacity=source.task.capacity(source.split),
        )
        for source, part in zip(sources, written, strict=True)
    ]


CARD = """\
---
license: apache-2.0
language: en
pretty_name: {name}
tags: [reasoning-primitives, synthetic, growloop]
configs:
- config_name: default
  data_files:
{files}
---

# {name}

{summary}. Generated by growloop: item `index` of a split is a pure function of the task, its
version, its parameters, the split, the seed and the index. No item is in two splits.

| | |
|---|---|
| task, version | `{task}`, {version} |
| seed | {seed} |
| parameters | `{params}` |
| chance | {chance:.4f} |

| split | items | fingerprint (SHA-256 of the JSON lines) | different items the split can hold |
|---|---|---|---|
{rows}

Each line holds `id`, `task`, `version`, `split`, `seed`, `index`, `params`, `prompt`, `target`,
`choices` and `answer` (the index of the target in `choices`).

Check it with `growloop verify` and this folder. Data: Apache-2.0{words}.
"""


def dataset_card(sources: Sequence[Source], reports: Sequence[Report]) -> str:
    """The README of a data set folder, with the front matter that ``datasets`` reads."""
    source, task = sources[0], sources[0].task
    words = task.params.get("words") == "real"
    return CARD.format(
        name=f"growloop {task.name}",
        task=task.name,
        summary=task.summary.capitalize(),
        version=task.version,
        seed=source.seed,
        params=json.dumps(source.params),
        chance=task.chance,
        files="\n".join(f"  - split: {s.split}\n    path: data/{s.split}.jsonl" for s in sources),
        rows="\n".join(
            f"| {r.split} | {r.count:,} | `{r.fingerprint}` | {r.capacity:.3g} |" for r in reports
        ),
        words="; the English words are those of BIP-39 (MIT)" if words else "",
    )
