"""Parts of a recurrence around the block, applied in one order (see :mod:`.parts.part`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...core.schedule import Schedule, Section
from .parts import (
    Between,
    BlockShape,
    Carry,
    Conditioning,
    End,
    Injection,
    Loop,
    Objective,
    Start,
    build_part,
)
from .parts.injections import Concat
from .parts.loop_lora import LoopLora
from .recurrence import Recurrence
from .views import LoopedLayers


def build_heads(needed: set[str], width: int) -> dict[str, nn.Module]:
    """Build the learned heads of early exits: one logit a token.

    Args:
        needed: ``gate`` (reads the state) and ``confidence`` (reads its change).
    """
    heads: dict[str, nn.Module] = {}
    for name in sorted(needed):
        linear = nn.Linear(width, 1)
        nn.init.zeros_(linear.weight)
        nn.init.constant_(linear.bias, -4.0)  # rarely exits before it is trained
        norm = nn.LayerNorm(width)
        heads[name] = linear if name == "gate" else nn.Sequential(norm, linear)
    return heads


@dataclass
class Around:
    """Loop of a block: the parts around it and what they need to remember.

    Args:
        injection, carry, conditioning, between: parts of the composition.
        block_input: state that entered the block, ``(batch, tokens, dim)``.
    """

    injection: Injection
    carry: Carry
    conditioning: list[Conditioning]
    block_input: Tensor
    between: Between

    def enter(self, state: Tensor, loop: Loop) -> Tensor:
        """Return the input of the block in a loop; remember what each part got."""
        hidden = self.carry.read(state, loop)
        if self.between.acts and not (isinstance(loop.number, int) and loop.number == 0):
            hidden = loop.after_first(self.between(hidden), hidden)
        hidden = self.injection.combine(hidden, self.block_input, loop)
        self.befores: list[Tensor] = []
        for part in self.conditioning:
            self.befores.append(hidden)
            hidden = part.enter(hidden, loop)
        return hidden

    def condition(self, after: Tensor, loop: Loop) -> Tensor:
        """Return the block's output after the conditioning, innermost part first."""
        for part, before in zip(reversed(self.conditioning), reversed(self.befores), strict=True):
            after = part.leave(before, after, loop)
        self.befores = []
        return after

    def leave(self, state: Tensor, after: Tensor, loop: Loop) -> Tensor:
        """Return the next state, from the block's output after the conditioning."""
        return self.carry.write(state, after, loop)


