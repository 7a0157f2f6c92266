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

from ...core.errors import InputError
from ...core.schedule import Schedule
from ..looping.config import LoopedConfig
from ..looping.decoder import (
    Decoder,
    decoder_config,
    find_decoder,
    gather_fields,
    replace_config,
    set_fields,
)
from ..looping.loop import rebind_forward
from ..looping.views import INDEX_NAMES, LoopedLayers
from .maps import GrowthMap, growth_map

Model = TypeVar("Model", bound=PreTrainedModel)
OUTPUTS = {"o_proj", "out_proj", "down_proj", "c_proj", "dense", "dense_4h_to_h", "fc2", "w2", "wo",
           "attention_output", "output_linear", "fc_out", "down_proj_bias"}  # fmt: skip
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
        InputError: a map the model has not the layers for; an architecture that builds some of
            its layers otherwise, so that the grown model could not be saved.

    Example::

        grow(model, "lidas", optimizer, block_size=4)  # 8 layers to 12
    """
    decoder = find_decoder(model)
    if isinstance(decoder.layers, LoopedLayers):
        raise InputError(
            "a looped model cannot grow: give its layers copies first (untie, growloop export)"
        )
    depth = len(decoder.unique)
    found = growth_map(operator, depth, **options)
    history = [
        *(getattr(model.config, "growth_history", None) or []),
        {"operator": found.name, "from": depth, "to": len(found), "sources": str(found)}
        | ({"zeroed": list(found.zeroed)} if found.zeroed else {}),
    ]
    config = _grown_config(type(model), model.config, found, {"growth_history": history})
    _gather(model, decoder, found, optimizer, config)
    return model


def check_untie(config: LoopedConfig) -> None:
    """Refuse a looped model that does more than running layers again.

    Raises:
        InputError: naming what it does.
    """
    recurrence = dict(config.recurrence)
    for only_in_training in ("backward_loops", "random_loops"):
        recurrence.pop(only_in_training, None)
    if recurrence:
        raise InputError(
            f"a model with {', '.join(recurrence)} between its loops computes something that no "
            "plain stack of layers does"
        )


def untie(model: PreTrainedModel, optimizer: Any = None) -> PreTrainedModel:
    """Give every step of a looped model layers of its own: the untied hybrid (paper section 4).

    The model is changed in place to an ordinary one, as deep as its schedule was long, that
    computes the same. It can be saved for software that knows no loops.

    Raises:
        InputError: a model that does not loop, or one whose recurrence is more than running
            layers again (injection, damping, shared caches, early exit).
    """
    decoder = find_decoder(model)
    layers = decoder.layers
    if not isinstance(layers, LoopedLayers):
        raise InputError("the model does not loop: there is nothing to untie")
    check_untie(model.config)
    unrolled = GrowthMap(layers.schedule.layers)
    plain = model.config.plain()
    notes = {"untied_from": str(layers.schedule)}
    config = _grown_config(model.plain_class, plain, unrolled, notes)  # refuses before any change
    replace_config(model, model.config, plain)
    looped = type(model)
    model.__class__ = model.plain_class
    rebind_forward(model, looped)
    model.__dict__.pop("_looped", None)
    model._modules.pop("runner", None)
    _gather(model, decoder, unrolled, optimizer, config)
    return model


def _gather(
    model: PreTrainedModel, decoder: Decoder, found: GrowthMap, optimizer: Any, config: Any
) -> None:
    """Put copies of layers in place, and make the optimizers follow."""
    given = optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]
    optimizers = [_inner_optimizer(one) for one in given if one is not None]
    order = {parameter: i for i, parameter in enumerate(model.parameters())}
    if optimizers and not any(
        p in order for one in optimizers for group in one.param_groups for p in group["params"]
    ):
        raise InputError("the optimizer holds no parameter of this model")
    old = decoder.unique
    layers: list[nn.Module] = []
    copies: dict[nn.Parameter, list[nn.Parameter]] = {}
    used: set[int] = set()
    for source in found.sources:
        layer = old[source]
        if source in used:
            layer = copy.deepcopy(layer)
            pairs = zip(old[source].parameters(), layer.parameters(), strict=True)
            for before, after in pairs:
                copies.setdefault(before, []).append(after)
        used.add(source)
        layers.append(layer)
    for place in found.zeroed:
        _zero_outputs(layers[place])
        _check_adds_nothing(model, decoder, found.sources[place], layers[place])
    for place, (layer, source) in enumerate(zip(layers, found.sources, strict=True)):
        _renumber(layer, source, place)
    replace_config(model, model.config, config)
    put = nn.ModuleList(layers)
    put.training = decoder.layers.training
    decoder.put(put)
    names = {parameter: name for name, parameter in model.named_parameters()}
    dropped = {
        p for index, layer in enumerate(old) if index not in used for p in layer.parameters()
    }
    for one in optimizers:
        _extend(one, copies, dropped - set(names), names, order)


def _grown_config(kind: Any, before: Any, found: GrowthMap, notes: dict[str, Any]) -> Any:
    """The config of the grown stack; refused if the architecture would build other layers from it.

    Some architectures make the first layers, or every n-th, otherwise than the rest, or take
    constants from a layer's number: what is in memory would not be what is loaded again.
    """
    config = copy.deepcopy(before)
    inner = decoder_config(config)
    set_fields(inner, gather_fields(inner, found.sources))
    for name, value in notes.items():
        setattr(config, name, value)
    with torch.device("meta"):
        now = find_decoder(kind(copy.deepcopy(before))).unique
        then = find_decoder(kind(copy.deepcopy(config))).unique
    for place, source in enumerate(found.sources):
        wanted, made = _signature(now[source]), _signature(then[place])
        if wanted != made:
            names = sorted(wanted.keys() | made.keys())
            what = next(n for n in names if wanted.get(n) != made.get(n))
            raise InputError(
                f"{before.model_type} builds layer {place} otherwise than layer {source}, of which "
                f"it would be a copy ({what}): the result could not be loaded again"
            )
    return config


def _signature(layer: nn.Module) -> dict[str, Any]:
    """Shapes of parameters, and the constants that the modules of a layer keep."""
    found: dict[str, Any] = {name: p.shape for name, p in layer.named_parameters()}
    for path, module in layer.named_modules():
        for name, value in vars(module).items():
            plain = isinstance(value, (bool, int, float, str)) and not name.startswith("_")
            if plain and name not in INDEX_NAMES:
                found[f"{path}.{name}".lstrip(".")] = value
    return found


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
        if OUTPUTS & set(name.replace(".base_layer", "").split(".")[-2:])
    ]
    with torch.no_grad():
        for parameter in found:
            parameter.zero_()


@torch.no_grad()
def _check_adds_nothing(
    model: PreTrainedModel, decoder: Decoder, source: int, layer: nn.Module
) -> None:
    """Run a zeroed layer once in the place of its source: what goes in must come out."""
    if next(layer.parameters()).is_meta:
        return
    seen: list[bool] = []

    def watch(module: nn.Module, given: Any, named: dict[str, Any], output: Any) -> None:
        before = given[0] if given else named["hidden_states"]
        after = output[0] if isinstance(output, tuple) else output
        seen.append(torch.equal(before, after))

    original, training = decoder.unique[source], model.training
    hook = layer.register_forward_hook(watch, with_kwargs=True)
    decoder.layers._modules[str(source)] = layer
    try:
        model.eval()
        model(torch.zeros(1, 4, dtype=torch.long, device=model.device), use_cache=False)
    finally:
        hook.remove()
        decoder.layers._modules[str(source)] = original
        model.train(training)
    if not all(seen):
        raise InputError(
            f"a {type(layer).__name__} with zeroed outputs ({', '.join(sorted(OUTPUTS))}) still "
            "changes the state: this operator cannot keep the function of this architecture"
        )


def _inner_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    while hasattr(optimizer, "optimizer"):  # Accelerate's wrapper
        optimizer = optimizer.optimizer
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(f"a torch optimizer is needed, not {type(optimizer).__name__}")
    return optimizer


def _extend(
    optimizer: torch.optim.Optimizer,
    copies: dict[nn.Parameter, list[nn.Parameter]],
    dropped: set[nn.Parameter],
    names: dict[nn.Parameter, str],
    order: dict[nn.Parameter, int],
) -> None:
    """Give an optimizer the copies of its parameters, and their states.

    A group in the order of the model's parameters stays in that order: torch saves and loads
    states by position.
    """
    places = {parameter: i for i, parameter in enumerate(names)}
    for group in optimizer.param_groups:
        old = [order.get(parameter, -1) for parameter in group["params"]]
        group["params"] = [
            parameter
            for before in group["params"]
            if before not in dropped
            for parameter in [before, *copies.get(before, [])]
        ]
        if old == sorted(old):
            group["params"].sort(key=lambda parameter: places.get(parameter, -1))
        if "param_names" in group:
            group["param_names"] = [names.get(p, "") for p in group["params"]]
    for before, afters in copies.items():
        if before in optimizer.state:
            for after in afters:
                optimizer.state[after] = copy.deepcopy(optimizer.state[before])
    for parameter in dropped:
        optimizer.state.pop(parameter, None)
