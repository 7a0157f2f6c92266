"""Growth of a model and its optimizers: gather layers by index, as copies.

New layers get deep copies of the weights and of every per-parameter optimizer state, step counts
included. Nothing is reset, and parameter groups keep their options (paper appendix F).
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from ...core.errors import InputError, whole
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
from .maps import GrowthMap, Operator, growth_map, growth_maps
from .registry import OPERATORS, find_operator, identity_of

Model = TypeVar("Model", bound=PreTrainedModel)
OUTPUTS = {"o_proj", "out_proj", "down_proj", "c_proj", "dense", "dense_4h_to_h", "fc2", "w2", "wo",
           "attention_output", "output_linear", "fc_out", "down_proj_bias"}  # fmt: skip
"""Names of linear layers whose outputs are added to the residual stream."""


def grow(
    model: Model,
    operator: Operator,
    optimizer: Any = None,
    to: int | None = None,
    **options: int | str,
) -> Model:
    """Deepen a model in place by copying layers.

    Args:
        model: any Hugging Face causal language model that does not loop; unwrapped (with
            Accelerate: ``accelerator.unwrap_model(model)``, then ``prepare`` it again).
        operator: ``midas``, ``lidas``, ``gradual_stacking``, ``g_stack``, ``solar``,
            ``llama_pro`` or the name of a plug-in's; a function from a number of layers to a list
            of source layers, or its ``module:function``; or such a list, as ``0-5,2-7`` too.
        optimizer: torch optimizer over the model's parameters, Accelerate's wrapper, or a list of
            them. New parameters join the groups of their sources, with copies of their states.
        to: number of layers to grow to, in as many steps as an operator by name needs; None for
            one step.
        options: options of the operator, such as ``block_size=4``.

    Returns:
        The same model. ``model.config.growth_history`` records the growth step.

    Raises:
        InputError: a map that needs other layers than the model has; an architecture that builds
            some of its layers differently, so that the grown model could not be loaded.

    Example::

        grow(model, "lidas", optimizer, block_size=4)  # 8 layers to 12
    """
    decoder = find_decoder(model)
    if isinstance(decoder.layers, LoopedLayers):
        raise InputError(
            "a looped model cannot grow: give its layers copies first (untie, growloop export)"
        )
    depth = len(decoder.unique)
    if to is not None:
        for growth in _steps_to(to, operator, depth, options):
            grow(model, growth, optimizer)
        return model
    growth = growth_map(operator, depth, **options)
    history = [
        *(getattr(model.config, "growth_history", None) or []),
        {"operator": growth.name, "from": depth, "to": len(growth), "sources": str(growth)}
        | ({"zeroed": list(growth.zeroed)} if growth.zeroed else {})
        | ({} if (plugin := identity_of(growth.name)) is None else {"plugin": plugin}),
    ]
    config = _grown_config(type(model), model.config, growth, {"growth_history": history})
    _gather(model, decoder, growth, optimizer, config)
    return model


def _steps_to(
    to: int, operator: Operator, depth: int, options: dict[str, int | str]
) -> list[GrowthMap]:
    """Return the growth steps to a number of layers.

    Raises:
        InputError: no operator by name, no more layers than there are, or a number that no steps
            reach.
    """
    if find_operator(operator) is None:
        raise InputError(f"to goes with an operator by name ({', '.join(OPERATORS)})")
    if whole("to", to, 1) <= depth:
        raise InputError(f"the model has {depth} layers already: to must be more, not {to}")
    return growth_maps(operator, depth, to, **options)


def check_untie(config: LoopedConfig) -> None:
    """Refuse to untie a looped model whose recurrence does more than repeat layers.

    Raises:
        InputError: naming the settings.
    """
    recurrence = dict(config.recurrence)
    for only_in_training in ("backward_loops", "random_loops", "objective"):
        recurrence.pop(only_in_training, None)
    if recurrence:
        raise InputError(
            f"a model with {', '.join(recurrence)} between its loops has no equivalent plain "
            "stack of layers"
        )


def untie(model: PreTrainedModel, optimizer: Any = None) -> PreTrainedModel:
    """Give every step of a looped model its own layer: the untied hybrid (paper section 4).

    The model becomes, in place, an ordinary model with one layer per step that computes the same.
    Software without loops can load it.

    Args:
        optimizer: as for :func:`grow`.

    Raises:
        InputError: a model that does not loop, or one whose recurrence does more than repeat
            layers (injection, damping, shared caches, early exit).

    Example::

        untie(loop(model, "4-4x4-4"))  # 24 layers of their own
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
    runner: Any = model._modules.pop("runner", None)
    if runner is not None:
        runner.detach_hooks()
    _gather(model, decoder, unrolled, optimizer, config)
    return model


