"""Parameters and FLOPs, against torch's own counter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import (
    Recurrence,
    Schedule,
    Stage,
    build,
    cost,
    growth_stages,
    loop,
    preset,
    training_flops,
)
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
)

SIZES: dict[str, Any] = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "llama tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "gemma2": Gemma2Config(**SIZES, head_dim=16, sliding_window=4096),
    "gpt2": GPT2Config(vocab_size=128, n_embd=32, n_layer=3, n_head=4, n_positions=64),
    "neox": GPTNeoXConfig(**{k: v for k, v in SIZES.items() if k != "num_key_value_heads"}),
}


def counted(model: Any, length: int, backward: bool = False) -> float:
    """FLOPs a token, by torch's counter."""
    tokens = torch.zeros(2, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        output = model(tokens, labels=tokens if backward else None, use_cache=False)
        if backward:
            output.loss.backward()
    return counter.get_total_flops() / tokens.numel()


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("schedule", [None, "1-1x3-1"])
def test_forward_flops_are_those_of_torch(kind: str, schedule: str | None) -> None:
    model = AutoModelForCausalLM.from_config(CONFIGS[kind], attn_implementation="eager")
    if schedule is not None:
        loop(model, schedule)
    assert cost(model, seq_len=48).forward_flops == pytest.approx(counted(model, 48), rel=0.01)


@pytest.mark.parametrize("schedule", ["3", "1-1x3-1"])
def test_training_flops_are_those_of_torch(schedule: str) -> None:
    model = AutoModelForCausalLM.from_config(CONFIGS["llama"], attn_implementation="eager").train()
    loop(model, schedule)
    assert cost(model, seq_len=48).training_flops == pytest.approx(
        counted(model, 48, backward=True), rel=0.01
    )


@pytest.mark.parametrize("injection", ["none", "add", "concat"])
def test_truncated_training_flops_are_those_of_torch(injection: str) -> None:
    model = AutoModelForCausalLM.from_config(CONFIGS["llama"], attn_implementation="eager").train()
    loop(model, "1-1x4-1", recurrence=Recurrence(injection=injection, backward_loops=2))
    # inputs without gradients save torch half of a first layer's backward pass
    model.model.embed_tokens.requires_grad_(True)
    stage = Stage("1-1x4-1", tokens=1, backward_loops=2)
    assert training_flops(model, [stage], 48) == pytest.approx(
        counted(model, 48, backward=True), rel=0.03
    )


def test_a_mixture_of_experts_counts_the_experts_that_run() -> None:
    config = MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2)
    dense = LlamaConfig(**{**SIZES, "intermediate_size": 128})  # two experts of 64
    router = 3 * 2 * 32 * 4
    assert cost(config).forward_flops == pytest.approx(cost(dense).forward_flops + router)


def test_windows_bound_attention() -> None:
    config = Gemma2Config(**SIZES, head_dim=16, sliding_window=16)
    long, short = cost(config, seq_len=64), cost(config, seq_len=16)
    full = sum(kind == "full_attention" for kind in config.layer_types)
    assert long.attention_flops - short.attention_flops == full * 2 * 48 * 4 * 32


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("smollm-360m", 361_821_120), ("smollm-1.7b", 1_711_376_384), ("smollm-135m", 134_515_008)],
)
def test_the_models_of_the_paper_have_the_sizes_of_the_paper(name: str, parameters: int) -> None:
    found = cost(preset(name))
    assert found.unique_parameters == found.effective_parameters == parameters


def test_unique_and_effective_parameters_are_told_apart() -> None:
    looped = cost(preset("smollm-1.7b"), "4-4x4-4")
    small = cost(preset("smollm-1.7b", num_hidden_layers=12))
    full = cost(preset("smollm-1.7b"))
    assert looped.effective_parameters == full.effective_parameters
    assert looped.forward_flops == full.forward_flops
    assert looped.stored_parameters == full.unique_parameters
    assert looped.unique_parameters == small.unique_parameters == 906_020_864
    assert cost(preset("smollm-1.7b", num_hidden_layers=12), "4-4x4-4").unique_parameters == (
        small.unique_parameters
    )
    assert full.unique_non_embedding == 1_711_376_384 - 49152 * 2048


def test_growing_saves_a_fifth_of_the_training_flops() -> None:
    config = preset("smollm-1.7b")
    baseline = training_flops(config, [Stage(24, 200_000)])
    grown = training_flops(config, growth_stages(24, 4, 170_000, 30_000))
    assert grown / baseline == pytest.approx(0.78, abs=0.01)


def test_a_model_a_config_and_a_looped_config_cost_the_same() -> None:
    model = build("tiny", "1-1x3-1")
    assert cost(model) == cost(model.config)
    assert cost(model) == cost(model.config.plain(), "1-1x3-1")
    assert cost(model).schedule == Schedule.parse("1-1x3-1")


def test_costs_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="needs 9 layers"):
        cost(preset("tiny"), 9)
    with pytest.raises(InputError, match="seq_len"):
        cost(preset("tiny"), seq_len=0)
    with pytest.raises(InputError, match="not a multiple"):
        growth_stages(10, 4, 1000)


def test_training_flops_follow_the_recurrence_of_the_model() -> None:
    model = AutoModelForCausalLM.from_config(CONFIGS["llama"], attn_implementation="eager").train()
    loop(model, "1-1x6-1", recurrence=Recurrence(injection="add", backward_loops=1))
    expected = counted(model, 48, backward=True)
    assert cost(model, seq_len=48).training_flops == pytest.approx(expected, rel=0.03)
    assert training_flops(model, [Stage("1-1x6-1", 1)], 48) == pytest.approx(expected, rel=0.03)
