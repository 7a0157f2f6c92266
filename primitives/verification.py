"""Verify data sets of generated items.

Every line is regenerated from its coordinates and compared. An independent solver derives its
answer from the prompt. Choices, uniqueness of items and splits are checked too.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..core.errors import InputError, shown
from ..core.strict_json import BOM, loads
from .items import MAX_INDEX, Item, Source
from .solvers import solver_of
from .task import TASKS, make_task
from .templating import Template
from .uniqueness import NEGLIGIBLE, Hashes, expected_repeats, select

FIELDS: dict[str, type] = {
    "id": str,
    "task": str,
    "version": int,
    "split": str,
    "seed": int,
    "index": int,
    "params": dict,
    "prompt": str,
    "target": str,
    "choices": list,
    "answer": int,
    "original_answer": int,
}
RUN = 1024  # lines made again at a time
LONGEST = 2**26  # bytes of a line
STDIN = "-"
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


@dataclass
class Verdict:
    """Result of verifying one or more files.

    Args:
        lines: number of lines read.
        problems: number of problems.
        bad: the first ``most`` problems, as ``(place, reason)``.
        fingerprints: file -> SHA-256 of its items, the same in every format.
        unsolved: tasks without a solver, whose answers were compared with the generator alone.
        most: number of problems to store.
    """

    lines: int = 0
    problems: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)
    unsolved: list[str] = field(default_factory=list)
    most: int = 10

    @property
    def ok(self) -> bool:
        """True if there is no problem."""
        return self.problems == 0

    def report(self, place: str, reason: str) -> None:
        """Count a problem, and store it if fewer than ``most`` are stored."""
        self.problems += 1
        if len(self.bad) < self.most:
            self.bad.append((place, reason))


def _files(path: Path) -> list[Path]:
    """Return the data files of a path: the file itself, or those of a data set folder."""
    if str(path) == STDIN:
        return [path]
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.name.endswith(SUFFIXES))
    if not files:
        raise InputError(f"{path} holds no .jsonl, .jsonl.gz or .parquet file")
    return files


def _begins(path: Path, magic: bytes) -> bool:
    if not path.is_file():
        return False  # a pipe: what is read of it is gone
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic


def _rows(path: Path) -> Iterator[tuple[bytes, Any]]:
    """Yield each line of a data file with its parsed row, or the error of parsing it."""
    if path.suffix == ".parquet" or _begins(path, b"PAR1"):
        yield from _parquet(path)
    elif str(path) == STDIN:
        yield from _jsonl(sys.stdin.buffer)
    elif path.suffix == ".gz" or _begins(path, b"\x1f\x8b"):
        try:
            with gzip.open(path, "rb") as file:
                yield from _jsonl(file)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{path} is not a whole gzip file: {error}") from error
    else:
        with open(path, "rb") as file:
            yield from _jsonl(file)


def _jsonl(file: IO[bytes] | gzip.GzipFile) -> Iterator[tuple[bytes, Any]]:
    """Yield each line with its parsed row or error; blank lines at the end are allowed."""
    blank = []  # lines that count only if another follows
    first = True
    while line := file.readline(LONGEST):
        if first:
            line, first = line.removeprefix(BOM), False
        if not line.strip():
            blank.append(line)
            continue
        for empty in blank:
            yield empty, ValueError("an empty line")
        blank.clear()
        try:
            yield line, loads(line)
        except (ValueError, RecursionError) as error:
            yield line, error


def _parquet(path: Path) -> Iterator[tuple[bytes, Any]]:
    from .writing import _pyarrow

    pa = _pyarrow()
    try:
        for batch in pa.parquet.ParquetFile(path).iter_batches(RUN):
            for row in batch.to_pylist():
                yield b"\n", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a whole Parquet file: {reason}") from error


def _completed(row: object) -> object:
    """Normalise a row: ``params`` as an object, and always an ``original_answer``.

    Older JSONL files store ``params`` as an object, and no ``original_answer`` without a control.
    """
    if not isinstance(row, dict):
        return row
    with contextlib.suppress(KeyError, TypeError, ValueError, RecursionError):
        row = row | {"params": loads(row["params"])}
    params = row.get("params")
    if isinstance(params, dict) and params.get("control", "none") == "none" and "answer" in row:
        row.setdefault("original_answer", row["answer"])
    return row


def _canonical(row: object) -> bytes | None:
    """Serialise a normalised row for the fingerprint, whatever the JSON spacing in its file."""
    if not isinstance(row, dict):
        return None
    if isinstance(params := row.get("params"), dict) and params.get("control", "none") == "none":
        row = {name: value for name, value in row.items() if name != "original_answer"}
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError):  # bytes in Parquet, lone surrogates
        return None


class _Remaker:
    """Regenerates items from the coordinates in their lines.

    Args:
        template, words: custom template and word list that the file was made with.
    """

    def __init__(self, template: Template | None, words: str | None) -> None:
        self.template, self.words = template, words
        self.sources: dict[str, Source] = {}

    def source(self, row: dict[str, Any]) -> Source:
        coordinates = [row["task"], row["version"], row["params"], row["split"], row["seed"]]
        key = json.dumps(coordinates, sort_keys=True)
        if key not in self.sources:
            self.sources[key] = self._source(row)
        return self.sources[key]

    def _source(self, row: dict[str, Any]) -> Source:
        """Build the source of a row; refuse one that the given template or words cannot make."""
        if row["task"] not in TASKS:
            raise TASKS.unknown(row["task"])
        current = TASKS[row["task"]].version
        if row["version"] != current:
            raise InputError(f"made by version {row['version']} of the task, this is {current}")
        params = dict(row["params"])
        template = None
        if (digest := params.pop("template", None)) is not None:
            if self.template is None:
                raise InputError("made with an own template: give it with --template")
            template = self.template
        if params.get("words") not in (None, "random", "real"):  # a digest; never a path to open
            if self.words is None:
                raise InputError("made with an own word list: give it with --words")
            params["words"] = self.words
        source = Source(make_task(row["task"], params), row["split"], row["seed"], template)
        if source.params != row["params"]:
            input_name = "template" if digest else "word list" if self.words else "parameters"
            raise InputError(f"the {input_name} given are not those the file was made with")
        return source


def _shape(row: object) -> str | None:
    """Check the fields of a row and their types; return the problem, or None."""
    if isinstance(row, Exception):
        return "not a whole JSON object"
    if not isinstance(row, dict):
        return "not a JSON object"
    if extra := sorted(row.keys() - FIELDS.keys()):
        return f"field {shown(extra[0])} is none of an item's: leave it out"
    for name, kind in FIELDS.items():
        if name not in row:
            return f"field '{name}' is missing"
        value = row[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            return f"field '{name}' has the wrong type"
    if not all(isinstance(choice, str) for choice in row["choices"]):
        return "field 'choices' must hold texts"
    return None


def _choices(row: dict[str, Any]) -> str | None:
    """Check that choices differ and the answer is the target; return the problem, or None."""
    choices, answer = row["choices"], row["answer"]
    if len(set(choices)) != len(choices):
        return "two choices are the same"
    if not 0 <= answer < len(choices):
        return f"answer {answer} is not an index of its {len(choices)} choices"
    if choices[answer] != row["target"]:
        return f"target '{row['target']}' is not choice {answer}"
    return None


def _answer(item: Item) -> str | None:
    """Check the target with the solver, if there is one; return the problem, or None."""
    if (solver := solver_of(item.task)) is None:
        return None
    solution = solver(item.prompt)
    if item.params.get("control") == "cut":
        return None if solution is None else f"the chain is not cut: the answer is {solution}"
    if solution is None:
        return "the answer cannot be derived from the prompt"
    return None if solution == item.target else f"the answer is {solution}, not {item.target}"


def _runs(rows: Iterable[tuple[bytes, Any]]) -> Iterator[list[tuple[int, bytes, Any]]]:
    """Group lines, numbered from 1, in runs of ``RUN`` lines."""
    run: list[tuple[int, bytes, Any]] = []
    for number, (line, row) in enumerate(rows, start=1):
        run.append((number, line, row))
        if len(run) == RUN:
            yield run
            run = []
    if run:
        yield run


def _remade(source: Source, indices: Sequence[int]) -> dict[int, Item]:
    """Regenerate items by index; close indices are drawn in one batch."""
    ordered = sorted(set(indices))
    items: dict[int, Item] = {}
    start = 0
    for i in range(1, len(ordered) + 1):
        if i == len(ordered) or ordered[i] - ordered[i - 1] > 16:
            batch = source.items(ordered[start], ordered[i - 1] + 1)
            items |= {item.index: item for item in batch}
            start = i
    return items


def verify(
    paths: str | Path | Sequence[str | Path],
    *,
    template: Template | None = None,
    words: str | None = None,
    most: int = 10,
) -> Verdict:
    """Check data files; no item may occur twice, in one file or in several.

    Args:
        paths: JSONL (also ``.gz``, or ``-`` for standard input) or Parquet files, or data set
            folders.
        template, words: custom template and word list that the files were made with.
        most: number of problems to store.

    Raises:
        InputError: a path cannot be read at all.

    Example::

        verdict = verify(["train.jsonl", "test.jsonl"])
        verdict.ok, verdict.bad  # (True, [])
    """
    paths = [paths] if isinstance(paths, (str, Path)) else paths
    if not paths:
        raise InputError("no files to verify")
    verdict = Verdict(most=most)
    remaker = _Remaker(template, words)
    hashes: list[Hashes] = []
    places: list[tuple[str, int]] = []  # file and its number of lines
    for path in map(Path, paths):
        try:
            for file in _files(path):
                hashes += _check_file(file, remaker, verdict, places)
            if path.is_dir():
                _check_card(path, verdict)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    _check_repeats(np.concatenate([np.zeros(0, np.uint64), *hashes]), places, verdict)
    tasks = {source.task.name for source in remaker.sources.values()}
    verdict.unsolved = sorted(task for task in tasks if solver_of(task) is None)
    return verdict


def _check_file(
    file: Path, remaker: _Remaker, verdict: Verdict, places: list[tuple[str, int]]
) -> list[Hashes]:
    """Check one file; return the prompt hashes of its lines, in runs."""
    digest = hashlib.sha256()
    count, hashes = 0, []
    order = _Order()
    for run in _runs(_rows(file)):
        run = [(number, line, _completed(row)) for number, line, row in run]
        for _, line, row in run:
            digest.update(_canonical(row) or line)
        hashes.append(_check_run(str(file), run, remaker, verdict, order))
        count += len(run)
    if not count:
        verdict.report(str(file), "holds no items")
    for source, indices in order.indices.values():
        _check_order(str(file), source, indices, verdict)
    verdict.lines += count
    verdict.fingerprints[str(file)] = digest.hexdigest()
    places.append((str(file), count))
    return hashes


def _check_order(file: str, source: Source, indices: list[int], verdict: Verdict) -> None:
    """Check that a source's items in a file are its first distinct items, in order."""
    if expected_repeats(source, len(indices)) < NEGLIGIBLE:
        expected = list(range(len(indices)))
    elif 2 * len(indices) <= source.task.capacity(source.split):
        selection = select(source, len(indices))
        repeats = set(selection.repeats.tolist())
        expected = [i for i in range(selection.stop) if i not in repeats]
    else:
        verdict.report(file, f"more items than split {source.split} can give")
        return
    for actual, correct in zip(indices, expected, strict=True):
        if actual != correct:
            reason = f"item {actual} stands where item {correct} of its source belongs"
            verdict.report(file, f"{reason}: lines are missing, added or out of order")
            return


