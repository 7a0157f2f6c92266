"""FSDP2: a model and its optimizers divided among processes, and made whole again.

``fully_shard`` changes a model for good. A copy without weights is kept, and the whole model is a
copy of that with the gathered weights, in the memory of the CPU: what fits on no single device
can be saved and grown too. All processes must call these functions at the same moment.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from ..looping.decoder import find_decoder

States = dict[str, dict[str, Any]]


def shard(
    model: PreTrainedModel, optimizers: Sequence[Optimizer], device: torch.device
) -> PreTrainedModel:
    """Divide a model and the states of its optimizers in place, layer by layer, on a device.

    Returns:
        The model without its weights, for :func:`whole` and :func:`unshard`.
    """
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    states = [_take(optimizer) for optimizer in optimizers]  # else they would keep whole parameters
    empty = _copy(model, {name: tensor.to("meta") for name, tensor in _tensors(model).items()})
    for layer in find_decoder(model).unique:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)

    def divide(value: Tensor, parameter: DTensor) -> Tensor:
        value = value.to(device)
        if value.shape != parameter.shape:  # a count of steps
            return value
        return distribute_tensor(value, mesh, parameter.placements, src_data_rank=None)

    for optimizer, held in zip(optimizers, states, strict=True):
        _give(optimizer, held, model, divide)
    return empty


def unshard(
    model: PreTrainedModel, empty: PreTrainedModel, optimizers: Sequence[Optimizer]
) -> PreTrainedModel:
    """The whole model on every process; its parameters and their states are in the optimizers."""
    found = whole(model, empty)
    for optimizer in optimizers:
        _give(optimizer, _take(optimizer), found, lambda value, _: full(value).cpu())
    return found


def whole(model: PreTrainedModel, empty: PreTrainedModel, keep: bool = True) -> PreTrainedModel:
    """The whole model; without weights where they are not kept."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # after a forward pass without a backward pass some are whole
    found = gathered(_tensors(model), keep)
    return _copy(empty, found) if keep else empty


def gathered(tensors: dict[str, Tensor], keep: bool = True) -> dict[str, Tensor]:
    """What is divided made whole, one after the other; nothing where it is not kept."""
    found = {}
    for name, tensor in tensors.items():
        value = full(tensor.detach())
        if keep:
            found[name] = value.cpu()
    return found


def full(tensor: Tensor) -> Tensor:
    """A tensor as it would be on one process."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _copy(model: PreTrainedModel, tensors: dict[str, Tensor]) -> PreTrainedModel:
    """A copy of a model with other tensors; what was tied stays tied."""
    memo: dict[int, Any] = {}
    for name, old in _tensors(model).items():
        new = tensors[name]
        parameter = isinstance(old, nn.Parameter)
        memo[id(old)] = nn.Parameter(new, old.requires_grad) if parameter else new
    return copy.deepcopy(model, memo)


def _take(optimizer: Optimizer) -> States:
    """The states by parameter name; the optimizer lets go of parameters and states."""
    states: States = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            states[name] = optimizer.state.pop(parameter, {})
        group["params"] = []
    return states


def _give(
    optimizer: Optimizer, states: States, model: nn.Module, place: Callable[[Tensor, Any], Tensor]
) -> None:
    """The opposite: parameters of a model by their names, states put ``place`` for each."""
    named = dict(model.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [named[name] for name in group["param_names"]]
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            for key, value in states.pop(name).items():
                put = place(value, parameter) if isinstance(value, Tensor) else value
                optimizer.state[parameter][key] = put
