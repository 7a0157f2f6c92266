"""Loops that share cache slots, against the definition written out."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from growloop.core.caches import cache_name, cache_of
from growloop.core.errors import InputError
from growloop.models import EarlyExit, Recurrence, Schedule, loop
from transformers import (
    DynamicCache,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from ...support.unrolling import BLOCK, BLOCK_LAYERS, SIZES, close, greedy, plain, tokens, unrolled
from .simulation import CACHES, simulated


def test_the_simulation_is_the_unrolled_model() -> None:
    model = plain()
    reference = unrolled(model, BLOCK_LAYERS)
    with torch.no_grad():
        found, ran = simulated(model, tokens(1), BLOCK_LAYERS)
    close(found, greedy(reference, tokens(1)))
    assert ran == 7 * 6


SHARED = pytest.mark.parametrize(
    ("sharing", "slots"), [("full", None), ("last", 1), (2, 2), (3, 3)]
)


@SHARED
@CACHES
@pytest.mark.parametrize("schedule", ["1-1x5-1", "1-2x3", "0,1,1,0,2,1,0"])
def test_loops_that_share_a_slot_see_earlier_forwards_and_themselves(
    sharing: str | int, slots: int | None, cache: str, schedule: str
) -> None:
    reference, ids = plain(), tokens(1)
    model = loop(plain(), schedule, recurrence=Recurrence(kv_sharing=sharing))
    with torch.no_grad():
        wanted, _ = simulated(reference, ids, Schedule.parse(schedule).layers, slots=slots)
    close(greedy(model, ids, cache_implementation=cache), wanted)


@pytest.mark.parametrize(("sharing", "slots"), [("last", 1), (2, 2)])
@pytest.mark.parametrize("length", [3, 7])
def test_loops_share_a_sliding_window(sharing: str | int, slots: int, length: int) -> None:
    torch.manual_seed(0)
    config = MistralConfig(num_hidden_layers=3, sliding_window=5, **SIZES)
    reference = MistralForCausalLM(config).eval()
    model = loop(copy.deepcopy(reference), BLOCK, recurrence=Recurrence(kv_sharing=sharing))
    with torch.no_grad():
        wanted, _ = simulated(
            reference, tokens(1, length), BLOCK_LAYERS, slots=slots, window=5, new=8
        )
    close(greedy(model, tokens(1, length), new=8), wanted)


def test_shared_slots_hold_each_token_once_and_the_rest_stay_empty() -> None:
    model = loop(plain(), BLOCK, recurrence=Recurrence(kv_sharing=2))
    made = model.generate(tokens(), max_new_tokens=4, do_sample=False, return_dict_in_generate=True)
    assert [slot.get_seq_length() for slot in cache_of(made).layers] == [10, 10, 10, 0, 0, 0, 10]


@pytest.mark.parametrize("sharing", ["last", 2])
def test_shared_slots_follow_beams_and_left_padding(sharing: str | int) -> None:
    model = loop(plain(), BLOCK, recurrence=Recurrence(kv_sharing=sharing))
    ids = tokens(2, 7)
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    both = model.generate(ids * mask, attention_mask=mask, max_new_tokens=5, num_beams=3)
    alone = model.generate(ids[1:, 3:], max_new_tokens=5, num_beams=3)
    assert both[1, 7:].tolist() == alone[0, 4:].tolist()


@pytest.mark.parametrize(
    "recurrence",
    [Recurrence(kv_sharing="last"), Recurrence(early_exit=EarlyExit("argmax", 1))],
    ids=["last", "exit"],
)
def test_slots_that_hold_no_keys_are_refused(recurrence: Recurrence) -> None:
    config = Qwen3NextConfig(
        head_dim=8,
        linear_num_value_heads=2,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        layer_types=["linear_attention", "full_attention"],
        num_hidden_layers=2,
        **SIZES,
    )
    model = Qwen3NextForCausalLM(config).eval()
    with pytest.raises(InputError):
        greedy(loop(model, "2x3", recurrence=recurrence), tokens())


class OwnCache:
    """A cache of a model's own class: it does all that a cache does, and derives from nothing."""

    def __init__(self) -> None:
        self.inner = DynamicCache()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.parametrize(
    "recurrence",
    [Recurrence(kv_sharing="last"), Recurrence(early_exit=EarlyExit("argmax", 1))],
    ids=["last", "exit"],
)
def test_a_cache_of_a_models_own_class_is_refused(recurrence: Recurrence) -> None:
    model = loop(plain(), BLOCK, recurrence=recurrence).eval()
    own = {cache_name(model.forward): OwnCache()}
    with pytest.raises(InputError, match=r"derived from transformers' Cache, .* is a OwnCache"):
        model(tokens(), use_cache=True, **own)
    model(tokens(), use_cache=False)


def test_a_cache_that_layers_do_not_get_is_refused_after_the_forward_pass() -> None:
    class Own(LlamaForCausalLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs | {"use_cache": False})
            output[cache_name(output)] = ((torch.zeros(1), torch.zeros(1)),)
            return output

    model = loop(Own(plain().config).eval(), BLOCK, recurrence=Recurrence(kv_sharing="last"))
    with pytest.raises(InputError, match="this model's is a tuple"):
        model(tokens())


def test_a_cache_of_a_models_own_class_may_have_a_slot_for_each_step() -> None:
    model = loop(plain(), BLOCK, recurrence=Recurrence(injection="add")).eval()
    own = {cache_name(model.forward): OwnCache()}
    with torch.no_grad():
        close(model(tokens(), use_cache=True, **own).logits, model(tokens()).logits)
