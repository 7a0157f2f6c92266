"""Looped models under the machinery around them: checkpointing, adapters, compilers, hooks, caches.

The reference is a plain model of the same architecture with one physical copy of a layer for each
step, or, for the variants in ``Recurrence``, the layers of a plain model called one by one here.
"""

from __future__ import annotations

import copy
import gc
import io
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from growloop.models import EarlyExit, ModelError, RandomLoops, Recurrence, Schedule, loop
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    StaticCache,
)

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,  # states that move, so that mistakes show
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
TWICE = [0, 1, 1, 2]  # 1-1x2-1
BLOCK = "1-1x5-1"
BLOCK_LAYERS = [0, 1, 1, 1, 1, 1, 2]


def plain(depth: int = 3, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=depth, **SIZES)).eval()


def unrolled(model: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A plain model with a copy of a layer of ``model`` for each step."""
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(layers)
    made = type(model)(config).to(model.dtype).train(model.training)
    inner, source = made.model, model.model
    for name in ("embed_tokens", "norm"):
        getattr(inner, name).load_state_dict(getattr(source, name).state_dict())
    made.lm_head.load_state_dict(model.lm_head.state_dict())
    for copied, layer in zip(inner.layers, layers, strict=True):
        copied.load_state_dict(source.layers[layer].state_dict())
    return made


def tokens(rows: int = 2, length: int = 7, seed: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(3, 97, (rows, length), generator=random)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def summed(found: dict[str, Tensor], layers: Sequence[int]) -> dict[str, Tensor]:
    """Gradients of an unrolled model, added up for each unique layer."""
    total: dict[str, Tensor] = {}
    for name, grad in found.items():
        before, mark, after = name.partition(".layers.")
        if mark:
            step, rest = after.split(".", 1)
            name = f"{before}{mark}{layers[int(step)]}.{rest}"
        total[name] = total[name] + grad if name in total else grad
    return total


def close(found: Any, wanted: Any, within: float = 1e-5) -> None:
    torch.testing.assert_close(found, wanted, rtol=within, atol=within)


def same(found: Any, wanted: Any) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def assert_trains_like(
    model: nn.Module, reference: nn.Module, layers: Sequence[int], **more: Any
) -> None:
    """Loss, logits and summed gradients of a looped model are those of the unrolled one."""
    ids = tokens()
    found, wanted = (m(input_ids=ids, labels=ids, **more) for m in (model, reference))
    found.loss.backward()
    wanted.loss.backward()
    close(found.loss, wanted.loss)
    close(found.logits, wanted.logits)
    close(gradients(model), summed(gradients(reference), layers))


def greedy(model: PreTrainedModel, ids: Tensor, new: int = 6, **more: Any) -> Tensor:
    """The logits of each greedy token: ``(batch, new, vocabulary)``."""
    more = {"max_new_tokens": new, "do_sample": False} | more
    out = model.generate(ids, return_dict_in_generate=True, output_logits=True, **more)
    return torch.stack(out.logits, 1)


def unique(model: PreTrainedModel) -> list[nn.Module]:
    return [module for name, module in model.model.layers.named_children()]


def count_calls(model: PreTrainedModel) -> Counter[int]:
    """Counts how often each unique layer runs, from now on."""
    calls: Counter[int] = Counter()
    for i, layer in enumerate(unique(model)):
        layer.register_forward_hook(lambda *_, i=i: calls.update([i]))
    return calls


# Gradient checkpointing


def checkpoint(model: PreTrainedModel, reentrant: bool) -> None:
    name = "activation_checkpointing_enable"  # since transformers 5.2x
    if not hasattr(model, name):
        name = "gradient_checkpointing_enable"
    getattr(model, name)({"use_reentrant": reentrant})


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


# The variants in Recurrence, against the layers of a plain model called one by one


class Parts(NamedTuple):
    """A plain model taken apart."""

    state: Tensor
    run: Callable[[Tensor, int], Tensor]
    finish: Callable[[Tensor], Tensor]


def parts(model: PreTrainedModel, ids: Tensor) -> Parts:
    inner = model.model
    state = inner.embed_tokens(ids)
    places = torch.arange(ids.shape[1])[None]
    rope = inner.rotary_emb(state, position_ids=places)
    mask = torch.full((ids.shape[1],) * 2, float("-inf")).triu(1)[None, None]

    def run(h: Tensor, layer: int) -> Tensor:
        out: Tensor = inner.layers[layer](
            h, attention_mask=mask, position_ids=places, position_embeddings=rope
        )
        return out

    return Parts(state, run, lambda h: model.lm_head(inner.norm(h)))


def by_hand(
    model: PreTrainedModel,
    ids: Tensor,
    loops: int,
    inject: Callable[[Tensor, Tensor], Tensor] = lambda h, e: h,
    damping: float = 1.0,
    backward: int | None = None,
) -> Tensor:
    """Logits of ``1-2x loops-1``: layer 0, layers 1 and 2 ``loops`` times, layer 3."""
    h, run, finish = parts(model, ids)
    h = run(h, 0)
    e = h
    for i in range(loops):
        before = h
        h = inject(h, e) if i else h
        h = run(run(h, 1), 2)
        h = before + damping * (h - before) if i else h
        if backward is not None and i < loops - backward:
            h = h.detach()
    return finish(run(h, 3))


def test_the_hand_written_loop_is_the_unrolled_model() -> None:
    model = plain(4)
    reference = unrolled(model, [0, 1, 2, 1, 2, 1, 2, 3])
    close(by_hand(model, tokens(), 3), reference(tokens()).logits)


def assert_trains_as_by_hand(
    recurrence: Recurrence, loops: int = 3, skip: str = "runner", **how: Any
) -> None:
    reference, ids = plain(4).train(), tokens()
    model = loop(plain(4).train(), f"1-2x{loops}-1", recurrence=recurrence)
    found, wanted = model(ids).logits, by_hand(reference, ids, loops, **how)
    close(found, wanted)
    for logits in (found, wanted):
        nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten()).backward()
    grads = {k: v for k, v in gradients(model).items() if not k.startswith(skip)}
    close(grads, gradients(reference))


def test_concat_starts_as_none() -> None:
    assert_trains_as_by_hand(Recurrence(injection="concat"))


def test_add_gives_each_repeat_the_input_of_the_block() -> None:
    assert_trains_as_by_hand(Recurrence(injection="add"), inject=torch.add)


def test_concat_maps_the_state_and_the_input_of_the_block() -> None:
    model = loop(plain(4), "1-2x3-1", recurrence=Recurrence(injection="concat"))
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)) / 8
    model.runner.adapter.weight.data.copy_(weight)
    ids = tokens()
    model(ids, labels=ids).loss.backward()
    reference = plain(4)
    weight.requires_grad_()
    logits = by_hand(reference, ids, 3, lambda h, e: torch.cat([h, e], -1) @ weight.T)
    close(model(ids).logits, logits)
    reference.loss_function(logits, ids, vocab_size=97).backward()
    assert weight.grad is not None
    close(model.runner.adapter.weight.grad, weight.grad)


@pytest.mark.parametrize("damping", [0.25, 0.5])
def test_damping_keeps_a_part_of_each_repeats_change(damping: float) -> None:
    assert_trains_as_by_hand(Recurrence(damping=damping), damping=damping)


@pytest.mark.parametrize("backward", [1, 2, 3, 9])
def test_gradients_flow_through_the_last_loops_alone(backward: int) -> None:
    assert_trains_as_by_hand(Recurrence(backward_loops=backward), backward=backward)


@pytest.mark.parametrize("injection", ["add", "concat"])
@pytest.mark.parametrize("damping", [1.0, 0.5])
def test_truncated_gradients_still_reach_the_input_that_is_injected(
    injection: str, damping: float
) -> None:
    recurrence = Recurrence(injection, backward_loops=1, damping=damping)
    inject = torch.add if injection == "add" else lambda h, e: h + 0 * e
    assert_trains_as_by_hand(recurrence, inject=inject, damping=damping, backward=1)


def test_truncated_loops_record_nothing() -> None:
    model = loop(plain(4).train(), "1-2x3-1", recurrence=Recurrence(backward_loops=1))
    recorded = []
    unique(model)[1].register_forward_hook(lambda *call: recorded.append(call[2].requires_grad))
    model(tokens())
    assert recorded == [False, False, True]
    model.eval()(tokens())
    assert recorded[3:] == [True, True, True]


# Random loops


def test_random_loops_have_the_mean_they_are_named_after_plus_one() -> None:
    drawn = torch.tensor([RandomLoops(4, seed=7).at(step) for step in range(4000)]).double()
    assert abs(float(drawn.mean()) - 5) < 0.2
    assert drawn.min() == 1
    spread = 4 + 16 * (torch.tensor(0.25).exp() - 1)  # of a Poisson with a log-normal rate
    assert abs(float(drawn.var() / spread) - 1) < 0.25


def test_random_loops_depend_on_seed_and_step_alone() -> None:
    torch.manual_seed(0)
    first = [RandomLoops(4, seed=1).at(step) for step in range(50)]
    torch.manual_seed(1)
    assert [RandomLoops(4, seed=1).at(step) for step in reversed(range(50))] == first[::-1]
    assert [RandomLoops(4, seed=2).at(step) for step in range(50)] != first


def test_random_loops_are_drawn_in_training_alone() -> None:
    loops = RandomLoops(3, seed=5)
    model = loop(plain(), "1-1x2-1", recurrence=Recurrence(random_loops=loops))
    runs, ids, wanted = count_calls(model), tokens(), []
    model.train()
    for step in range(5):
        runs.clear()
        model(ids)
        wanted.append(loops.at(step))
        assert runs == {0: 1, 1: wanted[-1], 2: 1}
        assert model.runner.executed == wanted[-1] + 2
        assert str(model.schedule) == "1-1x2-1"
        assert model.config.num_hidden_layers == 4
    assert len(set(wanted)) > 1
    runs.clear()
    model.eval()(ids)
    assert runs == {0: 1, 1: 2, 2: 1}
    runs.clear()
    model.train()(ids, schedule="1-1x4-1")  # what a call asks for is what it gets
    assert runs == {0: 1, 1: 4, 2: 1}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_random_loops_train_as_the_drawn_schedule(checkpointing: bool) -> None:
    model = plain().train()
    loops = next(RandomLoops(4, seed=s) for s in range(99) if RandomLoops(4, seed=s).at(0) == 4)
    layers = [0, 1, 1, 1, 1, 2]
    reference = unrolled(model, layers)
    loop(model, "1-1x2-1", recurrence=Recurrence(random_loops=loops))
    if checkpointing:
        checkpoint(model, False)
    assert_trains_like(model, reference, layers, use_cache=False)


# Caches that loops share, and early exit: the definition, written out


def simulated(
    model: PreTrainedModel,
    ids: Tensor,
    layers: Sequence[int],
    new: int = 6,
    slots: int | None = None,
    block: tuple[int, int, int] | None = None,
    settled: Callable[[Tensor, Tensor | None], bool] = lambda after, before: False,
    window: int | None = None,
) -> tuple[Tensor, int]:
    """Greedy generation for one sequence, with nothing but a plain model's layers.

    A slot is a (layer, loop modulo slots). Within a forward each loop attends to what its slot
    held before the forward and to its own entries; the last loop to use a slot leaves its entries
    in it. Once ``settled``, the rest of the ``block`` (start, size, times) is left out and its
    slots get the entries of the layer's last loop.

    Returns:
        Logits ``(1, new, vocabulary)``, and how many layers ran.
    """
    past: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    logits, ran, inner = [], 0, model.model
    start, size, times = block or (0, 0, 0)
    for _ in range(new):
        count = ids.shape[1]
        held = next(iter(past.values()))[0].shape[2] if past else 0
        h = inner.embed_tokens(ids)
        places = torch.arange(held, held + count)[None]
        rope = inner.rotary_emb(h, position_ids=places)
        back = places.T - torch.arange(held + count)[None]  # how far back a key is
        hidden = (back < 0) | (back >= (window or 10**6))
        mask = torch.zeros(back.shape).masked_fill(hidden, float("-inf"))[None, None]
        seen: Counter[int] = Counter()
        fresh, newest = {}, {}
        gone, before = False, None
        for step, layer in enumerate(layers):
            slot = (layer, seen[layer] % (slots or 10**6))
            seen[layer] += 1
            inside = start <= step < start + size * times
            if not inside or (step - start) == 0:
                gone, before = False, None
            old = past.get(slot)
            if gone:
                entries = newest[layer]
                fresh[slot] = entries if old is None else joined(old, entries)
                continue
            cache = DynamicCache()
            if old is not None:
                cache.update(*old, layer)
            h = inner.layers[layer](
                h,
                attention_mask=mask,
                position_ids=places,
                position_embeddings=rope,
                past_key_values=cache,
            )
            ran += 1
            fresh[slot] = (cache.layers[layer].keys, cache.layers[layer].values)
            newest[layer] = tuple(part[:, :, -count:] for part in fresh[slot])
            if inside and (step - start) % size == size - 1:
                gone, before = settled(h, before), h
        past = fresh
        logits.append(model.lm_head(inner.norm(h))[:, -1])
        ids = logits[-1].argmax(-1, keepdim=True)
    return torch.stack(logits, 1), ran


def joined(old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([old[0], new[0]], 2), torch.cat([old[1], new[1]], 2)


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
CACHES = pytest.mark.parametrize("cache", ["dynamic", "static"])


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
    cache = model.generate(
        tokens(), max_new_tokens=4, do_sample=False, return_dict_in_generate=True
    ).past_key_values
    assert [slot.get_seq_length() for slot in cache.layers] == [10, 10, 10, 0, 0, 0, 10]


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
    with pytest.raises(ModelError):
        greedy(loop(model, "2x3", recurrence=recurrence), tokens())


# Early exit

CRITERIA = {"entropy": 0.1, "latent": 0.45, "kl": 0.1, "argmax": 3, "gate": 0.2}
CHOSEN = pytest.mark.parametrize("criterion", list(CRITERIA))


def leaving(criterion: str, sharing: str | int = "full", **more: Any) -> LlamaForCausalLM:
    """A model that leaves its block early, by a gate that says something."""
    exits = EarlyExit(criterion, **{"threshold": CRITERIA[criterion]} | more)
    recurrence = Recurrence(kv_sharing=sharing, early_exit=exits)
    return with_gate(loop(plain(), BLOCK, recurrence=recurrence))


def with_gate(model: LlamaForCausalLM) -> LlamaForCausalLM:
    if model.runner.gate is not None:
        random = torch.Generator().manual_seed(2)
        model.runner.gate.weight.data.copy_(torch.randn(1, 32, generator=random) / 16)
    return model


def judge(model: PreTrainedModel, criterion: str, least: int = 1) -> Callable[..., bool]:
    """The criterion for all tokens of one sequence, written out; for :func:`simulated`."""
    threshold = CRITERIA[criterion]
    gate = with_gate(leaving(criterion)).runner.gate
    tops: list[Tensor] = []
    stays: list[Tensor] = []
    loops = [0]

    def settled(after: Tensor, before: Tensor | None) -> bool:
        if before is None:
            tops.clear()
            stays.clear()
            loops[0] = 0
        loops[0] += 1
        if criterion == "gate":
            stays.append(1 - gate(after).sigmoid())
            found = 1 - torch.stack(stays).prod(0) >= threshold
        elif criterion == "argmax":
            tops.append(model.lm_head(model.model.norm(after)).argmax(-1))
            last = torch.stack(tops[-int(threshold) :])
            found = (last == last[0]).all(0) & torch.tensor(len(last) >= threshold)
        elif before is None:
            return False
        elif criterion == "latent":
            found = (after - before).norm(dim=-1) / after.norm(dim=-1) < threshold
        else:
            p, q = (model.lm_head(model.model.norm(h)).softmax(-1) for h in (after, before))
            if criterion == "kl":
                found = (p * (p / q).log()).sum(-1) < threshold
            else:
                entropies = [-(x * x.log()).sum(-1) for x in (p, q)]
                found = (entropies[0] - entropies[1]).abs() < threshold
        return bool(found.all()) and loops[0] >= least

    return settled


@CHOSEN
@CACHES
def test_generation_with_early_exit_is_as_defined(criterion: str, cache: str) -> None:
    model, reference, ids = leaving(criterion), plain(), tokens(1, 4)
    with torch.no_grad():
        wanted, ran = simulated(
            reference, ids, BLOCK_LAYERS, 9, block=(1, 1, 5), settled=judge(reference, criterion)
        )
    assert 7 * 9 > ran > 3 * 9  # some loops are left out, some are not
    close(greedy(model, ids, new=9, cache_implementation=cache), wanted)
    assert model.runner.total_executed == ran
    assert model.runner.total_planned == 7 * 9


@pytest.mark.parametrize(
    ("sharing", "slots"),
    [
        ("last", 1),
        (2, 2),
        (3, 3),
    ],
)
def test_early_exit_with_shared_slots_is_as_defined(sharing: str | int, slots: int) -> None:
    for criterion in ("argmax", "latent"):
        model, reference, ids = leaving(criterion, sharing), plain(), tokens(1, 4)
        with torch.no_grad():
            wanted, _ = simulated(
                reference,
                ids,
                BLOCK_LAYERS,
                9,
                slots=slots,
                block=(1, 1, 5),
                settled=judge(reference, criterion),
            )
        close(greedy(model, ids, new=9), wanted)


def test_a_slot_that_was_skipped_can_be_used_by_a_later_step() -> None:
    exits = EarlyExit("argmax", 1)  # out after the first loop
    model = loop(plain(), "0,0,1,0,2,0", recurrence=Recurrence(kv_sharing=2, early_exit=exits))
    reference, ids = plain(), tokens(1)
    with torch.no_grad():
        wanted, _ = simulated(
            reference,
            ids,
            [0, 0, 1, 0, 2, 0],
            slots=2,
            block=(0, 1, 2),
            settled=lambda after, before: True,
        )
    close(greedy(model, ids), wanted)


@CHOSEN
def test_loops_that_are_left_out_do_not_run(criterion: str) -> None:
    model = leaving(criterion)
    runs, total = count_calls(model), 0
    for seed in range(12):
        runs.clear()
        model(tokens(1, 3, seed=seed))
        loops = int(model.runner.loops)
        assert runs == {0: 1, 1: loops, 2: 1}
        assert model.runner.executed == runs.total()
        total += runs.total()
    assert model.runner.total_executed == total < model.runner.total_planned == 12 * 7


def test_a_batch_runs_until_its_last_sequence_has_left() -> None:
    model = leaving("latent")
    ids = tokens(6, 3)
    alone = []
    for row in ids:
        model(row[None])
        alone += model.runner.loops.tolist()
    runs = count_calls(model)
    model(ids)
    assert model.runner.loops.tolist() == alone
    assert len(set(alone)) > 1
    assert runs[1] == max(alone)


def test_as_many_loops_run_as_are_asked_for() -> None:
    for least in (1, 3, 5):
        model = leaving("latent", threshold=1e9, min_loops=least)
        model(tokens())
        assert model.runner.loops.tolist() == [max(2, least)] * 2  # a change needs two


def test_nothing_leaves_in_training() -> None:
    model = leaving("latent", threshold=1e9).train()
    runs = count_calls(model)
    model(tokens())
    assert runs == {0: 1, 1: 5, 2: 1}
    assert model.runner.loops is None


def assert_no_sequence_depends_on_its_batch(model: PreTrainedModel, cached: bool = True) -> None:
    ids = tokens(5, 6)
    mask = torch.ones_like(ids)
    for row, left in enumerate([0, 2, 4, 0, 1]):
        mask[row, :left] = 0
    together = greedy(model, ids, new=5, attention_mask=mask, use_cache=cached)
    for row, left in enumerate(mask.argmax(1).tolist()):
        alone = greedy(model, ids[row : row + 1, left:], new=5, use_cache=cached)
        close(together[row : row + 1], alone, 1e-4)


@CHOSEN
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("sharing", ["full", "last"])
def test_a_sequence_does_not_depend_on_its_batch(
    criterion: str, cached: bool, sharing: str | int
) -> None:
    assert_no_sequence_depends_on_its_batch(leaving(criterion, sharing), cached)


@pytest.mark.parametrize("criterion", ["latent", "argmax"])
def test_a_sequence_does_not_depend_on_its_batch_with_shared_slots(criterion: str) -> None:
    assert_no_sequence_depends_on_its_batch(leaving(criterion, 2))


@CHOSEN
def test_one_forward_is_the_same_with_and_without_a_cache(criterion: str) -> None:
    model, ids = leaving(criterion), tokens(5, 3)
    with torch.no_grad():
        close(model(ids, use_cache=True).logits, model(ids, use_cache=False).logits)


@CACHES
@pytest.mark.parametrize("sharing", ["full", "last"])
def test_skipped_loops_leave_the_entries_of_the_last_one(cache: str, sharing: str) -> None:
    model, ids = leaving("latent", sharing), tokens(5, 3)
    kept = (
        DynamicCache(config=model.config)
        if cache == "dynamic"
        else StaticCache(model.config, max_cache_len=8)
    )
    with torch.no_grad():
        model(ids, past_key_values=kept)
    loops = model.runner.loops.tolist()
    assert len(set(loops)) > 1
    assert max(loops) < 5
    used = kept.layers if sharing == "full" else [kept.layers[i] for i in (0, 1, 6)]
    assert [int(slot.get_seq_length()) for slot in used] == [3] * len(used)
    for row, count in enumerate(loops if sharing == "full" else []):
        last = kept.layers[count]  # slot 1 is the first loop
        for later in kept.layers[count + 1 : 6]:
            same(later.keys[row], last.keys[row])
            same(later.values[row], last.values[row])


@pytest.mark.parametrize("length", [3, 7])
def test_early_exit_works_in_a_sliding_window(length: int) -> None:
    torch.manual_seed(0)
    reference = MistralForCausalLM(
        MistralConfig(num_hidden_layers=3, sliding_window=5, **SIZES)
    ).eval()
    recurrence = Recurrence(early_exit=EarlyExit("latent", CRITERIA["latent"]))
    model, ids = loop(copy.deepcopy(reference), BLOCK, recurrence=recurrence), tokens(1, length)
    with torch.no_grad():
        wanted, ran = simulated(
            reference,
            ids,
            BLOCK_LAYERS,
            8,
            block=(1, 1, 5),
            settled=judge(reference, "latent"),
            window=5,
        )
    close(greedy(model, ids, new=8), wanted)
    assert model.runner.total_executed == ran < 7 * 8


def test_padding_does_not_count() -> None:
    model, ids = leaving("latent"), tokens(5, 6)
    mask = torch.ones_like(ids)
    mask[:, :5] = 0
    model(ids, attention_mask=mask)
    loops = model.runner.loops.tolist()
    model(ids)
    assert loops != model.runner.loops.tolist()
    for row, count in zip(ids, loops, strict=True):
        model(row[None, 5:])
        assert model.runner.loops.tolist() == [count]


def test_padding_does_not_count_however_the_mask_is_given() -> None:
    model, ids = leaving("latent"), tokens(5, 6)
    mask = torch.ones_like(ids)
    mask[:, :5] = 0
    model(input_ids=ids, attention_mask=mask)
    loops = model.runner.loops.tolist()
    model(ids, mask)
    assert model.runner.loops.tolist() == loops


def test_the_decoder_alone_does_not_use_the_mask_of_an_earlier_call() -> None:
    model, ids = leaving("latent"), tokens(5, 6)
    model(ids, attention_mask=torch.ones_like(ids).tril(-1))
    assert model.model(tokens(3, 4)).last_hidden_state.shape == (3, 4, 32)


def test_gradients_flow_in_evaluation_although_sequences_leave() -> None:
    model, ids = leaving("latent"), tokens(6, 3)
    model(ids, labels=ids).loss.backward()
    assert model.runner.loops.unique().numel() > 1
    with_cache = {name: grad.clone() for name, grad in gradients(model).items()}
    model.zero_grad()
    model(ids, labels=ids, use_cache=False).loss.backward()
    close(with_cache, gradients(model))


# What is left behind


def assert_nothing_is_kept(model: PreTrainedModel, ids: Tensor) -> None:
    kept: list[weakref.ref[Any]] = []

    class Packed:
        def __init__(self, value: Tensor) -> None:
            self.value = value.detach()  # with its graph it would keep itself

    def pack(value: Tensor) -> Packed:
        packed = Packed(value)
        kept.append(weakref.ref(packed))
        return packed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed.value):
        out = model(ids, labels=ids)
    cache = weakref.ref(out.past_key_values)
    assert cache() is not None
    assert kept
    del out
    gc.collect()
    assert cache() is None
    assert not any(packed() is not None for packed in kept)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "recurrence",
    [
        Recurrence(),
        Recurrence("add", backward_loops=2, damping=0.5, kv_sharing="last"),
        Recurrence("concat", early_exit=EarlyExit("kl", 0.5)),
        Recurrence(random_loops=RandomLoops(2), early_exit=EarlyExit("latent", 1e9)),
    ],
    ids=["none", "add", "concat", "random"],
)
def test_no_graph_and_no_cache_is_kept(recurrence: Recurrence, training: bool) -> None:
    assert_nothing_is_kept(loop(plain(), BLOCK, recurrence=recurrence).train(training), tokens(1))


def test_no_graph_is_kept_of_layers_that_return_tuples() -> None:
    config = BloomConfig(vocab_size=97, hidden_size=32, n_layer=3, n_head=4)
    model = BloomForCausalLM(config).eval()
    assert_nothing_is_kept(loop(model, BLOCK, recurrence=Recurrence(damping=0.5)), tokens(1))


def test_after_an_error_the_next_forward_is_right() -> None:
    model, ids = leaving("latent"), tokens()
    wanted = greedy(model, ids)

    def fail(*_: Any) -> None:
        raise RuntimeError("stop")

    handle = unique(model)[1].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="stop"):
        model(tokens(3, 4))
    with pytest.raises(RuntimeError, match="stop"):
        model(ids, schedule="3")
    handle.remove()
    assert str(model.schedule) == BLOCK
    same(greedy(model, ids), wanted)


def test_a_recurrence_can_be_taken_back() -> None:
    model, ids = leaving("latent", "last"), tokens()
    reference = unrolled(plain(), BLOCK_LAYERS)
    loop(model, recurrence=Recurrence())
    assert not any("runner" in name for name in model.state_dict())
    same(greedy(model, ids), greedy(reference, ids))
