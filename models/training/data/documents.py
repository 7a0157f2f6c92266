"""Where text comes from: files, folders, ``datasets`` folders, the hub."""

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
    """The documents of a source, one after the other, in an order that never changes.

    Args:
        source: a text file (one document), JSONL or Parquet file (one a row), a folder of such
            files, a folder written by ``datasets``, or the name of a data set on the hub, which
            is streamed; ``name:config`` for one of its configurations.
        field: the column with the text. Rows with ``prompt`` and ``target`` instead (generated
            items) become ``prompt target``.
        split: of a ``datasets`` folder or a data set on the hub.
        revision: commit of a data set on the hub; by default the newest.

    Raises:
        InputError: nothing there, or no such field.
    """
    for rows, where in _readers(source, split, revision):
        if isinstance(rows, str):
            yield rows
        else:
            yield from _rows_as_text(rows, field, where)


def read_by(source: str, field: str, split: str) -> dict[str, Any]:
    """What decides the documents of a source: column, split and the contents of its files.

    Returns:
        ``field``, ``split``, and ``files`` (:func:`growloop.core.identity.identify`, by name) or,
        of a data set on the hub, ``revision``: its commit, None if the hub does not say.
    """
    if files := source_files(source):
        return {"field": field, "split": split, "files": identify(files)}
    return {"field": field, "split": split, "revision": _revision(source)}


def source_files(source: str) -> dict[str, Path]:
    """Files that :func:`documents` reads, by their names in the source; none of the hub."""
    path = Path(source)
    if path.is_file():
        return {path.name: path}
    whole = _is_datasets_folder(path)
    files = (p for p in path.rglob("*") if p.is_file() and (whole or p.suffix in READABLE))
    return {file.relative_to(path).as_posix(): file for file in sorted(files)}


def rows_of(source: str, split: str = "train") -> Iterator[Any]:
    """The rows of a source other than plain text, as :func:`documents` finds them.

    Raises:
        InputError: nothing there, or a text file.
    """
    for rows, where in _readers(source, split):
        if isinstance(rows, str):
            raise InputError(f"{where} is plain text: rows are needed (JSONL, Parquet, datasets)")
        yield from rows


def _readers(
    source: str, split: str, revision: str | None = None
) -> Iterator[tuple[Iterator[Any] | str, str]]:
    """The parts of a source, each rows or one text, and where it is."""
    path = Path(source)
    if path.is_dir():
        if _is_datasets_folder(path):
            yield _from_disk(path, split), source
            return
        files = sorted(p for p in path.rglob("*") if p.suffix in READABLE)
        if not files:
            raise InputError(f"{source} holds no .txt, .md, .jsonl or .parquet file")
        for file in files:
            yield _of_file(file), str(file)
    elif path.is_file():
        yield _of_file(path), source
    elif source.startswith((".", "/", "~")) or path.suffix in READABLE:
        raise InputError(f"there is no file or folder {source}")
    else:
        yield _from_hub(source, split, revision), source


def _of_file(path: Path) -> Iterator[Any] | str:
    """The rows of a file, or its text."""
    if path.suffix in TEXT:
        try:
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not UTF-8 text: byte {error.start}") from error
    if path.suffix in LINES:
        return _json_rows(path)
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    raise InputError(f"{path} is no .txt, .md, .jsonl or .parquet file")


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
                number += _first_without_text(batch)
                raise InputError(f"{path}, row {number}: not UTF-8 text") from error
            yield from rows
            number += len(rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is no Parquet file, or not a whole one") from error


def _first_without_text(batch: Any) -> int:
    """Number in a batch, from 1 on, of the first row that holds no UTF-8."""
    for place in range(len(batch)):
        try:
            batch.slice(place, 1).to_pylist()
        except UnicodeDecodeError:
            return place + 1
    raise AssertionError("every row holds text")


def _from_disk(path: Path, split: str) -> Iterator[Any]:
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # a damaged folder fails in every way there is
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{path} is no whole folder of datasets: {first}") from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise InputError(f"{path} has no split {split}: it has {', '.join(found)}")
        found = found[split]
    done = 0
    try:
        for row in found:
            yield row
            done += 1
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, row {done + 1}: not UTF-8 text") from error


def _is_datasets_folder(path: Path) -> bool:
    return (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file()


def _revision(name: str) -> str | None:
    """The commit of a data set on the hub; None if the hub does not say."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name.partition(":")[0]).sha
    except Exception:  # the hub fails in every way there is
        return None


def _from_hub(name: str, split: str, revision: str | None) -> Iterator[Any]:
    import datasets

    name, _, config = name.partition(":")
    options = {"split": split, "revision": revision, "streaming": True}
    try:
        yield from datasets.load_dataset(name, config or None, **options)
    except Exception as error:  # the hub fails in every way there is
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
