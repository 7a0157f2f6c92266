"""Loops any Hugging Face decoder: ``loop(model, "4-4x4-4")``.

The model stays what it is, with two changes: its list of layers becomes a :class:`LoopedLayers`,
and its class and config become subclasses that know the schedule. The config keeps two numbers
apart: ``num_unique_layers`` counts weights, ``num_hidden_layers`` is the effective depth, which is
what Hugging Face's forward and its caches go by.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
from collections.abc import Iterator
from typing import Any, TypeVar

from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from .caching import find_cache, writable
from .decoder import (
    Decoder,
    decoder_config,
    find_decoder,
    gather_fields,
    per_layer_fields,
    replace_config,
    set_fields,
)
from .errors import ModelError, shown
from .recurrence import Recurrence, Runner
from .schedule import Schedule, as_schedule
from .views import LoopedLayers

Model = TypeVar("Model", bound=PreTrainedModel)
MODEL_TYPE = "growloop"
"""``model_type`` in the config.json of a looped model: nothing loads it as a plain one."""


def loop(
    model: Model,
    schedule: Schedule | str | None = None,
    *,
    repeat: tuple[int, int] | None = None,
    times: int = 1,
    recurrence: Recurrence | None = None,
) -> Model:
    """Let a model run its layers by a schedule. No weight is copied; the model itself is changed.

    Args:
        model: any Hugging Face causal language model, looped or not.
        schedule: over the model's unique layers, as ``4-4x4-4``; by default what it runs now.
        repeat: shorthand: run the steps ``start .. stop-1`` of the schedule ``times`` more often.
        times: how often the block of ``repeat`` is run again.
        recurrence: what happens between loops; by default what was set before, or nothing.

    Returns:
        The same model, now with ``model.schedule``, ``model.scheduled(...)`` and ``schedule=`` for
        each call of the model and of ``generate``.

    Raises:
        ModelError: a schedule that the model has not the layers for, or an architecture whose
            layers are not found.

    Example::

        model = AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M")
        loop(model, repeat=(6, 10))  # run the layers 6-9 twice
        model.generate(**inputs, schedule="30")  # one call without
    """
    decoder = find_decoder(model)
    now = _schedule(model, decoder)
    wanted = now if schedule is None else as_schedule(schedule)
    if repeat is not None:
        wanted = wanted.repeat(*repeat, times)
    if wanted.needs > len(decoder.unique):
        raise ModelError(
            f"the schedule {wanted} needs {wanted.needs} layers, the model has "
            f"{len(decoder.unique)}"
        )
    if recurrence is None:
        recurrence = getattr(model, "recurrence", None) or Recurrence()
    _install(model, decoder, wanted, recurrence)
    return model


def _schedule(model: PreTrainedModel, decoder: Decoder) -> Schedule:
    layers = decoder.layers
    return layers.schedule if isinstance(layers, LoopedLayers) else Schedule.plain(len(layers))


def _install(
    model: PreTrainedModel, decoder: Decoder, schedule: Schedule, recurrence: Recurrence
) -> None:
    fresh = not isinstance(decoder.layers, LoopedLayers)
    if fresh:
        _refuse_shared_caches(decoder_config(model.config))
        layers = LoopedLayers(decoder.unique, schedule)
        list(layers)  # makes the views: what cannot be looped fails before anything is changed
        config = looped_config(model.config, schedule, Recurrence())
        replace_config(model, model.config, config)
        decoder.put(layers)
        kind: Any = type(model)
        model.__class__ = looped_class(kind)
        model.__dict__["_looped"] = (layers,)  # in a tuple: it has its place in the decoder
    assert isinstance(decoder.layers, LoopedLayers)
    if model.recurrence != recurrence:
        model.config.recurrence = recurrence.to_dict()
        runner = _runner(model, decoder, recurrence)
        decoder.layers.set_runner(runner)
        model._modules.pop("runner", None)
        if runner is not None:
            model.add_module("runner", runner)
    model.schedule = schedule


def _runner(model: PreTrainedModel, decoder: Decoder, recurrence: Recurrence) -> Runner | None:
    """What a recurrence needs beside the layers; nothing for the default."""
    if not recurrence.to_dict():
        return None
    head = model.get_output_embeddings()
    norm = decoder.final_norm if recurrence.early_exit is not None else None

    def readout(states: Tensor) -> Tensor:
        assert norm is not None
        logits: Tensor = head(norm(states))
        return logits

    width = decoder_config(model.config).hidden_size
    runner = Runner(recurrence, width, readout)
    some = next(decoder.unique[0].parameters())
    if some.device.type != "meta":
        runner.to(device=some.device, dtype=some.dtype)
    return runner.train(model.training)


def _refuse_shared_caches(config: PretrainedConfig) -> None:
    """Layers that read the cache of an earlier layer would read that of another loop."""
    if getattr(config, "num_kv_shared_layers", None):
        raise ModelError(
            f"{config.model_type} is not supported: {config.num_kv_shared_layers} of its layers "
            "read the keys and values of earlier ones (config.num_kv_shared_layers)"
        )


class LoopedConfig:
    """Mixed into the config class of an architecture: the schedule, and how it is written down.

    Attributes:
        schedule: in the shortest notation.
        recurrence: what differs from ``Recurrence()``.
        num_unique_layers: layers with weights.
        num_hidden_layers: effective depth; lists such as ``layer_types`` follow the steps.
    """

    plain_class: type[PretrainedConfig]
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
        return len(Schedule.parse(self.schedule))

    def set_schedule(self, schedule: Schedule) -> None:
        """Follow another schedule."""
        inner = decoder_config(self)
        plain = copy.copy(inner)
        set_fields(plain, self.unique_fields)
        set_fields(inner, gather_fields(plain, schedule.layers))
        self.schedule = str(schedule)

    def plain(self) -> PretrainedConfig:
        """The config of the unique layers, as an ordinary model."""
        plain = copy.deepcopy(self)
        for name in ("schedule", "recurrence", "unique_fields"):
            plain.__dict__.pop(name, None)
        plain.__class__ = self.plain_class
        set_fields(decoder_config(plain), self.unique_fields)
        return plain

    def to_json_string(self, use_diff: bool = True) -> str:
        """config.json: the config of the unique layers, plus how they are run."""
        plain = self.plain()
        fields = json.loads(plain.to_json_string(use_diff=use_diff))
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


class GrowloopConfig(PretrainedConfig):  # type: ignore[misc]
    """Stands for the configs of all looped models where a config.json is read."""

    model_type = MODEL_TYPE

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The config of a looped model of whatever architecture ``base_model_type`` names."""
        fields = dict(config_dict)
        base = fields.pop("base_model_type", None)
        if base not in CONFIG_MAPPING:
            raise ModelError(f"transformers does not know the base_model_type {shown(base)}")
        fields["model_type"] = base
        notation, recurrence = fields.pop("schedule", None), fields.pop("recurrence", {})
        for name in ("num_unique_layers", "effective_depth"):
            fields.pop(name, None)
        if not isinstance(notation, str) or not isinstance(recurrence, dict):
            raise ModelError("the config of a looped model needs a schedule such as 4-4x4-4")
        found = CONFIG_MAPPING[base].from_dict(fields, **kwargs)
        plain, unused = found if isinstance(found, tuple) else (found, None)
        known = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(plain), None)
        if known is None:
            raise ModelError(f"{base} is no causal language model: it cannot loop")
        looped_class(known)  # lets AutoModelForCausalLM build it
        config = looped_config(plain, Schedule.parse(notation), Recurrence.from_dict(recurrence))
        return config if unused is None else (config, unused)


