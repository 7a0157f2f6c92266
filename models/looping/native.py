"""Architectures that loop by themselves: HRM-Text, Ouro, Huginn.

Their own forward runs the loops, with cache slots of its own, so ``loop`` does not loop them again:
it gives them the interface of a looped model (``schedule``, ``scheduled``), whose schedules are
those with other numbers of loops. All that is computed is the architecture's own code.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ...core.errors import InputError, whole
from ...core.schedule import Schedule, as_schedule
from .initial_state import initial_states

Model = TypeVar("Model")
START_SEED = 0
"""Seed of the initial states of Huginn in evaluation."""


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
        final_norm: norm between the last layer and the head.
        each_loop: modules besides the layers that run once a loop.
    """

    unique: list[nn.Module]
    schedule: Schedule
    loops: int
    field: str
    owner: nn.Module
    path: str
    final_norm: nn.Module
    each_loop: tuple[nn.Module, ...] = ()

    def loops_of(self, schedule: Schedule) -> int:
        """Return how often the modules of ``each_loop`` run under a schedule."""
        own = max(self.schedule.layers, key=self.schedule.layers.count)
        return schedule.layers.count(own)


class Architecture:
    """Rule of one architecture.

    Attributes:
        field: field of the config with the number of loops.
        settings: fields that a schedule can change.
        path: where the layers are.
        reads_masks: whether attention obeys a mask of padding.
    """

    field: str
    settings: tuple[str, ...]
    path: str
    reads_masks = True

    def schedule(self, config: Any) -> Schedule:
        """Return the schedule of a config."""
        raise NotImplementedError

    def with_settings(self, config: Any, schedule: Schedule) -> dict[str, int]:
        """Return candidates of the fields' values for a schedule; they need not fit."""
        raise NotImplementedError

    def layers(self, model: Any) -> list[nn.Module]:
        """Return the layers with weights, in the order that the schedule numbers them."""
        raise NotImplementedError

    def owner(self, model: Any) -> nn.Module:
        """Return the module with the layers, norms and other maps."""
        owner: nn.Module = model.model
        return owner

    def final_norm(self, model: Any) -> nn.Module:
        """Return the norm before the head."""
        norm: nn.Module = model.model.norm
        return norm

    def each_loop(self, model: Any) -> tuple[nn.Module, ...]:
        """Return the modules besides the layers that run once a loop."""
        return ()

    def set(self, model: Any) -> None:
        """Set what a model holds besides its config, after the config has changed."""

    def prepare(self, model: Any, arguments: dict[str, Any]) -> None:
        """Add arguments of a forward pass, in place."""


