"""Looped models under the machinery around them: checkpointing, adapters, compilers, hooks.

The reference is a plain model of the same architecture with one physical copy of a layer for each
step.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.models import EarlyExit, Recurrence, loop
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
)

from .unrolling import (
    BLOCK,
    SIZES,
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
    unique,
    unrolled,
)

# Gradient checkpointing


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
    assert runs == {0: 1, 1: 2, 2: 1}  # the recomputation is inside the hooks


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


# PEFT

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


# torch.compile


@pytest.fixture
def compiler() -> Iterator[Callable[..., Any]]:
    torch._dynamo.reset()
    yield lambda model, **how: torch.compile(model, fullgraph=True, **how)
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")  # inductor's own
def test_compiled_logits_are_those_of_the_unrolled_model(compiler: Callable[..., Any]) -> None:
    model, ids = plain(1), tokens()
    reference = unrolled(model, [0, 0])
    fast = compiler(loop(model, "1x2"))  # all of it; the other tests leave the C++ out, for time
    with torch.no_grad():
        close(fast(ids, use_cache=False).logits, reference(ids).logits)


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


def test_a_compiled_model_fills_its_cache(compiler: Callable[..., Any]) -> None:
    model, ids = plain(2), tokens()
    reference = unrolled(model, [0, 1, 0, 1])
    fast = compiler(loop(model, "2x2"), backend="aot_eager")
    with torch.no_grad():
        found, wanted = fast(ids).past_key_values, reference(ids).past_key_values
    close([slot.keys for slot in found.layers], [slot.keys for slot in wanted.layers])


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


def test_layers_compiled_in_place_keep_their_cache_slots() -> None:
    torch._dynamo.reset()
    model, ids = plain(2), tokens()
    reference = unrolled(model, [0, 1, 0, 1])
    for layer in unique(loop(model, "2x2")):
        layer.compile(backend="eager")
    same(greedy(model, ids, new=2), greedy(reference, ids, new=2))


# Precision


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


# Device maps and accelerate's hooks


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
    cache = model(ids).past_key_values
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


# What is seen from outside


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
    ],
    ids=["none", "concat"],
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
