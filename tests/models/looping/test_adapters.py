"""Adapters (PEFT) on looped models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from growloop.models import Recurrence, loop
from transformers import (
    PreTrainedModel,
)

from ...support.unrolling import (
    TWICE,
    assert_trains_like,
    checkpoint,
    close,
    gradients,
    greedy,
    plain,
    same,
    tokens,
    unrolled,
)

# peft asks by the name of before transformers 5.2x
PEFT = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")


def lora(**more: Any) -> Any:
    peft = pytest.importorskip("peft")
    return peft.LoraConfig(r=3, init_lora_weights=False, task_type="CAUSAL_LM", **more)


def adapted(order: str) -> tuple[Any, Any, PreTrainedModel]:
    """A looped model with adapters, the unrolled one with copies of them, and the base model."""
    peft = pytest.importorskip("peft")
    base = plain().train()
    reference = peft.get_peft_model(unrolled(base, TWICE), lora())
    if order == "loop first":
        model = peft.get_peft_model(loop(base, "1-1x2-1"), lora())
    else:
        model = peft.get_peft_model(base, lora())
        loop(model.get_base_model(), "1-1x2-1")
    weights = model.state_dict()
    for name in reference.state_dict():
        before, mark, after = name.partition(".layers.")
        if mark and "lora_" in name:
            step, rest = after.split(".", 1)
            value = weights[f"{before}{mark}{TWICE[int(step)]}.{rest}"]
            reference.state_dict()[name].copy_(value)
    return model, reference, base


ORDERS = pytest.mark.parametrize("order", ["loop first", "adapt first"])


@PEFT
@ORDERS
def test_adapters_are_found_by_default_and_exist_once_for_each_layer(order: str) -> None:
    model, _, base = adapted(order)
    assert base.config.model_type == "llama"
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    places = {f"{i}.self_attn.{part}_proj" for i in range(3) for part in "qv"}
    assert {name.split(".layers.")[1].split(".lora_")[0] for name in names} == places
    assert len(names) == 2 * len(places)


@PEFT
@ORDERS
def test_adapted_forward_and_gradients_are_those_of_the_unrolled_model(order: str) -> None:
    model, reference, _ = adapted(order)
    assert_trains_like(model, reference, TWICE)
    same(greedy(model.eval(), tokens()), greedy(reference.eval(), tokens()))


@PEFT
def test_adapted_gradients_flow_under_checkpointing() -> None:
    model, reference, base = adapted("loop first")
    checkpoint(base, True)
    base.enable_input_require_grads()
    assert_trains_like(model, reference, TWICE, use_cache=False)


@PEFT
@ORDERS
def test_adapters_can_be_merged(order: str) -> None:
    model, reference, _ = adapted(order)
    ids = tokens()
    wanted = reference(input_ids=ids).logits
    merged = model.merge_and_unload()
    assert str(merged.schedule) == "1-1x2-1"
    close(merged(ids).logits, wanted)


@PEFT
def test_a_saved_adapter_loads_into_another_looped_model(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model, _, _ = adapted("loop first")
    ids = tokens()
    wanted = model.eval()(input_ids=ids).logits
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    again = peft.PeftModel.from_pretrained(loop(plain(), "1-1x2-1"), tmp_path)
    same(again.eval()(input_ids=ids).logits, wanted)
    late = peft.PeftModel.from_pretrained(plain(), tmp_path)  # adapters know nothing of loops
    loop(late.get_base_model(), "1-1x2-1")
    same(late.eval()(input_ids=ids).logits, wanted)


@PEFT
def test_an_adapter_on_the_map_of_concat_has_an_effect() -> None:
    peft = pytest.importorskip("peft")
    base = loop(plain(), "1-1x2-1", recurrence=Recurrence(injection="concat"))
    model = peft.get_peft_model(base, lora(target_modules=r"runner\.adapter"))
    ids = tokens()
    model(input_ids=ids, labels=ids).loss.backward()
    assert all(g.abs().sum() > 0 for g in gradients(model).values())
    assert gradients(model)