def _check_card(folder: Path, verdict: Verdict) -> None:
    """Check that the splits of a data set folder match the fingerprints on its card."""
    card = folder / "README.md"
    if not card.is_file():
        return
    try:
        text = card.read_text("utf-8")
    except UnicodeDecodeError as error:
        verdict.report(str(card), f"byte {error.start + 1} is not UTF-8")
        return
    fingerprints = re.findall(r"(?m)^\| (\w+) \| [\d,]+ \| `([0-9a-f]{64})` \|", text)
    for split, fingerprint in fingerprints:
        file = folder / "data" / f"{split}.jsonl"
        if not file.is_file():
            verdict.report(str(file), "is missing, though the card lists it")
        elif verdict.fingerprints.get(str(file)) != fingerprint:
            verdict.report(str(file), "is not the file the card lists")


@dataclass
class _Order:
    """Item indices of each source, in the order of the file."""

    indices: dict[int, tuple[Source, list[int]]] = field(default_factory=dict)

    def add(self, source: Source, index: int) -> None:
        self.indices.setdefault(id(source), (source, []))[1].append(index)


def _check_run(
    file: str,
    run: list[tuple[int, bytes, Any]],
    remaker: _Remaker,
    verdict: Verdict,
    order: _Order,
) -> Hashes:
    """Check a run of lines; return their prompt hashes, 0 for a line that is not an item."""
    hashes = np.zeros(len(run), np.uint64)
    by_source: dict[int, tuple[Source, list[int]]] = {}
    for k, (number, line, row) in enumerate(run):
        place = f"{file}, line {number}"
        problem = _shape(row)
        if problem is None and not line.endswith(b"\n"):
            problem = "the line is cut off"
        if problem is None:
            problem = _choices(row)
        if problem is None:
            digest = hashlib.blake2b(row["prompt"].encode("utf-8", "replace"), digest_size=8)
            hashes[k] = int.from_bytes(digest.digest(), "little") | 1
            try:
                source = remaker.source(row)
            except InputError as error:
                problem = str(error)
            else:
                by_source.setdefault(id(source), (source, []))[1].append(k)
                order.add(source, row["index"])
        if problem is not None:
            verdict.report(place, problem)
    for source, members in by_source.values():
        _check_items(file, [run[k] for k in members], source, verdict)
    return hashes


