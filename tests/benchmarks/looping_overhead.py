"""What looping costs: 4x6 against the same 24 layers unrolled, in turn in one process.

``python tests/benchmarks/looping_overhead.py`` prints the ratio of the medians of 40 alternating
pairs, with a bootstrap interval.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from growloop.models import build, untie

PAIRS = 40


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(name: str, looped: Callable[[], object], unrolled: Callable[[], object]) -> None:
    for function in (looped, unrolled):
        function()
    pairs = []
    for i in range(PAIRS):
        if i % 2:
            b, a = seconds(unrolled), seconds(looped)
        else:
            a, b = seconds(looped), seconds(unrolled)
        pairs.append((a, b))
    times = np.array(pairs)
    rng = np.random.default_rng(0)
    draws = times[rng.integers(0, PAIRS, (10_000, PAIRS))]
    ratios = np.median(draws[..., 0], axis=1) / np.median(draws[..., 1], axis=1)
    ratio = np.median(times[:, 0]) / np.median(times[:, 1])
    low, high = np.quantile(ratios, [0.025, 0.975])
    print(f"{name:32} {ratio:.3f} [{low:.3f}, {high:.3f}]")


def main() -> None:
    looped = build(
        "tiny",
        "4x6",
        hidden_size=384,
        num_attention_heads=6,
        num_key_value_heads=2,
        intermediate_size=1024,
    )
    unrolled = untie(copy.deepcopy(looped))
    ids = torch.randint(0, 512, (4, 128))

    def forward(model: torch.nn.Module) -> None:
        with torch.inference_mode():
            model.eval()(ids)

    def step(model: torch.nn.Module) -> None:
        model.train().zero_grad(set_to_none=True)
        model(ids, labels=ids).loss.backward()

    def decode(model: torch.nn.Module) -> None:
        options = {"max_new_tokens": 16, "do_sample": False, "pad_token_id": 0}
        model.eval().generate(ids[:1, :32], **options)

    for name, function in (
        ("forward, 4 x 128 tokens", forward),
        ("forward and backward", step),
        ("decoding 16 tokens", decode),
    ):
        compare(name, lambda f=function: f(looped), lambda f=function: f(unrolled))


if __name__ == "__main__":
    main()
