"""Depth score: mean step, weighted by the effect of skipping it on predictions (paper Figure 5).

Defined by Csordás et al. 2025. Cuts and ``skip_front`` are those of :mod:`.layer_effects`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.errors import InputError
from .layer_effects import MAX_TOKENS, SKIP_FRONT, finite, skipping, windows
from .trace import Trace


@torch.no_grad()
def prediction_effects(
    trace: Trace,
    cuts: Sequence[int] | None = None,
    max_tokens: int = MAX_TOKENS,
    skip_front: int = SKIP_FRONT,
) -> Tensor:
    """Measure the effect of skipping a step on predictions: ``max |softmax z - softmax z'|_2``.

    Args:
        trace: traced forward pass.
        cuts: token positions t: skip before t, measure from t on; None for all tokens.
        max_tokens: tokens in one layer forward.
        skip_front: real tokens at the front of each prompt at which no step is skipped.

    Returns:
        ``(batch, steps)``, maxima over tokens and cuts.

    Raises:
        InputError: as :func:`local_effects`; a model whose logits are not norm and head on its last
            state.
    """
    trace.check_readout()
    removed, measured = windows(trace, cuts, skip_front)
    effects = torch.zeros(len(trace.real), trace.steps, device=trace.real.device)
    baseline = trace.logits.float().softmax(-1)
    last = trace.steps - 1
    for source, target, _, after in skipping(trace, removed, max_tokens, itself=True):
        if target != last:
            continue
        for cut, state in zip(measured, after, strict=True):
            change = (trace.readout(state).float().softmax(-1) - baseline).norm(dim=-1)
            largest = change.masked_fill(~cut, 0).amax(1)
            effects[:, source] = torch.maximum(effects[:, source], largest)
    return finite(effects)


def depth_shares(effects: Tensor) -> Tensor:
    """Normalise prediction effects to a distribution over steps, mean over prompts: ``(steps,)``.

    Args:
        effects: result of :func:`prediction_effects`, ``(batch, steps)``.

    Raises:
        InputError: effects that are all 0.
    """
    mean = effects.double().mean(0)
    if not float(mean.sum()) > 0:
        raise InputError("no step changes the prediction: there is no depth score")
    return mean / mean.sum()


def depth_score(effects: Tensor) -> float:
    """Compute the depth score: the mean step, weighted by its prediction effect (Csordás 2025).

    Args:
        effects: result of :func:`prediction_effects` with cuts, ``(batch, steps)``.

    >>> depth_score(torch.tensor([[0.0, 0.5, 0.0, 0.5]]))
    2.0
    """
    shares = depth_shares(effects)
    return float((shares * torch.arange(len(shares))).sum())
