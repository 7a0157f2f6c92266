"""Negative log-likelihood of held-out text: nats and bits, per token and per byte.

Per token is what training and the paper's tables report; it compares models with the same
tokenizer. Per byte compares any models. Documents are scored as by lm-eval's rolling likelihood:
the first token after the tokenizer's prefix token, long documents in windows that share no
predicted token.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.names import name_problem
from ...core.statistics import ratio_error
from ...core.strict_json import loads
from .data_files import rows
from .shapes import take

WINDOW = 2048  # tokens; the context of the paper's models
TEXTS = (".txt", ".jsonl", ".parquet")
INDEX = "index.json"  # of token shards (see docs/training.md)
SHARDS_VERSION = 1


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of documents.

    Args:
        nats: sum over all documents.
        stderr: standard error of nats per token, over documents.
        fingerprint: SHA-256 of the documents.
        items: per document ``nats`` and ``tokens``.
    """

    nats: float
    tokens: int
    bytes: int
    documents: int
    stderr: float | None
    source: str
    fingerprint: str
    items: list[dict[str, float]]

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def bits_per_token(self) -> float:
        return self.nats_per_token / math.log(2)

    @property
    def nats_per_byte(self) -> float:
        return self.nats / self.bytes

    @property
    def bits_per_byte(self) -> float:
        return self.nats_per_byte / math.log(2)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields but the items, and the four averages."""
        names = ("nats_per_token", "bits_per_token", "nats_per_byte", "bits_per_byte")
        values = asdict(self)
        del values["items"]
        return values | {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Text:
    """Held-out documents, loaded and validated."""

    documents: list[str]
    source: str

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(hashlib.sha256(document.encode()).digest())
        return digest.hexdigest()


def read_text(path: str | Path, limit: int | None = None) -> Text:
    """Read the documents at ``path``, files in the order of their names.

    Args:
        path: a ``.txt`` file (one document), a ``.jsonl`` or ``.parquet`` file with a field
            ``text``, a folder of such files, or a folder of token shards.
        limit: number of documents to read; None for all.

    Raises:
        InputError: no such file or folder, or one with other content.
    """
    top = Path(path)
    if top.is_dir() and (top / INDEX).is_file():
        texts = _shards(top)
    elif top.is_dir():
        files = sorted(file for file in top.rglob("*") if file.suffix in TEXTS)
        if not files:
            raise InputError(f"{path} holds no token shards and no files {', '.join(TEXTS)}")
        texts = (document for file in files for document in _file(file))
    elif top.is_file() and top.suffix in TEXTS:
        texts = _file(top)
    else:
        raise InputError(f"held-out text is a folder or a file {', '.join(TEXTS)}, not {path}")
    documents = []
    for document in texts:
        if document:
            documents.append(document)
        if len(documents) == limit:
            break
    if not documents:
        raise InputError(f"{path} holds no text")
    return Text(documents, str(path))


def _file(path: Path) -> Iterator[str]:
    if path.suffix == ".txt":
        try:
            yield path.read_text("utf-8-sig")
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            line = path.read_bytes()[: error.start].count(b"\n") + 1
            raise InputError(f"{path}:{line}: not UTF-8 text") from error
        return
    for place, value in rows(path):
        yield take(value, {"text": str}, place)["text"]


def _shards(folder: Path) -> Iterator[str]:
    """Decode the documents of token shards, since another tokenizer may score them."""
    import numpy as np

    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError(
            "reading token shards needs tokenizers: pip install 'growloop[eval]'"
        ) from error
    try:
        index = loads((folder / INDEX).read_bytes())
        version, names = index["version"], [shard["name"] for shard in index["shards"]]
        if wrong := next(filter(None, map(name_problem, names)), None):
            raise ValueError(f"the name of a shard {wrong}")
        kind = np.dtype("<u2" if index["vocabulary"] <= 2**16 else "<u4")
        counts = [shard["tokens"] for shard in index["shards"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / INDEX} cannot be read: it is damaged or no index") from error
    if version != SHARDS_VERSION:
        raise InputError(f"{folder / INDEX} has version {version}, not {SHARDS_VERSION}")
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises bare exceptions
        raise InputError(f"{folder} holds no tokenizer.json that can be read") from error
    for name, count in zip(names, counts, strict=True):
        try:
            tokens = np.fromfile(folder / f"{name}.bin", kind)
            ends = np.fromfile(folder / f"{name}.ends.bin", "<u8").astype(np.int64)
        except OSError as error:
            raise InputError(f"{folder}: {name} is missing or cannot be read") from error
        if len(tokens) != count or (len(ends) and ends[-1] != count):
            raise InputError(f"{folder}: {name} is cut: growloop tokenize makes it again")
        for document in np.split(tokens, ends[:-1]):
            yield tokenizer.decode(document.tolist(), skip_special_tokens=True)


def likelihood(lm: Any, text: Text, window: int = WINDOW) -> Likelihood:
    """Score documents with a model of lm-eval's (``HFLM``).

    Args:
        lm: the model.
        text: the documents.
        window: tokens of a forward pass, at most the model's context.
    """

    def score(some: Sequence[int]) -> list[tuple[float, int]]:
        return [_score(lm, text.documents[i], min(window, lm.max_length)) for i in some]

    processes, every = lm.processes, range(len(text.documents))
    parts = [every[k :: processes.size] for k in range(processes.size)]
    sums = processes.share(text.fingerprint, parts, score)
    nats, tokens = [total for total, _ in sums], [count for _, count in sums]
    return Likelihood(
        nats=sum(nats),
        tokens=sum(tokens),
        bytes=sum(len(document.encode()) for document in text.documents),
        documents=len(sums),
        stderr=ratio_error(nats, tokens) if len(tokens) > 1 else None,
        source=text.source,
        fingerprint=text.fingerprint,
        items=[{"nats": total, "tokens": count} for total, count in sums],
    )


def _score(lm: Any, document: str, window: int) -> tuple[float, int]:
    """Return nats and tokens of a document."""
    import torch
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    tokens = lm.tok_encode(document, add_special_tokens=False)
    lm.check_embedded([[lm.prefix_token_id, *tokens]])
    windows = get_rolling_token_windows(
        token_list=tokens, prefix_token=lm.prefix_token_id, max_seq_len=window, context_len=1
    )
    nats = 0.0
    for context, continuation in map(make_disjoint_window, windows):
        ids = torch.tensor([(context + continuation)[:-1]], device=lm.device)
        with torch.inference_mode():
            logits = lm._model_call(ids)[0, -len(continuation) :].float()  # (tokens, vocabulary)
            targets = torch.tensor(continuation, device=logits.device)
            nats += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
    if not math.isfinite(nats):
        lm.check_scores([(-nats, False)], [([lm.prefix_token_id], tokens)])
        raise InputError("the model gives a token of the held-out text no probability at all")
    return nats, len(tokens)
