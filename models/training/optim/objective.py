"""Training loss of a batch, with the head applied only where there are targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from ....core.errors import InputError
from ...looping.decoder import find_decoder
from ...looping.supervision import Supervision
from .. import sharding
from ..data.batches import IGNORED, Batch
from .loss import cross_entropy

SPARSE = 0.5  # share of positions with a target, below which the head skips the others


@dataclass(frozen=True)
class Losses:
    """Losses of a micro-batch, by target.

    Args:
        last: cross-entropy after the last loop in nats, ``(targets,)`` float32.
        trained: what training minimises; ``last`` unless the model has an objective of its own.
    """

    last: Tensor
    trained: Tensor


def losses(forward: Callable[..., Any], batch: Batch, device: torch.device) -> Tensor:
    """Compute the cross-entropy of each target of a batch in nats, ``(targets,)`` float32.

    Args:
        forward: forward of a Hugging Face causal LM that takes ``logits_to_keep``.
        batch: the batch; targets are in row order.
        device: device of the model.
    """
    return training_losses(forward, batch, device).last


def training_losses(
    forward: Callable[..., Any],
    batch: Batch,
    device: torch.device,
    runner: Any = None,
    head: nn.Module | None = None,
) -> Losses:
    """Compute the cross-entropy of each target, and the objective of the model's loops.

    Args:
        forward, batch, device: as for :func:`losses`.
        runner: runner of a looped model in training mode, whose objective is minimised.
        head: the model's ``get_output_embeddings()``, if it runs uncompiled. Where the logits are
            its output as it is, the backward pass reuses their memory.
    """
    columns = np.flatnonzero((batch.targets != IGNORED).any(axis=0))
    inputs: dict[str, Tensor] = {"input_ids": _to_device(batch.tokens, device)}
    targets = batch.targets
    if batch.positions is not None:
        inputs["position_ids"] = _to_device(batch.positions, device)
    kept = None
    if len(columns) < SPARSE * targets.shape[1]:
        kept = inputs["logits_to_keep"] = _to_device(columns, device)
        targets = targets[:, columns]
    targets = targets.flatten()
    scored = np.flatnonzero(targets != IGNORED)
    # by index: counting a boolean mask would synchronise with the GPU
    places = _to_device(scored, device) if len(scored) < len(targets) else None
    wanted = _to_device(targets if places is None else targets[scored], device)
    supervised = runner is not None and runner.recurrence.objective != "last"
    if supervised:
        runner.supervision = Supervision(wanted, kept, places, cross_entropy)
    try:
        with _linear_outputs(head) as outputs:
            output = forward(**inputs, use_cache=False)
    finally:
        if supervised:
            runner.supervision = None
    logits = output.logits.flatten(0, 1)
    if places is None:
        # supervision computes losses of the same logits
        unread = not supervised and any(output.logits is made for made in outputs)
    else:
        logits, unread = logits[places], True  # a copy
    last = cross_entropy(logits, wanted, overwrite=unread)
    return Losses(last, output["loop_losses"] if supervised else last)


@contextmanager
def _linear_outputs(head: nn.Module | None) -> Iterator[list[Tensor]]:
    """Collect what a linear head returns; its backward pass does not read them.

    Heads of other types, with hooks or with another forward yield nothing: their backward pass may.
    """
    outputs: list[Tensor] = []
    if type(head) is not nn.Linear or head._forward_hooks or "forward" in head.__dict__:
        yield outputs
        return
    handle = head.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def _to_device(array: NDArray[np.int64], device: torch.device) -> Tensor:
    """Copy an array to a device, without blocking on a GPU."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def by_kind(losses: Tensor, batch: Batch, kinds: int) -> Tensor:
    """Sum losses and count targets per kind of row: ``(kinds, 2)`` float32.

    Args:
        losses: result of :func:`losses`, ``(targets,)``.
        kinds: number of kinds.
    """
    sums = torch.zeros(kinds, 2, device=losses.device)
    if batch.kinds is not None:
        counts = (batch.targets != IGNORED).sum(axis=1)
        kind = _to_device(np.repeat(batch.kinds, counts), losses.device)
        both = torch.stack([losses, torch.ones_like(losses)], dim=1)
        if losses.device.type == "cpu":
            sums.index_add_(0, kind, both)
        else:  # a GPU adds in any order, and a curriculum may depend on the last bit
            mine = kind == torch.arange(kinds, device=losses.device)[:, None]
            sums += torch.where(mine[..., None], both, 0).sum(1)
    return sums


def block_cosine(model: PreTrainedModel, block_size: int) -> Tensor:
    """Compute the mean cosine similarity of layers ``block_size`` apart, a scalar (Saunshi 2025).

    Raises:
        InputError: a model without two blocks.
    """
    layers = [dict(layer.named_parameters()) for layer in find_decoder(model).unique]
    products_and_squares = [
        torch.stack([(a * b).sum(), a.square().sum(), b.square().sum()])
        for before, after in zip(layers, layers[block_size:], strict=False)
        for a, b in ((before[name], after[name]) for name in before)
        if a.dim() >= 2
    ]
    if not products_and_squares:
        raise InputError(f"{len(layers)} layers hold no two blocks of {block_size} to compare")
    products, first, second = sharding.full(torch.stack(products_and_squares)).unbind(1)
    return (products / (first.clamp_min(1e-16) * second.clamp_min(1e-16)).sqrt()).mean()
