"""Traces and contributions: what is kept, how it is keyed, what is left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import loop
from growloop.models.diagnostics import MEASURES, contributions, trace
from torch import nn
from torch.nn.functional import cosine_similarity

from ...support.architectures import (
    ARCHITECTURES,
    LOOPED,
    SCHEDULES,
    installed,
    left_padded,
    plain,
    scaled,
    tokens,
    unrolled,
)
from . import brute

PARALLEL = {"phi", "gptj", "gpt_neox", "falcon", "falcon, new", "falcon, alibi", "cohere2"}


@pytest.mark.filterwarnings("ignore:.*RoPE.*")
@pytest.mark.parametrize("kind", installed(ARCHITECTURES))
def test_sublayers_add_up_on_every_architecture(kind: str) -> None:
    model = loop(plain(kind), LOOPED)
    found = trace(model, tokens(), sublayers=True)
    assert found.sublayers is not None
    for before, after, part in zip(found.inputs, found.outputs, found.sublayers, strict=True):
        torch.testing.assert_close(before + part.attention + part.mlp, after, rtol=1e-4, atol=1e-4)
        assert part.parallel == (kind in PARALLEL)
    found.check_flow()
    found.check_readout()


@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize("kind", sorted(brute.SUBLAYERS))
def test_contributions_are_those_found_by_silencing_the_mlp(kind: str, looped: bool) -> None:
    ids = tokens()
    layers = SCHEDULES[LOOPED] if looped else range(4)
    reference = unrolled(kind, layers).double()
    model = plain(kind).double()
    measured = contributions(trace(loop(model, LOOPED) if looped else model, ids, sublayers=True))
    assert tuple(measured) == MEASURES
    parts = brute.sublayers(reference, kind, {"input_ids": ids}, kind in PARALLEL)
    for step, (h, a, m, middle) in enumerate(parts):
        wanted = (
            h.norm(dim=-1),
            a.norm(dim=-1) / h.norm(dim=-1),
            m.norm(dim=-1) / middle.norm(dim=-1),
            (a + m).norm(dim=-1) / h.norm(dim=-1),
            cosine_similarity(a, h, dim=-1),
            cosine_similarity(m, middle, dim=-1),
            cosine_similarity(a + m, h, dim=-1),
        )
        for name, value in zip(MEASURES, wanted, strict=True):
            mean = value.mean(1).float()
            torch.testing.assert_close(
                measured[name][:, step], mean, rtol=1e-5, atol=1e-5, msg=f"{name}, step {step}"
            )


def test_padding_is_not_counted() -> None:
    given = left_padded(tokens())
    model = plain("llama").double()
    both = trace(model, given["input_ids"], given["attention_mask"], sublayers=True)
    alone = trace(model, given["input_ids"][:1, 3:], sublayers=True)
    for name, values in contributions(both).items():
        torch.testing.assert_close(values[:1], contributions(alone)[name])


def test_a_trace_is_keyed_by_layer_and_loop() -> None:
    ids = tokens()
    layers = SCHEDULES[LOOPED]
    found = trace(loop(plain("llama"), LOOPED), ids)
    assert found.coordinates == ((0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (3, 0))
    inputs, outputs, logits = brute.stream(unrolled("llama", layers), "llama", {"input_ids": ids})
    for step in range(len(layers)):
        torch.testing.assert_close(found.inputs[step], inputs[step])
        torch.testing.assert_close(found.outputs[step], outputs[step])
    torch.testing.assert_close(found.logits, logits)


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("looped", [False, True])
def test_nothing_is_left_behind(looped: bool) -> None:
    model = plain("llama")
    if looped:
        loop(model, LOOPED)
    model.train()
    model.model.layers[1].mlp.eval()
    training = [module.training for module in model.modules()]
    trace(model, tokens(), sublayers=True)
    assert hooks(model) == 0
    assert [module.training for module in model.modules()] == training
    assert all(weight.grad is None for weight in model.parameters())


def test_hooks_are_removed_when_a_pass_fails() -> None:
    model = plain("llama")

    def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    handle = model.model.layers[2].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        trace(model, tokens(), sublayers=True)
    handle.remove()
    assert hooks(model) == 0


def test_sublayers_that_do_not_add_up_are_refused() -> None:
    model = plain("llama")
    model.model.layers[1].register_forward_hook(lambda _, args, output: output * 2)
    with pytest.raises(InputError, match=r"LlamaDecoderLayer \(layer 1\) is not its input plus"):
        trace(model, tokens(), sublayers=True)
    assert trace(model, tokens()).sublayers is None  # whole layers can be looked at all the same


def test_contributions_need_sublayers() -> None:
    with pytest.raises(InputError, match="sublayers=True"):
        contributions(trace(plain("llama"), tokens()))


@pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
def test_positions_by_length_are_those_of_each_text_alone(rope_type: str) -> None:
    model, ids = scaled("llama", rope_type), tokens(2, 30)
    with torch.no_grad():
        right = [scaled("llama", rope_type)(ids[:, :n]).logits for n in (30, 20, 9)]
    for wanted, length in zip(right, (30, 20, 9), strict=True):  # the longest first
        torch.testing.assert_close(trace(model, ids[:, :length]).logits, wanted)
    mask = torch.ones_like(ids)
    trace(model, ids, mask)
    mask[0, 9:] = 0
    with pytest.raises(InputError, match="prompts of 9 and 30 tokens cannot be one batch"):
        trace(model, ids, mask)
    trace(plain("llama"), ids, mask)
