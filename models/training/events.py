"""Events on the step axis of a run: growth stages, and changes of schedule or recurrence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch.optim import Optimizer
from transformers import PreTrainedModel

from ...core.schedule import Schedule, check_whole
from ..growing.grow import grow
from ..growing.maps import GrowthMap
from ..looping.decoder import find_decoder
from ..looping.loop import loop
from ..looping.recurrence import Recurrence
from .optim.optimizers import undecayed
from .runfile import Run
from .runfile_sections import Evaluation, Event


@dataclass(frozen=True)
class Timeline:
    """Events and growth stages of a run by step.

    Args:
        run: the run file.
        growth: step -> growth map to apply before it.
    """

    run: Run
    growth: Mapping[int, GrowthMap]

    def at(self, step: int) -> list[Event]:
        """Return the events before a step, in the order of the run file."""
        return [event for event in self.run.events if event.step == step]

    def evaluations(self, step: int) -> list[Evaluation]:
        """Return the evaluations that events request after a step."""
        return [event.evaluate for event in self.at(step) if event.evaluate]

    def changes_model(self, step: int) -> bool:
        """Return whether growth or an event before a step changes the model."""
        events = self.at(step)
        return step in self.growth or any(e.grow is not None or _changes_loops(e) for e in events)

    def apply(
        self, model: PreTrainedModel, step: int, optimizers: Sequence[Optimizer] = ()
    ) -> list[str]:
        """Apply the growth stage and the events of a step, before the step runs.

        Args:
            model: unwrapped model, changed in place.
            step: number of the step.
            optimizers: optimizers of the model, updated with it.

        Returns:
            One message per change.
        """
        lines = []
        if (growth_map := self.growth.get(step)) is not None:
            grow(model, growth_map, list(optimizers))
            lines.append(f"grown to {len(growth_map)} layers ({growth_map})")
        for event in self.at(step):
            lines += _apply(event, model, optimizers)
        return lines


def _apply(event: Event, model: PreTrainedModel, optimizers: Sequence[Optimizer]) -> list[str]:
    """Apply one event to a model and its optimizers; return one message per change."""
    lines = []
    if event.mixture is not None:
        lines.append(f"mixture {dict(event.mixture)}")
    if event.grow is not None:
        grow(model, event.grow, list(optimizers))
        by = event.grow if isinstance(event.grow, str) else Schedule(event.grow)
        lines.append(f"grown by {by}")
    if _changes_loops(event):
        recurrence = event.recurrence
        if event.schedule is not None:
            check_whole(event.schedule, len(find_decoder(model).unique))
        loop(
            model,
            event.schedule,
            repeat=event.repeat,
            times=event.times,
            recurrence=None if recurrence is None else Recurrence.from_dict(recurrence),
        )
        if optimizers:
            _follow_parameters(model, optimizers)
        lines.append(f"schedule {model.schedule}")
    return lines


def _changes_loops(event: Event) -> bool:
    """Return whether an event changes the schedule or the recurrence."""
    changes = (event.schedule, event.repeat, event.recurrence)
    return any(change is not None for change in changes)


def _follow_parameters(model: PreTrainedModel, optimizers: Sequence[Optimizer]) -> None:
    """Add the parameters of new loop parts to the optimizers, and drop removed ones."""
    own = {id(parameter) for parameter in model.parameters()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            pairs = list(zip(group["params"], group["param_names"], strict=True))
            group["params"] = [parameter for parameter, _ in pairs if id(parameter) in own]
            group["param_names"] = [name for parameter, name in pairs if id(parameter) in own]
            for parameter, _ in pairs:
                if id(parameter) not in own:
                    optimizer.state.pop(parameter, None)
    known = {id(p) for o in optimizers for g in o.param_groups for p in g["params"]}
    decayed, exempt = optimizers[0].param_groups[0], undecayed(model)
    plain = next((g for g in optimizers[0].param_groups if not g["weight_decay"]), decayed)
    for name, parameter in model.named_parameters():
        if id(parameter) not in known and parameter.requires_grad:
            group = plain if id(parameter) in exempt else decayed
            group["params"].append(parameter)
            group["param_names"].append(name)