def _gather(
    model: PreTrainedModel, decoder: Decoder, growth: GrowthMap, optimizer: Any, config: Any
) -> None:
    """Replace the layer list by copies, and update the optimizers."""
    wrapped = optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]
    optimizers = [_inner_optimizer(one) for one in wrapped if one is not None]
    order = {parameter: i for i, parameter in enumerate(model.parameters())}
    if optimizers and not any(
        p in order for one in optimizers for group in one.param_groups for p in group["params"]
    ):
        raise InputError("the optimizer holds no parameter of this model")
    old = decoder.unique
    layers: list[nn.Module] = []
    copies: dict[nn.Parameter, list[nn.Parameter]] = {}
    used: set[int] = set()
    for source in growth.sources:
        layer = old[source]
        if source in used:
            layer = copy.deepcopy(layer)
            pairs = zip(old[source].parameters(), layer.parameters(), strict=True)
            for before, after in pairs:
                copies.setdefault(before, []).append(after)
        used.add(source)
        layers.append(layer)
    for place in growth.zeroed:
        _zero_outputs(layers[place])
        _check_adds_nothing(model, decoder, growth.sources[place], layers[place])
    for place, (layer, source) in enumerate(zip(layers, growth.sources, strict=True)):
        _renumber(layer, source, place)
    replace_config(model, model.config, config)
    module_list = nn.ModuleList(layers)
    module_list.training = decoder.layers.training
    decoder.put(module_list)
    names = {parameter: name for name, parameter in model.named_parameters()}
    dropped = {
        p for index, layer in enumerate(old) if index not in used for p in layer.parameters()
    }
    for one in optimizers:
        _extend(one, copies, dropped - set(names), names, order)


def _grown_config(model_class: Any, before: Any, growth: GrowthMap, notes: dict[str, Any]) -> Any:
    """Make the config of the grown stack.

    Some architectures build the first layers, or every n-th, differently, or derive constants from
    a layer's number. The grown model in memory would then differ from the one loaded again.

    Raises:
        InputError: the architecture would build other layers from the config.
    """
    config = copy.deepcopy(before)
    inner = decoder_config(config)
    set_fields(inner, gather_fields(inner, growth.sources))
    for name, value in notes.items():
        setattr(config, name, value)
    with torch.device("meta"):
        now = find_decoder(model_class(copy.deepcopy(before))).unique
        then = find_decoder(model_class(copy.deepcopy(config))).unique
    for place, source in enumerate(growth.sources):
        expected, rebuilt = _signature(now[source]), _signature(then[place])
        if expected != rebuilt:
            names = sorted(expected.keys() | rebuilt.keys())
            what = next(n for n in names if expected.get(n) != rebuilt.get(n))
            raise InputError(
                f"{before.model_type} builds layer {place} differently from layer {source}, which "
                f"it would copy ({what}): the grown model could not be loaded again"
            )
    return config


def _signature(layer: nn.Module) -> dict[str, Any]:
    """Return parameter shapes and module constants of a layer."""
    signature: dict[str, Any] = {name: p.shape for name, p in layer.named_parameters()}
    for path, module in layer.named_modules():
        for name, value in vars(module).items():
            plain = isinstance(value, (bool, int, float, str)) and not name.startswith("_")
            if plain and name not in INDEX_NAMES:
                signature[f"{path}.{name}".lstrip(".")] = value
    return signature


def _renumber(layer: nn.Module, old: int, new: int) -> None:
    """Update the layer index in a layer and its modules, which cache slots follow."""
    for module in layer.modules():
        for name in INDEX_NAMES:
            value = module.__dict__.get(name)
            if value == old and not isinstance(value, bool):
                setattr(module, name, new)


def _zero_outputs(layer: nn.Module) -> None:
    """Zero a layer's output weights, so that it adds nothing to the residual stream."""
    outputs = [
        parameter
        for name, parameter in layer.named_parameters()
        if OUTPUTS & set(name.replace(".base_layer", "").split(".")[-2:])
    ]
    with torch.no_grad():
        for parameter in outputs:
            parameter.zero_()


@torch.no_grad()
def _check_adds_nothing(
    model: PreTrainedModel, decoder: Decoder, source: int, layer: nn.Module
) -> None:
    """Run a zeroed layer once in place of its source; refuse it if it changes the state."""
    if next(layer.parameters()).is_meta:
        return
    unchanged: list[bool] = []

    def watch(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        before = args[0] if args else kwargs["hidden_states"]
        after = output[0] if isinstance(output, tuple) else output
        unchanged.append(torch.equal(before, after))

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
    if not all(unchanged):
        raise InputError(
            f"a {type(layer).__name__} with zeroed outputs ({', '.join(sorted(OUTPUTS))}) still "
            "changes the state: this operator cannot preserve the function of this architecture"
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
    """Add the copies of an optimizer's parameters to their groups, with copies of their states.

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
