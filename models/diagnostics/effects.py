"""How much later steps, and the prediction, depend on what a step added (paper Figures 5, 7, 10).

A *source* s is taken away and a *target* l > s looked at; an effect is the relative change of what
the target adds, ``|c_l - c'_l| / max(|c_l|, 1e-6)``:

- local: step l alone runs on ``h_l - c_s``; nothing else changes;
- propagated: step s is skipped and everything after it runs on what results.

With *cuts* the source is taken away before token t only and effects are looked at from t on (how
later tokens depend on it); the largest over several t counts. Without, at all tokens.

The first real token of a text is never intervened on (``skip_front=1``), as in the code published
with Csordás et al. 2025: it is the attention sink, and a model without it is broken, not shallower.

All sources of a target are one batch: a pair costs one call of a layer, and what lies before a
source is not computed again. Per text, that is ``steps (steps - 1) / 2`` calls and the traced pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...core.errors import InputError, one_of, whole
from .replay import Replay
from .trace import Trace

REDUCTIONS = ("max", "mean")
ROWS = 4096  # tokens in one call of a layer, unless a single copy has more
SKIP_FRONT = 1  # real tokens at the front of a text that are never intervened on, as published


def future_cuts(tokens: int, count: int = 4) -> tuple[int, ...]:
    """``count`` places that cut a text of so many tokens into equal parts.

    >>> future_cuts(100)
    (20, 40, 60, 80)
    """
    whole("the number of tokens", tokens, 2)
    places = (round(tokens * (i + 1) / (count + 1)) for i in range(whole("count", count, 1)))
    return tuple(sorted({min(max(place, 1), tokens - 1) for place in places}))


@torch.no_grad()
def local_effects(
    found: Trace,
    cuts: Sequence[int] | None = None,
    reduce: str = "max",
    rows: int = ROWS,
    skip_front: int = SKIP_FRONT,
) -> Tensor:
    """Effect of taking a step's contribution from the input of one later step.

    Args:
        found: a trace.
        cuts: tokens t of the future variant; None for all tokens.
        reduce: over tokens (and cuts): the paper takes the ``max``; or ``mean``.
        rows: tokens in one call of a layer.
        skip_front: real tokens at the front of each text that keep the contribution; 0 for none.

    Returns:
        ``(batch, steps, steps)``: of text, source, target; 0 unless the target is later.

    Raises:
        InputError: a model that changes its state between steps; a text in which no cut leaves a
            token to take the contribution from and a later one to look at.

    Example::

        effects = local_effects(found, cuts=future_cuts(ids.shape[1]))
        heatmap = effects.amax(0)  # over texts
    """
    one_of("reduction", reduce, REDUCTIONS)
    found.check_flow()  # else what a layer adds is not what the stream gets
    removed, measured = _windows(found, cuts, skip_front)
    again, c = Replay(found), found.contributions
    # read once at the end: a GPU goes on meanwhile
    effects = torch.zeros(len(found.real), found.steps, found.steps, device=found.real.device)
    for target in range(1, found.steps):
        hidden = found.inputs[target]
        for sources in _chunks(range(target), rows // (len(removed) * found.real.numel())):
            taken = torch.stack([c[source] for source in sources])[:, None] * removed
            states = hidden - taken  # (sources, cuts, batch, tokens, dim)
            after = again(target, states.flatten(0, 2)).view_as(states)
            change = _relative(after - states, c[target])
            for source, values in zip(sources, change, strict=True):
                effects[:, source, target] = _reduced(values, measured, reduce)
    return _finite(effects)


@torch.no_grad()
def propagated_effects(
    found: Trace,
    cuts: Sequence[int] | None = None,
    reduce: str = "max",
    rows: int = ROWS,
    skip_front: int = SKIP_FRONT,
) -> Tensor:
    """Effect of skipping a step on what every later step adds.

    Arguments, result and errors are those of :func:`local_effects`.
    """
    one_of("reduction", reduce, REDUCTIONS)
    removed, measured = _windows(found, cuts, skip_front)
    effects = torch.zeros(len(found.real), found.steps, found.steps, device=found.real.device)
    for source, target, before, after in _skipping(found, removed, rows):
        change = _relative(after - before, found.contributions[target])
        effects[:, source, target] = _reduced(change, measured, reduce)
    return _finite(effects)


@torch.no_grad()
def prediction_effects(
    found: Trace,
    cuts: Sequence[int] | None = None,
    rows: int = ROWS,
    skip_front: int = SKIP_FRONT,
) -> Tensor:
    """Effect of skipping a step on the predictions: ``max |softmax z - softmax z'|_2``.

    Args:
        found: a trace.
        cuts: skip before these tokens, look from them on; None for all tokens.
        rows: tokens in one call of a layer.
        skip_front: real tokens at the front of each text at which no step is skipped.

    Returns:
        ``(batch, steps)``.

    Raises:
        InputError: as :func:`local_effects`; a model whose logits are not read off its last state.
    """
    found.check_readout()
    removed, measured = _windows(found, cuts, skip_front)
    effects = torch.zeros(len(found.real), found.steps, device=found.real.device)
    usual = found.logits.float().softmax(-1)
    last = found.steps - 1
    for source, target, _, after in _skipping(found, removed, rows, itself=True):
        if target != last:
            continue
        for cut, state in zip(measured, after, strict=True):
            change = (found.readout(state).float().softmax(-1) - usual).norm(dim=-1)
            here = change.masked_fill(~cut, 0).amax(1)
            effects[:, source] = torch.maximum(effects[:, source], here)
    return _finite(effects)


def depth_shares(effects: Tensor) -> Tensor:
    """Mean over texts, as a distribution over steps: ``(steps,)``.

    Args:
        effects: of :func:`prediction_effects`, ``(batch, steps)``.
    """
    mean = effects.double().mean(0)
    if not float(mean.sum()) > 0:
        raise InputError("no step changes the prediction: there is no depth score")
    return mean / mean.sum()


def depth_score(effects: Tensor) -> float:
    """The mean step, weighted by its effect on later predictions (Csordás 2025).

    Args:
        effects: of :func:`prediction_effects` with cuts, ``(batch, steps)``.

    >>> depth_score(torch.tensor([[0.0, 0.5, 0.0, 0.5]]))
    2.0
    """
    shares = depth_shares(effects)
    return float((shares * torch.arange(len(shares))).sum())


def _windows(found: Trace, cuts: Sequence[int] | None, skip_front: int) -> tuple[Tensor, Tensor]:
    """Masks of where a contribution is taken away and of where effects are looked at.

    The first is ``(cuts, batch, tokens, 1)``, the second ``(cuts, batch, tokens)``; real tokens
    only. A cut before which nothing is taken away from a text is not looked at in that text.
    """
    whole("skip_front", skip_front, 0)
    tokens = found.real.shape[1]
    # counted from the first real token: left padding moves it
    removed = (found.real & (found.real.cumsum(1) > skip_front))[None]
    measured = removed
    if cuts is not None:
        if not cuts:
            raise InputError("cuts needs at least one token, or None for all tokens")
        for cut in cuts:
            whole("a cut", cut, 1, tokens - 1)
        start = torch.tensor(list(cuts), device=found.real.device)[:, None, None]
        place = torch.arange(tokens, device=found.real.device)
        removed = removed & (place < start)
        measured = found.real & (place >= start) & removed.any(-1, keepdim=True)
    _check_windows(measured, found.real, cuts, skip_front)
    return removed[..., None], measured


def _check_windows(
    measured: Tensor, real: Tensor, cuts: Sequence[int] | None, skip_front: int
) -> None:
    """Refuse a text in which nothing could be measured: its effect would be 0, and is unknown."""
    without = (~measured.any(2).any(0)).nonzero().flatten().tolist()
    if without:
        count = int(real[without[0]].sum())
        where = "" if cuts is None else f" before a cut ({', '.join(map(str, cuts))})"
        later = "" if cuts is None else " and a later one to look at"
        raise InputError(
            f"text {without[0]} of the batch has {count} real tokens: with skip_front {skip_front} "
            f"it has no token{where} to take a contribution from{later}"
        )


def _finite(effects: Tensor) -> Tensor:
    """Effects ``(batch, source, ...)`` on the CPU, refused where they are no numbers."""
    found = effects.cpu()
    if len(wrong := (~found.isfinite()).nonzero()):
        _, source, *target = wrong[0].tolist()
        of = f"of step {source}" + (f" on step {target[0]}" if target else "")
        raise InputError(f"the effect {of} is not finite: a layer overflows without step {source}")
    return found


def _chunks(sources: range, size: int) -> Iterator[range]:
    size = max(1, size)
    for start in range(0, len(sources), size):
        yield sources[start : start + size]


def _relative(found: Tensor, usual: Tensor) -> Tensor:
    """Relative change of a contribution: ``(..., batch, tokens)``."""
    norm = usual.norm(dim=-1).clamp_min(1e-6)
    change: Tensor = (found - usual).norm(dim=-1) / norm
    return change


def _reduced(change: Tensor, measured: Tensor, reduce: str) -> Tensor:
    """Over cuts and tokens: ``(cuts, batch, tokens)`` to ``(batch,)``."""
    change = change.float().masked_fill(~measured, 0)
    if reduce == "max":
        return change.amax((0, 2))
    return change.sum((0, 2)) / measured.sum((0, 2)).clamp_min(1)


def _skipping(
    found: Trace, removed: Tensor, rows: int, itself: bool = False
) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Source, target, and the target's input and output where the source was skipped.

    States are ``(cuts, batch, tokens, dim)``. Sources run together, each from its own place on.

    Args:
        itself: yield each source as its own first target too: the state right after it.
    """
    found.check_flow()
    again = Replay(found)
    shape = (len(removed), *found.inputs[0].shape)
    for sources in _chunks(range(found.steps), rows // (len(removed) * found.real.numel())):
        states: dict[int, Tensor] = {}
        for step in range(sources[0], found.steps):
            if states:
                before = torch.stack(list(states.values()))
                after = again(step, before.flatten(0, 2)).view_as(before)
                for source, old, new in zip(list(states), before, after, strict=True):
                    yield source, step, old, new
                    states[source] = new
            if step in sources:
                hidden = found.inputs[step].expand(shape)
                skipped = torch.where(removed, hidden, found.outputs[step])
                if itself:
                    yield step, step, hidden, skipped
                states[step] = skipped
