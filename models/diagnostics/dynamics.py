"""Dynamics of a loop: how the state after each layer changes from loop to loop.

After arXiv 2604.11791, where each layer of a loop tends to a fixed point of its own. Ours differs:
attention is compared by its contribution to the stream, not by its map, which fused attention does
not return.

Plain and grown models are measured alike: the state after a layer is compared with the one a block
of layers earlier.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from ...core.errors import InputError, one_of
from ...core.schedule import Schedule
from ...core.statistics import Array, Interval, mean_interval
from .contributions import mean_over
from .trace import Trace

MEASURES = ("change", "to_last", "turn", "attention_change")
"""Measures of :func:`dynamics` per step."""
STATES = ("direction", "raw")
SHRINKS = 0.95  # rate of change from loop to loop, below which a layer settles
RETURNS = 0.5  # share of a loop's change within which a state counts as the same again

NEAR = 0.25  # relative distance to a fixed point that counts as being there

Verdict = Literal["fixed point", "settling", "cycle", "drift", "undecided", "too few loops"]


def loop_chains(schedule: Schedule, period: int | None = None) -> list[list[int]]:
    """List, per looped layer, the steps that run it; ``period`` compares layers a block apart.

    Args:
        schedule: schedule that runs.
        period: steps in a block, for schedules without a loop.

    Raises:
        InputError: no step has another to be compared with.

    >>> loop_chains(Schedule.parse("1-2x3-1"))
    [[1, 3, 5], [2, 4, 6]]
    >>> loop_chains(Schedule.plain(6), period=2)
    [[0, 2, 4], [1, 3, 5]]
    """
    steps = len(schedule)
    if period is not None:
        chains = [list(range(start, steps, period)) for start in range(period)]
    else:
        by_layer: dict[int, list[int]] = {}
        for step, (layer, _) in enumerate(schedule.coordinates):
            by_layer.setdefault(layer, []).append(step)
        chains = list(by_layer.values())
    chains = [chain for chain in chains if len(chain) > 1]
    if not chains:
        what = "no layer runs twice" if period is None else f"it has only {steps} steps"
        raise InputError(f"schedule {schedule} has nothing to compare loop by loop: {what}")
    return chains


@torch.no_grad()
def dynamics(
    trace: Trace, chains: Sequence[Sequence[int]], states: str = "direction"
) -> dict[str, Tensor]:
    """Measure how the state after each step differs from the one a loop before.

    With ``x_i`` the state after loop ``i`` of a layer and ``x_n`` after its last loop: ``change``
    is ``|x_i - x_{i-1}| / |x_{i-1}|``, ``to_last`` is ``|x_i - x_n| / |x_n|``, ``turn`` the cosine
    of ``x_i - x_{i-1}`` and ``x_{i-1} - x_{i-2}``, and ``attention_change`` the ``change`` of
    attention's contribution. The state after the last layer of a block is what the loop carries on,
    after its carry and its conditioning.

    Args:
        trace: a trace; ``attention_change`` needs one with ``sublayers``.
        chains: steps of each layer, from :func:`loop_chains`.
        states: ``direction`` compares states scaled to length 1, which is what the norms of the
            layers read of them; ``raw`` compares the states themselves.

    Returns:
        measure -> ``(batch, steps)``, means over the real tokens; NaN where there is no earlier
        loop to compare with, and for ``attention_change`` in a trace without sublayers. Keys are
        :data:`MEASURES`.

    Raises:
        InputError: unknown ``states``.

    Example::

        traced = trace(model, ids, sublayers=True)
        dynamics(traced, loop_chains(traced.schedule))["change"]
    """
    after = _after(trace, range(trace.steps), states)
    attention = [part.attention.float() for part in trace.sublayers or ()]
    shape = trace.real.shape[0], trace.steps
    found = {name: torch.full(shape, math.nan) for name in MEASURES}

    def put(name: str, step: int, values: Tensor) -> None:
        found[name][:, step] = mean_over(values, trace.real).cpu()

    for chain in chains:
        last = after[chain[-1]]
        for place, step in enumerate(chain):
            put("to_last", step, _relative(after[step], last))
            if place == 0:
                continue
            before = chain[place - 1]
            put("change", step, _relative(after[step], after[before]))
            if attention:
                put("attention_change", step, _relative(attention[step], attention[before]))
            if place > 1:
                moved = after[step] - after[before]
                moved_before = after[before] - after[chain[place - 2]]
                put("turn", step, cosine_similarity(moved, moved_before, dim=-1))
    return found


@torch.no_grad()
def returns(trace: Trace, chain: Sequence[int], states: str = "direction") -> Tensor:
    """Measure how far the last state is from earlier ones, as a share of the last loop's change.

    Args:
        trace: a trace.
        chain: steps of a layer; three or more.
        states: as in :func:`dynamics`.

    Returns:
        ``(batch, loops - 2)``: for 2, 3, … loops back; near 0 where a state returns.

    Raises:
        InputError: a chain of fewer than three steps.
    """
    if len(chain) < 3:
        raise InputError(f"a return needs three loops, not {len(chain)}")
    after = _after(trace, chain, states)
    distances = [
        mean_over((after[-1] - earlier).norm(dim=-1), trace.real) for earlier in after[:-1]
    ]
    far = torch.stack(distances[::-1], dim=1).cpu()  # one loop back, two, …
    return far[:, 1:] / far[:, :1].clamp_min(1e-12)


def _after(trace: Trace, steps: Iterable[int], states: str) -> list[Tensor]:
    """Return the state after each of some steps, ``(batch, tokens, numbers)``.

    After the last step of a loop it is what the loop carries on: with several streams, all of them.
    """
    carried = {step: state.flatten(2) for step, state in trace.carried.items()}
    return _states([carried.get(step, trace.outputs[step]) for step in steps], states)


def _states(outputs: Sequence[Tensor], states: str) -> list[Tensor]:
    one_of("states", states, STATES)
    every = [output.float() for output in outputs]
    return [normalize(state, dim=-1) for state in every] if states == "direction" else every


def _relative(state: Tensor, reference: Tensor) -> Tensor:
    """Return |state - reference| / |reference| per token."""
    relative: Tensor = (state - reference).norm(dim=-1) / reference.norm(dim=-1).clamp_min(1e-12)
    return relative


@dataclass(frozen=True)
class LayerDynamics:
    """Long-run behaviour of a layer over its loops.

    Args:
        verdict: ``fixed point``: changes shrink from loop to loop, and what is left is small;
            ``settling``: they shrink, and much is left; ``cycle``: they do not shrink, but the
            state comes back; ``drift``: neither; ``undecided``: the interval allows for both;
            ``too few loops``: fewer than three.
        rate: change of a loop over the change of the one before, geometric mean over the later
            half of the loops and over prompts; an estimate of the contraction rate. None with
            fewer than three loops.
        interval: 95 % interval of the rate over prompts.
        left: distance to the fixed point, as a share of its length, if changes go on to shrink at
            the rate: ``change * rate / (1 - rate)``. None for a rate of 1 or more.
        period: loops of a cycle.
    """

    verdict: Verdict
    rate: float | None = None
    interval: Interval | None = None
    left: float | None = None
    period: int | None = None


def layer_dynamics(changes: Array, far: Array | None = None) -> LayerDynamics:
    """Classify a layer from its changes.

    Changes shrink where the interval of the rate is below 0.95. A cycle is a state that comes back
    within half of the last change, its interval too.

    Args:
        changes: ``change`` of :func:`dynamics`, ``(prompts, loops - 1)``.
        far: :func:`returns`, ``(prompts, loops - 2)``.

    >>> halved = np.tile([0.4, 0.2, 0.1], (8, 1)) * np.linspace(1, 2, 8)[:, None]
    >>> layer_dynamics(halved).verdict, round(layer_dynamics(halved).rate, 3)
    ('fixed point', 0.5)
    """
    loops = changes.shape[1] + 1
    if loops < 3:
        return LayerDynamics("too few loops")
    logs = np.log(np.maximum(changes, 1e-12))
    later = logs[:, min((loops - 1) // 2, loops - 3) :]
    rate, interval = _geometric_mean((later[:, -1] - later[:, 0]) / (later.shape[1] - 1))
    low, high = interval or (rate, rate)
    left = float(changes[:, -1].mean()) * rate / (1 - rate) if rate < 1 else None
    if left is not None and high < SHRINKS:
        return LayerDynamics("fixed point" if left < NEAR else "settling", rate, interval, left)
    if far is not None:
        for place in range(far.shape[1]):
            share, ends = _geometric_mean(np.log(np.maximum(far[:, place], 1e-12)))
            if (ends or (share, share))[1] < RETURNS:
                return LayerDynamics("cycle", rate, interval, left, place + 2)
    return LayerDynamics("drift" if low >= SHRINKS else "undecided", rate, interval, left)


def _geometric_mean(logs: Array) -> tuple[float, Interval | None]:
    """Return the geometric mean of values, and its interval, given their logarithms."""
    interval = mean_interval(logs.tolist())
    ends = None if interval is None else (math.exp(interval[0]), math.exp(interval[1]))
    return math.exp(float(logs.mean())), ends


def principal_plane(states: Tensor) -> tuple[Tensor, float]:
    """Project states on the plane of their first two principal components.

    Args:
        states: ``(..., dim)``, two or more.

    Returns:
        Coordinates ``(..., 2)``, and the share of the variance in the plane.
    """
    flat = states.reshape(-1, states.shape[-1]).double()
    centred = flat - flat.mean(0)
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    total = float((sizes**2).sum())
    plane = centred @ axes[:2].T
    if plane.shape[1] < 2:
        plane = torch.nn.functional.pad(plane, (0, 2 - plane.shape[1]))
    share = float((sizes[:2] ** 2).sum()) / total if total > 0 else 1.0
    return plane.reshape(*states.shape[:-1], 2), share
