"""A short run on token shards that grows and retrofits, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from growloop.models.training.engine import Engine
from growloop.models.training.runfile import parse

STEPS = 40


def fields(shards: Path, **changes: Any) -> dict[str, Any]:
    """A growing run with a change of the mixture and a retrofitted block."""
    return {
        "name": "tiny",
        "steps": STEPS,
        "precision": "fp32",
        "log_every": 1,
        "micro_batch_size": 2,
        "model": {"preset": "tiny", "options": {"vocab_size": 257, "num_hidden_layers": 6}},
        "data": {
            "sources": {"a": str(shards / "a"), "b": str(shards / "b")},
            "mixture": {"a": 0.9, "b": 0.1},
            "seq_len": 32,
            "batch_size": 4,
            "validation": str(shards / "b"),
        },
        "validate_every": 20,
        "optimizer": {"warmup": 4, "cooldown": 10},
        "growth": {"operator": "lidas", "block_size": 2},
        "events": [
            {"step": 30, "mixture": {"a": 0.5, "b": 0.5}},
            {"step": 32, "repeat": [2, 4]},
        ],
        "checkpoints": {"every": 6, "keep": 2},
        **changes,
    }


def trained(run: dict[str, Any], out: Path, until: int | None = None) -> Path:
    return Engine(parse(run), out).train(until).folder


def weights(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))]


def losses(out: Path) -> list[Any]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["grad_norm"], line["lr"]) for line in lines]
