"""Token shards and a finished run, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from growloop.models.training.data.tokenization import byte_tokenizer, tokenize

from ...support.training_runs import fields, trained


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards ``a`` and ``b``; tests read them only."""
    folder = tmp_path_factory.mktemp("shards")
    texts = [f"{i} and {i * 7 % 31} make {i + i * 7 % 31}. " * 20 for i in range(60)]
    tokenize(texts, byte_tokenizer(), folder / "a", "sums", shard_documents=16)
    tokenize(texts[::-1], byte_tokenizer(), folder / "b", "sums", shard_documents=16)
    return folder


@pytest.fixture(scope="session")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of ``fields`` without any interruption; tests read it only."""
    out = tmp_path_factory.mktemp("whole")
    trained(fields(shards), out)
    return out
