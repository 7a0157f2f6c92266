"""Ouro and Huginn as a recurrence of ours, around the authors' own layers.

The layers of their code (:mod:`...support.published`) stand in a plain model whose embeddings,
norm and head are theirs; what happens between the loops is ours. Logits equal those of their own
forward at every number of loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.models import EarlyExit, Recurrence, loop
from growloop.models.looping.initial_state import initial_states
from torch import Tensor, nn

from ...support.published import original, own_module_cache, published
from ...support.unrolling import close, tokens

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 4,
    "vocab_size": 257, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    own_module_cache(patch, tmp_path_factory.mktemp("modules"))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def ouro(modules: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published("ouro", tmp_path_factory.mktemp("ouro"))


@pytest.fixture(scope="module")
def huginn(modules: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published("huginn", tmp_path_factory.mktemp("huginn"))


class Around(nn.Module):
    """A layer of theirs that is called as one of ours."""

    def __init__(self, layer: nn.Module, call: Any) -> None:
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, hidden_states: Tensor, **arguments: Any) -> Tensor:
        result: Tensor = self.call(self.layer, hidden_states, arguments)
        return result


def around(layers: list[Any], call: Any, embed: Tensor, norm: nn.Module, head: Tensor) -> Any:
    """A plain model with layers, embeddings, norm and head of theirs."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=len(layers), **SIZES)).eval()
    model.model.layers = nn.ModuleList([Around(layer, call) for layer in layers])
    model.model.norm = norm
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(embed)
        model.lm_head.weight.copy_(head)
    return model


def ouro_layer(layer: Any, hidden: Tensor, arguments: dict[str, Any]) -> Tensor:
    names = ("attention_mask", "position_embeddings")
    output: Tensor = layer(hidden, **{name: arguments[name] for name in names})
    return output


@pytest.mark.parametrize("loops", [1, 2, 3, 6])
def test_ouro_is_a_norm_between_loops(ouro: Path, loops: int) -> None:
    theirs, ids = original(ouro, total_ut_steps=loops), tokens()
    inner = theirs.model
    ours = around(
        list(inner.layers), ouro_layer, inner.embed_tokens.weight, inner.norm,
        theirs.lm_head.weight,
    )  # fmt: skip
    rule = EarlyExit("gate", threshold=2.0)  # never reached: for the gate alone
    loop(ours, "2x3", recurrence=Recurrence(between="norm", early_exit=rule))
    ours.runner.gate.load_state_dict(inner.early_exit_gate.state_dict())
    ours.runner.eval()
    gates: list[Tensor] = []
    ours.runner.gate.register_forward_hook(lambda *call: gates.append(call[-1]))
    schedule = f"2x{loops}" if loops > 1 else "2"
    close(ours(ids, schedule=schedule, use_cache=False).logits, theirs(ids).logits)
    _, _, expected = inner(ids)
    if loops > 1:  # our gate decides where there is a loop to leave
        for ours_after, theirs_after in zip(gates, expected, strict=True):
            close(ours_after, theirs_after)


def test_a_sequence_that_leaves_ouro_early_has_the_logits_of_fewer_loops(ouro: Path) -> None:
    theirs, ids = original(ouro, total_ut_steps=2), tokens()
    inner = theirs.model
    ours = around(
        list(inner.layers), ouro_layer, inner.embed_tokens.weight, inner.norm,
        theirs.lm_head.weight,
    )  # fmt: skip
    rule = EarlyExit("gate", threshold=0.0, min_loops=2)
    loop(ours, "2x5", recurrence=Recurrence(between="norm", early_exit=rule))
    close(ours(ids, use_cache=False).logits, theirs(ids).logits)
    assert ours.runner.loops.tolist() == [2, 2]


@pytest.mark.parametrize("loops", [1, 2, 3, 6])
def test_huginn_is_a_random_start_an_adapter_in_every_loop_and_a_norm_at_the_end(
    huginn: Path, loops: int
) -> None:
    theirs, ids = original(huginn, mean_recurrence=loops), tokens()
    inner, angles = theirs.transformer, theirs.freqs_cis

    def layer(their_layer: Any, hidden: Tensor, arguments: dict[str, Any]) -> Tensor:
        positions = arguments["position_ids"][0]
        output: Tensor = their_layer(hidden, angles[:, positions], torch.tensor(0))
        return output

    every = [*inner.prelude, *inner.core_block, *inner.coda]
    embed = inner.wte.weight * theirs.emb_scale
    ours = around(every, layer, embed, inner.ln_f, theirs.lm_head.weight)
    recurrence = Recurrence(
        start={"name": "random", "seed": 3},
        injection={"name": "concat", "first": True},
        end="end_norm",
    )
    loop(ours, "1-2x3-1", recurrence=recurrence)
    ours.runner.adapter.load_state_dict(inner.adapter.state_dict())
    noise = initial_states(torch.arange(ids.shape[1]), 32, seed=3)
    scale = theirs.config.init_values["std"] * theirs.emb_scale
    assert scale == pytest.approx((2 / 5) ** 0.5)
    states = (noise * scale).expand(len(ids), -1, -1)
    schedule = f"1-2x{loops}-1" if loops > 1 else "4"
    close(
        ours(ids, schedule=schedule, use_cache=False).logits,
        theirs(ids, input_states=states).logits,
    )
