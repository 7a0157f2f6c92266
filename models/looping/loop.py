"""Looping of any Hugging Face decoder: ``loop(model, "4-4x4-4")``.

Two things change in the model: its layer list becomes a :class:`LoopedLayers`, and its class and
config become subclasses that know the schedule.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from types import MethodType
from typing import Any, TypeVar

from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from ...core.errors import InputError, shown
from ...core.schedule import Schedule, as_schedule
from .caching import find_cache, refuse_foreign_cache, writable
from .config import (
    LOOPED,
    LoopedConfig,
    config_class_of,
    is_causal,
    looped_config,
    model_class,
    registers_models,
)
from .decoder import Decoder, decoder_config, find_decoder, find_layers, replace_config
from .native import NativeLoops, adopt, set_native_schedule
from .readout import Readout
from .recurrence import Recurrence
from .runner import Runner
from .self_contained import add_code, check_self_contained, push_with_code
from .supervision import supervised_losses
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
    """Run the layers of a model by a schedule, in place and without copying weights.

    Args:
        model: any Hugging Face causal language model, looped or not.
        schedule: schedule over the unique layers, as ``4-4x4-4`` or a list; by default the current
            one.
        repeat: ``(start, stop)``: repeat the steps ``start .. stop-1`` of the schedule.
        times: number of extra passes of the ``repeat`` block.
        recurrence: settings of what happens between loops; by default the current ones. A trained
            adapter or gate is kept.

    Returns:
        The same model, with ``model.schedule``, ``model.scheduled(...)`` and a ``schedule=``
        argument of its forward and of ``generate``. A model that loops by itself (HRM-Text, Ouro,
        Huginn) runs its own code: its schedule can only have other numbers of loops, and its
        forward takes no ``schedule=``.

    Raises:
        InputError: a schedule that needs more layers than the model has, or an architecture whose
            layers are not found.

    Example::

        model = AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M")
        loop(model, repeat=(6, 10))  # layers 6-9 run twice
        model.generate(**inputs, schedule="30")  # one call without looping
    """
    decoder = find_layers(model)
    target = decoder.schedule if schedule is None else as_schedule(schedule)
    if repeat is None and times != 1:
        raise InputError("times says how often the block of repeat runs again: give both")
    if repeat is not None:
        if not isinstance(repeat, (tuple, list)) or len(repeat) != 2:
            raise InputError(f"repeat is a pair (start, stop), not {shown(repeat)}")
        target = target.repeat(*repeat, times)
    target.check_fits(len(decoder.unique))
    if isinstance(decoder, NativeLoops):
        if recurrence is not None and recurrence.to_dict():
            raise InputError(
                f"{model.config.model_type} loops by itself: what happens between its loops is "
                "fixed by its own code"
            )
        set_native_schedule(model, target)  # may refuse
        return adopt(model)
    if recurrence is None:
        recurrence = getattr(model, "recurrence", None) or Recurrence()
    if recurrence.random_loops is not None:
        target.with_loops(1)  # refuses a schedule without a looped block
    recurrence.check_fits(target)
    _install(model, decoder, target, recurrence)
    return model


def _install(
    model: PreTrainedModel,
    decoder: Decoder,
    schedule: Schedule,
    recurrence: Recurrence,
    blocks: Sequence[Sequence[int]] = (),
) -> None:
    """Loop a model in place.

    Args:
        blocks: layers of each looped block, where a checkpoint has them.
    """
    if not isinstance(decoder.layers, LoopedLayers):
        _refuse_bound_layers(decoder_config(model.config))
        layers = LoopedLayers(decoder.unique, schedule)
        config = looped_config(model.config, schedule, Recurrence())
        replace_config(model, model.config, config)
        layers.training = decoder.layers.training
        decoder.put(layers)
        plain_class: Any = type(model)
        model.__class__ = looped_class(plain_class)
        rebind_forward(model, plain_class)
        model.__dict__["_looped"] = (
            layers,
        )  # a tuple, so that torch registers no second submodule
    assert isinstance(decoder.layers, LoopedLayers)
    recurrence = recurrence.resolved(schedule)
    if model.recurrence != recurrence:
        runner = _runner(model, decoder, recurrence)  # may refuse
        model.config.recurrence = recurrence.to_dict()
        decoder.layers.set_runner(runner)
        previous: Any = model._modules.pop("runner", None)
        if previous is not None:
            previous.detach_hooks()
        if runner is not None:
            runner.reuse_learned(previous)
            runner.attach(decoder.layers)
            model.add_module("runner", runner)
    current: Any = decoder.layers.runner
    if current is not None:
        current.set_home(schedule, model.config.looped_blocks, exact=blocks)
        model.config.looped_blocks = current.home if current.acts_once else ()
    model.schedule = schedule


def rebind_forward(model: PreTrainedModel, old_class: Any) -> None:
    """Make hooks around the model's old forward (device_map) wrap that of its new class."""
    for name in ("forward", "_old_forward"):
        if getattr(model.__dict__.get(name), "__func__", None) is old_class.forward:
            model.__dict__[name] = MethodType(type(model).forward, model)


