"""Data set of a benchmark: layout of its files, shape of its rows, and loading.

A folder given as ``--data-dir`` holds ``NAME/SPLIT.jsonl`` (or ``.json``, ``.parquet``), with rows
as on the Hugging Face hub or from the data set's authors; further fields are ignored. Data sets
that are not there are downloaded from the hub, unless it is off line.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from .data_files import ENDINGS, Placed, rows
from .shapes import take

Row = dict[str, Any]


class MissingDataError(InputError):
    """Data set that is neither in the folder nor available from the hub."""


@dataclass(frozen=True)
class Hub:
    """Data set on the Hugging Face hub; ``splits`` maps our split names to the hub's."""

    path: str
    name: str | None = None
    revision: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Args:
        splits: split -> number of rows as published.
        shape: shape of a row (see :mod:`.shapes`).
        url: address of its authors.
        hub: hub address; None if it is not on the hub in its original form.
        problem: row -> what else is wrong with it, or None.
        tidy: row -> row with columns of one type, where files mix numbers and texts.
    """

    name: str
    splits: Mapping[str, int]
    shape: Mapping[str, Any]
    url: str
    hub: Hub | None = None
    problem: Callable[[Row], str | None] = lambda _: None
    tidy: Callable[[Row], Row] = lambda row: row

    def file(self, folder: str | Path, split: str) -> Path | None:
        """Return the local file of a split, or None.

        Raises:
            InputError: several files for one split.
        """
        paths = [Path(folder) / self.name / f"{split}{ending}" for ending in ENDINGS]
        files = [path for path in paths if path.is_file()]
        if len(files) > 1:
            raise InputError(f"{files[0]} and {files[1].name} are both there: keep one of them")
        return files[0] if files else None

    def advice(self, folder: str | Path | None) -> str:
        """Explain in one sentence how to get the data set."""
        files = " and ".join(f"{split}.jsonl" for split in self.splits)
        where = f"{folder or 'DIR'}/{self.name}"
        if self.hub is None:
            source = f"from {self.url}"
        else:
            source = f"of {self.hub.path}" + (f" ({self.hub.name})" if self.hub.name else "")
            source += " on the Hugging Face hub"
        given = "" if folder else ", and give --data-dir DIR"
        return f"no data set {self.name}: write {files} {source} into {where}{given}"


@dataclass(frozen=True)
class Loaded:
    """Split of a data set, validated.

    Args:
        rows: rows with only the fields of the shape.
        source: file, or data set on the hub.
        fingerprint: SHA-256 of the rows.
        published: number of rows of the split as published.
    """

    rows: list[Row]
    source: str
    fingerprint: str
    published: int


def load(dataset: DataSet, split: str, folder: str | Path | None) -> Loaded:
    """Load and validate a split of a data set.

    Args:
        folder: ``--data-dir``; None for the hub alone.

    Raises:
        MissingDataError: neither in the folder nor available from the hub.
        InputError: an invalid row, with file and line.
    """
    file = dataset.file(folder, split) if folder is not None else None
    if file is not None:
        source, placed = str(file), rows(file)
    else:
        source, placed = _from_hub(dataset, split, folder)
    checked = []
    for place, value in placed:
        row = take(value, dict(dataset.shape), place)
        if wrong := dataset.problem(row):
            raise InputError(f"{place}: {wrong}")
        checked.append(dataset.tidy(row))
    if not checked:
        raise InputError(f"{source} holds no rows")
    digest = hashlib.sha256()
    for row in checked:
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return Loaded(checked, source, digest.hexdigest(), dataset.splits[split])


def _from_hub(dataset: DataSet, split: str, folder: str | Path | None) -> tuple[str, Any]:
    if dataset.hub is None or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        raise MissingDataError(dataset.advice(folder))
    hub = dataset.hub
    try:
        import datasets

        wanted = hub.splits.get(split, split)
        table = datasets.load_dataset(hub.path, hub.name, split=wanted, revision=hub.revision)
    except Exception as error:  # the hub fails in every way there is
        raise MissingDataError(dataset.advice(folder)) from error
    placed: list[Placed] = [(f"{hub.path}: row {i}", row) for i, row in enumerate(table, 1)]
    return f"hub:{hub.path}", placed
