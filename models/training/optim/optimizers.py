"""Optimizers, learning-rate schedule, and optimizer state by parameter name."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...looping.decoder import find_decoder
from ..runfile_sections import Optimizer as Settings
from .muon import Muon


def make(model: PreTrainedModel, settings: Settings) -> list[torch.optim.Optimizer]:
    """Make the optimizers of a model: fused AdamW, plus Muon for layer matrices if configured.

    Norms, biases and loop parts that declare it have no weight decay.
    """
    exempt = undecayed(model)
    layers = {id(p) for layer in find_decoder(model).unique for p in layer.parameters()}
    matrices, decayed, rest = [], [], []
    for pair in model.named_parameters():
        parameter = pair[1]
        if not parameter.requires_grad:
            continue
        if settings.name == "muon" and parameter.dim() == 2 and id(parameter) in layers:
            matrices.append(pair)
        elif parameter.dim() >= 2 and id(parameter) not in exempt:
            decayed.append(pair)
        else:
            rest.append(pair)
    groups = [
        {"params": members, "weight_decay": decay, "peak": settings.lr}
        for members, decay in ((decayed, settings.weight_decay), (rest, 0.0))
        if members
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True
        )
    ]
    if matrices:
        group = {"params": matrices, "peak": settings.muon_lr}
        optimizers.append(Muon([group], lr=settings.muon_lr, weight_decay=settings.weight_decay))
    return optimizers


def undecayed(model: nn.Module) -> set[int]:
    """Return the ids of matrices without weight decay: those of loop parts that declare it."""
    runner: Any = model._modules.get("runner")
    return set() if runner is None else set(runner.undecayed())


def rate(step: int, steps: int, settings: Settings) -> float:
    """Return the learning rate of a step as a share of its peak: warm-up, constant, decay to 0.

    Args:
        step: number of the step, from 0.
        steps: number of optimizer steps of the run.
        settings: ``warmup`` and ``cooldown`` are the lengths of warm-up and decay.
    """
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    left = steps - step
    return left / settings.cooldown if left < settings.cooldown else 1.0


def set_rate(optimizers: list[torch.optim.Optimizer], share: float) -> None:
    """Set the learning rate of all groups to a share of their peaks."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share


def state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state of an optimizer: tensors by ``parameter/key``, and the rest as JSON."""
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {"groups": [], "values": {}}
    for group in optimizer.param_groups:
        rest["groups"].append({k: v for k, v in group.items() if k != "params"})
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{name}/{key}"] = value
                else:
                    rest["values"][f"{name}/{key}"] = value
    return tensors, rest


def restore(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    tensors: dict[str, Tensor],
    rest: dict[str, Any],
) -> None:
    """Restore what :func:`state` returned: states, and which parameters each group has.

    Options of the groups stay those of the run file.
    """
    named = dict(model.named_parameters())
    template = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    optimizer.param_groups.clear()
    optimizer.state.clear()
    for saved, fresh in zip(rest["groups"], template, strict=True):
        # the run file may differ from the one this state was saved under
        names = saved["param_names"]
        group = {**fresh, "param_names": names, "params": [named[name] for name in names]}
        optimizer.param_groups.append(group)
    for source in (tensors, rest["values"]):
        for place, value in source.items():
            name, _, key = place.rpartition("/")
            optimizer.state[named[name]][key] = copy.deepcopy(value)