def looped_config(
    plain: PretrainedConfig, schedule: Schedule, recurrence: Recurrence
) -> PretrainedConfig:
    """The config of a model with the layers of ``plain``, run by a schedule."""
    depth = decoder_config(plain).num_hidden_layers
    if schedule.needs > depth:
        raise ModelError(
            f"the schedule {schedule} needs {schedule.needs} layers, the model has {depth}"
        )
    config = copy.deepcopy(plain)
    inner = decoder_config(config)
    kind: Any = type(plain)
    config.__class__ = _config_class(kind)
    config.unique_fields = {"num_hidden_layers": depth, **per_layer_fields(inner)}
    config.recurrence = recurrence.to_dict()
    config.set_schedule(schedule)
    return config


class LoopedModel:
    """Mixed into the class of a Hugging Face model that loops."""

    config: Any
    training: bool
    plain_class: type[PreTrainedModel]
    _looped: tuple[LoopedLayers]

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(config, LoopedConfig):
            raise ModelError("make the model first, then call loop(model, schedule)")
        super().__init__(config.plain(), *args, **kwargs)  # type: ignore[call-arg]
        assert isinstance(self, PreTrainedModel)
        recurrence = Recurrence.from_dict(config.recurrence)
        _install(self, find_decoder(self), Schedule.parse(config.schedule), recurrence)

    @property
    def looped_layers(self) -> LoopedLayers:
        """The list of layers, wherever the architecture keeps it."""
        return self._looped[0]

    @property
    def recurrence(self) -> Recurrence:
        """What happens between loops."""
        return Recurrence.from_dict(self.config.recurrence)

    @property
    def schedule(self) -> Schedule:
        """Which layer runs at each step; can be set."""
        return self.looped_layers.schedule

    @schedule.setter
    def schedule(self, schedule: Schedule | str) -> None:
        schedule = as_schedule(schedule)
        self.looped_layers.set_schedule(schedule)
        self.config.set_schedule(schedule)

    @contextlib.contextmanager
    def scheduled(self, schedule: Schedule | str) -> Iterator[None]:
        """Another schedule inside a ``with`` block; restored after it, whatever happens.

        A cache that was filled under one schedule cannot be used under another.
        """
        before = self.schedule
        self.schedule = schedule
        try:
            yield
        finally:
            self.schedule = before

    def generate(self, *args: Any, schedule: Schedule | str | None = None, **kwargs: Any) -> Any:
        """Hugging Face's ``generate``, under another schedule if one is given."""
        with contextlib.nullcontext() if schedule is None else self.scheduled(schedule):
            return super().generate(*args, **kwargs)  # type: ignore[misc]

    def _before_forward(self, runner: Runner | None, kwargs: dict[str, Any]) -> None:
        cache = find_cache([kwargs.get("past_key_values")])
        if cache is not None:
            writable(cache, self.schedule)
        if runner is not None:
            mask = kwargs.get("attention_mask")
            flat = isinstance(mask, Tensor) and mask.dim() == 2
            runner.real = mask.bool() if flat else None  # type: ignore[union-attr]

    def _drawn(self, runner: Runner | None) -> Schedule | None:
        """The schedule of this training step, where the number of loops is random."""
        if runner is None or runner.recurrence.random_loops is None or not self.training:
            return None
        runner.training_step += 1
        return self.schedule.with_loops(runner.recurrence.random_loops.at(runner.training_step - 1))


