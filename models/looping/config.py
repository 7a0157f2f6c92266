"""The config of a looped model, in memory and in config.json.

In memory it is the architecture's own config under a schedule: ``num_hidden_layers`` is the
effective depth, because Hugging Face's forward and its caches go by it, and lists such as
``layer_types`` follow the steps. On disk it describes the unique layers, plus the schedule, so that
nothing else reads it as a plain model: ``model_type`` is its own for what goes by that (Auto
classes), ``architectures`` names a class of no library for what goes by that (TRL, converters to
GGUF), and ``num_hidden_layers`` is a sentence for what goes by neither
(``LlamaForCausalLM.from_pretrained``, which cannot count with it).
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from typing import Any

import transformers
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ...core.errors import InputError, shown
from ...core.schedule import Schedule
from .decoder import decoder_config, find_decoder, gather_fields, per_layer_fields, set_fields
from .recurrence import Recurrence

MODEL_TYPE = "growloop"
"""``model_type`` in the config.json of a looped model."""
LOOPED = "Looped"
"""What the names of looped classes begin with."""


class LoopedConfig:
    """Mixed into the config class of an architecture: the schedule, and how it is written down.

    Attributes:
        schedule: in the shortest notation.
        recurrence: what differs from ``Recurrence()``.
        num_unique_layers: layers with weights.
        num_hidden_layers: effective depth; lists such as ``layer_types`` follow the steps.
    """

    plain_class: type[PretrainedConfig]
    architectures: list[str] | None
    schedule: str
    recurrence: dict[str, Any]
    unique_fields: dict[str, Any]

    @property
    def num_unique_layers(self) -> int:
        """How many layers have weights."""
        found: int = self.unique_fields["num_hidden_layers"]
        return found

    @property
    def effective_depth(self) -> int:
        """How many layers a forward pass runs."""
        return len(current_schedule(self))

    def set_schedule(self, schedule: Schedule) -> None:
        """Follow another schedule."""
        inner = decoder_config(self)
        plain = copy.copy(inner)
        set_fields(plain, self.unique_fields)
        fields = gather_fields(plain, schedule.layers)
        steps = copy.copy(inner)
        set_fields(steps, fields)
        kinds = getattr(plain, "layer_types", None)
        if kinds is not None and list(steps.layer_types) != [kinds[i] for i in schedule]:
            raise InputError(
                f"{plain.model_type} is not supported with the schedule {schedule}: its config "
                "works out layer_types from the number of layers, which would not follow the steps"
            )
        set_fields(inner, fields)
        self.schedule = str(schedule)

    def plain(self) -> PretrainedConfig:
        """The config of the unique layers, as an ordinary model."""
        plain = copy.deepcopy(self)
        for name in ("schedule", "recurrence", "unique_fields"):
            plain.__dict__.pop(name, None)
        plain.__class__ = self.plain_class
        set_fields(decoder_config(plain), self.unique_fields)
        plain.architectures = _renamed(plain.architectures, "")
        return plain

    def to_json_string(self, use_diff: bool = True) -> str:
        """config.json: the config of the unique layers, plus how they are run."""
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
        return json.dumps(fields, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Read what :meth:`to_json_string` wrote."""
        if config_dict.get("model_type") == MODEL_TYPE:
            return GrowloopConfig.from_dict(config_dict, **kwargs)
        return super().from_dict(config_dict, **kwargs)  # type: ignore[misc]


_BUILDERS: list[Callable[[Any], object]] = []


def registers_models(function: Callable[[Any], object]) -> Callable[[Any], object]:
    """Call ``function`` with the plain model class of every looped config that is read.

    It lets ``AutoModelForCausalLM`` build the looped model, which configs know nothing of.
    """
    _BUILDERS.append(function)
    return function


