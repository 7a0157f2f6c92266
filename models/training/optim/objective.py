"""The loss of a batch, with the head where there is something to predict and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from ....core.errors import InputError
from ...looping.decoder import find_decoder
from .. import sharding
from ..data.batches import IGNORED, Batch
from .loss import cross_entropy

SPARSE = 0.5  # share of places with a target below which the head is applied to those alone


def losses(forward: Callable[..., Any], batch: Batch, device: torch.device) -> Tensor:
    """Cross-entropy of each target of a batch in nats, row by row: ``(targets,)`` float32.

    Args:
        forward: a causal LM of Hugging Face that takes ``logits_to_keep``.
    """
    columns = np.flatnonzero((batch.targets != IGNORED).any(axis=0))
    inputs: dict[str, Tensor] = {"input_ids": _moved(batch.tokens, device)}
    targets = batch.targets
    if batch.positions is not None:
        inputs["position_ids"] = _moved(batch.positions, device)
    if len(columns) < SPARSE * targets.shape[1]:
        inputs["logits_to_keep"] = _moved(columns, device)
        targets = targets[:, columns]
    targets = targets.flatten()
    scored = np.flatnonzero(targets != IGNORED)
    logits = forward(**inputs, use_cache=False).logits.flatten(0, 1)
    if len(scored) < len(targets):
        # by number: a mask would have to be counted first, and the GPU waited for
        logits, targets = logits[_moved(scored, device)], targets[scored]
    return cross_entropy(logits, _moved(targets, device))


def _moved(array: NDArray[np.int64], device: torch.device) -> Tensor:
    """An array on a device; nobody waits for what a GPU still computes."""
    found = torch.from_numpy(array)
    if device.type != "cuda":
        return found.to(device)
    return found.pin_memory().to(device, non_blocking=True)


def by_kind(losses: Tensor, batch: Batch, kinds: int) -> Tensor:
    """Sum of the losses, and number of targets, of each kind of row: ``(kinds, 2)`` float32."""
    found = torch.zeros(kinds, 2, device=losses.device)
    if batch.kinds is not None:
        counts = (batch.targets != IGNORED).sum(axis=1)
        kind = _moved(np.repeat(batch.kinds, counts), losses.device)
        both = torch.stack([losses, torch.ones_like(losses)], dim=1)
        if losses.device.type == "cpu":
            found.index_add_(0, kind, both)
        else:  # there index_add_ adds in any order: a stage of lessons may depend on the last bit
            mine = kind == torch.arange(kinds, device=losses.device)[:, None]
            found += torch.where(mine[..., None], both, 0).sum(1)
    return found


def block_cosine(model: PreTrainedModel, block_size: int) -> Tensor:
    """Mean cosine similarity of the weights of layers one block apart (Saunshi 2025); a scalar."""
    layers = [dict(layer.named_parameters()) for layer in find_decoder(model).unique]
    found = [
        torch.stack([(a * b).sum(), a.square().sum(), b.square().sum()])
        for before, after in zip(layers, layers[block_size:], strict=False)
        for a, b in ((before[name], after[name]) for name in before)
        if a.dim() >= 2
    ]
    if not found:
        raise InputError(f"{len(layers)} layers hold no two blocks of {block_size} to compare")
    products, first, second = sharding.full(torch.stack(found)).unbind(1)
    return (products / (first.clamp_min(1e-16) * second.clamp_min(1e-16)).sqrt()).mean()
