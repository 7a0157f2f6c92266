"""What looping costs over the same computation with layers of their own.

``pytest tests/benchmarks/test_looping.py --benchmark-only``: compare ``looped`` (4x6) with
``unrolled`` (24 layers) in each group; the two run in turn in one process.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from growloop.models import build, untie

SIZES = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 640, "vocab_size": 512}


@cache
def models() -> dict[str, Any]:
    looped = build("tiny", "4x6", **SIZES)
    return {"looped": looped, "unrolled": untie(copy.deepcopy(looped))}


@pytest.fixture(params=["looped", "unrolled"])
def model(request: pytest.FixtureRequest) -> Any:
    return models()[request.param]


def tokens(batch: int, length: int) -> torch.Tensor:
    return torch.randint(0, 512, (batch, length), generator=torch.Generator().manual_seed(0))


@pytest.mark.benchmark(group="forward, 4 x 128 tokens")
def test_forward(benchmark: Any, model: Any) -> None:
    ids = tokens(4, 128)
    with torch.inference_mode():
        benchmark.pedantic(model.eval(), (ids,), rounds=30, warmup_rounds=3)


@pytest.mark.benchmark(group="forward and backward, 4 x 128 tokens")
def test_training_step(benchmark: Any, model: Any) -> None:
    ids = tokens(4, 128)
    model.train()

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(ids, labels=ids).loss.backward()

    benchmark.pedantic(step, rounds=20, warmup_rounds=2)


@pytest.mark.benchmark(group="decoding 32 tokens with a cache, one sequence")
def test_generation(benchmark: Any, model: Any) -> None:
    ids = tokens(1, 32)
    options = {"max_new_tokens": 32, "min_new_tokens": 32, "do_sample": False, "pad_token_id": 0}
    benchmark.pedantic(model.eval().generate, (ids,), options, rounds=10, warmup_rounds=1)
