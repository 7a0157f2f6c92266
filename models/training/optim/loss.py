"""Cross-entropy of the next token, made for large vocabularies.

``F.cross_entropy(logits.float(), targets)`` writes several tensors of the size of the logits in
float32, and reads them again. Here a few rows at a time go through float32, small enough for the
cache, forward and backward; the gradient takes the place of the logits where nothing else needs
them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..data.batches import IGNORED

SMALL = 2**20  # logits that stay in the caches whole: nothing to win
CHUNK = 2**19  # float32 elements at a time on the CPU: 2 MiB, about a core's share of its caches
CHUNK_GPU = 2**26  # fewer, larger kernels

# Operations whose backward pass never reads the logits they made.
FORGETFUL = ("ViewBackward", "UnsafeViewBackward", "ReshapeAliasBackward", "MmBackward",
             "AddmmBackward", "ToCopyBackward")  # fmt: skip


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each row in nats, ``(rows,)`` float32.

    The same bits each time, in float32 whatever the type of the logits. The backward pass may write
    over the logits: whoever needs them keeps a copy.

    Args:
        logits: of any floating-point type, ``(rows, vocabulary)``.
        targets: token ids, ``(rows,)``; rows with -100 have no loss.
    """
    if logits.numel() <= SMALL or torch.compiler.is_compiling():
        return nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    return _CrossEntropy.apply(logits, targets, _forgotten(logits))  # type: ignore[no-any-return, no-untyped-call]


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, overwrite: bool) -> Tensor:
        ctx.save_for_backward(logits, targets)
        ctx.overwrite = overwrite
        places, counted = _places(targets)
        losses = torch.empty(len(targets), device=logits.device)
        size = _chunk_rows(logits)
        pieces = (torch.split(t, size) for t in (logits, places, losses))
        for rows, place, loss in zip(*pieces, strict=True):
            found = torch.log_softmax(rows, -1, dtype=torch.float32)
            loss.copy_(found.gather(1, place).squeeze(1))
        return -losses.masked_fill_(~counted, 0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None]:
        logits, targets = ctx.saved_tensors
        places, counted = _places(targets)
        scales = (scale * counted).unsqueeze(1)
        gradient = logits if ctx.overwrite else torch.empty_like(logits)
        size = _chunk_rows(logits)
        pieces = (torch.split(t, size) for t in (logits, places, scales, gradient))
        for rows, place, factor, out in zip(*pieces, strict=True):
            found = torch.softmax(rows, -1, dtype=torch.float32)
            found.scatter_add_(1, place, found.new_full((len(found), 1), -1.0))
            out.copy_(found.mul_(factor))
        return gradient, None, None


def _places(targets: Tensor) -> tuple[Tensor, Tensor]:
    """A column to look at in each row, ``(rows, 1)``, and whether the row counts, ``(rows,)``."""
    counted = targets != IGNORED
    return targets.where(counted, 0).unsqueeze(1), counted


def _chunk_rows(logits: Tensor) -> int:
    elements = CHUNK if logits.device.type == "cpu" else CHUNK_GPU
    return max(1, elements // max(1, logits.shape[1]))


def _forgotten(logits: Tensor) -> bool:
    """Whether the gradient can take the place of the logits: no other backward pass reads them."""
    node = logits.grad_fn
    while node is not None and node.name().startswith(("View", "UnsafeView", "ReshapeAlias")):
        node = node.next_functions[0][0]
    return node is not None and node.name().startswith(FORGETFUL)
