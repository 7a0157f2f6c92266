"""Growing a model and its optimizer; untying a looped one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import GrowthMap, Recurrence, build, grow, growth_map, loop, untie
from growloop.models.looping.decoder import find_decoder
from growloop.models.training.optim.muon import Muon
from torch import Tensor, nn

TOKENS = torch.arange(48).reshape(2, 24) % 50


def tiny(depth: int = 4, **changes: Any) -> Any:
    return build("tiny", depth, initializer_range=0.2, **changes)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss: Tensor = model(TOKENS, labels=TOKENS).loss
    loss.backward()
    optimizer.step()
    return loss.item()


def optimizers(model: nn.Module) -> dict[str, Any]:
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    return {
        "adamw": torch.optim.AdamW(model.parameters(), lr=1e-2),
        "fused": torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True),
        "named": torch.optim.AdamW(model.named_parameters(), lr=1e-2),
        "sgd": torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9),
        "adafactor": torch.optim.Adafactor(model.parameters(), lr=1e-2),
        "muon": Muon(matrices, lr=1e-2),
    }


@pytest.mark.parametrize("operator", ["lidas", "midas", "gradual_stacking", "g_stack", "3,0-2,1"])
def test_a_grown_model_is_the_gathered_stack(operator: str) -> None:
    model = tiny()
    before = [copy.deepcopy(layer.state_dict()) for layer in model.model.layers]
    sources = growth_map(operator, 4, **({} if "," in operator or operator == "g_stack"
                                         else {"block_size": 2})).sources  # fmt: skip
    options = {} if "," in operator or operator == "g_stack" else {"block_size": 2}
    assert grow(model, operator, **options) is model
    assert len(model.model.layers) == model.config.num_hidden_layers == len(sources)
    for place, source in enumerate(sources):
        layer = model.model.layers[place]
        assert layer.self_attn.layer_idx == place
        for name, value in layer.state_dict().items():
            assert torch.equal(value, before[source][name])
    pointers = [p.data_ptr() for p in model.parameters()]
    assert len(set(pointers)) == len(pointers)  # copies, nothing shared
    cached = model.generate(TOKENS, max_new_tokens=8, do_sample=False, pad_token_id=0)
    plain = model.generate(
        TOKENS, max_new_tokens=8, do_sample=False, use_cache=False, pad_token_id=0
    )
    assert torch.equal(cached, plain)


@pytest.mark.parametrize("kind", optimizers(tiny(1)))
def test_every_copy_is_in_one_group_with_the_state_of_its_source_and_learns(kind: str) -> None:
    model = tiny()
    optimizer = optimizers(model)[kind]
    for _ in range(2):
        step(model, optimizer)
    old = {i: copy.deepcopy([optimizer.state[p] for p in layer.parameters()])
           for i, layer in enumerate(model.model.layers)}  # fmt: skip
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    rates = [group["lr"] for group in optimizer.param_groups]
    size = len(trained) // 4 if kind == "muon" else None
    grow(model, "lidas", optimizer, block_size=2)

    members = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(members) == len(set(members))
    if size is None:
        assert set(members) == {id(p) for p in model.parameters()}
    else:
        assert len(members) == 6 * size
    assert [group["lr"] for group in optimizer.param_groups] == rates
    for place, source in enumerate(growth_map("lidas", 4, block_size=2).sources):
        for parameter, state in zip(
            model.model.layers[place].parameters(), old[source], strict=True
        ):
            if id(parameter) not in members:
                continue
            found = optimizer.state[parameter]
            assert set(found) == set(state)
            assert all(
                torch.equal(found[k], state[k])
                if torch.is_tensor(state[k])
                else found[k] == state[k]
                for k in state
            )
    states = [v.data_ptr() for s in optimizer.state.values() for v in s.values()
              if torch.is_tensor(v)]  # fmt: skip
    assert len(states) == len(set(states))

    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step(model, optimizer)
    for name, parameter in model.named_parameters():
        if id(parameter) in members:
            assert not torch.equal(parameter, before[name]), name


def test_names_of_parameters_in_groups_follow() -> None:
    model = tiny()
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=1e-2)
    grow(model, "lidas", optimizer, block_size=2)
    [group] = optimizer.param_groups
    named = dict(model.named_parameters())
    assert sorted(group["param_names"]) == sorted(named)
    assert all(named[n] is p for n, p in zip(group["param_names"], group["params"], strict=True))


def test_groups_keep_their_options_and_dropped_layers_leave() -> None:
    model = tiny()
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "lr": 1e-4}], lr=1e-3
    )
    step(model, optimizer)
    grow(model, "0-1,1,3", optimizer)
    first, second = optimizer.param_groups
    assert (first["weight_decay"], second["lr"]) == (0.1, 1e-4)
    assert {id(p) for p in first["params"]} == {id(p) for p in model.parameters() if p.dim() > 1}
    assert {id(p) for p in second["params"]} == {id(p) for p in model.parameters() if p.dim() <= 1}
    assert set(optimizer.state) == set(model.parameters())


def test_frozen_parameters_stay_frozen_and_out_of_the_optimizer() -> None:
    model = tiny()
    model.model.layers[1].requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    grow(model, "lidas", optimizer, block_size=2)
    members = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert members == {id(p) for p in model.parameters() if p.requires_grad}
    assert [next(layer.parameters()).requires_grad for layer in model.model.layers] == [
        True, False, True, False, True, True]  # fmt: skip


def test_growth_continues_under_accelerate() -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = tiny()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model, optimizer = accelerator.prepare(model, optimizer)
    step(model, optimizer)
    model = accelerator.prepare(grow(accelerator.unwrap_model(model), "lidas", optimizer))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = model(TOKENS, labels=TOKENS).loss
    accelerator.backward(loss)
    optimizer.step()
    assert all(not torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert len(list(model.parameters())) == len(before)


def test_growing_draws_nothing_from_the_global_random_state() -> None:
    model = tiny()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    grow(model, "lidas", block_size=2)
    assert torch.equal(torch.rand(3), expected)


def test_zeroed_copies_preserve_the_function() -> None:
    model = tiny()
    before = model(TOKENS).logits
    grow(model, "llama_pro", block_size=2)
    assert len(model.model.layers) == 6
    assert torch.equal(model(TOKENS).logits, before)


def test_history_is_kept_and_saved(tmp_path: Any) -> None:
    from transformers import AutoModelForCausalLM

    model = tiny(2)
    for _ in range(2):
        grow(model, "lidas", block_size=2)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert [(s["from"], s["to"]) for s in again.config.growth_history] == [(2, 4), (4, 6)]
    assert torch.equal(again(TOKENS).logits, model(TOKENS).logits)


def test_an_untied_model_computes_the_same_with_layers_of_its_own(tmp_path: Any) -> None:
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    model = build("tiny", "1-2x3-1", initializer_range=0.2)
    before = model(TOKENS).logits
    assert untie(model) is model
    assert type(model) is LlamaForCausalLM
    assert len(model.model.layers) == model.config.num_hidden_layers == 8
    assert torch.equal(model(TOKENS).logits, before)
    model.save_pretrained(tmp_path)
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path)(TOKENS).logits, before)
    with torch.no_grad():
        next(model.model.layers[1].parameters()).add_(1)
    assert not torch.equal(
        next(model.model.layers[1].parameters()), next(model.model.layers[3].parameters())
    )


def test_an_untied_model_trains_on_with_its_optimizer() -> None:
    model = build("tiny", "1-1x3-1", initializer_range=0.2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    step(model, optimizer)
    untie(model, optimizer)
    step(model, optimizer)
    first, second = (list(model.model.layers[i].parameters()) for i in (1, 2))
    assert all(not torch.equal(a, b) for a, b in zip(first, second, strict=True) if a.dim() > 1)


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(InputError, match="does not loop"):
        untie(tiny())
    looped = loop(tiny(), "1-2x2-1")
    with pytest.raises(InputError, match="a looped model cannot grow"):
        grow(looped, "lidas")
    loop(looped, recurrence=Recurrence(damping=0.5))
    with pytest.raises(InputError, match="a model with damping between its loops"):
        untie(looped)
    with pytest.raises(InputError, match="a torch optimizer is needed"):
        grow(tiny(), "lidas", optimizer=3)
    with pytest.raises(InputError, match="unwrap what is wrapped"):
        grow(nn.DataParallel(tiny()), "lidas")  # type: ignore[type-var]


def test_an_architecture_that_builds_its_first_layers_otherwise_is_refused() -> None:
    from transformers import AutoModelForCausalLM, DeepseekV3Config

    config = DeepseekV3Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, moe_intermediate_size=16,
        num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=2, n_routed_experts=4,
        n_group=2, topk_group=1, num_experts_per_tok=2, first_k_dense_replace=1, q_lora_rank=8,
        kv_lora_rank=8, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    depth = len(find_decoder(model).unique)
    with pytest.raises(InputError, match="builds layer 1 differently from layer 0"):
        grow(model, "0,0-3")
    assert len(find_decoder(model).unique) == depth  # untouched


@pytest.mark.parametrize("named", [False, True])
def test_a_grown_optimizer_can_be_saved_and_loaded_by_position(named: bool) -> None:
    def made(model: Any) -> torch.optim.Optimizer:
        parameters = model.named_parameters() if named else model.parameters()
        return torch.optim.AdamW(parameters, lr=1e-2)

    model = tiny()
    optimizer = made(model)
    step(model, optimizer)
    grow(model, "lidas", optimizer, block_size=2)
    again = tiny(6)
    again.load_state_dict(model.state_dict())
    fresh = made(again)
    fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, other in ((model, optimizer), (again, fresh)):
        for _ in range(2):
            step(one, other)
    torch.testing.assert_close(model.state_dict(), again.state_dict(), rtol=0, atol=0)


def test_several_optimizers_grow_together() -> None:
    model = tiny()
    layers = [p for p in model.model.layers.parameters() if p.dim() == 2]
    ids = {id(p) for p in layers}
    muon = Muon(layers, lr=1e-2)
    adamw = torch.optim.AdamW([p for p in model.parameters() if id(p) not in ids], lr=1e-2)
    grow(model, "lidas", [muon, adamw], block_size=2)
    members = [id(p) for o in (muon, adamw) for g in o.param_groups for p in g["params"]]
    assert sorted(members) == sorted(id(p) for p in model.parameters())


def test_an_optimizer_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match="holds no parameter of this model"):
        grow(tiny(), "lidas", torch.optim.AdamW(tiny().parameters()))


def test_zeroing_a_layer_that_is_copied_later_leaves_its_copy_alone() -> None:
    model = tiny()
    grow(model, GrowthMap((0, 1, 1, 2, 3), zeroed=(2,)))
    first, second = (model.model.layers[i].mlp.down_proj.weight for i in (1, 2))
    assert first.any()
    assert not second.any()


def test_an_operator_that_cannot_keep_the_function_is_refused() -> None:
    from transformers import AutoModelForCausalLM, BloomConfig

    config = BloomConfig(
        vocab_size=64,
        hidden_size=32,
        n_layer=4,
        n_head=2,
        apply_residual_connection_post_layernorm=True,
    )
    model = AutoModelForCausalLM.from_config(config)
    for layer in find_decoder(model).unique:
        torch.nn.init.uniform_(layer.post_attention_layernorm.weight)
    before = model(TOKENS).logits
    with pytest.raises(InputError, match="still changes the state"):
        grow(model, "llama_pro")
    assert torch.equal(model(TOKENS).logits, before)
    assert len(find_decoder(model).unique) == 4


def test_layers_with_constants_of_their_own_are_not_copied_elsewhere() -> None:
    from transformers import AutoModelForCausalLM, GPT2Config

    config = GPT2Config(
        vocab_size=64,
        n_embd=32,
        n_layer=4,
        n_head=2,
        n_positions=64,
        scale_attn_by_inverse_layer_idx=True,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(InputError, match=r"differently from layer .* could not be loaded again"):
        grow(model, "lidas", block_size=2)
    loop(model, "1-2x2-1")
    before = model(TOKENS).logits
    with pytest.raises(InputError, match="could not be loaded again"):
        untie(model)
    assert torch.equal(model(TOKENS).logits, before)  # still the looped model that it was
    assert str(model.schedule) == "1-2x2-1"
    loop(model, "4")


def test_growing_to_a_depth_takes_as_many_steps_as_it_needs() -> None:
    model, other = build("tiny", 4), build("tiny", 4)
    grow(model, "lidas", to=8, block_size=2)
    for _ in range(2):
        grow(other, "lidas", block_size=2)
    assert model.config.growth_history == other.config.growth_history
    assert [step["to"] for step in model.config.growth_history] == [6, 8]
    for (name, weight), twin in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, twin), name
    for arguments, message in (
        ({"operator": "lidas", "to": 8}, "has 8 layers already: to must be more"),
        ({"operator": "0-7,0-7", "to": 16}, "to goes with an operator by name"),
        ({"operator": "lidas", "to": 9, "block_size": 2}, "does not reach 9 layers"),
    ):
        with pytest.raises(InputError, match=message):
            grow(model, **arguments)