@functools.cache
def looped_class(base: Any) -> Any:
    """The class of the looped models of an architecture, known to ``AutoModelForCausalLM``."""
    if issubclass(base, LoopedModel):
        return base

    @functools.wraps(base.forward)
    def forward(
        self: Any, *args: Any, schedule: Schedule | str | None = None, **kwargs: Any
    ) -> Any:
        runner = self.looped_layers.runner
        schedule = self._drawn(runner) if schedule is None else schedule
        if schedule is not None:
            with self.scheduled(schedule):
                self._before_forward(runner, kwargs)
                return base.forward(self, *args, **kwargs)
        self._before_forward(runner, kwargs)
        return base.forward(self, *args, **kwargs)

    config_class = _config_class(base.config_class)
    fields = {
        "forward": forward,
        "config_class": config_class,
        "plain_class": base,
        "__module__": __name__,
    }
    made = type(f"Looped{base.__name__}", (LoopedModel, base), fields)
    AutoModelForCausalLM.register(config_class, made, exist_ok=True)
    return made


@functools.cache
def _config_class(base: Any) -> Any:
    """The config class of the looped models of an architecture."""
    if issubclass(base, LoopedConfig):
        return base
    fields = {"plain_class": base, "__module__": __name__}
    return type(f"Looped{base.__name__}", (LoopedConfig, base), fields)


def __getattr__(name: str) -> Any:
    """``LoopedLlamaForCausalLM`` and the like: classes are found by name when unpickled."""
    import transformers

    base = getattr(transformers, name.removeprefix("Looped"), None)
    if name.startswith("Looped") and isinstance(base, type):
        if issubclass(base, PreTrainedModel):
            return looped_class(base)
        if issubclass(base, PretrainedConfig):
            return _config_class(base)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _register() -> None:
    """Let ``AutoConfig`` and ``AutoModelForCausalLM`` read looped models."""
    AutoConfig.register(MODEL_TYPE, GrowloopConfig, exist_ok=True)


_register()
