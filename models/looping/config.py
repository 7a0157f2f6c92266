"""Config of a looped model, in memory and in config.json.

In memory it is the architecture's own config under a schedule: ``num_hidden_layers`` is the
effective depth, because Hugging Face's forward and caches read it, and lists such as
``layer_types`` have one entry per step.

In config.json it describes the unique layers, plus the schedule. No other library can load it as a
plain model by mistake, whichever field it reads: ``model_type`` is our own (Auto classes),
``architectures`` names classes that exist nowhere else (TRL, GGUF converters), and
``num_hidden_layers`` is a sentence (``LlamaForCausalLM.from_pretrained``, which cannot build that
many layers).
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import transformers
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ...core.errors import InputError, shown
from ...core.schedule import Schedule
from .decoder import (
    decoder_config,
    find_layers,
    gather_fields,
    per_layer_fields,
    set_fields,
)
from .native import loops_by_itself, native_schedule
from .recurrence import Recurrence

MODEL_TYPE = "growloop"
"""``model_type`` in the config.json of a looped model."""
LOOPED = "Looped"
"""Prefix of the names of looped classes."""


class LoopedConfig:
    """Mixin for the config class of an architecture: the schedule and its serialisation.

    Attributes:
        schedule: schedule, in the shortest notation.
        recurrence: fields that differ from ``Recurrence()``.
        num_unique_layers: number of layers with weights.
        num_hidden_layers: effective depth; lists such as ``layer_types`` have one entry per step.
        unique_fields: ``num_hidden_layers`` and per-layer lists of the unique layers.
        looped_blocks: layers of each block that parts of the recurrence act on, also where the
            schedule runs it once.
    """

    plain_class: type[PretrainedConfig]
    auto_map: Mapping[str, str] = MappingProxyType({})  # TRL reads it from configs it does not know
    architectures: list[str] | None
    schedule: str
    recurrence: dict[str, Any]
    unique_fields: dict[str, Any]
    looped_blocks: Sequence[Sequence[int]] = ()

    @property
    def num_unique_layers(self) -> int:
        """Number of layers with weights."""
        depth: int = self.unique_fields["num_hidden_layers"]
        return depth

    @property
    def effective_depth(self) -> int:
        """Number of layer forwards in a forward pass."""
        return len(current_schedule(self))

    def set_schedule(self, schedule: Schedule) -> None:
        """Set the schedule and unroll the per-layer fields by it.

        Raises:
            InputError: an architecture that derives ``layer_types`` from the number of layers.
        """
        inner = decoder_config(self)
        plain = copy.copy(inner)
        set_fields(plain, self.unique_fields)
        fields = gather_fields(plain, schedule.layers)
        steps = copy.copy(inner)
        set_fields(steps, fields)
        types = getattr(plain, "layer_types", None)
        if types is not None and list(steps.layer_types) != [types[i] for i in schedule]:
            raise InputError(
                f"{plain.model_type} is not supported with the schedule {schedule}: its config "
                "derives layer_types from the number of layers, which would not follow the steps"
            )
        set_fields(inner, fields)
        self.schedule = str(schedule)

    def plain(self) -> PretrainedConfig:
        """Return the config of an ordinary model of the unique layers."""
        plain = copy.deepcopy(self)
        for name in ("schedule", "recurrence", "unique_fields", "looped_blocks"):
            plain.__dict__.pop(name, None)
        plain.__class__ = self.plain_class
        set_fields(decoder_config(plain), self.unique_fields)
        plain.architectures = _renamed(plain.architectures, "")
        return plain

    def to_json_string(self, use_diff: bool = True) -> str:
        """Serialise as config.json: the config of the unique layers, plus the schedule."""
        plain = self.plain()
        fields = json.loads(plain.to_json_string(use_diff=use_diff))
        _hide_depth(fields, plain, f"{self.num_unique_layers} {UNREADABLE} {self.schedule}")
        if plain.architectures:
            fields["architectures"] = _renamed(plain.architectures, LOOPED)
        fields |= {
            "model_type": MODEL_TYPE,
            "base_model_type": plain.model_type,
            "schedule": self.schedule,
            "num_unique_layers": self.num_unique_layers,
            "effective_depth": self.effective_depth,
        }
        if self.recurrence:
            fields["recurrence"] = self.recurrence
        if self.looped_blocks:
            fields["looped_blocks"] = [list(block) for block in self.looped_blocks]
        return json.dumps(fields, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build a config from the fields that :meth:`to_json_string` wrote."""
        if config_dict.get("model_type") == MODEL_TYPE:
            return GrowloopConfig.from_dict(config_dict, **kwargs)
        return super().from_dict(config_dict, **kwargs)  # type: ignore[misc]


_BUILDERS: list[Callable[[Any], object]] = []


def registers_models(function: Callable[[Any], object]) -> Callable[[Any], object]:
    """Register a callback for the plain model class of every looped config that is read.

    The callback makes the looped model class known to ``AutoModelForCausalLM``; configs do not
    import models.
    """
    _BUILDERS.append(function)
    return function


