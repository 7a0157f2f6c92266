"""A short fine-tuning on sums, its examples and its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from growloop.models.training.data.tokenization import byte_tokenizer
from transformers import PreTrainedTokenizerFast


def tokenizer() -> Any:
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(), eos_token=end, pad_token=end)


def sums(count: int, first: int = 0) -> list[tuple[str, str]]:
    return [(f"{i}+{i * 7 % 13}=", str(i + i * 7 % 13)) for i in range(first, first + count)]


def written(path: Path, pairs: list[tuple[str, str]]) -> str:
    path.write_text("".join(json.dumps({"prompt": p, "target": t}) + "\n" for p, t in pairs))
    return str(path)


def fields(base: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "sums",
        "steps": 24,
        "precision": "fp32",
        "log_every": 1,
        "validate_every": 4,
        "model": {"path": str(base)},
        "data": {
            "examples": written(folder / "train.jsonl", sums(50)),
            "validation": written(folder / "held_out.jsonl", sums(20, 50)),
            "batch_size": 6,
            "seq_len": 32,
        },
        "optimizer": {"warmup": 2, "cooldown": 22},
        "checkpoints": {"every": 5, "keep": 1, "best": True},
        **changes,
    }