class HrmText(Architecture):
    """Two stacks: L runs ``L_cycles`` times, then H once, all ``H_cycles`` times."""

    field = "H_cycles"
    settings = ("H_cycles", "L_cycles")
    path = "model.L_module.layers, model.H_module.layers"

    def schedule(self, config: Any) -> Schedule:
        """Return L, L, L, H, L, L, L, H, …"""
        size = config.num_layers_per_stack
        low, high = tuple(range(size)), tuple(range(size, 2 * size))
        return Schedule((low * config.L_cycles + high) * config.H_cycles)

    def with_settings(self, config: Any, schedule: Schedule) -> dict[str, int]:
        """Count the runs of both stacks."""
        low, high = (schedule.layers.count(i) for i in (0, config.num_layers_per_stack))
        return {"H_cycles": max(1, high), "L_cycles": max(1, low // max(1, high))}

    def layers(self, model: Any) -> list[nn.Module]:
        """Return the layers of L, then those of H."""
        return [*model.model.L_module.layers, *model.model.H_module.layers]

    def final_norm(self, model: Any) -> nn.Module:
        """Return the norm at the end of the stack H."""
        norm: nn.Module = model.model.H_module.final_norm
        return norm

    def set(self, model: Any) -> None:
        """Set the cache slots, one a step, and the cycles that gradients flow through."""
        config = model.config
        steps = config.num_layers_per_stack * config.H_cycles * (config.L_cycles + 1)
        config.num_hidden_layers = steps
        given = list(config.L_bp_cycles)
        model.model.L_bp_cycles_padded = [1] * max(0, config.H_cycles - len(given)) + given


class Ouro(Architecture):
    """Loop over all layers, ``total_ut_steps`` times, with the final norm after each."""

    field = "total_ut_steps"
    settings = ("total_ut_steps",)
    path = "model.layers"

    def schedule(self, config: Any) -> Schedule:
        """Return the whole stack, loop by loop."""
        return Schedule(tuple(range(config.num_hidden_layers)) * int(config.total_ut_steps))

    def with_settings(self, config: Any, schedule: Schedule) -> dict[str, int]:
        """Count the runs of the first layer."""
        return {"total_ut_steps": max(1, schedule.layers.count(0))}

    def layers(self, model: Any) -> list[nn.Module]:
        """Return the layers."""
        return list(model.model.layers)

    def each_loop(self, model: Any) -> tuple[nn.Module, ...]:
        """Return the exit gate."""
        return (model.model.early_exit_gate,)

    def set(self, model: Any) -> None:
        """Set the number of loops where the forward reads it."""
        model.model.total_ut_steps = model.config.total_ut_steps


class Huginn(Architecture):
    """Prelude, core block ``mean_recurrence`` times, coda.

    The core starts at a random state. In evaluation it is drawn by the position of each token
    (:mod:`.initial_state`), so that equal texts have equal logits.
    """

    field = "mean_recurrence"
    settings = ("mean_recurrence",)
    path = "transformer.prelude, transformer.core_block, transformer.coda"
    reads_masks = False

    def schedule(self, config: Any) -> Schedule:
        """Return prelude, core, core, …, coda."""
        first, size = config.n_layers_in_prelude, config.n_layers_in_recurrent_block
        core, last = tuple(range(first, first + size)), config.n_layers_in_coda
        coda = range(first + size, first + size + last)
        return Schedule((*range(first), *(core * int(config.mean_recurrence)), *coda))

    def with_settings(self, config: Any, schedule: Schedule) -> dict[str, int]:
        """Count the runs of the core's first layer."""
        return {"mean_recurrence": max(1, schedule.layers.count(config.n_layers_in_prelude))}

    def layers(self, model: Any) -> list[nn.Module]:
        """Return the layers of prelude, core and coda."""
        parts = model.transformer
        return [*parts.prelude, *parts.core_block, *parts.coda]

    def owner(self, model: Any) -> nn.Module:
        """Return the module with all parts."""
        owner: nn.Module = model.transformer
        return owner

    def final_norm(self, model: Any) -> nn.Module:
        """Return the norm before the coda and before the head, which are one."""
        norm: nn.Module = model.transformer.ln_f
        return norm

    def each_loop(self, model: Any) -> tuple[nn.Module, ...]:
        """Return the adapter."""
        return (model.transformer.adapter,)

    def prepare(self, model: Any, arguments: dict[str, Any]) -> None:
        """Add the positions of tokens after cached ones, and the initial states of evaluation."""
        if arguments.get("input_ids") is None:
            return  # its own code says what it needs
        if arguments.get("position_ids") is None and arguments.get("cache_position") is None:
            past = arguments.get("past_key_values")
            start = 0 if past is None else int(past.get_seq_length())
            if start:  # its own positions would begin at 0 again
                count, device = arguments["input_ids"].shape[1], arguments["input_ids"].device
                arguments["cache_position"] = torch.arange(start, start + count, device=device)
        if model.training or arguments.get("input_states") is not None:
            return
        ids: Tensor = arguments["input_ids"]
        positions = arguments.get("position_ids")
        if positions is None:
            positions = arguments.get("cache_position")
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)
        config = model.config
        states = initial_states(positions.reshape(-1), config.n_embd, START_SEED)
        scale = config.init_values["std"] * model.emb_scale * arguments.get("init_scale", 1.0)
        weight = model.transformer.adapter.weight
        states = (states * scale).to(dtype=weight.dtype, device=weight.device)
        arguments["input_states"] = states.expand(len(ids), -1, -1)


NATIVE: dict[str, Architecture] = {
    "hrm_text": HrmText(),
    "ouro": Ouro(),
    "huginn_raven": Huginn(),
}
"""``model_type`` of an architecture that loops by itself -> its rule."""


def loops_by_itself(config: Any) -> bool:
    """Return whether the models of a config loop by themselves."""
    return getattr(config, "model_type", None) in NATIVE


def native_schedule(config: Any) -> Schedule:
    """Return the schedule of a config whose models loop by themselves."""
    return NATIVE[config.model_type].schedule(config)


def native_loops(model: Any) -> NativeLoops | None:
    """Return the loops of a model that loops by itself; None for any other."""
    config: Any = getattr(model, "config", None)
    if not loops_by_itself(config):
        return None
    rule = NATIVE[config.model_type]
    return NativeLoops(
        rule.layers(model),
        rule.schedule(config),
        int(getattr(config, rule.field)),
        rule.field,
        rule.owner(model),
        rule.path,
        rule.final_norm(model),
        rule.each_loop(model),
    )


def set_native_loops(model: Any, loops: int) -> None:
    """Set the number of loops of a model that loops by itself.

    Huginn counts those of evaluation (``mean_recurrence``).

    Raises:
        InputError: no number of 1 or more.
    """
    whole("the number of loops", loops, 1, 10_000)
    rule = NATIVE[model.config.model_type]
    setattr(model.config, rule.field, loops)
    rule.set(model)


def set_native_schedule(model: Any, schedule: Schedule) -> None:
    """Set the numbers of loops of a model that loops by itself, by a schedule that has them.

    Raises:
        InputError: a schedule that differs from the model's own in more than numbers of loops.
    """
    config, rule = model.config, NATIVE[model.config.model_type]
    before = {name: getattr(config, name) for name in rule.settings}
    own = rule.schedule(config)
    for name, value in rule.with_settings(config, schedule).items():
        setattr(config, name, value)
    if rule.schedule(config) != schedule:
        for name, value in before.items():
            setattr(config, name, value)
        raise InputError(
            f"{config.model_type} loops by itself, and must not be looped again: of its schedule "
            f"{own} only {' and '.join(rule.settings)} can change, which does not give {schedule}"
        )
    rule.set(model)


class NativeLooped:
    """Mixin for the class of a model that loops by itself: the interface of a looped model."""

    config: Any
    loops_by_itself = True

    @property
    def schedule(self) -> Schedule:
        """Layer of each step; can be set to the same with other numbers of loops."""
        return native_schedule(self.config)

    @schedule.setter
    def schedule(self, schedule: Schedule | str) -> None:
        set_native_schedule(self, as_schedule(schedule))

    @contextlib.contextmanager
    def scheduled(self, schedule: Schedule | str) -> Iterator[None]:
        """Run other numbers of loops inside a ``with`` block, and restore them after it."""
        before = self.schedule
        self.schedule = schedule
        try:
            yield
        finally:
            self.schedule = before

    def generate(self, *args: Any, schedule: Schedule | str | None = None, **kwargs: Any) -> Any:
        """Call the model's own ``generate``, under another schedule if one is given."""
        with contextlib.nullcontext() if schedule is None else self.scheduled(schedule):
            return super().generate(*args, **kwargs)  # type: ignore[misc]


def adopt(model: Model) -> Model:
    """Give a model that loops by itself the interface of a looped model; return it.

    Other models stay as they are. Only its class changes; weights and forward stay its own.
    """
    if loops_by_itself(getattr(model, "config", None)) and not isinstance(model, NativeLooped):
        kind: Any = type(model)
        model.__class__ = _adopted(kind)
    return model


@functools.cache
def _adopted(base: Any) -> Any:
    names = list(inspect.signature(base.forward).parameters)[1:]

    @functools.wraps(base.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = dict(zip(names[: len(args)], args, strict=True)) | kwargs
        rule = NATIVE[self.config.model_type]
        if not rule.reads_masks:
            refuse_padding(self, arguments.get("attention_mask"))
        rule.prepare(self, arguments)
        return base.forward(self, **arguments)

    fields = {"forward": forward, "__module__": base.__module__, "__doc__": base.__doc__}
    return type(base.__name__, (NativeLooped, base), fields)


def refuse_padding(model: Any, mask: Any) -> None:
    """Refuse padding before a text, for a model whose attention obeys no mask.

    Raises:
        InputError: naming the model.
    """
    if not isinstance(mask, Tensor):
        return
    if mask.dim() != 2 or bool((mask.long().diff(dim=1) > 0).any()):
        raise InputError(
            f"the code of {model.config.model_type} ignores attention masks: give it texts of one "
            "length, or one at a time (--batch-size 1)"
        )
