"""Local effects: all sources of a layer as one batch, against a forward pass with a hook a pair.

``python tests/benchmarks/local_effects.py [TOKENS]`` runs both on one random 30-layer model, in
turn in one process, checks that they agree, and prints times, their ratio and calls of layers.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from growloop.models import build
from growloop.models.diagnostics import local_effects, trace
from torch import Tensor

LAYERS = 30
TURNS = 3


@torch.no_grad()
def with_a_hook_a_pair(model: Any, ids: Tensor) -> Tensor:
    """For each pair a forward pass in which a hook edits the input of the later layer."""
    layers, states = list(model.model.layers), []
    handles = [
        layer.register_forward_hook(lambda _, args, output: states.append((args[0], output)))
        for layer in layers
    ]
    model(ids, use_cache=False)
    for handle in handles:
        handle.remove()
    changes = [after - before for before, after in states]
    found = torch.zeros(len(ids), LAYERS, LAYERS)
    for source in range(LAYERS):
        for target in range(source + 1, LAYERS):
            seen: list[Tensor] = []

            def edit(_: Any, args: Any, source: int = source) -> Any:
                hidden = args[0].clone()
                hidden[:, 1:] -= changes[source][:, 1:]  # the first token is left alone
                return (hidden, *args[1:])

            def look(_: Any, args: Any, output: Any, seen: list[Tensor] = seen) -> None:
                seen.append(output - args[0])

            handles = [
                layers[target].register_forward_pre_hook(edit),
                layers[target].register_forward_hook(look),
            ]
            model(ids, use_cache=False)
            for handle in handles:
                handle.remove()
            norm = changes[target].norm(dim=-1).clamp_min(1e-6)
            change = (seen[0] - changes[target]).norm(dim=-1) / norm
            found[:, source, target] = change.amax(1)
    return found


def batched(model: Any, ids: Tensor) -> Tensor:
    return local_effects(trace(model, ids))


def timed(function: Callable[[Any, Tensor], Tensor], *given: Any) -> tuple[float, Tensor]:
    start = time.perf_counter()
    result = function(*given)
    return time.perf_counter() - start, result


def main(tokens: int = 64) -> None:
    sizes = {"hidden_size": 192, "intermediate_size": 512, "vocab_size": 8192}
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2}
    model = build("tiny", LAYERS, **sizes, **heads).eval()
    ids = torch.randint(0, 8192, (1, tokens))
    batched(model, ids)
    ours, theirs = [], []
    for _ in range(TURNS):
        seconds, found = timed(batched, model, ids)
        ours.append(seconds)
        seconds, wanted = timed(with_a_hook_a_pair, model, ids)
        theirs.append(seconds)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    calls: list[int] = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda _, args, output: calls.append(len(output)))
    batched(model, ids)
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"{LAYERS} layers, {tokens} tokens: batched {a:.2f} s, a hook a pair {b:.2f} s")
    print(f"ratio {b / a:.1f}; layer calls worth {sum(calls) / LAYERS:.1f} forward passes")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