class GrowloopConfig(PretrainedConfig):  # type: ignore[misc]
    """Stands for the configs of all looped models where a config.json is read."""

    model_type = MODEL_TYPE

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The config of a looped model of whatever architecture ``base_model_type`` names."""
        fields = dict(config_dict)
        base = fields.pop("base_model_type", None)
        if base not in CONFIG_MAPPING:
            raise InputError(f"transformers does not know the base_model_type {shown(base)}")
        fields["model_type"] = base
        notation, recurrence = fields.pop("schedule", None), fields.pop("recurrence", {})
        fields.pop("effective_depth", None)
        _show_depth(fields, fields.pop("num_unique_layers", None))
        if not isinstance(notation, str) or not isinstance(recurrence, dict):
            raise InputError("the config of a looped model needs a schedule such as 4-4x4-4")
        found = CONFIG_MAPPING[base].from_dict(fields, **kwargs)
        plain, unused = found if isinstance(found, tuple) else (found, None)
        for register in _BUILDERS:
            register(model_class(plain))
        config = looped_config(
            plain, Schedule.parse(notation, stored=True), Recurrence.from_dict(recurrence)
        )
        return config if unused is None else (config, unused)


def looped_config(
    plain: PretrainedConfig, schedule: Schedule, recurrence: Recurrence
) -> PretrainedConfig:
    """The config of a model with the layers of ``plain``, run by a schedule."""
    depth = decoder_config(plain).num_hidden_layers
    schedule.check_fits(depth)
    config = copy.deepcopy(plain)
    inner = decoder_config(config)
    kind: Any = type(plain)
    config.__class__ = config_class_of(kind)
    config.architectures = _renamed(config.architectures, LOOPED)  # TRL picks classes by these
    config.unique_fields = {"num_hidden_layers": depth, **per_layer_fields(inner)}
    config.recurrence = recurrence.to_dict()
    config.set_schedule(schedule)
    return config


def _renamed(architectures: list[str] | None, prefix: str) -> list[str] | None:
    """Names of classes as looped ones, or as plain ones (``prefix`` is empty)."""
    if architectures is None:
        return None
    return [prefix + name.removeprefix(LOOPED) for name in architectures]


UNREADABLE = "unique layers, read by AutoModelForCausalLM after import growloop.models, run as"
"""What stands for the number of layers in config.json, after the number and before the schedule."""


def _hide_depth(fields: dict[str, Any], plain: PretrainedConfig, sentence: str) -> None:
    """Put a sentence where a config.json has its number of layers."""
    inner = decoder_config(plain)
    for key, value in vars(plain).items():
        if value is inner:  # the text part of a larger model
            fields = fields.setdefault(key, {})
    fields[type(inner).attribute_map.get("num_hidden_layers", "num_hidden_layers")] = sentence


def _show_depth(fields: dict[str, Any], depth: Any) -> None:
    """Put the number of layers back; a config.json without such a sentence has it itself."""
    for key, value in list(fields.items()):
        if isinstance(value, str) and UNREADABLE in value:
            fields[key] = depth
        elif isinstance(value, dict):
            fields[key] = dict(value)
            _show_depth(fields[key], depth)


def model_class(config: PretrainedConfig) -> Any:
    """The causal language model of an ordinary config."""
    found = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if found is None:  # the text part of a larger model is in the table by its name alone
        named = (getattr(transformers, n, None) for n in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
        found = next((c for c in named if getattr(c, "config_class", None) is type(config)), None)
    if found is None:
        raise InputError(f"{config.model_type} is no causal language model: it cannot loop")
    return found


def is_causal(kind: Any) -> bool:
    """Whether ``AutoModelForCausalLM`` makes models of this class."""
    named = kind.__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return named or MODEL_FOR_CAUSAL_LM_MAPPING.get(kind.config_class, None) is kind


@functools.cache
def config_class_of(base: Any) -> Any:
    """The config class of the looped models of an architecture."""
    if issubclass(base, LoopedConfig):
        return base
    fields = {"plain_class": base, "__module__": __name__}
    return type(f"{LOOPED}{base.__name__}", (LoopedConfig, base), fields)


def current_schedule(model: Any) -> Schedule:
    """Return the schedule that a model or a config runs now; a plain one runs every layer once.

    Example::

        current_schedule(loop(model, "4-4x4-4")).effective_depth  # 24
    """
    if isinstance(model, LoopedConfig):
        return Schedule.parse(model.schedule, stored=True)
    if isinstance(model, PretrainedConfig):
        return Schedule.plain(decoder_config(model).num_hidden_layers)
    return find_decoder(model).schedule


AutoConfig.register(MODEL_TYPE, GrowloopConfig, exist_ok=True)


def __getattr__(name: str) -> Any:
    """``LoopedLlamaConfig`` and the like: classes are found by name when unpickled."""
    base = getattr(transformers, name.removeprefix(LOOPED), None)
    if name.startswith(LOOPED) and isinstance(base, type) and issubclass(base, PretrainedConfig):
        return config_class_of(base)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
