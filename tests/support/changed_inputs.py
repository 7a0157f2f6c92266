"""Inputs that change after a run began with them; checkpoints of an earlier version."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from growloop.models.training import checkpoints as snapshots
from growloop.models.training.data.tokenization import byte_tokenizer, tokenize

TEXTS = [f"{i} and {i * 7 % 31} make {i + i * 7 % 31}. " * 20 for i in range(20)]


def changed(path: Path) -> None:
    """Another file of equal size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def state_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return found


def made_by_an_earlier_version(folder: Path) -> None:
    """Take out of a checkpoint what earlier versions did not write."""
    state = state_of(folder)
    del state["inputs"], state["special_tokens"]
    (folder / "training.json").write_text(json.dumps(state))
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = hashlib.sha256((folder / "training.json").read_bytes()).hexdigest()
    manifest["sha256"]["training.json"] = digest
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert snapshots.problem(folder) is None


def sharded(folder: Path) -> Path:
    """Write the shards ``a``, ``b`` and ``v`` of the run of ``fields``."""
    for name in "abv":
        texts = TEXTS if name == "a" else TEXTS[::-1]
        tokenize(texts, byte_tokenizer(), folder / name, "sums", shard_documents=10)
    return folder


def fields(shards: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "tiny",
        "steps": 6,
        "precision": "fp32",
        "model": {"preset": "tiny", "options": {"num_hidden_layers": 2}},
        "data": {
            "sources": {"a": str(shards / "a"), "b": str(shards / "b")},
            "mixture": {"a": 1.0},
            "seq_len": 16,
            "batch_size": 2,
            "validation": str(shards / "v"),
        },
        "optimizer": {"warmup": 1},
        "events": [{"step": 4, "mixture": {"a": 0.5, "b": 0.5}}],
        **changes,
    }


def remade(folder: Path) -> None:
    """Shards of another text, as large."""
    shutil.rmtree(folder)
    texts = [text.replace("and", "add") for text in TEXTS]
    tokenize(texts, byte_tokenizer(), folder, "sums", shard_documents=10)
