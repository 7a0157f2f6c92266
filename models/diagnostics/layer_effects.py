"""Effects of a step on later steps (paper Figures 7, 10).

The contribution ``c_s`` of a *source* step s is removed. The effect on a *target* step l > s is the
relative change of the target's contribution, ``|c_l - c'_l| / max(|c_l|, 1e-6)``:

- local: only step l runs, on ``h_l - c_s``; nothing else changes;
- propagated: step s is skipped and all later steps run on the changed stream.

With *cuts*, the source is removed before token t and effects are measured from t on (how later
tokens depend on it); over several cuts the largest effect counts. Without cuts, all tokens are
changed and measured.

The first real token of a prompt is never changed (``skip_front=1``), as in the code published with
Csordás et al. 2025. It is the attention sink: changing it breaks attention at all later tokens and
says little about the removed step.

All sources of a target run as one batch. A pair costs one layer forward, and nothing before a
source is recomputed: ``steps (steps - 1) / 2`` layer forwards per prompt, plus the traced pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...core.errors import InputError, one_of, whole
from .replay import Replay
from .trace import Trace

REDUCTIONS = ("max", "mean")
MAX_TOKENS = 4096  # tokens in one layer forward, unless a single copy of the batch has more
SKIP_FRONT = 1  # real tokens at the front of a prompt that are never changed, as published


def future_cuts(tokens: int, count: int = 4) -> tuple[int, ...]:
    """Return ``count`` token positions that cut a prompt into equal parts.

    >>> future_cuts(100)
    (20, 40, 60, 80)
    """
    whole("the number of tokens", tokens, 2)
    places = (round(tokens * (i + 1) / (count + 1)) for i in range(whole("count", count, 1)))
    return tuple(sorted({min(max(place, 1), tokens - 1) for place in places}))


@torch.no_grad()
def local_effects(
    trace: Trace,
    cuts: Sequence[int] | None = None,
    reduce: str = "max",
    max_tokens: int = MAX_TOKENS,
    skip_front: int = SKIP_FRONT,
) -> Tensor:
    """Measure the effect of removing a step's contribution from the input of one later step.

    Args:
        trace: traced forward pass.
        cuts: token positions t of the future-token variant; None for all tokens.
        reduce: reduction over tokens and cuts: ``max``, as in the paper, or ``mean``.
        max_tokens: tokens in one layer forward.
        skip_front: real tokens at the front of each prompt that keep the contribution; 0 for none.

    Returns:
        ``(batch, source, target)``, each of ``steps`` steps; 0 unless the target is later.

    Raises:
        InputError: a model that changes its state between steps; a prompt in which no cut leaves a
            token to change and a later one to measure; an effect that is not finite.

    Example::

        effects = local_effects(trace, cuts=future_cuts(ids.shape[1]))
        heatmap = effects.amax(0)  # over prompts
    """
    one_of("reduction", reduce, REDUCTIONS)
    trace.check_flow()  # else a layer's contribution is not what the stream gets
    removed, measured = windows(trace, cuts, skip_front)
    replay, c = Replay(trace), trace.contributions
    # on the device, moved to the CPU once at the end: the GPU runs on meanwhile
    effects = torch.zeros(len(trace.real), trace.steps, trace.steps, device=trace.real.device)
    for target in range(1, trace.steps):
        hidden = trace.inputs[target]
        for sources in _chunks(range(target), max_tokens // (len(removed) * trace.real.numel())):
            removal = torch.stack([c[source] for source in sources])[:, None] * removed
            states = hidden - removal  # (sources, cuts, batch, tokens, dim)
            after = replay(target, states.flatten(0, 2)).view_as(states)
            change = _relative(after - states, c[target])
            for source, values in zip(sources, change, strict=True):
                effects[:, source, target] = _reduced(values, measured, reduce)
    return finite(effects)


@torch.no_grad()
def propagated_effects(
    trace: Trace,
    cuts: Sequence[int] | None = None,
    reduce: str = "max",
    max_tokens: int = MAX_TOKENS,
    skip_front: int = SKIP_FRONT,
) -> Tensor:
    """Measure the effect of skipping a step on the contribution of every later step.

    Arguments, result and errors are those of :func:`local_effects`.
    """
    one_of("reduction", reduce, REDUCTIONS)
    removed, measured = windows(trace, cuts, skip_front)
    effects = torch.zeros(len(trace.real), trace.steps, trace.steps, device=trace.real.device)
    for source, target, before, after in skipping(trace, removed, max_tokens):
        change = _relative(after - before, trace.contributions[target])
        effects[:, source, target] = _reduced(change, measured, reduce)
    return finite(effects)


def windows(trace: Trace, cuts: Sequence[int] | None, skip_front: int) -> tuple[Tensor, Tensor]:
    """Return masks of the tokens that are changed and of those that are measured.

    The first is ``(cuts, batch, tokens, 1)``, the second ``(cuts, batch, tokens)``; real tokens
    only. A cut before which no token of a prompt is changed is not measured in that prompt.
    """
    whole("skip_front", skip_front, 0)
    tokens = trace.real.shape[1]
    # counted from the first real token, which left padding moves
    removed = (trace.real & (trace.real.cumsum(1) > skip_front))[None]
    measured = removed
    if cuts is not None:
        if not cuts:
            raise InputError("cuts needs at least one token, or None for all tokens")
        for cut in cuts:
            whole("a cut", cut, 1, tokens - 1)
        start = torch.tensor(list(cuts), device=trace.real.device)[:, None, None]
        position = torch.arange(tokens, device=trace.real.device)
        removed = removed & (position < start)
        measured = trace.real & (position >= start) & removed.any(-1, keepdim=True)
    _check_windows(measured, trace.real, cuts, skip_front)
    return removed[..., None], measured


def _check_windows(
    measured: Tensor, real: Tensor, cuts: Sequence[int] | None, skip_front: int
) -> None:
    """Refuse a prompt without a measured token: its effect is unknown, not 0."""
    unmeasured = (~measured.any(2).any(0)).nonzero().flatten().tolist()
    if unmeasured:
        count = int(real[unmeasured[0]].sum())
        where = "" if cuts is None else f" before a cut ({', '.join(map(str, cuts))})"
        later = "" if cuts is None else " and a later one to measure"
        raise InputError(
            f"prompt {unmeasured[0]} of the batch has {count} real tokens: with skip_front "
            f"{skip_front} it has no token{where} to ablate{later}"
        )


def finite(effects: Tensor) -> Tensor:
    """Move effects ``(batch, source, ...)`` to the CPU; refuse NaN and infinity."""
    on_cpu = effects.cpu()
    if len(wrong := (~on_cpu.isfinite()).nonzero()):
        _, source, *target = wrong[0].tolist()
        of = f"of step {source}" + (f" on step {target[0]}" if target else "")
        raise InputError(f"the effect {of} is not finite: a layer overflows without step {source}")
    return on_cpu


def _chunks(sources: range, size: int) -> Iterator[range]:
    size = max(1, size)
    for start in range(0, len(sources), size):
        yield sources[start : start + size]


def _relative(contribution: Tensor, baseline: Tensor) -> Tensor:
    """Compute the relative change of a contribution: ``(..., batch, tokens)``."""
    norm = baseline.norm(dim=-1).clamp_min(1e-6)
    change: Tensor = (contribution - baseline).norm(dim=-1) / norm
    return change


def _reduced(change: Tensor, measured: Tensor, reduce: str) -> Tensor:
    """Reduce over cuts and tokens: ``(cuts, batch, tokens)`` -> ``(batch,)``."""
    change = change.float().masked_fill(~measured, 0)
    if reduce == "max":
        return change.amax((0, 2))
    return change.sum((0, 2)) / measured.sum((0, 2)).clamp_min(1)


def skipping(
    trace: Trace, removed: Tensor, max_tokens: int, itself: bool = False
) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Yield source, target, and the target's input and output with the source skipped.

    States are ``(cuts, batch, tokens, dim)``. Sources run as one batch, each from its own step on.

    Args:
        itself: also yield each source as a target of its own, with the state right after it.
    """
    trace.check_flow()
    replay = Replay(trace)
    shape = (len(removed), *trace.inputs[0].shape)
    for sources in _chunks(range(trace.steps), max_tokens // (len(removed) * trace.real.numel())):
        states: dict[int, Tensor] = {}
        for step in range(sources[0], trace.steps):
            if states:
                before = torch.stack(list(states.values()))
                after = replay(step, before.flatten(0, 2)).view_as(before)
                for source, old, new in zip(list(states), before, after, strict=True):
                    yield source, step, old, new
                    states[source] = new
            if step in sources:
                hidden = trace.inputs[step].expand(shape)
                skipped = torch.where(removed, hidden, trace.outputs[step])
                if itself:
                    yield step, step, hidden, skipped
                states[step] = skipped
