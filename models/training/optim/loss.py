"""Cross-entropy of the next token for large vocabularies.

``F.cross_entropy(logits.float(), targets)`` writes and reads several float32 tensors of the size of
the logits. Here a few rows at a time are converted to float32, small enough for the CPU caches, in
the forward and the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..data.batches import IGNORED

SMALL = 2**20  # logits that fit into the caches as a whole: no gain
CHUNK = 2**19  # float32 elements at a time on the CPU: 2 MiB, about a core's share of its caches
CHUNK_GPU = 2**26  # fewer, larger kernels


def cross_entropy(logits: Tensor, targets: Tensor, overwrite: bool = False) -> Tensor:
    """Compute the cross-entropy of each row in nats, ``(rows,)`` float32.

    Computes in float32 whatever the type of the logits, with the same bits each time.

    Args:
        logits: any floating-point type, ``(rows, vocabulary)``.
        targets: token ids, ``(rows,)``; rows with -100 have loss 0.
        overwrite: let the backward pass write the gradient into the memory of the logits, which
            saves a buffer of their size. For logits that nothing else reads: autograd raises an
            error if another backward pass needs them.
    """
    if logits.numel() <= SMALL or torch.compiler.is_compiling():
        return nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    return _CrossEntropy.apply(logits, targets, overwrite)  # type: ignore[no-any-return, no-untyped-call]


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, overwrite: bool) -> Tensor:
        ctx.save_for_backward(logits, targets)
        ctx.overwrite = overwrite
        columns, counted = _columns(targets)
        losses = torch.empty(len(targets), device=logits.device)
        size = _chunk_rows(logits)
        pieces = (torch.split(t, size) for t in (logits, columns, losses))
        for rows, column, loss in zip(*pieces, strict=True):
            log_probs = torch.log_softmax(rows, -1, dtype=torch.float32)
            loss.copy_(log_probs.gather(1, column).squeeze(1))
        return -losses.masked_fill_(~counted, 0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None]:
        logits, targets = ctx.saved_tensors
        columns, counted = _columns(targets)
        scales = (scale * counted).unsqueeze(1)
        gradient = logits if ctx.overwrite else torch.empty_like(logits)
        size = _chunk_rows(logits)
        pieces = (torch.split(t, size) for t in (logits, columns, scales, gradient))
        for rows, column, factor, out in zip(*pieces, strict=True):
            probs = torch.softmax(rows, -1, dtype=torch.float32)
            probs.scatter_add_(1, column, probs.new_full((len(probs), 1), -1.0))
            out.copy_(probs.mul_(factor))
        return gradient, None, None


def _columns(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the column of each row's target, ``(rows, 1)``, and which rows count, ``(rows,)``."""
    counted = targets != IGNORED
    return targets.where(counted, 0).unsqueeze(1), counted


def _chunk_rows(logits: Tensor) -> int:
    elements = CHUNK if logits.device.type == "cpu" else CHUNK_GPU
    return max(1, elements // max(1, logits.shape[1]))