def _check_items(
    file: str, lines: list[tuple[int, bytes, Any]], source: Source, verdict: Verdict
) -> None:
    """Check well-formed lines of one source against what it makes."""
    inside = [row["index"] for _, _, row in lines if 0 <= row["index"] < MAX_INDEX]
    remade = _remade(source, inside)
    # only the packaged wording can be read back
    readable = _remade(source.packaged, inside) if source.own_template else remade
    original = readable
    if source.task != source.task.uncontrolled:
        original = _remade(source.uncontrolled, inside)
    splits = dict(
        zip(original, source.task.splits_of([i.prompt for i in original.values()]), strict=True)
        if original
        else ()
    )
    for number, _, row in lines:
        place, index = f"{file}, line {number}", row["index"]
        item = remade.get(index)
        expected = item and item.row() | {"params": item.params}
        if expected is None or json.dumps(row, sort_keys=True) != json.dumps(
            expected, sort_keys=True
        ):
            differing = [n for n, v in (expected or {}).items() if row.get(n) != v]
            what = f"field '{differing[0]}'" if differing else "it"
            verdict.report(place, f"not the item of its coordinates: {what} differs")
            continue
        problem = _answer(readable[index])
        if problem is None and splits[index] != row["split"]:
            problem = f"the item belongs to split {splits[index]}"
        if problem is not None:
            verdict.report(place, problem)


def _check_repeats(hashes: Hashes, places: list[tuple[str, int]], verdict: Verdict) -> None:
    """Report every line whose prompt an earlier one has."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    again = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] != 0))
    starts = np.cumsum([0, *(count for _, count in places)])

    def place(line: int) -> str:
        at = int(np.searchsorted(starts, line, side="right")) - 1
        return f"{places[at][0]}, line {line - int(starts[at]) + 1}"

    for k in again.tolist():
        verdict.report(place(int(order[k + 1])), f"the same item as {place(int(order[k]))}")
