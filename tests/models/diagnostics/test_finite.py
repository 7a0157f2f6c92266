"""Diagnostics give numbers or say which module does not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import loop
from growloop.models.diagnostics import (
    Lens,
    exits,
    fit_lens,
    local_effects,
    prediction_effects,
    propagated_effects,
    trace,
)

from ...support.architectures import LOOPED, left_padded, plain, tokens


def broken(place: str, value: float = math.nan) -> Any:
    model = plain("llama")
    with torch.no_grad():
        model.get_submodule(place).weight.view(-1)[0] = value
    return model


@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize("place", ["model.layers.1.mlp.up_proj", "model.norm", "lm_head"])
def test_a_trace_that_is_not_finite_is_refused_naming_the_module(place: str, looped: bool) -> None:
    model = broken(place)
    with pytest.raises(InputError) as caught:
        trace(loop(model, LOOPED) if looped else model, tokens())
    wanted = f"the model's output is not finite: {place} gives NaN (its weights hold NaN or infin"
    assert str(caught.value).startswith(wanted)
    assert not any(module._forward_hooks for module in model.modules())


def test_padding_may_be_anything() -> None:
    model = plain("llama")
    given = left_padded(tokens())
    mask = given["attention_mask"]

    def spoil(module: Any, args: Any, output: Any) -> Any:
        return output.masked_fill(~mask.bool()[..., None], math.nan)

    model.model.layers[3].register_forward_hook(spoil)
    found = trace(model, given["input_ids"], mask)
    assert found.outputs[-1].isnan().any()


def test_effects_that_are_not_finite_are_refused_naming_the_steps() -> None:
    model = plain("llama")
    found = trace(model, tokens())
    layer, usual = model.model.layers[2], found.inputs[2]

    def overflow(module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        states = args[0] if args else kwargs["hidden_states"]
        return output if torch.equal(states, usual) else output * math.inf

    layer.register_forward_hook(overflow, with_kwargs=True)
    for measure in (local_effects, propagated_effects):
        with pytest.raises(InputError, match="the effect of step 0 on step 2 is not finite"):
            measure(found)
    with pytest.raises(InputError, match="the effect of step 0 is not finite"):
        prediction_effects(found)


def test_a_lens_that_is_not_finite_is_refused() -> None:
    found = trace(plain("llama"), tokens())
    steps, width = found.steps, found.inputs[0].shape[-1]
    lens = Lens(found.schedule, torch.zeros(steps, width, width), torch.zeros(steps, width))
    exits(found, lens)
    lens.shifts[1, 0] = math.nan
    with pytest.raises(InputError, match="tuned lens before step 1 are not finite"):
        exits(found, lens)


def test_a_lens_that_diverges_is_not_trained_on() -> None:
    with pytest.raises(InputError, match=r"the loss of the lens of step \d is not finite in upda"):
        fit_lens(plain("llama"), [tokens()] * 4, 4, optimizer="adam", lr=3e37)
