"""Norms of the residual stream and of the layers' contributions to it (paper Figures 6, 11)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ...core.errors import InputError
from .trace import Trace

MEASURES = (
    "residual_norm",
    "attention_ratio",
    "mlp_ratio",
    "layer_ratio",
    "attention_cosine",
    "mlp_cosine",
    "layer_cosine",
)
"""Measures of :func:`contributions`, in its order."""


@torch.no_grad()
def contributions(trace: Trace) -> dict[str, Tensor]:
    """Measure the norm of the stream, and relative size and alignment of each step's contribution.

    With input ``h``, attention output ``a`` and MLP output ``m``: ``residual_norm`` is ``|h|``; the
    ratios are ``|a|/|h|``, ``|m|/|h + a|`` and ``|a + m|/|h|``; the cosines are between the same
    pairs. Where attention and MLP run in parallel, the MLP reads ``h``, so ``h`` replaces
    ``h + a``. With post-norms, ``a`` and ``m`` are taken after them.

    Args:
        trace: a trace with ``sublayers=True``.

    Returns:
        measure -> ``(batch, steps)``, means over the real tokens of a prompt; keys are
        :data:`MEASURES`.

    Raises:
        InputError: a trace without sublayers.

    Example::

        contributions(trace(model, ids, sublayers=True))["attention_ratio"].mean(0)
    """
    if trace.sublayers is None:
        raise InputError("contributions need a trace with sublayers=True")
    rows: dict[str, list[Tensor]] = {name: [] for name in MEASURES}
    for hidden, (attention, mlp, parallel) in zip(trace.inputs, trace.sublayers, strict=True):
        h, a, m = hidden.float(), attention.float(), mlp.float()
        middle = h if parallel else h + a
        norm = h.norm(dim=-1)
        measured = {
            "residual_norm": norm,
            "attention_ratio": a.norm(dim=-1) / norm.clamp_min(1e-6),
            "mlp_ratio": m.norm(dim=-1) / middle.norm(dim=-1).clamp_min(1e-6),
            "layer_ratio": (a + m).norm(dim=-1) / norm.clamp_min(1e-6),
            "attention_cosine": cosine_similarity(a, h, dim=-1),
            "mlp_cosine": cosine_similarity(m, middle, dim=-1),
            "layer_cosine": cosine_similarity(a + m, h, dim=-1),
        }
        for name, values in measured.items():
            rows[name].append(mean_over(values, trace.real))
    return {name: torch.stack(values, dim=1) for name, values in rows.items()}


def mean_over(values: Tensor, real: Tensor) -> Tensor:
    """Average ``(batch, tokens)`` over the real tokens: ``(batch,)``."""
    return (values * real).sum(1) / real.sum(1).clamp_min(1)
