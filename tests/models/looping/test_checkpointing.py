"""Looped models under gradient checkpointing and in half precision.

The reference is a plain model of the same architecture with one physical copy of a layer for each
step.
"""

from __future__ import annotations

import pytest
import torch
from growloop.models import EarlyExit, Recurrence, loop

from ...support.unrolling import (
    BLOCK,
    TWICE,
    assert_trains_like,
    checkpoint,
    close,
    count_calls,
    gradients,
    greedy,
    plain,
    same,
    summed,
    tokens,
    unrolled,
)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.filterwarnings("ignore:.*use_cache=True.*")
def test_checkpointed_gradients_are_those_of_the_unrolled_model(when: str, reentrant: bool) -> None:
    model = plain().train()
    reference = unrolled(model, TWICE)
    if when == "before":
        checkpoint(model, reentrant)
    loop(model, "1-1x2-1")
    if when == "after":
        checkpoint(model, reentrant)
    runs = count_calls(model)
    assert_trains_like(model, reference, TWICE)
    once = hasattr(
        model, "activation_checkpointing_enable"
    )  # the recomputation is inside the hooks
    times = 1 if once or not reentrant else 2  # in transformers before it is outside
    assert runs == {0: times, 1: 2 * times, 2: times}


def test_checkpointing_recomputes_each_step_with_its_own_schedule() -> None:
    model = plain().train()
    reference = unrolled(model, TWICE)
    checkpoint(model, False)
    loop(model, "3")
    ids = tokens()
    model(ids, labels=ids, schedule="1-1x2-1").loss.backward()  # backward runs under 3 again
    reference(ids, labels=ids).loss.backward()
    close(gradients(model), summed(gradients(reference), TWICE))


@pytest.mark.parametrize(
    "reentrant",
    [
        False,
        True,
    ],
)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_checkpointing_and_truncated_gradients_agree(reentrant: bool) -> None:
    found = []
    for checkpointed in (False, True):
        model = loop(plain().train(), "1-1x3-1", recurrence=Recurrence(backward_loops=1))
        if checkpointed:
            checkpoint(model, reentrant)
        ids = tokens()
        model(ids, labels=ids).loss.backward()
        found.append(gradients(model))
    close(found[1], found[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_bit_equal_to_the_unrolled_model(dtype: torch.dtype) -> None:
    model = plain().to(dtype)
    reference = unrolled(model, TWICE)
    loop(model, "1-1x2-1")
    assert model(tokens()).logits.dtype is dtype
    same(model(tokens()).logits, reference(tokens()).logits)
    same(greedy(model, tokens()), greedy(reference, tokens()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("criterion", ["latent", "gate", "kl"])
def test_a_recurrence_runs_in_half_precision(dtype: torch.dtype, criterion: str) -> None:
    exits = EarlyExit(criterion, 0.01 if criterion == "gate" else 0.4)
    recurrence = Recurrence("concat", kv_sharing="last", damping=0.5, early_exit=exits)
    model = loop(plain().to(dtype), BLOCK, recurrence=recurrence)
    greedy(model, tokens())
    assert model(tokens()).logits.dtype is dtype
    assert loop(plain(), BLOCK, recurrence=recurrence).to(dtype)(tokens()).logits.dtype is dtype
