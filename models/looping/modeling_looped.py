"""Looped model: layers that run more than once, in the order that config.json says.

This file stands beside the weights and needs torch and transformers alone:

    AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)

Written by growloop. The architecture's own code computes; here its layer list becomes one that
registers each layer once and iterates over the steps. A step has its own slot in the KV cache.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    PretrainedConfig,
    PreTrainedModel,
)

INDICES = "layer_idx", "layer_id", "layer_number"
OWN = "base_model_type", "schedule", "schedule_steps", "num_unique_layers", "effective_depth"
AUTO_MAP = {
    "AutoConfig": "modeling_looped.LoopedConfig",
    "AutoModelForCausalLM": "modeling_looped.LoopedForCausalLM",
}


class Step:
    """Layer at one step of the forward pass: called, it uses the step's cache slot."""

    def __init__(self, layer: nn.Module, own: int, step: int) -> None:
        self.layer, self.step = layer, step
        self.indexed = [
            (module, name)
            for module in layer.modules()
            for name in INDICES
            if module.__dict__.get(name) == own and not isinstance(module.__dict__[name], bool)
        ]

    def __getattr__(self, name: str) -> Any:
        if name == "layer":  # not there yet: an unfinished copy
            raise AttributeError(name)
        return getattr(self.layer, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for module, name in self.indexed:
            setattr(module, name, self.step)
        return self.layer(*args, **kwargs)


class LoopedLayers(nn.Module):
    """Layer list: registers each layer once, has a length and items of one a step."""

    def __init__(self, layers: nn.ModuleList, schedule: list[int]) -> None:
        super().__init__()
        for number, layer in enumerate(layers):
            self.add_module(str(number), layer)
        self.schedule = list(schedule)
        self.steps = [Step(layers[layer], layer, step) for step, layer in enumerate(self.schedule)]

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __getitem__(self, place: Any) -> Any:
        return self.steps[place]


class LoopedConfig(PretrainedConfig):  # type: ignore[misc]
    """Entry point of ``AutoConfig``: makes the architecture's config, with the schedule."""

    model_type = "growloop"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make the config of the unrolled model from the fields of config.json."""
        if config_dict.get("model_type") != "growloop":
            return super().from_dict(config_dict, **kwargs)
        fields = {name: value for name, value in config_dict.items() if name not in OWN}
        depth = config_dict["num_unique_layers"]
        kind = CONFIG_MAPPING[config_dict["base_model_type"]]
        fields["model_type"] = config_dict["base_model_type"]
        fields[_depth_name(kind)] = depth
        fields.pop("auto_map", None)
        result = kind.from_dict(fields, **kwargs)
        plain, unused = result if isinstance(result, tuple) else (result, None)
        looped = {name: config_dict[name] for name in OWN}
        looped["architectures"] = config_dict.get("architectures")
        looped["sentence"] = config_dict[_depth_name(kind)]
        _unroll(plain, looped)
        return plain if unused is None else (plain, unused)


class _Looped:
    """Mixin of the config: ``num_hidden_layers`` is the number of steps, lists have one a step."""

    def plain(self) -> Any:
        """Return the architecture's own config, of a model of the unique layers."""
        plain: Any = copy.deepcopy(self)
        plain.__class__ = type(self).__mro__[2]
        for name in ("looped", "unique_fields", "auto_map"):
            plain.__dict__.pop(name, None)
        _set(plain, self.unique_fields)  # type: ignore[attr-defined]
        return plain

    def to_json_string(self, use_diff: bool = True) -> str:
        """Return config.json as it was read."""
        looped = dict(self.looped)  # type: ignore[attr-defined]
        plain = self.plain()
        fields = json.loads(plain.to_json_string(use_diff=use_diff))
        fields[_depth_name(type(plain))] = looped.pop("sentence")
        fields |= {"model_type": "growloop", "auto_map": AUTO_MAP, **looped}
        return json.dumps(fields, indent=2, sort_keys=True) + "\n"


@functools.cache
def _config_class(kind: Any) -> Any:
    return type("LoopedConfig", (_Looped, kind), {"__module__": __name__})


def _depth_name(kind: Any) -> str:
    """Return the architecture's name for the number of layers."""
    name: str = kind.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    return name


def _per_layer(config: Any) -> dict[str, Any]:
    """Return the depth, and the lists of one entry a layer."""
    depth = config.num_hidden_layers
    never = ("architectures", "growth_history", "keys_to_ignore_at_inference", "moe_layers")
    lists = {
        name: list(value)
        for name, value in vars(config).items()
        if isinstance(value, (list, tuple))
        and len(value) == depth
        and name not in never
        and not name.endswith(("token_id", "token_ids"))
    }
    return {**lists, "num_hidden_layers": depth}


def _unroll(config: Any, looped: dict[str, Any]) -> None:
    """Turn the config of the unique layers into that of the steps, in place."""
    steps, unique = looped["schedule_steps"], _per_layer(config)
    kind: Any = type(config)
    config.__class__ = _config_class(kind)
    config.auto_map, config.looped, config.unique_fields = dict(AUTO_MAP), dict(looped), unique
    fields = {
        name: len(steps) if name == "num_hidden_layers" else [value[layer] for layer in steps]
        for name, value in unique.items()
    }
    _set(config, fields)


def _set(config: Any, fields: dict[str, Any]) -> None:
    for name in sorted(fields, key=lambda name: name == "num_hidden_layers"):
        setattr(config, name, fields[name])  # lists first: some configs compare lengths


class _LoopedModel:
    """Mixin of the model: loops when it is made, and is saved as it was read."""

    config: Any

    @classmethod
    def is_custom_code(cls) -> bool:
        """Answer as the architecture: it decides names in files, and which buffers are made."""
        return bool(cls.__mro__[2].is_custom_code())  # type: ignore[attr-defined]

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config.plain(), *args, **kwargs)  # type: ignore[call-arg]
        path = _layer_list(self, config.looped["num_unique_layers"])
        _unroll(self.config, config.looped)  # in place: all modules have it
        owner, _, name = path.rpartition(".")
        parent: Any = self.get_submodule(owner)  # type: ignore[attr-defined]
        looped = LoopedLayers(getattr(parent, name), config.looped["schedule_steps"])
        setattr(parent, name, looped)

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """Save as usual, with this file beside the weights."""
        result = super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]
        target = os.path.join(save_directory, "modeling_looped.py")
        if not os.path.exists(target) or not os.path.samefile(__file__, target):
            shutil.copyfile(__file__, target)
        return result


def _layer_list(model: Any, depth: int) -> str:
    """Return the path of the one list of as many layers as the config says."""
    paths: list[str] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(outer + ".") for outer in paths)
        if isinstance(module, nn.ModuleList) and len(module) == depth and not inside:
            paths.append(path)
    if len(paths) != 1:
        raise ValueError(f"no single list of {depth} layers: {', '.join(paths) or 'none'}")
    return paths[0]


@functools.cache
def _model_class(kind: Any) -> Any:
    fields = {"config_class": _config_class(kind.config_class), "__module__": __name__}
    return type(kind.__name__, (_LoopedModel, kind), fields)


class LoopedForCausalLM(PreTrainedModel):  # type: ignore[misc]
    """Entry point of ``AutoModelForCausalLM``: makes a model of the architecture's class."""

    config_class = LoopedConfig

    @classmethod
    def from_pretrained(cls, path: Any, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        """Load the model of the architecture that config.json names."""
        if not isinstance(config, _Looped):
            config = LoopedConfig.from_pretrained(path)
        kind = MODEL_FOR_CAUSAL_LM_MAPPING[type(config.plain())]
        return _model_class(kind).from_pretrained(path, *args, config=config, **kwargs)
