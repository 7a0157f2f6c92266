"""Looped models under ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from growloop.core.caches import cache_of
from growloop.models import Recurrence, loop

from ...support.unrolling import (
    checkpoint,
    close,
    gradients,
    greedy,
    plain,
    same,
    summed,
    tokens,
    unique,
    unrolled,
)


@pytest.fixture
def compiler() -> Iterator[Callable[..., Any]]:
    torch._dynamo.reset()
    yield lambda model, **how: torch.compile(model, fullgraph=True, **how)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")  # inductor's own
def test_compiled_logits_are_those_of_the_unrolled_model(compiler: Callable[..., Any]) -> None:
    model, ids = plain(1), tokens()
    reference = unrolled(model, [0, 0])
    fast = compiler(loop(model, "1x2"))  # all of it; the other tests leave the C++ out, for time
    with torch.no_grad():
        close(fast(ids, use_cache=False).logits, reference(ids).logits)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"injection": "diagonal", "end": "linear"},
        {"start": "zero", "injection": {"name": "concat", "first": True}, "end": "end_norm"},
        {"between": "norm", "carry": "selective_gate"},
        {"carry": "hyper", "conditioning": ["loop_embedding", "loop_gate"]},
        {"conditioning": ["time_step", {"name": "loop_lora", "rank": 2}]},
    ],
)
def test_compiled_parts_compute_the_same(
    compiler: Callable[..., Any], settings: dict[str, Any]
) -> None:
    model, ids = loop(plain(3), "1-1x3-1", recurrence=Recurrence(**settings)).train(), tokens()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.runner.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.1)
    found = []
    for run in (model, compiler(model, backend="aot_eager")):  # fullgraph: nothing breaks it
        model.zero_grad()
        output = run(ids, labels=ids, use_cache=False)
        output.loss.backward()
        found.append((output.logits.detach(), dict(gradients(model))))
    (logits, wanted), (compiled, grads) = found
    close(compiled, logits)
    close(grads, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_gradients_are_those_of_the_unrolled_model(
    compiler: Callable[..., Any], checkpointing: bool
) -> None:
    model, ids = plain(2).train(), tokens()
    reference = unrolled(model, [0, 1, 1])
    if checkpointing:
        checkpoint(model, reentrant=False)
    fast = compiler(loop(model, "1-1x2"), backend="aot_eager")
    found, wanted = (m(ids, labels=ids, use_cache=False) for m in (fast, reference))
    found.loss.backward()
    wanted.loss.backward()
    close(found.logits, wanted.logits)
    close(gradients(model), summed(gradients(reference), [0, 1, 1]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "views",
    [
        "made before",
        "made by the compiler",
    ],
)
def test_a_compiled_model_follows_its_schedule(compiler: Callable[..., Any], views: str) -> None:
    model, ids = plain(2), tokens()
    references = {"2": unrolled(model, [0, 1]), "1,0": unrolled(model, [1, 0])}
    fast = compiler(loop(model, "2x2"), backend="aot_eager")
    for schedule, reference in references.items():
        model.schedule = schedule
        if views == "made before":
            list(model.model.layers)
        close(fast(ids, use_cache=False).logits, reference(ids).logits)


@pytest.mark.slow
def test_a_compiled_model_fills_its_cache(compiler: Callable[..., Any]) -> None:
    model, ids = plain(2), tokens()
    reference = unrolled(model, [0, 1, 0, 1])
    fast = compiler(loop(model, "2x2"), backend="aot_eager")
    with torch.no_grad():
        found, wanted = cache_of(fast(ids)), cache_of(reference(ids))
    close([slot.keys for slot in found.layers], [slot.keys for slot in wanted.layers])


@pytest.mark.slow
@pytest.mark.parametrize(
    "views",
    [
        "made before",
        "made by the compiler",
    ],
)
def test_a_model_with_a_recurrence_compiles(compiler: Callable[..., Any], views: str) -> None:
    recurrence = Recurrence(injection="concat", damping=0.5, kv_sharing="last")
    model, ids = loop(plain(2), "2x2", recurrence=recurrence), tokens()
    fast = compiler(model, backend="aot_eager")
    if views == "made before":
        list(model.model.layers)
    with torch.no_grad():
        close(fast(ids).logits, model(ids).logits)


@pytest.mark.parametrize(
    "recurrence",
    [
        Recurrence(),
        Recurrence(damping=0.5),
    ],
    ids=["none", "damping"],
)
def test_a_compiled_model_is_compiled_once(
    compiler: Callable[..., Any], recurrence: Recurrence
) -> None:
    model = loop(plain(2), "1-1x2", recurrence=recurrence)
    list(model.model.layers)
    fast = compiler(model, backend="aot_eager")
    with torch.no_grad():
        fast(tokens(), use_cache=False)
        with torch._dynamo.config.patch(error_on_recompile=True):
            close(fast(tokens(), use_cache=False).logits, model(tokens()).logits)


@pytest.mark.slow
def test_layers_compiled_in_place_keep_their_cache_slots() -> None:
    torch._dynamo.reset()
    model, ids = plain(2), tokens()
    reference = unrolled(model, [0, 1, 0, 1])
    for layer in unique(loop(model, "2x2")):
        layer.compile(backend="eager")
    same(greedy(model, ids, new=2), greedy(reference, ids, new=2))