def _runner(model: PreTrainedModel, decoder: Decoder, recurrence: Recurrence) -> Runner | None:
    """Make the runner of a recurrence; None for the default settings."""
    if not recurrence.to_dict():
        return None
    if recurrence.early_exit is not None:
        _ = decoder.final_norm  # refuses a decoder without one
    width = decoder_config(model.config).hidden_size
    runner = Runner(recurrence, width, Readout(model, decoder), tuple(decoder.unique))
    parameter = next(decoder.unique[0].parameters())
    runner.to(dtype=parameter.dtype)
    if parameter.device.type != "meta":
        runner.to(device=parameter.device)
    return runner.train(model.training)


BOUND = {
    "recurrent_gemma": "its layers hold the state of their recurrence, which loops would share",
    "rwkv": "its layers are scaled and normalised by their number",
    "mllama_text_model": "it identifies cross-attention layers by their number",
    "whisper": "its num_hidden_layers counts the layers of the encoder",
    "prophetnet": "its num_hidden_layers counts the layers of the encoder",
}
"""model_type -> why its layers must run once, in order."""


def _refuse_bound_layers(config: PretrainedConfig) -> None:
    """Refuse an architecture whose layers depend on their number beyond the cache slot."""
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
    """Mixin for the class of a Hugging Face model that loops."""

    config: Any
    training: bool
    plain_class: type[PreTrainedModel]
    _looped: tuple[LoopedLayers]

    @classmethod
    def is_custom_code(cls) -> bool:
        """Answer as the plain class: it decides names in files and which buffers are made."""
        return bool(cls.plain_class.is_custom_code())

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        """Answer as the plain class: transformers reads the source of the class's module."""
        return bool(cls.plain_class._can_set_attn_implementation())

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        """Answer as the plain class: else experts would run one by one."""
        return bool(cls.plain_class._can_set_experts_implementation())

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(config, LoopedConfig):
            raise InputError("make the model first, then call loop(model, schedule)")
        super().__init__(config.plain(), *args, **kwargs)  # type: ignore[call-arg]
        assert isinstance(self, PreTrainedModel)
        recurrence = Recurrence.from_dict(config.recurrence)
        schedule = Schedule.parse(config.schedule, stored=True)
        _install(self, find_decoder(self), schedule, recurrence, config.looped_blocks)

    @property
    def looped_layers(self) -> LoopedLayers:
        """Layer list, wherever the architecture has it."""
        return self._looped[0]

    @property
    def recurrence(self) -> Recurrence:
        """Settings of what happens between loops."""
        return Recurrence.from_dict(self.config.recurrence)

    @property
    def schedule(self) -> Schedule:
        """Layer of each step; can be set."""
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
        """Run another schedule inside a ``with`` block, and restore the schedule after it.

        A cache filled under one schedule cannot be used under another.
        """
        before = self.schedule
        self.schedule = schedule
        try:
            yield
        finally:
            self.schedule = before

    def _repr_html_(self) -> str:
        """Draw the schedule in notebooks, above the modules."""
        modules = f"<details><summary>modules</summary><pre>{escape(repr(self))}</pre></details>"
        name = escape(self.plain_class.__name__)
        return f"<div>{name}, {self.schedule._repr_html_()}{modules}</div>"

    def generate(self, *args: Any, schedule: Schedule | str | None = None, **kwargs: Any) -> Any:
        """Call Hugging Face's ``generate``, under another schedule if one is given."""
        with contextlib.nullcontext() if schedule is None else self.scheduled(schedule):
            return super().generate(*args, **kwargs)  # type: ignore[misc]

    def save_pretrained(
        self,
        save_directory: Any,
        *args: Any,
        self_contained: bool = False,
        card: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call Hugging Face's ``save_pretrained``, for models that can be loaded again.

        Args:
            save_directory: folder to write.
            args, kwargs: arguments of Hugging Face's method.
            self_contained: add one file of code, so that
                ``from_pretrained(..., trust_remote_code=True)`` loads it without growloop, and a
                model card.
            card: arguments of :func:`.model_card.model_card`, such as ``command`` and ``records``.

        Raises:
            InputError: a class with remote code, or one ``AutoModelForCausalLM`` does not make:
                nothing could load the checkpoint. A model that self-contained code cannot compute.
        """
        if self_contained:
            check_self_contained(self)
        base_class, name = self.plain_class, self.plain_class.__name__
        if base_class.is_remote_code():
            raise InputError(
                f"a looped {name} cannot be saved: the code in its checkpoint would load "
                "it without the schedule; save it before looping, and loop it after loading"
            )
        plain = self.config.plain()
        base = plain.model_type
        registered = base in CONFIG_MAPPING and CONFIG_MAPPING[base] is type(plain)
        if not registered or not is_causal(base_class) or model_class(plain) is not base_class:
            raise InputError(
                f"a looped {name} cannot be saved: AutoModelForCausalLM would not load "
                "it again; save it before looping, and loop it after loading"
            )
        saved = super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]
        if self_contained:
            add_code(self, save_directory, card or {})
        return saved

    def push_to_hub(self, repo_id: str, *, self_contained: bool = False, **kwargs: Any) -> Any:
        """Call Hugging Face's ``push_to_hub``, with self-contained code if ``self_contained``.

        Args:
            repo_id: name of the repository.
            self_contained: as of :meth:`save_pretrained`.
            kwargs: arguments of Hugging Face's method.
        """
        if not self_contained:
            return super().push_to_hub(repo_id, **kwargs)  # type: ignore[misc]
        check_self_contained(self)
        return push_with_code(self, repo_id, **kwargs)

    def _draw_schedule(self, rows: int) -> Schedule | None:
        """Draw the schedule of this training step; None where the number of loops is fixed."""
        runner = self.looped_layers.runner
        if runner is None or not self.training:
            return None
        if runner.recurrence.random_loops is None:
            self._count_draw()
            return None
        runner.training_step += 1
        if runner.recurrence.random_loops.per == "sequence":
            runner.draw_rows(rows)
            return self.schedule.with_loops(runner.most_loops())
        return self.schedule.with_loops(runner.recurrence.random_loops.at(runner.training_step - 1))

    def _count_draw(self) -> None:
        """Count a training forward pass whose start is drawn."""
        runner = self.looped_layers.runner
        if runner is not None and self.training and runner.start.draws:
            runner.training_step += 1


@registers_models
def looped_class(base: Any) -> Any:
    """Return the looped class of a model class, registered with ``AutoModelForCausalLM``."""
    if issubclass(base, LoopedModel):
        return base
    looped = _looped_class(base)
    if is_causal(base):
        AutoModelForCausalLM.register(looped.config_class, looped, exist_ok=True)
    return looped


@functools.cache
def _looped_class(base: Any) -> Any:
    names = list(inspect.signature(base.forward).parameters)[1:]

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the architecture's forward under the current schedule."""
        arguments = dict(zip(names[: len(args)], args, strict=True)) | kwargs
        cache = find_cache(list(arguments.values()))
        if cache is not None:
            writable(cache, self.schedule)
        runner = self.looped_layers.runner
        if runner is None:
            return base.forward(self, *args, **kwargs)
        mask = arguments.get("attention_mask")
        two_d = isinstance(mask, Tensor) and mask.dim() == 2
        runner.token_mask = mask.bool() if mask is not None and two_d else None
        supervision = runner.supervision if self.training else None
        runner.records = supervision is not None
        try:
            output = base.forward(self, *args, **kwargs)
            if supervision is not None:
                output["loop_losses"] = supervised_losses(runner, supervision, output.logits)
        finally:
            runner.token_mask = runner.row_loops = None
            if supervision is not None:
                runner.forget()
        if runner.manages_slots and isinstance(output, ModelOutput):
            refuse_foreign_cache((), output)  # a cache that no layer was given by name
        return output

    @functools.wraps(base.forward)
    def forward(
        self: Any, *args: Any, schedule: Schedule | str | None = None, **kwargs: Any
    ) -> Any:
        if schedule is None:
            schedule = self._draw_schedule(_rows(names, args, kwargs))
        else:
            self._count_draw()
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
    # pickle reads __qualname__, Hugging Face __name__ where it treats a class specially
    fields["__qualname__"] = f"{LOOPED}{base.__name__}"
    return type(base.__name__, (LoopedModel, base), fields)


def _rows(names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return the number of sequences among the arguments of a forward."""
    # cut before zip: torch.compile of torch 2.9 refuses lengths that differ
    arguments = dict(zip(names[: len(args)], args, strict=True)) | kwargs
    values = (arguments.get(name) for name in ("input_ids", "inputs_embeds"))
    return next((len(value) for value in values if isinstance(value, Tensor)), 1)


def __getattr__(name: str) -> Any:
    """Resolve ``LoopedLlamaForCausalLM`` and the like by name, for unpickling."""
    import transformers

    base = getattr(transformers, name.removeprefix(LOOPED), None)
    if name.startswith(LOOPED) and isinstance(base, type) and issubclass(base, PreTrainedModel):
        return looped_class(base)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
