"""Dynamics of loops: on maps whose behaviour is known, and against hooks on a looped model."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from growloop.core.errors import InputError
from growloop.core.schedule import Schedule
from growloop.models import Recurrence, build, loop
from growloop.models.diagnostics import dynamics, layer_dynamics, loop_chains, returns, trace
from growloop.models.diagnostics.dynamics import principal_plane
from growloop.models.looping.decoder import find_decoder
from growloop.models.looping.parts import Loop

PROMPTS, TOKENS, LOOPS = 9, 5, 8


def iterated(step: Any, start: torch.Tensor) -> Any:
    """A trace of a layer that maps its state by ``step``, loop after loop."""
    states = [start]
    for _ in range(LOOPS):
        states.append(step(states[-1]))
    parts = [SimpleNamespace(attention=b - a) for a, b in itertools.pairwise(states)]
    return SimpleNamespace(
        carried={},
        outputs=tuple(states[1:]),
        steps=LOOPS,
        sublayers=tuple(parts),
        real=torch.ones(PROMPTS, TOKENS, dtype=torch.bool),
    )


def random_states(dim: int = 6) -> torch.Tensor:
    return torch.randn(PROMPTS, TOKENS, dim, generator=torch.Generator().manual_seed(0))


def rotation(angle: float) -> torch.Tensor:
    """A rotation by an angle in three planes of six dimensions."""
    block = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return torch.block_diag(block, block, block)


def found(step: Any, states: str = "raw") -> Any:
    traced = iterated(step, random_states())
    chain = list(range(LOOPS))
    changes = dynamics(traced, [chain], states)["change"][:, 1:].double().numpy()
    return layer_dynamics(changes, returns(traced, chain, states).double().numpy())


def test_a_contraction_has_a_fixed_point_and_its_own_rate() -> None:
    target = random_states()[0, 0] * 10
    about = found(lambda x: target + 0.5 * (x - target))
    assert about.verdict == "fixed point"
    assert about.rate == pytest.approx(0.5, abs=0.06)  # relative to a norm that changes too


@pytest.mark.parametrize(("angle", "period"), [(math.pi, 2), (2 * math.pi / 3, 3)])
def test_a_rotation_by_a_part_of_a_circle_is_a_cycle(angle: float, period: int) -> None:
    turn = rotation(angle)
    about = found(lambda x: x @ turn.T)
    assert (about.verdict, about.period) == ("cycle", period)
    assert about.rate == pytest.approx(1, abs=1e-4)


def test_growth_drifts_though_its_direction_settles() -> None:
    shift = random_states()[0, 0]
    assert found(lambda x: x * 2.0).verdict == "drift"
    assert found(lambda x: x * 2.0 + shift, "direction").verdict == "fixed point"


def test_measures_are_their_formulas() -> None:
    traced = iterated(lambda x: x * 0.5 + 1, random_states())
    measured = dynamics(traced, [list(range(LOOPS))], "raw")
    x = traced.outputs
    change = ((x[3] - x[2]).norm(dim=-1) / x[2].norm(dim=-1)).mean(1)
    assert torch.allclose(measured["change"][:, 3], change)
    to_last = ((x[3] - x[-1]).norm(dim=-1) / x[-1].norm(dim=-1)).mean(1)
    assert torch.allclose(measured["to_last"][:, 3], to_last)
    a, b = x[3] - x[2], x[2] - x[1]
    turn = ((a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)).mean(1)
    assert torch.allclose(measured["turn"][:, 3], turn, atol=1e-5)
    part = [s.attention for s in traced.sublayers]
    moved = ((part[3] - part[2]).norm(dim=-1) / part[2].norm(dim=-1)).mean(1)
    assert torch.allclose(measured["attention_change"][:, 3], moved)
    assert bool(measured["change"][:, 0].isnan().all())
    assert bool(measured["turn"][:, :2].isnan().all())


def test_a_looped_model_is_measured_as_hooks_see_it() -> None:
    model = loop(build("tiny", 4), "1-2x3-1").eval()
    ids = torch.arange(1, 15).reshape(2, 7)
    seen: dict[int, list[torch.Tensor]] = {}

    def keep(module: Any, args: Any, output: Any) -> None:
        state = output[0] if isinstance(output, tuple) else output
        seen.setdefault(int(module.layer_idx_seen), []).append(state)

    for index, layer in enumerate(find_decoder(model).unique):
        layer.layer_idx_seen = index
        layer.register_forward_hook(keep)
    traced = trace(model, ids, sublayers=True)
    chains = loop_chains(traced.schedule)
    assert chains == [[1, 3, 5], [2, 4, 6]]
    measured = dynamics(traced, chains, "raw")["change"]
    for layer, chain in zip((1, 2), chains, strict=True):
        states = seen[layer]
        expected = ((states[2] - states[1]).norm(dim=-1) / states[1].norm(dim=-1)).mean(1)
        assert torch.allclose(measured[:, chain[2]], expected, atol=1e-5)


def test_padding_does_not_count() -> None:
    model = loop(build("tiny", 4), "1-2x3-1").eval()
    ids = torch.arange(1, 7)[None]
    padded = torch.cat([ids, torch.zeros(1, 3, dtype=torch.long)], dim=1)
    mask = (padded != 0).long()
    chains = loop_chains(Schedule.parse("1-2x3-1"))
    alone = dynamics(trace(model, ids, sublayers=True), chains)
    beside = dynamics(trace(model, padded, mask, sublayers=True), chains)
    for name, values in alone.items():
        assert torch.allclose(values, beside[name], atol=1e-5, equal_nan=True)


def damped(_: Any, state: torch.Tensor, y: torch.Tensor, i: int, *_x: Any) -> torch.Tensor:
    return y if i == 0 else state + 0.25 * (y - state)


def substeps(_: Any, state: torch.Tensor, y: torch.Tensor, *_x: Any) -> torch.Tensor:
    return state + (y - state) / 4


def gated(model: Any, _: torch.Tensor, y: torch.Tensor, i: int, x: torch.Tensor) -> torch.Tensor:
    gate = next(model.runner.conditioning.parameters())[i]
    return x + gate * (y - x)


def streams(model: Any, state: torch.Tensor, y: torch.Tensor, i: int, *_x: Any) -> torch.Tensor:
    if i == 0:
        state = model.runner.carry.begin(state)
    written: torch.Tensor = model.runner.carry.write(state, y, Loop(i, 4))
    return written


@pytest.mark.parametrize(
    ("recurrence", "rule"),
    [(Recurrence(damping=0.25), damped), (Recurrence(substeps=True), substeps),
     (Recurrence(conditioning=["loop_gate"]), gated), (Recurrence(carry="hyper"), streams)],
)  # fmt: skip
def test_what_a_loop_carries_on_is_measured(recurrence: Recurrence, rule: Any) -> None:
    model: Any = loop(build("tiny", 4), "1-2x4-1", recurrence=recurrence).eval()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.runner.parameters():  # away from the plain loop
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.3)
    traced = trace(model, torch.arange(1, 8)[None], sublayers=True)
    first, last = loop_chains(traced.schedule)
    state, carried = traced.outputs[0], []  # what enters the block
    with torch.no_grad():
        for i, (start, end) in enumerate(zip(first, last, strict=True)):
            state = rule(model, state, traced.outputs[end], i, traced.inputs[start])
            carried.append(state.flatten(2))
    measured = dynamics(traced, [first, last], "raw")["change"]
    for i in (1, 2, 3):
        moved = (carried[i] - carried[i - 1]).norm(dim=-1) / carried[i - 1].norm(dim=-1)
        assert torch.allclose(measured[:, last[i]], moved.mean(1), rtol=1e-4)
    inside = [traced.outputs[step] for step in first[:2]]
    moved = (inside[1] - inside[0]).norm(dim=-1) / inside[0].norm(dim=-1)
    assert torch.allclose(measured[:, first[1]], moved.mean(1), rtol=1e-4)


def test_an_injection_changes_what_enters_and_is_measured() -> None:
    model = loop(build("tiny", 4), "1-2x3-1", recurrence=Recurrence(injection="add")).eval()
    traced = trace(model, torch.arange(1, 8)[None], sublayers=True)
    assert dynamics(traced, loop_chains(traced.schedule))["change"].isfinite().any()


def test_too_few_loops_have_no_rate() -> None:
    about = layer_dynamics(np.full((8, 1), 0.1))
    assert about.verdict == "too few loops"
    assert about.rate is None


def test_changes_that_shrink_slowly_leave_much() -> None:
    scatter = np.linspace(0.9, 1.1, 8)[:, None]
    slow = layer_dynamics(0.3 * 0.9 ** np.arange(7) * scatter)
    assert slow.verdict == "settling"
    assert slow.rate == pytest.approx(0.9)
    assert slow.left == pytest.approx(0.3 * 0.9**6 * 9)
    harmonic = layer_dynamics(1 / np.arange(1.0, 31) * scatter)  # its sum has no limit
    assert harmonic.verdict == "drift"


def test_a_rate_around_the_limit_is_undecided() -> None:
    rates = np.array([0.5, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 2.0])
    changes = np.stack([np.ones(8), rates], axis=1)
    assert layer_dynamics(changes).verdict == "undecided"


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(InputError, match="no layer runs twice"):
        loop_chains(Schedule.plain(4))
    with pytest.raises(InputError, match="only 4 steps"):
        loop_chains(Schedule.plain(4), period=4)
    with pytest.raises(InputError, match="three loops"):
        returns(iterated(lambda x: x, random_states()), [0, 1])


def test_the_plane_holds_states_that_lie_in_one() -> None:
    random = torch.Generator().manual_seed(1)
    flat = torch.randn(3, 8, 2, generator=random) @ torch.randn(2, 16, generator=random)
    plane, share = principal_plane(flat)
    assert share == pytest.approx(1)
    distance = (flat[0, 0] - flat[2, 5]).norm()
    assert torch.allclose((plane[0, 0] - plane[2, 5]).norm(), distance.double(), rtol=1e-4)
