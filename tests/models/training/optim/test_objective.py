"""The training loss and the regulariser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import build, grow
from growloop.models.training.data.batches import IGNORED, Batch
from growloop.models.training.optim import loss
from growloop.models.training.optim.objective import block_cosine, training_losses
from torch import Tensor
from torch.nn import functional
from transformers import Gemma2Config, Gemma2ForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

VOCABULARY = 64
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def model(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "softcap":
        caps: dict[str, Any] = {"final_logit_softcapping": 5.0, "num_key_value_heads": 1}
        return Gemma2ForCausalLM(Gemma2Config(**SIZES, **caps, head_dim=8)).train()
    if kind == "other":
        return GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES)).train()
    return build("tiny", 2).train()


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", ["plain", "softcap", "other"])
def test_reusing_the_memory_of_the_logits_changes_no_bit(
    kind: str, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "SMALL", 0)
    trained = model(kind)
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (3, 8))
    targets = np.roll(tokens, -1, axis=1)
    if not dense:
        targets[:, ::2] = IGNORED
    data = Batch(tokens, targets, int((targets != IGNORED).sum()))
    logits: list[Tensor] = []

    def forward(**inputs: Any) -> Any:
        output = trained(**inputs)
        logits.append(output.logits)
        return output

    gradients = []
    for head in (None, trained.get_output_embeddings()):
        trained.zero_grad(set_to_none=True)
        found = training_losses(forward, data, torch.device("cpu"), head=head)
        before = logits[-1].detach().clone()
        found.trained.sum().backward()
        gradients.append({name: p.grad.clone() for name, p in trained.named_parameters()})
        reused = head is not None and dense and kind != "softcap"
        assert torch.equal(before, logits[-1]) is not reused
        assert not trained.get_output_embeddings()._forward_hooks
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_the_regulariser_is_the_mean_cosine_of_layers_a_block_apart() -> None:
    grown = grow(build("tiny", 2), "g_stack")
    assert block_cosine(grown, 2).item() == pytest.approx(1)
    assert abs(block_cosine(grown, 1).item()) < 0.2
    with pytest.raises(InputError, match="no two blocks"):
        block_cosine(grown, 4)


@pytest.mark.parametrize("change", ["hook", "forward"])
def test_a_changed_head_has_the_gradients_of_plain_cross_entropy(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "SMALL", 0)
    model = build("tiny", 2).train()
    head = model.get_output_embeddings()
    if change == "hook":
        head.register_forward_hook(lambda module, inputs, output: torch.tanh(output))
    else:
        plain = head.forward
        head.forward = lambda states: torch.tanh(plain(states))
    ids = np.random.default_rng(0).integers(0, 200, (3, 8))
    data = Batch(ids, ids, ids.size)
    logits = model(torch.from_numpy(ids), use_cache=False).logits
    functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(ids).flatten()).backward()
    wanted = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    losses = training_losses(model, data, torch.device("cpu"), head=head).trained
    (losses.sum() / ids.size).backward()
    for expected, parameter in zip(wanted, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected, atol=1e-6, rtol=1e-4)