class GrowloopConfig(PretrainedConfig):  # type: ignore[misc]
    """Entry point of ``AutoConfig`` for the config.json of any looped model."""

    model_type = MODEL_TYPE

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build the looped config of the architecture that ``base_model_type`` names.

        Raises:
            InputError: an unknown architecture, or no schedule.
        """
        fields = dict(config_dict)
        base = fields.pop("base_model_type", None)
        if base not in CONFIG_MAPPING:
            raise InputError(f"transformers does not know the base_model_type {shown(base)}")
        fields["model_type"] = base
        notation, recurrence = fields.pop("schedule", None), fields.pop("recurrence", {})
        blocks = fields.pop("looped_blocks", [])
        for name in ("effective_depth", "auto_map", "schedule_steps"):  # of self-contained code
            fields.pop(name, None)
        _show_depth(fields, fields.pop("num_unique_layers", None))
        if not isinstance(notation, str) or not isinstance(recurrence, dict):
            raise InputError("the config of a looped model needs a schedule such as 4-4x4-4")
        result = CONFIG_MAPPING[base].from_dict(fields, **kwargs)
        plain, unused = result if isinstance(result, tuple) else (result, None)
        for register in _BUILDERS:
            register(model_class(plain))
        config = looped_config(
            plain, Schedule.parse(notation, stored=True), Recurrence.from_dict(recurrence)
        )
        config.looped_blocks = _blocks(blocks, config.num_unique_layers)
        return config if unused is None else (config, unused)


def looped_config(
    plain: PretrainedConfig, schedule: Schedule, recurrence: Recurrence
) -> PretrainedConfig:
    """Make the config of a model with the layers of ``plain``, run by a schedule."""
    depth = decoder_config(plain).num_hidden_layers
    schedule.check_fits(depth)
    config = copy.deepcopy(plain)
    inner = decoder_config(config)
    plain_class: Any = type(plain)
    config.__class__ = config_class_of(plain_class)
    config.architectures = _renamed(config.architectures, LOOPED)  # TRL picks classes by these
    config.unique_fields = {"num_hidden_layers": depth, **per_layer_fields(inner)}
    config.recurrence = recurrence.to_dict()
    config.set_schedule(schedule)
    return config


def _blocks(value: Any, depth: int) -> tuple[tuple[int, ...], ...]:
    """Read the looped blocks of a config.json.

    Raises:
        InputError: no lists of layers, or layers that the model does not have.
    """
    if not isinstance(value, list) or not all(isinstance(block, list) for block in value):
        raise InputError(f"looped_blocks in the config are lists of layers, not {shown(value)}")
    blocks = [Schedule(tuple(block)) for block in value]
    if any(block.needs > depth for block in blocks):
        raise InputError(
            f"looped_blocks in the config have layers up to {max(max(b.layers) for b in blocks)}, "
            f"the model has {depth} (0 to {depth - 1})"
        )
    return tuple(block.layers for block in blocks)


def _renamed(architectures: list[str] | None, prefix: str) -> list[str] | None:
    """Replace the looped prefix of class names by ``prefix``; an empty one gives plain names."""
    if architectures is None:
        return None
    return [prefix + name.removeprefix(LOOPED) for name in architectures]


UNREADABLE = "unique layers, read by AutoModelForCausalLM after import growloop.models, run as"
"""Middle of the sentence in config.json that replaces the number of layers."""


def _hide_depth(fields: dict[str, Any], plain: PretrainedConfig, sentence: str) -> None:
    """Replace the number of layers in config.json by a sentence."""
    inner = decoder_config(plain)
    for key, value in vars(plain).items():
        if value is inner:  # the text part of a larger model
            fields = fields.setdefault(key, {})
    fields[type(inner).attribute_map.get("num_hidden_layers", "num_hidden_layers")] = sentence


def _show_depth(fields: dict[str, Any], depth: Any) -> None:
    """Restore the number of layers where config.json has the sentence."""
    for key, value in list(fields.items()):
        if isinstance(value, str) and UNREADABLE in value:
            fields[key] = depth
        elif isinstance(value, dict):
            fields[key] = dict(value)
            _show_depth(fields[key], depth)


def model_class(config: PretrainedConfig) -> Any:
    """Return the causal language model class of an ordinary config.

    Raises:
        InputError: no causal language model.
    """
    base = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if base is None:  # the text part of a larger model is in the table by its name alone
        named = (getattr(transformers, n, None) for n in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
        base = next((c for c in named if getattr(c, "config_class", None) is type(config)), None)
    if base is None:
        raise InputError(f"{config.model_type} is not a causal language model: it cannot loop")
    return base


def is_causal(base: Any) -> bool:
    """Return whether ``AutoModelForCausalLM`` makes models of this class."""
    named = base.__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return named or MODEL_FOR_CAUSAL_LM_MAPPING.get(base.config_class, None) is base


@functools.cache
def config_class_of(base: Any) -> Any:
    """Return the looped config class of a plain config class."""
    if issubclass(base, LoopedConfig):
        return base
    fields = {"plain_class": base, "__module__": __name__}
    return type(f"{LOOPED}{base.__name__}", (LoopedConfig, base), fields)


def current_schedule(model: Any) -> Schedule:
    """Return the schedule that a model or a config runs now; a plain one runs every layer once.

    That of a model that loops by itself is its own.

    Example::

        current_schedule(loop(model, "4-4x4-4")).effective_depth  # 24
    """
    if isinstance(model, LoopedConfig):
        return Schedule.parse(model.schedule, stored=True)
    if isinstance(model, PretrainedConfig):
        if loops_by_itself(model):
            return native_schedule(model)
        return Schedule.plain(decoder_config(model).num_hidden_layers)
    return find_layers(model).schedule


AutoConfig.register(MODEL_TYPE, GrowloopConfig, exist_ok=True)


def __getattr__(name: str) -> Any:
    """Resolve ``LoopedLlamaConfig`` and the like by name, for unpickling."""
    base = getattr(transformers, name.removeprefix(LOOPED), None)
    if name.startswith(LOOPED) and isinstance(base, type) and issubclass(base, PretrainedConfig):
        return config_class_of(base)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
