"""Norms of the residual stream and of what layers add to it (paper Figures 6 and 11)."""

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
"""What :func:`contributions` measures, in its order."""


@torch.no_grad()
def contributions(found: Trace) -> dict[str, Tensor]:
    """Norm of the stream, and how large and how aligned what each step adds to it is.

    ``residual_norm`` is ``|h|``; the ratios are ``|a|/|h|``, ``|m|/|h + a|``, ``|a + m|/|h|``; the
    cosines are of the same pairs. Where attention and MLP run in parallel the MLP reads ``h``, so
    ``h`` takes the place of ``h + a``. With post-norms ``a`` and ``m`` are what is added, after
    them.

    Args:
        found: a trace with ``sublayers=True``.

    Returns:
        For each of :data:`MEASURES` ``(batch, steps)``, the mean over the real tokens of a text.

    Example::

        contributions(trace(model, ids, sublayers=True))["attention_ratio"].mean(0)
    """
    if found.sublayers is None:
        raise InputError("contributions need a trace with sublayers=True")
    rows: dict[str, list[Tensor]] = {name: [] for name in MEASURES}
    for hidden, (attention, mlp, parallel) in zip(found.inputs, found.sublayers, strict=True):
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
            rows[name].append(mean_over(values, found.real))
    return {name: torch.stack(values, dim=1) for name, values in rows.items()}


def mean_over(values: Tensor, real: Tensor) -> Tensor:
    """Mean of ``(batch, tokens)`` over the real tokens: ``(batch,)``."""
    return (values * real).sum(1) / real.sum(1).clamp_min(1)
