"""What is seen of a looped model from outside: states, hooks, replaced parts, copies."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.models import EarlyExit, Recurrence, loop
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from ...support.unrolling import BLOCK, SIZES, TWICE, greedy, plain, same, tokens, unique, unrolled


def test_hidden_states_and_attentions_are_those_of_the_unrolled_model() -> None:
    model = plain()
    model.set_attn_implementation("eager")
    reference = unrolled(model, TWICE)
    reference.set_attn_implementation("eager")
    loop(model, "1-1x2-1")
    for _ in range(2):
        found, wanted = (
            m(tokens(), output_hidden_states=True, output_attentions=True)
            for m in (model, reference)
        )
        assert len(found.hidden_states) == 5
        assert len(found.attentions) == 4
        same(found.hidden_states, wanted.hidden_states)
        same(found.attentions, wanted.attentions)


def test_a_forward_hook_on_a_layer_fires_once_for_each_step() -> None:
    model = loop(plain(), "1-1x2-1")
    seen: list[int] = []
    unique(model)[1].register_forward_hook(lambda view, *_: seen.append(view.self_attn.layer_idx))
    unique(model)[1].self_attn.register_forward_pre_hook(
        lambda view, *_: seen.append(view.layer_idx)
    )
    model(tokens())
    assert seen == [1, 1, 2, 2]
    handle = model.model.layers[2].register_forward_hook(lambda *_: seen.append(-1))
    model(tokens())
    assert seen[4:] == [1, 1, -1, 2, 2, -1]  # a step's hooks are its layer's
    handle.remove()
    model(tokens())
    assert seen[10:] == [1, 1, 2, 2]


def test_modes_dtypes_and_frozen_weights_reach_the_views() -> None:
    model = loop(plain(), "1-1x2-1")
    views = list(model.model.layers)
    model.train()
    assert all(view.training and view.self_attn.training for view in views)
    model.eval()
    assert not any(view.training or view.self_attn.training for view in views)
    model.to(torch.float64)
    assert {p.dtype for view in views for p in view.parameters()} == {torch.float64}
    model.requires_grad_(False)
    assert not any(p.requires_grad for view in views for p in view.parameters())
    unique(model)[1].requires_grad_(True)
    assert [next(view.parameters()).requires_grad for view in views] == [False, True, True, False]


@pytest.mark.parametrize("part", ["self_attn", "mlp", "input_layernorm", "self_attn.q_proj"])
@pytest.mark.parametrize("through", ["layer", "step"])
def test_a_replaced_part_of_a_layer_is_followed(part: str, through: str) -> None:
    model, other, ids = plain(), plain(seed=5), tokens()
    donor = other.model.layers[1].get_submodule(part)
    changed = copy.deepcopy(model)
    changed.model.layers[1].set_submodule(part, copy.deepcopy(donor))
    reference = unrolled(changed, TWICE)
    loop(model, "1-1x2-1")
    model(ids)
    target = unique(model)[1] if through == "layer" else model.model.layers[2]
    owner, _, name = part.rpartition(".")
    setattr(target.get_submodule(owner), name, donor)
    same(greedy(model, ids), greedy(reference, ids))


def test_a_replaced_layer_is_followed() -> None:
    model, other, ids = plain(), plain(seed=5), tokens()
    changed = copy.deepcopy(model)
    changed.model.layers[1] = other.model.layers[1]
    reference = unrolled(changed, TWICE)
    loop(model, "1-1x2-1")
    model(ids)
    model.set_submodule("model.layers.1", other.model.layers[1])
    same(greedy(model, ids), greedy(reference, ids))


def test_a_replaced_forward_is_bound_to_each_step() -> None:
    model, ids = plain(), tokens()
    reference = unrolled(model, TWICE)
    attention = unique(loop(model, "1-1x2-1"))[1].self_attn
    seen = []

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(self.layer_idx)
        return type(self).mro()[1].forward(self, *args, **kwargs)

    attention.forward = watched.__get__(attention)
    same(greedy(model, ids, new=2), greedy(reference, ids, new=2))
    assert seen == [1, 2, 1, 2]


def test_a_replaced_forward_that_cannot_be_bound_is_refused_or_right() -> None:
    model, ids = plain(), tokens()
    reference = unrolled(model, TWICE)
    attention = unique(loop(model, "1-1x2-1"))[1].self_attn
    before = attention.forward
    attention.forward = lambda *args, **kwargs: before(*args, **kwargs)
    try:
        found = greedy(model, ids)
    except ValueError:
        return
    same(found, greedy(reference, ids))


def test_wrapped_layers_keep_their_cache_slots() -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model, ids = plain(), tokens()
    reference = unrolled(model, TWICE)
    for i in range(3):
        model.model.layers[i] = checkpoint_wrapper(model.model.layers[i])
    loop(model, "1-1x2-1")
    same(greedy(model, ids), greedy(reference, ids))


def test_a_copy_is_independent() -> None:
    model, ids = loop(plain(), "1-1x2-1", recurrence=Recurrence("concat", damping=0.5)), tokens()
    twin = copy.deepcopy(model)
    wanted = model(ids).logits
    same(twin(ids).logits, wanted)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin.schedule = "3"
    same(model(ids).logits, wanted)
    assert not twin(ids).logits.any()


@pytest.mark.parametrize(
    "recurrence",
    [
        Recurrence(),
        Recurrence("concat", damping=0.5, early_exit=EarlyExit("kl")),
        Recurrence(early_exit=EarlyExit.geiping("kl")),
    ],
    ids=["none", "concat", "coda"],
)
def test_a_looped_model_can_be_pickled(recurrence: Recurrence) -> None:
    model, ids = loop(plain(), "1-1x2-1", recurrence=recurrence), tokens()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    same(again(ids).logits, model(ids).logits)
    assert again.schedule == model.schedule


@pytest.mark.parametrize("change", ["copied", "resized"])
def test_early_exit_reads_the_head_that_the_model_has_now(change: str) -> None:
    model = loop(plain(), BLOCK, recurrence=Recurrence(early_exit=EarlyExit("kl", 1e-9)))
    model(tokens())
    assert model.runner.loops.tolist() == [5, 5]
    if change == "copied":
        model = copy.deepcopy(model)
    else:
        model.resize_token_embeddings(101, mean_resizing=False)
    model.lm_head.weight.data.zero_()  # every distribution is the same
    model(tokens())
    assert model.runner.loops.tolist() == [2, 2]


def test_looping_another_head_does_not_change_what_is_loaded(tmp_path: Path) -> None:
    loop(plain(), "1-1x2-1").save_pretrained(tmp_path)
    config = LlamaConfig(num_hidden_layers=3, **SIZES)
    try:
        loop(LlamaForSequenceClassification(config), "1-1x2-1")
        found = AutoModelForCausalLM.from_pretrained(tmp_path)
    finally:
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

        causal = type(loop(plain(), "1-1x2-1"))
        MODEL_FOR_CAUSAL_LM_MAPPING.register(causal.config_class, causal, exist_ok=True)
    assert isinstance(found, LlamaForCausalLM)
