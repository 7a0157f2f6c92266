"""Grows a model, its optimizer with it: gathers layers by index, copying them.

New layers get deep copies of the weights and of every per-parameter optimizer state, step counts
included; nothing is reset, and parameter groups keep their options (paper appendix F).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from .decoder import (
    Decoder,
    decoder_config,
    find_decoder,
    gather_fields,
    replace_config,
    set_fields,
)
from .errors import ModelError
from .growth import GrowthMap, growth_map
from .looping import rebind_forward
from .schedule import Schedule
from .views import INDEX_NAMES, LoopedLayers

Model = TypeVar("Model", bound=PreTrainedModel)
OUTPUTS = {"o_proj", "out_proj", "down_proj", "c_proj", "dense", "dense_4h_to_h", "fc2", "w2", "wo",
           "attention_output", "output_linear", "fc_out"}  # fmt: skip
"""Names of the maps whose outputs are added to the residual stream."""


def grow(
    model: Model,
    operator: str | GrowthMap | Schedule | Sequence[int],
    optimizer: Any = None,
    **options: int | str,
) -> Model:
    """Deepen a model in place by copying layers.

    Args:
        model: any Hugging Face causal language model that does not loop; unwrapped (with
            Accelerate: ``accelerator.unwrap_model(model)``, and ``prepare`` it again after).
        operator: ``midas``, ``lidas``, ``gradual_stacking``, ``g_stack``, ``solar``,
            ``llama_pro``, or a list of source layers such as ``0-5,2-7``.
        optimizer: a torch optimizer over the model's parameters, or Accelerate's wrapper, or a
            list of them: the new parameters join the groups of their sources, with copies of
            their states.
        options: of the operator, as ``block_size=4``.

    Returns:
        The same model. ``model.config.growth_history`` tells what was done.

    Raises:
        ModelError: a map the model has not the layers for; an architecture that builds some of
            its layers otherwise, so that the grown model could not be saved.

    Example::

        grow(model, "lidas", optimizer, block_size=4)  # 8 layers to 12
    """
    decoder = find_decoder(model)
    if isinstance(decoder.layers, LoopedLayers):
        raise ModelError("a looped model cannot grow: untie(model) makes its layers separate first")
    depth = len(decoder.unique)
    found = growth_map(operator, depth, **options)
    history = [
        *(getattr(model.config, "growth_history", None) or []),
        {"operator": found.name, "from": depth, "to": len(found), "sources": str(found)},
    ]
    _gather(model, decoder, found, optimizer, {"growth_history": history})
    return model


def untie(model: PreTrainedModel, optimizer: Any = None) -> PreTrainedModel:
    """Give every step of a looped model layers of its own: the untied hybrid (paper section 4).

    The model is changed in place to an ordinary one, as deep as its schedule was long, that
    computes the same. It can be saved for software that knows no loops.

    Raises:
        ModelError: a model that does not loop, or one whose recurrence is more than running
            layers again (injection, damping, shared caches, early exit).
    """
    decoder = find_decoder(model)
    layers = decoder.layers
    if not isinstance(layers, LoopedLayers):
        raise ModelError("the model does not loop: there is nothing to untie")
    recurrence = dict(model.config.recurrence)
    for only_in_training in ("backward_loops", "random_loops"):
        recurrence.pop(only_in_training, None)
    if recurrence:
        raise ModelError(
            f"a model with {', '.join(recurrence)} between its loops computes something that no "
            "plain stack of layers does"
        )
    config = model.config.plain()
    replace_config(model, model.config, config)
    looped = type(model)
    model.__class__ = model.plain_class
    rebind_forward(model, looped)
    model.__dict__.pop("_looped", None)
    model._modules.pop("runner", None)
    unrolled = GrowthMap(layers.schedule.layers)
    _gather(model, decoder, unrolled, optimizer, {"untied_from": str(layers.schedule)})
    return model


def _gather(
    model: PreTrainedModel,
    decoder: Decoder,
    found: GrowthMap,
    optimizer: Any,
    notes: dict[str, Any],
) -> None:
    old = decoder.unique
    config = copy.deepcopy(model.config)
    inner = decoder_config(config)
    set_fields(inner, gather_fields(inner, found.sources))
    for name, value in notes.items():
        setattr(config, name, value)
    _check_buildable(model, decoder, config, found)
    given = optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]
    optimizers = [_inner_optimizer(one) for one in given if one is not None]

    layers: list[nn.Module] = []
    copies: dict[nn.Parameter, list[nn.Parameter]] = {}
    used: set[int] = set()
    for place, source in enumerate(found.sources):
        layer = old[source]
        if source in used:
            layer = copy.deepcopy(layer)
            pairs = zip(old[source].parameters(), layer.parameters(), strict=True)
            for before, after in pairs:
                copies.setdefault(before, []).append(after)
        used.add(source)
        layers.append(layer)
        if place in found.zeroed:
            _zero_outputs(layer)
    for place, (layer, source) in enumerate(zip(layers, found.sources, strict=True)):
        _renumber(layer, source, place)
    dropped = {
        parameter
        for index, layer in enumerate(old)
        if index not in used
        for parameter in layer.parameters()
    }
    replace_config(model, model.config, config)
    decoder.put(nn.ModuleList(layers))
    names = {parameter: name for name, parameter in model.named_parameters()}
    for one in optimizers:
        _extend(one, copies, dropped, names)


def _check_buildable(
    model: PreTrainedModel, decoder: Decoder, config: Any, found: GrowthMap
) -> None:
    """Refuse a stack that the architecture would not build from its config: it could not be loaded.

    Some architectures make the first layers, or every n-th, otherwise than the rest.
    """
    with torch.device("meta"):
        built = find_decoder(type(model)(copy.deepcopy(config))).unique
    for place, source in enumerate(found.sources):
        wanted, made = _shapes(decoder.unique[source]), _shapes(built[place])
        if wanted != made:
            raise ModelError(
                f"{config.model_type} builds layer {place} otherwise than layer {source}, of which "
                "it would be a copy: the result could not be loaded again"
            )


def _shapes(layer: nn.Module) -> dict[str, torch.Size]:
    """Parameter shapes without what adapters add."""
    return {
        name.replace(".base_layer", ""): parameter.shape
        for name, parameter in layer.named_parameters()
        if "lora_" not in name
    }


def _renumber(layer: nn.Module, old: int, new: int) -> None:
    """Cache slots go by the index that a layer and its modules keep."""
    for module in layer.modules():
        for name in INDEX_NAMES:
            value = module.__dict__.get(name)
            if value == old and not isinstance(value, bool):
                setattr(module, name, new)


def _zero_outputs(layer: nn.Module) -> None:
    """Let a layer add nothing to the residual stream."""
    found = [
        parameter
        for name, parameter in layer.named_parameters()
        if OUTPUTS & set(name.split(".")[-2:])
    ]
    if not found:
        raise ModelError(
            f"no output projection in {type(layer).__name__} (looked for "
            f"{', '.join(sorted(OUTPUTS))})"
        )
    with torch.no_grad():
        for parameter in found:
            parameter.zero_()


def _inner_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    while hasattr(optimizer, "optimizer"):  # Accelerate's wrapper
        optimizer = optimizer.optimizer
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ModelError(f"a torch optimizer is needed, not {type(optimizer).__name__}")
    return optimizer


def _extend(
    optimizer: torch.optim.Optimizer,
    copies: dict[nn.Parameter, list[nn.Parameter]],
    dropped: set[nn.Parameter],
    names: dict[nn.Parameter, str],
) -> None:
    """Give an optimizer the copies of its parameters, and their states."""
    for group in optimizer.param_groups:
        group["params"] = [
            parameter
            for before in group["params"]
            if before not in dropped
            for parameter in [before, *copies.get(before, [])]
        ]
        if "param_names" in group:
            group["param_names"] = [names.get(p, "") for p in group["params"]]
    for before, afters in copies.items():
        if before in optimizer.state:
            for after in afters:
                optimizer.state[after] = copy.deepcopy(optimizer.state[before])
    for parameter in dropped:
        optimizer.state.pop(parameter, None)
