"""What happens to a model on the step axis of a run: growth stages and events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch.optim import Optimizer
from transformers import PreTrainedModel

from ...core.schedule import check_whole
from ..growing.grow import grow
from ..growing.maps import GrowthMap
from ..looping.decoder import find_decoder
from ..looping.loop import loop
from ..looping.recurrence import Recurrence
from .runfile import Event, Run


def alters(run: Run, growth: Mapping[int, GrowthMap], step: int) -> bool:
    """Whether something changes the model before a step."""
    events = (event for event in run.events if event.step == step)
    return step in growth or any(e.grow is not None or _loops(e) for e in events)


def happen(
    model: PreTrainedModel,
    run: Run,
    growth: Mapping[int, GrowthMap],
    step: int,
    optimizers: Sequence[Optimizer] = (),
) -> list[str]:
    """Do what is due before a step; a line for each change.

    Args:
        model: changed in place; unwrapped.
        growth: the maps of growth stages by step.
        optimizers: follow the model's parameters.
    """
    lines = []
    if (found := growth.get(step)) is not None:
        grow(model, found, list(optimizers))
        lines.append(f"grown to {len(found)} layers ({found})")
    for event in run.events:
        if event.step != step:
            continue
        if event.mixture is not None:
            lines.append(f"mixture {dict(event.mixture)}")
        if event.grow is not None:
            grow(model, event.grow, list(optimizers))
            lines.append(f"grown by {event.grow}")
        if _loops(event):
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


def _loops(event: Event) -> bool:
    """Whether an event changes how the layers run."""
    changes = (event.schedule, event.repeat, event.recurrence)
    return any(change is not None for change in changes)


def _follow_parameters(model: PreTrainedModel, optimizers: Sequence[Optimizer]) -> None:
    """An adapter or a gate that came with a recurrence trains too; one that went is let go."""
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
    group = optimizers[0].param_groups[0]
    for name, parameter in model.named_parameters():
        if id(parameter) not in known and parameter.requires_grad:
            group["params"].append(parameter)
            group["param_names"].append(name)
