"""Looped models under accelerate's hooks, and with weights that are elsewhere."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core.caches import cache_of
from growloop.models import EarlyExit, Recurrence, loop
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
)

from ...support.unrolling import BLOCK, TWICE, greedy, plain, same, tokens, unique, unrolled


def offload(model: PreTrainedModel) -> None:
    from accelerate import cpu_offload

    cpu_offload(model, execution_device="cpu")


def dispatch(model: PreTrainedModel) -> None:
    from accelerate import dispatch_model

    parts = {"model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"}
    layers = {f"model.layers.{i}" for i in range(len(unique(model)))}
    runner = {name for name, _ in model.named_children() if name == "runner"}
    places = dict.fromkeys(parts | layers | runner, "cpu") | {"model.layers.1": "disk"}
    dispatch_model(model, places, main_device="cpu", offload_dir=dispatch.folder, force_hooks=True)


def hook_each_module(model: PreTrainedModel) -> None:
    from accelerate.hooks import ModelHook, add_hook_to_module

    for module in model.modules():
        if module is not model and not isinstance(module, nn.ModuleList):
            add_hook_to_module(module, ModelHook())


# transformers 5.5 takes the meta device of offloaded weights for that of the model
pytestmark = pytest.mark.filterwarnings("ignore:You are calling .generate:UserWarning")
HOOKS = pytest.mark.parametrize("attach", [offload, dispatch, hook_each_module])


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    dispatch.folder = tmp_path  # type: ignore[attr-defined]


@HOOKS
@pytest.mark.parametrize("when", ["before", "after"])
def test_hooked_models_compute_what_the_unrolled_model_does(
    attach: Callable[[PreTrainedModel], None], when: str
) -> None:
    model, ids = plain(), tokens()
    reference = unrolled(model, TWICE)
    if when == "before":
        attach(model)
    loop(model, "1-1x2-1")
    if when == "after":
        model(ids)
        attach(model)
    same(model(ids).logits, reference(ids).logits)
    same(greedy(model, ids), greedy(reference, ids))
    cache = cache_of(model(ids))
    assert [slot.get_seq_length() for slot in cache.layers] == [7] * 4


def test_hooks_can_be_removed_again() -> None:
    from accelerate.hooks import remove_hook_from_module

    model, ids = loop(plain(), "1-1x2-1"), tokens()
    wanted = greedy(model, ids)
    hook_each_module(model)
    same(greedy(model, ids), wanted)
    remove_hook_from_module(model, recurse=True)
    same(greedy(model, ids), wanted)


def test_a_hook_sees_each_step_of_a_layer_as_it_is() -> None:
    from accelerate.hooks import ModelHook, add_hook_to_module

    seen: list[int] = []

    class Watching(ModelHook):
        def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(module.layer_idx)
            return args, kwargs

    model = loop(plain(), "1-1x2-1")
    add_hook_to_module(unique(model)[1].self_attn, Watching())
    add_hook_to_module(unique(model)[1].self_attn, Watching(), append=True)
    model(tokens())
    assert seen == [1, 1, 2, 2]


@pytest.mark.parametrize("part", ["layer", "attention"])
def test_a_hook_added_through_a_step_reaches_all_steps_of_its_layer(part: str) -> None:
    from accelerate.hooks import ModelHook, add_hook_to_module

    model, ids = plain(), tokens()
    reference = unrolled(model, TWICE)
    step = loop(model, "1-1x2-1").model.layers[2]
    add_hook_to_module(step if part == "layer" else step.self_attn, ModelHook())
    same(greedy(model, ids), greedy(reference, ids))


def wrap_in_closures(model: PreTrainedModel) -> None:
    """As a tracer does: functions that know the modules they are put around."""
    for module in [part for layer in unique(model) for part in (layer, *layer.children())]:
        inner = module.forward

        def forward(*args: Any, inner: Any = inner, **kwargs: Any) -> Any:
            return inner(*args, **kwargs)

        module.forward = forward


def wrap_in_objects(model: PreTrainedModel) -> None:
    """As nnsight does: an object that finds its module by a weak reference."""

    class Controller:
        def __init__(self, module: nn.Module) -> None:
            self.module = weakref.ref(module)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            module = self.module()
            assert module is not None
            return type(module).forward(module, *args, **kwargs)

    for module in [part for layer in unique(model) for part in (layer, *layer.children())]:
        module.__dict__["forward"] = Controller(module)


@pytest.mark.parametrize("wrap", [wrap_in_closures, wrap_in_objects])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_forward_put_around_a_layer_runs_with_the_cache_slot_of_each_step(
    wrap: Callable[[PreTrainedModel], None], when: str
) -> None:
    model, ids = plain(), tokens()
    reference = unrolled(model, TWICE)
    if when == "before":
        wrap(model)
    loop(model, "1-1x2-1")
    if when == "after":
        model(ids)
        wrap(model)
    same(model(ids).logits, reference(ids).logits)
    same(greedy(model, ids), greedy(reference, ids))
    assert [slot.get_seq_length() for slot in cache_of(model(ids)).layers] == [7] * 4
    assert [layer.self_attn.layer_idx for layer in unique(model)] == [0, 1, 2]


@pytest.mark.parametrize("attach", [offload, dispatch])
def test_a_model_hooked_before_it_was_looped_takes_a_schedule_for_a_call(
    attach: Callable[[PreTrainedModel], None],
) -> None:
    model, ids = plain(), tokens()
    reference = unrolled(model, [0, 2])
    attach(model)
    loop(model, "1-1x2-1")
    same(model(ids, schedule="0,2").logits, reference(ids).logits)


def test_a_model_hooked_after_it_was_looped_takes_a_schedule_for_a_call() -> None:
    model, ids = plain(), tokens()
    reference = unrolled(model, [0, 2])
    dispatch(loop(model, "1-1x2-1"))
    same(model(ids, schedule="0,2").logits, reference(ids).logits)


@pytest.mark.parametrize(
    ("attach", "recurrence"),
    [
        (offload, Recurrence(kv_sharing="last", damping=0.5, injection="add")),
        (offload, Recurrence(early_exit=EarlyExit("kl", 0.3))),
        (offload, Recurrence(early_exit=EarlyExit("gate", 0.05))),
        (offload, Recurrence(early_exit=EarlyExit.geiping("kl", 0.02))),
        (offload, Recurrence(injection="concat")),
        (dispatch, Recurrence(injection="concat", early_exit=EarlyExit("entropy", 0.1))),
    ],
)
def test_a_recurrence_runs_with_offloaded_weights(
    attach: Callable[[PreTrainedModel], None], recurrence: Recurrence
) -> None:
    model, ids = loop(plain(), BLOCK, recurrence=recurrence), tokens()
    wanted = greedy(model, ids)
    attach(model)
    same(greedy(model, ids), wanted)


def test_a_gate_for_an_offloaded_model_has_its_dtype() -> None:
    model = plain().to(torch.bfloat16)
    offload(model)
    loop(model, BLOCK, recurrence=Recurrence(early_exit=EarlyExit("gate")))
    assert model(tokens()).logits.dtype is torch.bfloat16


@pytest.mark.parametrize("saved", ["plain", "looped"])
@pytest.mark.parametrize("place", ["cpu", "auto", "disk"])
@pytest.mark.filterwarnings("ignore:Current model requires")
def test_models_load_with_a_device_map(saved: str, place: str, tmp_path: Path) -> None:
    model, ids = plain(), tokens()
    reference = unrolled(model, TWICE)
    if saved == "looped":
        loop(model, "1-1x2-1")
    model.save_pretrained(tmp_path / "model")
    where: Any = {"": "cpu"} if place == "cpu" else "auto"
    if place == "disk":
        parts = ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head")
        where = dict.fromkeys((*parts, "model.layers.0", "model.layers.2"), "cpu")
        where |= {"model.layers.1": "disk"}
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", device_map=where, offload_folder=tmp_path
    )
    loop(loaded, "1-1x2-1")
    same(greedy(loaded, ids), greedy(reference, ids))
