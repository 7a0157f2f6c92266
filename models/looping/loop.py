"""Loops any Hugging Face decoder: ``loop(model, "4-4x4-4")``.

The model stays what it is, with two changes: its list of layers becomes a :class:`LoopedLayers`,
and its class and config become subclasses that know the schedule.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Sequence
from types import MethodType
from typing import Any, TypeVar

from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from ...core.errors import InputError, shown
from ...core.schedule import Schedule, as_schedule
from .caching import find_cache, writable
from .config import (
    LOOPED,
    LoopedConfig,
    config_class_of,
    is_causal,
    looped_config,
    model_class,
    registers_models,
)
from .decoder import Decoder, decoder_config, find_decoder, replace_config
from .readout import Readout
from .recurrence import Recurrence, Runner
from .views import LoopedLayers

Model = TypeVar("Model", bound=PreTrainedModel)


def loop(
    model: Model,
    schedule: Schedule | str | Sequence[int] | None = None,
    *,
    repeat: tuple[int, int] | None = None,
    times: int = 1,
    recurrence: Recurrence | None = None,
) -> Model:
    """Let a model run its layers by a schedule. No weight is copied; the model itself is changed.

    Args:
        model: any Hugging Face causal language model, looped or not.
        schedule: over the unique layers, as ``4-4x4-4`` or a list; by default what runs now.
        repeat: shorthand: run the steps ``start .. stop-1`` of the schedule ``times`` more often.
        times: how often the block of ``repeat`` is run again.
        recurrence: what happens between loops; by default what was set before, or nothing. What
            an adapter or a gate learned before stays.

    Returns:
        The same model, now with ``model.schedule``, ``model.scheduled(...)`` and ``schedule=`` for
        each call of the model and of ``generate``.

    Raises:
        InputError: a schedule that the model has not the layers for, or an architecture whose
            layers are not found.

    Example::

        model = AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M")
        loop(model, repeat=(6, 10))  # run the layers 6-9 twice
        model.generate(**inputs, schedule="30")  # one call without
    """
    decoder = find_decoder(model)
    wanted = decoder.schedule if schedule is None else as_schedule(schedule)
    if repeat is None and times != 1:
        raise InputError("times says how often the block of repeat runs again: give both")
    if repeat is not None:
        if not isinstance(repeat, (tuple, list)) or len(repeat) != 2:
            raise InputError(f"repeat is a pair (start, stop), not {shown(repeat)}")
        wanted = wanted.repeat(*repeat, times)
    wanted.check_fits(len(decoder.unique))
    if recurrence is None:
        recurrence = getattr(model, "recurrence", None) or Recurrence()
    if recurrence.random_loops is not None:
        wanted.with_loops(1)  # refuses a schedule without a looped block
    recurrence.check_fits(wanted)
    _install(model, decoder, wanted, recurrence)
    return model


def _install(
    model: PreTrainedModel, decoder: Decoder, schedule: Schedule, recurrence: Recurrence
) -> None:
    fresh = not isinstance(decoder.layers, LoopedLayers)
    if fresh:
        _refuse_bound_layers(decoder_config(model.config))
        layers = LoopedLayers(decoder.unique, schedule)
        config = looped_config(model.config, schedule, Recurrence())
        replace_config(model, model.config, config)
        layers.training = decoder.layers.training
        decoder.put(layers)
        kind: Any = type(model)
        model.__class__ = looped_class(kind)
        rebind_forward(model, kind)
        model.__dict__["_looped"] = (layers,)  # in a tuple: it has its place in the decoder
    assert isinstance(decoder.layers, LoopedLayers)
    if model.recurrence != recurrence:
        runner = _runner(model, decoder, recurrence)  # may refuse
        model.config.recurrence = recurrence.to_dict()
        decoder.layers.set_runner(runner)
        before = model._modules.pop("runner", None)
        if runner is not None:
            runner.take_learned(before)
            model.add_module("runner", runner)
    model.schedule = schedule


def rebind_forward(model: PreTrainedModel, before: Any) -> None:
    """Hooks that were put around the model's forward (device_map) are put around its new one."""
    for name in ("forward", "_old_forward"):
        if getattr(model.__dict__.get(name), "__func__", None) is before.forward:
            model.__dict__[name] = MethodType(type(model).forward, model)


def _runner(model: PreTrainedModel, decoder: Decoder, recurrence: Recurrence) -> Runner | None:
    """What a recurrence needs beside the layers; nothing for the default."""
    if not recurrence.to_dict():
        return None
    if recurrence.early_exit is not None:
        _ = decoder.final_norm  # refuses a decoder without one
    width = decoder_config(model.config).hidden_size
    runner = Runner(recurrence, width, Readout(model, decoder))
    some = next(decoder.unique[0].parameters())
    runner.to(dtype=some.dtype)
    if some.device.type != "meta":
        runner.to(device=some.device)
    return runner.train(model.training)


