"""Architectures that loop by themselves: HRM-Text, Ouro, Huginn.

Their own forward runs the loops, with cache slots of its own, so ``loop`` must not loop them again.
Their layers and schedule are known here, so that costs and ``growloop inspect`` are right, and the
number of loops can be set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ...core.errors import whole
from ...core.schedule import Schedule


@dataclass(frozen=True)
class NativeLoops:
    """Loops of an architecture's own forward.

    Args:
        unique: layers with weights.
        schedule: which of them runs at each step.
        loops: number of loops.
        field: field of the config that has it.
        owner: module with the layers, norms and other maps.
        path: where the layers are.
    """

    unique: list[nn.Module]
    schedule: Schedule
    loops: int
    field: str
    owner: nn.Module
    path: str


def native_loops(model: Any) -> NativeLoops | None:
    """Return the loops of a model that loops by itself; None for any other."""
    build = NATIVE.get(getattr(getattr(model, "config", None), "model_type", ""))
    return None if build is None else build(model)


def loops_by_itself(config: Any) -> bool:
    """Return whether the models of a config loop by themselves."""
    return getattr(config, "model_type", None) in NATIVE


def set_native_loops(model: Any, loops: int) -> None:
    """Set the number of loops of a model that loops by itself.

    Huginn counts those of evaluation (``mean_recurrence``).

    Raises:
        InputError: no number of 1 or more.
    """
    whole("the number of loops", loops, 1, 10_000)
    config, native = model.config, native_loops(model)
    assert native is not None
    setattr(config, native.field, loops)
    if config.model_type == "hrm_text":  # its caches have a slot a step
        steps = config.num_layers_per_stack * loops * (config.L_cycles + 1)
        config.num_hidden_layers = steps
    elif config.model_type == "ouro":
        model.model.total_ut_steps = loops


def _hrm(model: Any) -> NativeLoops:
    """Two stacks: L runs ``L_cycles`` times, then H once, all ``H_cycles`` times."""
    config, inner = model.config, model.model
    size = config.num_layers_per_stack
    low, high = tuple(range(size)), tuple(range(size, 2 * size))
    cycle = low * config.L_cycles + high
    layers = [*inner.L_module.layers, *inner.H_module.layers]
    schedule = Schedule(cycle * config.H_cycles)
    path = "model.L_module.layers, model.H_module.layers"
    return NativeLoops(layers, schedule, config.H_cycles, "H_cycles", inner, path)


def _ouro(model: Any) -> NativeLoops:
    """Run all layers ``total_ut_steps`` times, with the final norm after each loop."""
    layers, loops = list(model.model.layers), int(model.config.total_ut_steps)
    schedule = Schedule(tuple(range(len(layers))) * loops)
    return NativeLoops(layers, schedule, loops, "total_ut_steps", model.model, "model.layers")


def _huginn(model: Any) -> NativeLoops:
    """Prelude, core block ``mean_recurrence`` times, coda."""
    parts = model.transformer
    layers = [*parts.prelude, *parts.core_block, *parts.coda]
    first, size = len(parts.prelude), len(parts.core_block)
    loops = int(model.config.mean_recurrence)
    core, coda = range(first, first + size), range(first + size, len(layers))
    schedule = Schedule((*range(first), *(tuple(core) * loops), *coda))
    path = "transformer.prelude, transformer.core_block, transformer.coda"
    return NativeLoops(layers, schedule, loops, "mean_recurrence", parts, path)


NATIVE: dict[str, Callable[[Any], NativeLoops]] = {
    "hrm_text": _hrm,
    "ouro": _ouro,
    "huginn_raven": _huginn,
}
"""``model_type`` of an architecture that loops by itself -> its loops."""
