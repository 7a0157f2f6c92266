"""Where text comes from: files, folders, ``datasets`` folders, the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...core.strict_json import RepeatedNameError, loads
from ..errors import ModelError, shown

TEXT = {".txt", ".md", ".text"}
LINES = {".jsonl", ".ndjson"}


def documents(source: str, field: str = "text", split: str = "train") -> Iterator[str]:
    """The documents of a source, one after the other, in an order that never changes.

    Args:
        source: a text file (one document), JSONL or Parquet file (one a row), a folder of such
            files, a folder written by ``datasets``, or the name of a data set on the hub, which
            is streamed; ``name:config`` for one of its configurations.
        field: the column with the text. Rows with ``prompt`` and ``target`` instead (generated
            items) become ``prompt target``.
        split: of a ``datasets`` folder or a data set on the hub.

    Raises:
        ModelError: nothing there, or no such field.
    """
    for rows, where in _readers(source, split):
        if isinstance(rows, str):
            yield rows
        else:
            yield from _rows_as_text(rows, field, where)


def rows_of(source: str, split: str = "train") -> Iterator[Any]:
    """The rows of a source other than plain text, as :func:`documents` finds them.

    Raises:
        ModelError: nothing there, or a text file.
    """
    for rows, where in _readers(source, split):
        if isinstance(rows, str):
            raise ModelError(f"{where} is plain text: rows are needed (JSONL, Parquet, datasets)")
        yield from rows


def _readers(source: str, split: str) -> Iterator[tuple[Iterator[Any] | str, str]]:
    """The parts of a source, each rows or one text, and where it is."""
    path = Path(source)
    if path.is_dir():
        if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
            yield _from_disk(path, split), source
            return
        files = sorted(p for p in path.rglob("*") if p.suffix in TEXT | LINES | {".parquet"})
        if not files:
            raise ModelError(f"{source} holds no .txt, .md, .jsonl or .parquet file")
        for file in files:
            yield _of_file(file), str(file)
    elif path.is_file():
        yield _of_file(path), source
    elif source.startswith((".", "/", "~")) or path.suffix in TEXT | LINES | {".parquet"}:
        raise ModelError(f"there is no file or folder {source}")
    else:
        yield _from_hub(source, split), source


def _of_file(path: Path) -> Iterator[Any] | str:
    """The rows of a file, or its text."""
    if path.suffix in TEXT:
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ModelError(f"{path} is not UTF-8 text: byte {error.start}") from error
    if path.suffix in LINES:
        return _json_rows(path)
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    raise ModelError(f"{path} is no .txt, .md, .jsonl or .parquet file")


def _json_rows(path: Path) -> Iterator[Any]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield loads(line.decode())
                except UnicodeDecodeError as error:
                    raise ModelError(f"{path}, line {number}: not UTF-8 text") from error
                except RepeatedNameError as error:
                    raise ModelError(f"{path}, line {number}: {error}") from error
                except ValueError as error:
                    raise ModelError(f"{path}, line {number}: not JSON") from error


def _parquet_rows(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        for batch in parquet.ParquetFile(path).iter_batches(1000):
            yield from batch.to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ModelError(f"{path} is no Parquet file") from error


def _from_disk(path: Path, split: str) -> Iterator[Any]:
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # a damaged folder fails in every way there is
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{path} is no whole folder of datasets: {first}") from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise ModelError(f"{path} has no split {split}: it has {', '.join(found)}")
        found = found[split]
    yield from found


def _from_hub(name: str, split: str) -> Iterator[Any]:
    import datasets

    name, _, config = name.partition(":")
    try:
        yield from datasets.load_dataset(name, config or None, split=split, streaming=True)
    except Exception as error:  # the hub fails in every way there is
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"cannot read the data set '{name}': {first}") from error


def _rows_as_text(rows: Iterator[Any], field: str, source: str) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ModelError(f"{source}, row {number}: an object is needed, not {shown(row)}")
        if isinstance(row.get(field), str):
            yield row[field]
        elif isinstance(row.get("prompt"), str) and isinstance(row.get("target"), str):
            yield f"{row['prompt']} {row['target']}"
        else:
            raise ModelError(
                f"{source}, row {number}: no text in '{field}' (fields: {', '.join(map(str, row))})"
            )
