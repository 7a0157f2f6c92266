"""What studies share: the grid of repeats, and the depth score, against a whole pass for each.

``python tests/benchmarks/study_sharing.py [TOKENS]`` runs both sides on one random 30-layer model,
in turn in one process, checks that they agree, and prints times, their ratio with a bootstrap
interval over the rounds, and calls of layers. The grid is a block of four at each of 27 starts,
once to three times more; the depth score skips each of 30 layers before each of two tokens.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from growloop.models import Schedule, build, loop
from growloop.models.diagnostics import future_cuts, prediction_effects, trace
from growloop.studies.measure.schedule_sweep import ScheduleSweep
from torch import Tensor

LAYERS, BLOCK, CUTS, ROUNDS = 30, 4, 2, 5
VOCABULARY = 8192


def grid() -> list[Schedule]:
    base = Schedule.plain(LAYERS)
    starts = range(LAYERS - BLOCK + 1)
    repeated = [base.repeat(i, i + BLOCK, times) for i in starts for times in (1, 2, 3)]
    return [base, *repeated]


def shared_grid(model: Any, ids: Tensor) -> Tensor:
    return ScheduleSweep(model, grid()).losses(ids)


def a_pass_a_schedule(model: Any, ids: Tensor) -> Tensor:
    found = []
    for schedule in grid():
        with model.scheduled(schedule):
            logits = model(ids, use_cache=False).logits[0, :-1].float()
        found.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:]))
    return torch.stack(found)


def shared_prefixes(model: Any, ids: Tensor) -> Tensor:
    return prediction_effects(trace(model, ids), future_cuts(ids.shape[1], CUTS))


def a_pass_a_layer(model: Any, ids: Tensor) -> Tensor:
    usual = model(ids, use_cache=False).logits.softmax(-1)
    found = torch.zeros(1, LAYERS)
    for cut in future_cuts(ids.shape[1], CUTS):
        for number, layer in enumerate(model.model.layers):

            def skip(_: Any, args: Any, output: Tensor, cut: int = cut) -> Tensor:
                # the first token is left alone
                return torch.cat([output[:, :1], args[0][:, 1:cut], output[:, cut:]], dim=1)

            handle = layer.register_forward_hook(skip)
            changed = model(ids, use_cache=False).logits.softmax(-1)
            handle.remove()
            effect = (changed - usual)[:, cut:].norm(dim=-1).amax(1)
            found[:, number] = torch.maximum(found[:, number], effect)
    return found


def timed(function: Callable[[Any, Tensor], Tensor], *given: Any) -> tuple[float, Tensor]:
    start = time.perf_counter()
    result = function(*given)
    return time.perf_counter() - start, result


def calls(function: Callable[[Any, Tensor], Tensor], model: Any, ids: Tensor) -> int:
    """How many sequences a layer ran on."""
    seen: list[int] = []
    layers = {id(layer): layer for layer in model.model.layers}.values()
    handles = [
        layer.register_forward_hook(lambda _, args, output: seen.append(len(output)))
        for layer in layers
    ]
    function(model, ids)
    for handle in handles:
        handle.remove()
    return sum(seen)


@torch.no_grad()
def main(tokens: int = 64) -> None:
    sizes = {"hidden_size": 192, "intermediate_size": 512, "vocab_size": VOCABULARY}
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2}
    plain = build("tiny", LAYERS, **sizes, **heads).eval()
    ids = torch.randint(0, VOCABULARY, (1, tokens))
    pairs = (
        ("depth score", shared_prefixes, a_pass_a_layer, plain),
        ("grid of repeats", shared_grid, a_pass_a_schedule, plain),
    )
    for name, ours, theirs, model in pairs:
        if theirs is a_pass_a_schedule:
            model = loop(model)
        ours(model, ids)
        theirs(model, ids)
        times = []
        for _ in range(ROUNDS):
            mine, found = timed(ours, model, ids)
            other, wanted = timed(theirs, model, ids)
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)
            times.append((mine, other))
        each = np.array(times)
        drawn = np.random.default_rng(0).integers(0, ROUNDS, (2000, ROUNDS))
        ratios = each[drawn, 1].sum(1) / each[drawn, 0].sum(1)
        low, high = np.quantile(ratios, [0.025, 0.975])
        ratio = each[:, 1].sum() / each[:, 0].sum()
        print(
            f"{name}: shared {each[:, 0].mean():.2f} s, a pass each {each[:, 1].mean():.2f} s, "
            f"ratio {ratio:.2f} [{low:.2f}, {high:.2f}]; layer calls "
            f"{calls(ours, model, ids):,} against {calls(theirs, model, ids):,}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
