"""FSDP2: shard a model and its optimizers over processes, and gather them again.

``fully_shard`` changes a model for good. So a copy without weights is stored before sharding, and
gathering fills a copy of that with the weights, in CPU memory. A model that fits on no single
device can thus be saved and grown. All processes must call these functions at the same time.
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
    """Shard a model and its optimizer states in place, layer by layer.

    Returns:
        A copy of the model without weights, for :func:`gather_model` and :func:`unshard`.
    """
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    states = [
        _detach_states(optimizer) for optimizer in optimizers
    ]  # else they would hold full parameters
    empty = _copy(model, {name: tensor.to("meta") for name, tensor in _tensors(model).items()})
    for layer in find_decoder(model).unique:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)

    def divide(value: Tensor, parameter: DTensor) -> Tensor:
        value = value.to(device)
        if value.shape != parameter.shape:  # a step count
            return value
        return distribute_tensor(value, mesh, parameter.placements, src_data_rank=None)

    for optimizer, held in zip(optimizers, states, strict=True):
        _attach_parameters(optimizer, held, model, divide)
    return empty


def unshard(
    model: PreTrainedModel, empty: PreTrainedModel, optimizers: Sequence[Optimizer]
) -> PreTrainedModel:
    """Gather the full model on every process, and point the optimizers at its parameters."""
    gathered_model = gather_model(model, empty)
    for optimizer in optimizers:
        states = _detach_states(optimizer)
        _attach_parameters(optimizer, states, gathered_model, lambda value, _: full(value).cpu())
    return gathered_model


def gather_model(
    model: PreTrainedModel, empty: PreTrainedModel, keep: bool = True
) -> PreTrainedModel:
    """Gather the full model; processes without ``keep`` take part but return no weights."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # a forward pass without a backward pass leaves some unsharded
    tensors = gathered(_tensors(model), keep)
    return _copy(empty, tensors) if keep else empty


def gathered(tensors: dict[str, Tensor], keep: bool = True) -> dict[str, Tensor]:
    """Gather sharded tensors one by one, to the CPU; without ``keep`` the result is empty."""
    full_tensors = {}
    for name, tensor in tensors.items():
        value = full(tensor.detach())
        if keep:
            full_tensors[name] = value.cpu()
    return full_tensors


def full(tensor: Tensor) -> Tensor:
    """Return the full tensor of a sharded one."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _copy(model: PreTrainedModel, tensors: dict[str, Tensor]) -> PreTrainedModel:
    """Copy a model with other tensors; tied weights stay tied."""
    memo: dict[int, Any] = {}
    for name, old in _tensors(model).items():
        new = tensors[name]
        parameter = isinstance(old, nn.Parameter)
        memo[id(old)] = nn.Parameter(new, old.requires_grad) if parameter else new
    return copy.deepcopy(model, memo)


def _detach_states(optimizer: Optimizer) -> States:
    """Remove parameters and states from an optimizer; return the states by parameter name."""
    states: States = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            states[name] = optimizer.state.pop(parameter, {})
        group["params"] = []
    return states


def _attach_parameters(
    optimizer: Optimizer, states: States, model: nn.Module, place: Callable[[Tensor, Any], Tensor]
) -> None:
    """Fill an optimizer with a model's parameters by name, and their states mapped by ``place``."""
    named = dict(model.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [named[name] for name in group["param_names"]]
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            for key, value in states.pop(name).items():
                put = place(value, parameter) if isinstance(value, Tensor) else value
                optimizer.state[parameter][key] = put
