"""Local, propagated and prediction effects, against a forward pass for every pair."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import EarlyExit, Recurrence, build, grow, loop
from growloop.models.diagnostics import (
    Replay,
    depth_score,
    depth_shares,
    future_cuts,
    local_effects,
    prediction_effects,
    propagated_effects,
    trace,
)

from ...support.architectures import LOOPED, SCHEDULES, left_padded, plain, tokens, unrolled
from . import brute
from .inputs import silence

KINDS = ["llama", "gemma2", "olmo2", "gpt2", "gpt_neox", "bloom", "granite"]
CUTS = [None, (3, 6)]


def pair(kind: str, looped: bool) -> tuple[Any, Any]:
    """A model, and an ordinary one with a copy of a layer for each step."""
    model = plain(kind).double()
    if not looped:
        return model, plain(kind).double()
    return loop(model, LOOPED), unrolled(kind, SCHEDULES[LOOPED]).double()


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize(("kind", "front"), [*((k, 1) for k in KINDS), ("llama", 0), ("llama", 2)])
def test_effects_are_those_of_a_pass_for_every_pair(
    kind: str, looped: bool, cuts: Any, front: int
) -> None:
    model, reference = pair(kind, looped)
    given = {"input_ids": tokens()}
    found = trace(model, given["input_ids"])
    more = {"skip_front": front}
    close(local_effects(found, cuts, **more), brute.local(reference, kind, given, cuts, front))
    later, final = brute.skipping(reference, kind, given, cuts, front)
    close(propagated_effects(found, cuts, **more), later)
    close(prediction_effects(found, cuts, **more), final)


def test_every_size_of_batch_gives_the_same() -> None:
    found = trace(plain("llama").double(), tokens())
    for rows in (1, 40, 10_000):
        close(local_effects(found, (4,), max_tokens=rows), local_effects(found, (4,)))
        close(prediction_effects(found, (4,), max_tokens=rows), prediction_effects(found, (4,)))
        close(propagated_effects(found, max_tokens=rows), propagated_effects(found))


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_padding_changes_nothing(kind: str) -> None:
    given = left_padded(tokens())
    model = plain(kind)  # in float64 the mask of a row of padding overflows in gemma2
    together = local_effects(trace(model, given["input_ids"], given["attention_mask"]))
    alone = local_effects(trace(model, given["input_ids"][:1, 3:]))
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-4)
    reference = brute.local(model, kind, given, None)
    torch.testing.assert_close(together, reference, rtol=1e-4, atol=1e-4)


def test_the_mean_is_over_real_tokens() -> None:
    model = plain("llama").double()
    given = left_padded(tokens())
    both = local_effects(trace(model, given["input_ids"], given["attention_mask"]), reduce="mean")
    close(both[:1], local_effects(trace(model, given["input_ids"][:1, 3:]), reduce="mean"))
    assert (both <= local_effects(trace(model, **_named(given))) + 1e-6).all()


def _named(given: dict[str, Any]) -> dict[str, Any]:
    return {"ids": given["input_ids"], "mask": given["attention_mask"]}


def test_a_grown_model_is_measured_like_any_other() -> None:
    model = grow(plain("llama"), "lidas", block_size=2).double()
    given = {"input_ids": tokens()}
    effects = local_effects(trace(model, given["input_ids"]))
    close(effects, brute.local(model, "llama", given, None))
    assert effects.shape == (2, 6, 6)


def test_a_layer_that_adds_nothing_has_no_effect() -> None:
    model = plain("llama")
    silence(model.model.layers[1])
    found = trace(model, tokens())
    for effects in (local_effects(found), propagated_effects(found, (4,))):
        assert (effects[:, 1] == 0).all()
        assert (effects[:, 0, 2:] > 0).all()
        assert (effects.tril() == 0).all()
    assert (prediction_effects(found)[:, 1] == 0).all()


@pytest.mark.parametrize("layer", range(4))
def test_the_depth_score_is_the_layer_that_alone_matters(layer: int) -> None:
    model = plain("llama")
    for i, other in enumerate(model.model.layers):
        if i != layer:
            silence(other)
    effects = prediction_effects(trace(model, tokens(length=12)))
    assert depth_score(effects) == pytest.approx(layer)
    assert depth_shares(effects).sum() == pytest.approx(1)


def test_a_model_without_contributions_has_no_depth_score() -> None:
    model = plain("llama")
    for layer in model.model.layers:
        silence(layer)
    with pytest.raises(InputError, match="no step changes the prediction"):
        depth_score(prediction_effects(trace(model, tokens())))


def test_two_loops_of_a_layer_are_told_apart() -> None:
    model = loop(plain("llama"), "1-1x2-2")
    found = trace(model, tokens())
    assert found.coordinates == ((0, 0), (1, 0), (1, 1), (2, 0), (3, 0))
    effects = local_effects(found)
    assert not torch.allclose(effects[:, 1, 3:], effects[:, 2, 3:], rtol=1e-2)
    assert (effects[:, 1, 2] > 0).all()  # the first loop has an effect on the second
    assert not torch.allclose(found.contributions[1], found.contributions[2], rtol=1e-2)


@pytest.mark.parametrize("depth", [4, 9, 30])
def test_a_pair_costs_one_call_of_a_layer(depth: int) -> None:
    model = build("tiny", depth)
    ids, calls = tokens(1, 9), []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda _, args, output: calls.append(len(output)))
    local_effects(trace(model, ids))
    assert sum(calls) <= depth * (depth / 2 + 2)


def test_replay_refuses_a_layer_that_did_not_run() -> None:
    found = trace(loop(plain("llama"), "0,3"), tokens())
    again = Replay(found)
    assert torch.equal(again.layer(3, found.inputs[1]), found.outputs[1])
    with pytest.raises(InputError, match="layer 2 did not run"):
        again.layer(2, found.inputs[1])


def test_what_cannot_be_measured_is_refused() -> None:
    model = plain("llama")
    found = trace(model, tokens())
    for cuts, message in (((0,), "a cut"), ((9,), "a cut"), ((), "at least one token")):
        with pytest.raises(InputError, match=message):
            local_effects(found, cuts)
    for front in (-1, 0.5, True):
        with pytest.raises(InputError, match="skip_front must be a whole number of 0 or more"):
            local_effects(found, skip_front=front)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unknown reduction 'median'"):
        local_effects(found, reduce="median")
    loop(model, "1-2x3-1", recurrence=Recurrence(injection="add"))
    injected = trace(model, tokens())
    for measure in (local_effects, propagated_effects):
        with pytest.raises(InputError, match="the input of step 3 is not the output"):
            measure(injected)
    loop(model, recurrence=Recurrence(early_exit=EarlyExit("latent", 1e9)))
    with pytest.raises(InputError, match="did not run, the first"):
        trace(model, tokens())


def test_cuts_part_a_text_evenly() -> None:
    assert future_cuts(10, 3) == (2, 5, 8)
    assert future_cuts(3, 9) == (1, 2)
    assert all(0 < cut < n for n in range(2, 40) for cut in future_cuts(n, 5))
