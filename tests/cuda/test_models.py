"""Looped models, their caches and the diagnostics compute on a GPU what they compute elsewhere."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.models import EarlyExit, Recurrence, build, grow, loop
from growloop.models.diagnostics import (
    Lens,
    contributions,
    depth_score,
    exits,
    fit_lens,
    future_cuts,
    local_effects,
    prediction_effects,
    propagated_effects,
    trace,
)
from growloop.models.similarity import layer_similarity

from ..support.unrolling import BLOCK, BLOCK_LAYERS, TWICE, greedy, plain, tokens, unrolled

pytestmark = [pytest.mark.cuda, pytest.mark.filterwarnings("default")]


def near(found: Any, wanted: Any, within: float = 1e-4) -> None:
    torch.testing.assert_close(found.cpu(), wanted.cpu(), rtol=within, atol=within)


@pytest.mark.parametrize(("schedule", "layers"), [("1-1x2-1", TWICE), (BLOCK, BLOCK_LAYERS)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_looped_model_is_the_unrolled_one(
    schedule: str, layers: list[int], dtype: torch.dtype
) -> None:
    reference = unrolled(plain(), layers).cuda().to(dtype).eval()
    model = loop(plain().cuda().to(dtype), schedule)
    ids = tokens().cuda()
    assert torch.equal(model(ids).logits, reference(ids).logits)
    assert torch.equal(greedy(model, ids), greedy(reference, ids))


@pytest.mark.parametrize(
    "more", [{"cache_implementation": "static", "disable_compile": True}, {"use_cache": False}]
)
def test_a_looped_model_generates_the_same_with_any_cache(more: dict[str, Any]) -> None:
    model = loop(plain().cuda(), BLOCK)
    near(greedy(model, tokens().cuda(), **more), greedy(model, tokens().cuda()))


@pytest.mark.parametrize(
    "recurrence",
    [
        Recurrence(injection="concat", damping=0.5),
        Recurrence(kv_sharing="last"),
        Recurrence(early_exit=EarlyExit("latent", 0.5)),
        Recurrence(early_exit=EarlyExit("argmax", 2)),
    ],
    ids=["injection", "shared", "latent", "argmax"],
)
def test_recurrence_on_the_gpu_is_that_on_the_processor(recurrence: Recurrence) -> None:
    there = loop(plain(), BLOCK, recurrence=recurrence)
    here = loop(plain().cuda(), BLOCK, recurrence=recurrence)
    near(here(tokens().cuda()).logits, there(tokens()).logits)
    near(greedy(here, tokens().cuda()), greedy(there, tokens()), 1e-3)


def test_gradients_on_the_gpu_are_those_on_the_processor() -> None:
    models = [loop(plain(), BLOCK), loop(plain().cuda(), BLOCK)]
    for model in models:
        ids = tokens().to(model.device)
        model(input_ids=ids, labels=ids).loss.backward()
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        near(a.grad, b.grad)


def test_a_model_grows_on_the_gpu_with_its_optimizer() -> None:
    model = build("tiny", num_hidden_layers=4).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.arange(24, device="cuda")[None]
    for operator in ("lidas", "llama_pro"):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        before = copy.deepcopy(model)
        grow(model, operator, optimizer, block_size=2)
        assert {p.device.type for p in model.parameters()} == {"cuda"}
        if operator == "llama_pro":
            near(model(ids).logits, before(ids).logits)
    optimizer.zero_grad()
    held = [p.detach().clone() for p in model.parameters()]
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(held, model.parameters(), strict=True))


@pytest.fixture(scope="module")
def both() -> list[Any]:
    """The same looped model here and there, and a batch of texts."""
    return [loop(plain(), "1-1x2-1"), loop(plain().cuda(), "1-1x2-1")]


def test_effects_on_the_gpu_are_those_on_the_processor(both: list[Any]) -> None:
    ids = tokens(3, 24)
    there, here = (trace(model, ids.to(model.device), sublayers=True) for model in both)
    for cuts in (None, future_cuts(24)):
        for measure in (local_effects, propagated_effects, prediction_effects):
            near(measure(here, cuts), measure(there, cuts))
    scores = [depth_score(prediction_effects(found, future_cuts(24))) for found in (there, here)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    for name, values in contributions(there).items():
        near(contributions(here)[name], values)
    near(layer_similarity(both[1]), layer_similarity(both[0]))


def test_a_lens_fitted_on_the_gpu_reads_exits_there(both: list[Any], tmp_path: Path) -> None:
    lenses = []
    for model in both:
        batches = [tokens(2, 16, seed).to(model.device) for seed in range(4)]
        lenses.append(fit_lens(model, batches, updates=4, positions=20))
    near(lenses[1].matrices, lenses[0].matrices)
    lenses[1].save(tmp_path / "lens.safetensors")
    lens = Lens.load(tmp_path / "lens.safetensors")
    found = [exits(trace(m, tokens(3, 24).to(m.device)), lens) for m in both]
    for name in ("kl", "overlap"):
        near(found[1][name], found[0][name], 1e-3)


def test_a_compiled_looped_model_computes_the_same() -> None:
    torch._dynamo.reset()
    model = loop(plain().cuda(), "1-1x2-1")
    ids = tokens(2, 16).cuda()
    with torch.no_grad():
        near(torch.compile(model)(ids, use_cache=False).logits, model(ids).logits)
