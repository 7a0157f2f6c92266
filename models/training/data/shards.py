"""Token shards: a data set that is tokenized once and memory-mapped in training.

A folder holds ``tokenizer.json``, ``shard-00000.bin`` (tokens, little-endian),
``shard-00000.ends.bin`` (end offset of each document, uint64), ``shard-00000.json`` (counts and
checksums of both), and ``index.json``, written last. A shard is a fixed part of the source, so an
interrupted job resumes at the first missing shard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError
from ....core.files import write_atomically
from ....core.names import name_problem
from ....core.strict_json import fields_problem, loads, read_object, short

VERSION = 1
INDEX = "index.json"
INDEX_FIELDS: dict[str, Any] = {
    "version": int, "shards": list, "vocabulary": int, "tokenizer": str,
    "special_tokens": (list, type(None)),
}  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """Metadata of one shard.

    Args:
        name: name of its files, without suffix.
        tokens: number of tokens.
        documents: number of documents.
        sha256: checksum of the tokens file.
        ends_sha256: checksum of the file of document ends.
    """

    name: str
    tokens: int
    documents: int
    sha256: str
    ends_sha256: str


def token_type(vocabulary: int) -> np.dtype[Any]:
    """Return the smallest integer dtype for a vocabulary: uint16 or uint32."""
    return np.dtype("<u2") if vocabulary <= 2**16 else np.dtype("<u4")


def write_shard(
    folder: Path, number: int, documents: Sequence[Sequence[int]], vocabulary: int
) -> Shard:
    """Write one shard; its ``.json`` is written last.

    Raises:
        InputError: a token is outside the vocabulary.
    """
    name = f"shard-{number:05d}"
    lengths = np.fromiter(map(len, documents), np.uint64, len(documents))
    tokens = np.fromiter(
        (token for document in documents for token in document), np.int64, int(lengths.sum())
    )
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < vocabulary:
        raise InputError(f"a token of {name} is outside the vocabulary of {vocabulary:,}")
    sums = [
        _write(folder / f"{name}.bin", tokens.astype(token_type(vocabulary)).tobytes()),
        _write(folder / f"{name}.ends.bin", lengths.cumsum().astype("<u8").tobytes()),
    ]
    shard = Shard(name, len(tokens), len(documents), *sums)
    write_atomically(folder / f"{name}.json", json.dumps(asdict(shard)).encode())
    return shard


def finished_shard(folder: Path, number: int) -> Shard | None:
    """Return a shard that an interrupted job wrote; None if it is missing or damaged."""
    try:
        shard = read_shard(loads((folder / f"shard-{number:05d}.json").read_bytes()))
    except (OSError, ValueError):
        return None
    return shard if not problems(folder, shard) else None


def read_shard(fields: Any) -> Shard:
    """Parse the metadata of a shard, from its ``.json`` or the index.

    Raises:
        ValueError: a field is missing, unknown or invalid.
    """
    types: dict[str, Any] = {"name": str, "ends_sha256": str, "sha256": str}
    types |= {"tokens": int, "documents": int}
    if not isinstance(fields, dict) or fields.keys() != types.keys():
        raise ValueError(f"a shard has the fields {', '.join(sorted(types))}")
    wrong = fields_problem(fields, **types)
    if wrong is None and (problem := name_problem(fields["name"])):
        wrong = f"its name {problem}"
    if wrong is None and min(fields["tokens"], fields["documents"]) < 0:
        wrong = "a count is below 0"
    if wrong is not None:
        raise ValueError(f"a shard is damaged: {wrong}")
    return Shard(**fields)


def write_index(folder: Path, shards: Iterable[Shard], about: dict[str, Any]) -> None:
    """Write the index, which completes a data set.

    Args:
        about: ``vocabulary``, ``tokenizer`` (a hash), ``source``, ``special_tokens`` (ids that each
            document begins with), and any other metadata.
    """
    entries = [asdict(shard) for shard in shards]
    index = {
        "version": VERSION,
        **about,
        "tokens": sum(shard["tokens"] for shard in entries),
        "documents": sum(shard["documents"] for shard in entries),
        "shards": entries,
    }
    write_atomically(folder / INDEX, json.dumps(index, indent=2).encode())


def _write(path: Path, content: bytes) -> str:
    """Write a file and return its SHA-256."""
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def problems(folder: Path, shard: Shard) -> list[str]:
    """List missing files and wrong checksums of a shard."""
    messages = []
    for ending, expected in ((".bin", shard.sha256), (".ends.bin", shard.ends_sha256)):
        path = folder / f"{shard.name}{ending}"
        if not path.is_file():
            messages.append(f"{path.name} is missing")
            continue
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != expected:
            messages.append(f"{path.name} does not have the checksum of its index")
    return messages


class NoShardsError(InputError):
    """Folder without a complete tokenized data set."""


class Shards:
    """Tokenized data set, memory-mapped.

    Attribute ``special`` holds the ids that each document begins with; empty in shards of earlier
    versions.

    Example::

        shards = Shards("shards/web")
        len(shards), shards.window(0, 8)  # number of tokens; the first eight

    Args:
        folder: folder written by ``growloop tokenize``.

    Raises:
        NoShardsError: the folder has no index.
        InputError: the index is damaged, or a file does not have the size it states.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / INDEX
        if not path.is_file():
            hint = "unfinished" if list(self.folder.glob("shard-*")) else "no token shards"
            raise NoShardsError(f"{folder} holds no {INDEX}: {hint} (growloop tokenize makes them)")
        try:
            self.about = read_object(path, **INDEX_FIELDS)
            self.shards = [read_shard(shard) for shard in self.about["shards"]]
        except ValueError as error:
            reason = str(error).removeprefix(f"{path} is damaged: ")
            raise InputError(
                f"{path} cannot be read: it is damaged or no index: {reason}"
            ) from None
        self.vocabulary: int = self.about["vocabulary"]
        self.tokenizer: str = self.about["tokenizer"]
        self.special = tuple(self.about.get("special_tokens") or ())
        if not all(type(token) is int and 0 <= token < self.vocabulary for token in self.special):
            raise InputError(f"{path} cannot be read: special_tokens are not tokens")
        end = self.about.get("end")
        if end is not None and not (type(end) is int and 0 <= end < self.vocabulary):
            raise InputError(f"{path} cannot be read: end is not one of {self.vocabulary:,} tokens")
        if self.about["version"] != VERSION:
            raise InputError(f"{path} has version {short(self.about['version'])}, not {VERSION}")
        dtype = token_type(self.vocabulary)
        for shard in self.shards:
            file = self.folder / f"{shard.name}.bin"
            if not file.is_file() or file.stat().st_size != shard.tokens * dtype.itemsize:
                raise InputError(f"{file} is missing or cut: growloop tokenize makes it again")
        self.starts = np.cumsum([0, *(shard.tokens for shard in self.shards)])
        if not len(self):
            raise InputError(f"{folder} holds no tokens")

    @property
    def digest(self) -> str:
        """SHA-256 of the index without its metadata: equal for equal tokens."""
        names = ("vocabulary", "tokenizer", "end", "special_tokens", "shards")
        fields = {name: self.about[name] for name in names if name in self.about}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @property
    def checksums(self) -> dict[Path, str]:
        """Expected checksums: tokens file or ``tokenizer.json`` -> checksum in the index."""
        sums = {self.folder / f"{shard.name}.bin": shard.sha256 for shard in self.shards}
        return dict.fromkeys(self.folder.glob("tokenizer.json"), self.tokenizer) | sums

    def __len__(self) -> int:
        """Return the total number of tokens."""
        return int(self.starts[-1])

    @cached_property
    def _maps(self) -> list[NDArray[Any]]:
        dtype = token_type(self.vocabulary)
        return [
            np.memmap(self.folder / f"{shard.name}.bin", dtype, "r", shape=(shard.tokens,))
            if shard.tokens
            else np.zeros(0, dtype)
            for shard in self.shards
        ]

    def window(self, start: int, length: int) -> NDArray[np.int64]:
        """Read ``length`` tokens from ``start`` on, across shards, wrapping at the end."""
        parts: list[NDArray[Any]] = []
        position = start % len(self)
        while length > 0:
            number = int(np.searchsorted(self.starts, position, side="right")) - 1
            offset = position - int(self.starts[number])
            part = self._maps[number][offset : offset + length]
            parts.append(part)
            length -= len(part)
            position = (position + len(part)) % len(self)
        return np.concatenate(parts).astype(np.int64)

    def ends(self) -> NDArray[np.uint64]:
        """Return the end of each document, as a token index in the whole data set."""
        parts = [
            np.fromfile(self.folder / f"{shard.name}.ends.bin", "<u8") + np.uint64(start)
            for shard, start in zip(self.shards, self.starts[:-1], strict=True)
        ]
        return np.concatenate(parts)

    def verify(self) -> list[str]:
        """Read all files, compare checksums and list the problems."""
        return [problem for shard in self.shards for problem in problems(self.folder, shard)]
