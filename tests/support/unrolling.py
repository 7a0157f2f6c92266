"""A plain model with one physical copy of a layer for each step, and ways to compare with it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
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


def checkpoint(model: PreTrainedModel, reentrant: bool) -> None:
    name = "activation_checkpointing_enable"  # since transformers 5.2x
    if not hasattr(model, name):
        name = "gradient_checkpointing_enable"
    getattr(model, name)({"use_reentrant": reentrant})
