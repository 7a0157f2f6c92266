"""Token shards: text once tokenized, read from disk ever after.

A folder holds ``tokenizer.json``, ``shard-00000.bin`` (tokens, little-endian),
``shard-00000.ends.bin`` (where each document ends, uint64), ``shard-00000.json`` (counts and
checksums of both), and ``index.json``, written last. A shard is a fixed part of the source: an
interrupted job goes on where it stopped.
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

from ...core.files import write_atomically
from ..errors import ModelError

VERSION = 1
INDEX = "index.json"


@dataclass(frozen=True)
class Shard:
    """What is known of one shard.

    Args:
        name: of its files, without endings.
        tokens, documents: counts.
        sha256: of the tokens file.
        ends_sha256: of the file of document ends.
    """

    name: str
    tokens: int
    documents: int
    sha256: str
    ends_sha256: str


def token_type(vocabulary: int) -> np.dtype[Any]:
    """The smallest type that holds every token."""
    return np.dtype("<u2") if vocabulary <= 2**16 else np.dtype("<u4")


def write_shard(
    folder: Path, number: int, documents: Sequence[Sequence[int]], vocabulary: int
) -> Shard:
    """Write one shard; its ``.json`` appears when the rest is safely on disk."""
    name = f"shard-{number:05d}"
    lengths = np.fromiter(map(len, documents), np.uint64, len(documents))
    tokens = np.fromiter(
        (token for document in documents for token in document), np.int64, int(lengths.sum())
    )
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < vocabulary:
        raise ModelError(f"a token of {name} is outside the vocabulary of {vocabulary:,}")
    sums = [
        _write(folder / f"{name}.bin", tokens.astype(token_type(vocabulary)).tobytes()),
        _write(folder / f"{name}.ends.bin", lengths.cumsum().astype("<u8").tobytes()),
    ]
    shard = Shard(name, len(tokens), len(documents), *sums)
    write_atomically(folder / f"{name}.json", json.dumps(asdict(shard)).encode())
    return shard


def finished_shard(folder: Path, number: int) -> Shard | None:
    """A shard that an earlier, interrupted job wrote, if it is whole."""
    try:
        shard = Shard(**json.loads((folder / f"shard-{number:05d}.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return shard if not problems(folder, shard) else None


def write_index(folder: Path, shards: Iterable[Shard], about: dict[str, Any]) -> None:
    """Finish a data set.

    Args:
        about: ``vocabulary``, ``tokenizer`` (a hash), ``source``, ``special_tokens`` (ids that each
            document begins with), whatever else is worth knowing.
    """
    found = [asdict(shard) for shard in shards]
    index = {
        "version": VERSION,
        **about,
        "tokens": sum(shard["tokens"] for shard in found),
        "documents": sum(shard["documents"] for shard in found),
        "shards": found,
    }
    write_atomically(folder / INDEX, json.dumps(index, indent=2).encode())


def _write(path: Path, content: bytes) -> str:
    """Write a file; its SHA-256."""
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def problems(folder: Path, shard: Shard) -> list[str]:
    """What is wrong with the files of a shard."""
    found = []
    for ending, expected in ((".bin", shard.sha256), (".ends.bin", shard.ends_sha256)):
        path = folder / f"{shard.name}{ending}"
        if not path.is_file():
            found.append(f"{path.name} is missing")
            continue
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != expected:
            found.append(f"{path.name} does not have the checksum of its index")
    return found


class NoShardsError(ModelError):
    """A folder in which nothing was tokenized yet."""


class Shards:
    """A tokenized data set, memory-mapped.

    Args:
        folder: as written by ``growloop tokenize``.

    ``special`` are the ids that each document begins with; none in shards of earlier versions.

    Raises:
        NoShardsError: no index.
        ModelError: a damaged one, or files of another size than it says.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / INDEX
        if not path.is_file():
            hint = "unfinished" if list(self.folder.glob("shard-*")) else "no token shards"
            raise NoShardsError(f"{folder} holds no {INDEX}: {hint} (growloop tokenize makes them)")
        try:
            self.about = json.loads(path.read_bytes())
            self.shards = [Shard(**shard) for shard in self.about["shards"]]
            self.vocabulary = int(self.about["vocabulary"])
            self.tokenizer = str(self.about["tokenizer"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ModelError(f"{path} cannot be read: it is damaged or no index") from error
        self.special = tuple(self.about.get("special_tokens", ()))
        if self.about.get("version") != VERSION:
            raise ModelError(f"{path} has version {self.about.get('version')}, not {VERSION}")
        kind = token_type(self.vocabulary)
        for shard in self.shards:
            file = self.folder / f"{shard.name}.bin"
            if not file.is_file() or file.stat().st_size != shard.tokens * kind.itemsize:
                raise ModelError(f"{file} is missing or cut: growloop tokenize makes it again")
        self.starts = np.cumsum([0, *(shard.tokens for shard in self.shards)])
        if not len(self):
            raise ModelError(f"{folder} holds no tokens")

    @property
    def digest(self) -> str:
        """What tells these tokens from others: of the index, without where the text came from."""
        kept = ("vocabulary", "tokenizer", "end", "special_tokens", "shards")
        fields = {name: self.about[name] for name in kept if name in self.about}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @property
    def checksums(self) -> dict[Path, str]:
        """Files of tokens, and the tokenizer if there is one, with what the index says of them."""
        found = {self.folder / f"{shard.name}.bin": shard.sha256 for shard in self.shards}
        return dict.fromkeys(self.folder.glob("tokenizer.json"), self.tokenizer) | found

    def __len__(self) -> int:
        """Tokens in all."""
        return int(self.starts[-1])

    @cached_property
    def _maps(self) -> list[NDArray[Any]]:
        kind = token_type(self.vocabulary)
        return [
            np.memmap(self.folder / f"{shard.name}.bin", kind, "r", shape=(shard.tokens,))
            if shard.tokens
            else np.zeros(0, kind)
            for shard in self.shards
        ]

    def window(self, start: int, length: int) -> NDArray[np.int64]:
        """``length`` tokens from ``start`` on, across shards; around the end to the beginning."""
        parts: list[NDArray[Any]] = []
        place = start % len(self)
        while length > 0:
            number = int(np.searchsorted(self.starts, place, side="right")) - 1
            inside = place - int(self.starts[number])
            part = self._maps[number][inside : inside + length]
            parts.append(part)
            length -= len(part)
            place = (place + len(part)) % len(self)
        return np.concatenate(parts).astype(np.int64)

    def ends(self) -> NDArray[np.uint64]:
        """Where each document ends, in tokens from the beginning."""
        parts = [
            np.fromfile(self.folder / f"{shard.name}.ends.bin", "<u8") + np.uint64(start)
            for shard, start in zip(self.shards, self.starts[:-1], strict=True)
        ]
        return np.concatenate(parts)

    def verify(self) -> list[str]:
        """Read everything and compare checksums; what is wrong."""
        return [problem for shard in self.shards for problem in problems(self.folder, shard)]