BOUND = {
    "recurrent_gemma": "its layers hold the state of their recurrence, which loops would share",
    "rwkv": "its layers are scaled and normalised by their number",
    "mllama_text_model": "it tells cross-attention layers by their number",
    "whisper": "its num_hidden_layers counts the layers of the encoder",
    "prophetnet": "its num_hidden_layers counts the layers of the encoder",
}
"""model_type: why its layers must run once, in order."""


def _refuse_bound_layers(config: PretrainedConfig) -> None:
    """Refuse an architecture that has its depth in more places than the list of layers."""
    reason = BOUND.get(config.model_type)
    if getattr(config, "num_kv_shared_layers", None) is not None:
        reason = (
            "layers share keys and values, or embeddings, by their number "
            f"(config.num_kv_shared_layers is {config.num_kv_shared_layers})"
        )
    elif getattr(config, "is_heterogeneous", False):
        reason = "its config differs from layer to layer (config.per_layer_config)"
    if reason is not None:
        raise InputError(f"{config.model_type} is not supported: {reason}")


class LoopedModel:
    """Mixed into the class of a Hugging Face model that loops."""

    config: Any
    training: bool
    plain_class: type[PreTrainedModel]
    _looped: tuple[LoopedLayers]

    @classmethod
    def is_custom_code(cls) -> bool:
        """As the architecture says: it decides names in files and which buffers are made."""
        return bool(cls.plain_class.is_custom_code())

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(config, LoopedConfig):
            raise InputError("make the model first, then call loop(model, schedule)")
        super().__init__(config.plain(), *args, **kwargs)  # type: ignore[call-arg]
        assert isinstance(self, PreTrainedModel)
        recurrence = Recurrence.from_dict(config.recurrence)
        _install(self, find_decoder(self), Schedule.parse(config.schedule, stored=True), recurrence)

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
        self.recurrence.check_fits(schedule)
        if schedule.needs <= len(self.looped_layers._modules):
            self.config.set_schedule(schedule)  # first: it may refuse
        self.looped_layers.set_schedule(schedule)

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

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """Hugging Face's ``save_pretrained``, for models that can be loaded again.

        Raises:
            InputError: a class with code of its own, or one that ``AutoModelForCausalLM`` does not
                make: nothing would read what was saved.
        """
        kind = self.plain_class
        if kind.is_remote_code():
            raise InputError(
                f"a looped {kind.__name__} cannot be saved: the code in its checkpoint would load "
                "it without the schedule; save it before looping, and loop it after loading"
            )
        plain = self.config.plain()
        base = plain.model_type
        known = base in CONFIG_MAPPING and CONFIG_MAPPING[base] is type(plain)
        if not known or not is_causal(kind) or model_class(plain) is not kind:
            raise InputError(
                f"a looped {kind.__name__} cannot be saved: AutoModelForCausalLM would not load it "
                "again; save it before looping, and loop it after loading"
            )
        return super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]

    def _drawn(self) -> Schedule | None:
        """The schedule of this training step, where the number of loops is random."""
        runner = self.looped_layers.runner
        if runner is None or runner.recurrence.random_loops is None or not self.training:
            return None
        runner.training_step += 1
        return self.schedule.with_loops(runner.recurrence.random_loops.at(runner.training_step - 1))


@registers_models
def looped_class(base: Any) -> Any:
    """The class of the looped models of an architecture, known to ``AutoModelForCausalLM``."""
    if issubclass(base, LoopedModel):
        return base
    made = _looped_class(base)
    if is_causal(base):
        AutoModelForCausalLM.register(made.config_class, made, exist_ok=True)
    return made


@functools.cache
def _looped_class(base: Any) -> Any:
    names = list(inspect.signature(base.forward).parameters)[1:]

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        """The architecture's forward, under the schedule that is set."""
        given = dict(zip(names, args, strict=False)) | kwargs
        cache = find_cache(list(given.values()))
        if cache is not None:
            writable(cache, self.schedule)
        runner = self.looped_layers.runner
        if runner is None:
            return base.forward(self, *args, **kwargs)
        mask = given.get("attention_mask")
        runner.real = mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None
        try:
            return base.forward(self, *args, **kwargs)
        finally:
            runner.real = None

    @functools.wraps(base.forward)
    def forward(
        self: Any, *args: Any, schedule: Schedule | str | None = None, **kwargs: Any
    ) -> Any:
        schedule = self._drawn() if schedule is None else schedule
        if schedule is None:
            return run(self, *args, **kwargs)
        with self.scheduled(schedule):
            return run(self, *args, **kwargs)

    config_class = config_class_of(base.config_class)
    fields = {
        "forward": forward,
        "config_class": config_class,
        "plain_class": base,
        "__module__": __name__,
    }
    # pickle goes by __qualname__, Hugging Face by __name__ where it treats a class specially
    fields["__qualname__"] = f"{LOOPED}{base.__name__}"
    return type(base.__name__, (LoopedModel, base), fields)


def __getattr__(name: str) -> Any:
    """``LoopedLlamaForCausalLM`` and the like: classes are found by name when unpickled."""
    import transformers

    base = getattr(transformers, name.removeprefix(LOOPED), None)
    if name.startswith(LOOPED) and isinstance(base, type) and issubclass(base, PreTrainedModel):
        return looped_class(base)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