class Composition(nn.Module):
    """Base of the runner: parts of a recurrence, by the names they have in checkpoints.

    Args:
        recurrence: settings.
        width: dimension of the hidden state.
        layers: unique layers of the model.
    """

    injection: Injection
    carry: Carry
    conditioning: nn.ModuleDict
    objective: Objective
    start: Start
    between: Between
    end: End

    def __init__(self, recurrence: Recurrence, width: int, layers: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.recurrence = recurrence
        shape = BlockShape(width, layers)

        def build(kind: str) -> Any:
            return build_part(kind, recurrence.part(kind), shape)

        self.injection = build("injection")
        self.adapter: nn.Module | None = None
        if isinstance(self.injection, Concat):
            self.adapter = self.injection.build_adapter(self)
        self.carry = build("carry")
        self.conditioning = nn.ModuleDict(
            {
                part.name: build_part(kind, part, shape)
                for kind, part in recurrence.parts
                if kind == "conditioning"
            }
        )
        self.objective = build("objective")
        self.start, self.between, self.end = build("start"), build("between"), build("end")
        heads = build_heads(recurrence.heads, width)
        self.gate, self.confidence = heads.get("gate"), heads.get("confidence")
        self.loop: Loop | None = None  # loop of the layer that runs now, for parts inside of layers
        self.home: tuple[tuple[int, ...], ...] = ()  # unique layers of each looped block
        self._hooks: list[Any] = []

    @property
    def acts_once(self) -> bool:
        """Return whether a block that runs once differs from its layers alone."""
        ends = self.start.acts or self.end.acts
        inside = self.injection.first or self.carry.acts_once or len(self.conditioning) > 0
        return ends or inside

    def set_home(
        self,
        schedule: Schedule,
        known: Sequence[Sequence[int]] = (),
        exact: Sequence[Sequence[int]] = (),
    ) -> None:
        """Remember which layers the looped blocks consist of, to find them when they run once.

        Args:
            schedule: schedule of the model.
            known: blocks of an earlier schedule, for one in which no block runs twice.
            exact: blocks of a checkpoint, whatever its schedule repeats: it may have been saved
                under another schedule than the model was looped with.
        """
        blocks = [s for s in schedule.sections if s.times > 1]
        found = [schedule.layers[s.start : s.start + s.size] for s in blocks]
        self.home = tuple(map(tuple, exact or found or known))

    def blocks(self, schedule: Schedule) -> list[Section]:
        """Return the sections of a schedule, with a looped block that runs once as its own.

        >>> from ...core.schedule import Schedule
        >>> runner = Composition(Recurrence(conditioning="loop_gate"), 8, ())
        >>> runner.set_home(Schedule.parse("1-2x3-1"))
        >>> [tuple(section) for section in runner.blocks(Schedule.parse("4"))]
        [(0, 1, 1), (1, 2, 1), (3, 1, 1)]
        """
        sections: list[Section] = []
        for section in schedule.sections:
            if section.times > 1 or not self.acts_once:
                sections.append(section)
                continue
            start, end = section.start, section.start + section.size
            for place in self._once(schedule, section):
                first, size = place
                if first > start:
                    sections.append(Section(start, first - start, 1))
                sections.append(Section(first, size, 1))
                start = first + size
            if start < end:
                sections.append(Section(start, end - start, 1))
        return sections

    def is_block(self, schedule: Schedule, section: Section) -> bool:
        """Return whether parts act in a section of :meth:`blocks`."""
        layers = schedule.layers[section.start : section.start + section.size]
        return section.times > 1 or (self.acts_once and layers in self.home)

    def _once(self, schedule: Schedule, section: Section) -> list[tuple[int, int]]:
        """Return first step and size of the home blocks that run once in a section, in order."""
        found, step, end = [], section.start, section.start + section.size
        while step < end:
            size = next(
                (
                    len(block)
                    for block in self.home
                    if step + len(block) <= end
                    and schedule.layers[step : step + len(block)] == block
                ),
                0,
            )
            if size:
                found.append((step, size))
            step += size or 1
        return found

    def attach(self, layers: LoopedLayers) -> None:
        """Hook parts that act inside of layers onto the unique layers."""
        self.detach_hooks()
        for part in self.conditioning.values():
            if isinstance(part, LoopLora):
                unique = tuple(layers._modules.values())
                self._hooks += part.attach(unique, self)

    def detach_hooks(self) -> None:
        """Remove the hooks of :meth:`attach`."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def loop_at(self, step: int) -> Loop | None:
        """Return the loop that a step runs in; None outside of looped blocks."""
        raise NotImplementedError

    @property
    def acts_inside(self) -> bool:
        """Return whether parts act inside of layers."""
        return any(isinstance(part, LoopLora) for part in self.conditioning.values())

    @contextlib.contextmanager
    def inside(self, step: int) -> Iterator[None]:
        """Let parts that act inside of layers know the loop of the step that runs."""
        self.loop = self.loop_at(step)
        try:
            yield
        finally:
            self.loop = None

    def flops_of_loop(self, schedule: Schedule, section: Section, loop: int) -> float:
        """Count the forward FLOPs per token of the parts in one loop of a block."""
        parts: list[Any] = [self.injection, self.carry, *self.conditioning.values()]
        if loop > 0:
            parts.append(self.between)
        if loop == section.times - 1:
            parts.append(self.end)
        counted = (p.flops(schedule, section.start, section.size, loop) for p in parts)
        return float(sum(counted))

    def reuse_learned(self, previous: nn.Module | None) -> None:
        """Take over what the previous runner has learned, where both have it in the same shapes."""
        for name in ("adapter", "gate", "confidence"):
            module = getattr(previous, name, None)
            if module is not None and getattr(self, name) is not None:
                setattr(self, name, module)
        pairs: list[tuple[Any, Any]] = [
            (getattr(self, name), getattr(previous, name, None))
            for name in ("injection", "carry", "objective", "between", "end")
        ]
        old_parts: Any = getattr(previous, "conditioning", {})
        pairs += [(part, old_parts[n]) for n, part in self.conditioning.items() if n in old_parts]
        for own, old in pairs:
            if old is not None and _alike(own, old):
                for parameter, kept in zip(own.parameters(), old.parameters(), strict=True):
                    _replace(own, parameter, kept)

    def undecayed(self) -> set[int]:
        """Return the ids of matrices without weight decay."""
        parts = [self.injection, self.carry, self.objective, self.between, self.end]
        parts += self.conditioning.values()  # type: ignore[arg-type]
        return {id(p) for part in parts if not part.decays for p in part.parameters()}


def _alike(one: nn.Module, other: nn.Module) -> bool:
    shapes = ({n: p.shape for n, p in m.state_dict().items()} for m in (one, other))
    first, second = shapes
    return type(one) is type(other) and first == second


def _replace(module: nn.Module, old: nn.Parameter, new: nn.Parameter) -> None:
    """Put a parameter in the place of another: optimizers hold the old runner's."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is old:
                part._parameters[name] = new


def no_grad_unless(recorded: bool) -> torch.set_grad_enabled:
    """Return a context that records gradients only if ``recorded`` and they are on already."""
    return torch.set_grad_enabled(torch.is_grad_enabled() and recorded)
