"""Documents from text, JSONL and Parquet files, folders, ``datasets`` folders and the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ....core.errors import InputError, shown
from ....core.identity import identify
from ....core.strict_json import LineError, line_value

TEXT = {".txt", ".md", ".text"}
LINES = {".jsonl", ".ndjson"}
READABLE = TEXT | LINES | {".parquet"}


def documents(
    source: str, field: str = "text", split: str = "train", revision: str | None = None
) -> Iterator[str]:
    """Yield the documents of a source, always in the same order.

    Args:
        source: a text file (one document), a JSONL or Parquet file (one document a row), a folder
            of such files, a folder written by ``datasets``, or the name of a data set on the hub,
            which is streamed (``name:config`` for one of its configurations).
        field: column with the text. Rows with ``prompt`` and ``target`` instead (generated items)
            become ``prompt target``.
        split: split of a ``datasets`` folder or a data set on the hub.
        revision: commit of a data set on the hub; by default the newest.

    Raises:
        InputError: the source does not exist, is damaged, or has no such field.
    """
    for rows, where in _readers(source, split, revision):
        if isinstance(rows, str):
            yield rows
        else:
            yield from _rows_as_text(rows, field, where)


def read_by(source: str, field: str, split: str) -> dict[str, Any]:
    """Identify the documents of a source: everything that decides their text and order.

    Returns:
        ``field``, ``split``, and ``files``: name -> :func:`growloop.core.identity.identify`. A data
        set on the hub has ``revision`` instead of ``files``: its commit, None if unknown.
    """
    if files := source_files(source):
        return {"field": field, "split": split, "files": identify(files)}
    return {"field": field, "split": split, "revision": _revision(source)}


def source_files(source: str) -> dict[str, Path]:
    """List the files that :func:`documents` reads: name -> path; empty for the hub."""
    path = Path(source)
    if path.is_file():
        return {path.name: path}
    any_suffix = _is_datasets_folder(path)
    files = (p for p in path.rglob("*") if p.is_file() and (any_suffix or p.suffix in READABLE))
    return {file.relative_to(path).as_posix(): file for file in sorted(files)}


def rows_of(source: str, split: str = "train") -> Iterator[Any]:
    """Yield the rows of a source, in the order of :func:`documents`.

    Raises:
        InputError: the source does not exist, is damaged, or is plain text.
    """
    for rows, where in _readers(source, split):
        if isinstance(rows, str):
            raise InputError(f"{where} is plain text: rows are needed (JSONL, Parquet, datasets)")
        yield from rows


def _readers(
    source: str, split: str, revision: str | None = None
) -> Iterator[tuple[Iterator[Any] | str, str]]:
    """Yield the parts of a source: (rows or one text, file or name of the part)."""
    path = Path(source)
    if path.is_dir():
        if _is_datasets_folder(path):
            yield _from_disk(path, split), source
            return
        files = sorted(p for p in path.rglob("*") if p.suffix in READABLE)
        if not files:
            raise InputError(f"{source} holds no .txt, .md, .jsonl or .parquet file")
        for file in files:
            yield _read_file(file), str(file)
    elif path.is_file():
        yield _read_file(path), source
    elif source.startswith((".", "/", "~")) or path.suffix in READABLE:
        raise InputError(f"there is no file or folder {source}")
    else:
        yield _from_hub(source, split, revision), source


def _read_file(path: Path) -> Iterator[Any] | str:
    """Return the rows of a file, or its text."""
    if path.suffix in TEXT:
        try:
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not UTF-8 text: byte {error.start}") from error
    if path.suffix in LINES:
        return _json_rows(path)
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    raise InputError(f"{path} is not a .txt, .md, .jsonl or .parquet file")


def _json_rows(path: Path) -> Iterator[Any]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield line_value(line, number == 1)
                except LineError as error:
                    raise InputError(f"{path}, line {number}: {error}") from error


def _parquet_rows(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet as parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(1000):
            try:
                rows = batch.to_pylist()
            except UnicodeDecodeError as error:
                number += _first_bad_row(batch)
                raise InputError(f"{path}, row {number}: not UTF-8 text") from error
            yield from rows
            number += len(rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a Parquet file, or is cut short") from error


def _first_bad_row(batch: Any) -> int:
    """Return the number, from 1, of the first row in a batch that is not UTF-8."""
    for index in range(len(batch)):
        try:
            batch.slice(index, 1).to_pylist()
        except UnicodeDecodeError:
            return index + 1
    raise AssertionError("every row holds text")


def _from_disk(path: Path, split: str) -> Iterator[Any]:
    import datasets

    try:
        dataset = datasets.load_from_disk(str(path))
    except Exception as error:  # a damaged folder can raise anything
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{path} is not a complete datasets folder: {first}") from error
    if isinstance(dataset, datasets.DatasetDict):
        if split not in dataset:
            raise InputError(f"{path} has no split {split}: it has {', '.join(dataset)}")
        dataset = dataset[split]
    done = 0
    try:
        for row in dataset:
            yield row
            done += 1
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, row {done + 1}: not UTF-8 text") from error


def _is_datasets_folder(path: Path) -> bool:
    return (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file()


def _revision(name: str) -> str | None:
    """Look up the commit of a data set on the hub; None if the hub does not answer."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name.partition(":")[0]).sha
    except Exception:  # the hub client can raise anything
        return None


def _from_hub(name: str, split: str, revision: str | None) -> Iterator[Any]:
    import datasets

    name, _, config = name.partition(":")
    options = {"split": split, "revision": revision, "streaming": True}
    try:
        yield from datasets.load_dataset(name, config or None, **options)
    except Exception as error:  # the hub client can raise anything
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"cannot read the data set '{name}': {first}") from error


def _rows_as_text(rows: Iterator[Any], field: str, source: str) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(f"{source}, row {number}: an object is needed, not {shown(row)}")
        if isinstance(row.get(field), str):
            yield row[field]
        elif isinstance(row.get("prompt"), str) and isinstance(row.get("target"), str):
            yield f"{row['prompt']} {row['target']}"
        else:
            raise InputError(
                f"{source}, row {number}: no text in '{field}' (fields: {', '.join(map(str, row))})"
            )
