"""Traced forward pass with everything the diagnostics need, per step ``(layer, loop)``.

Notation of the diagnostics for step ``l``::

    h_l   input     a_l, m_l   contributions of attention and MLP     c_l = out_l - h_l = a_l + m_l
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...core.errors import InputError
from ...core.finite import first_not_finite
from ...core.positions import regimes, reset_rope_length
from ...core.schedule import Schedule
from ..looping.decoder import Decoder, find_layers
from ..looping.native import NATIVE, NativeLoops, adopt, refuse_padding
from ..looping.readout import Readout
from ..looping.views import LoopedLayers
from .sublayers import ChildCall, Sublayers, decompose, record_call


class Call(NamedTuple):
    """Arguments of a layer call, without the hidden state.

    Args:
        args, kwargs: positional and keyword arguments.
        name: keyword of the hidden state; None if it was the first positional argument.
    """

    name: str | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self, layer: nn.Module, state: Tensor) -> Tensor:
        """Run a layer on a state with these arguments, outside of the model's forward pass."""
        # not the view's own call, which would run it as a step of a forward pass
        if self.name is None:
            output = nn.Module.__call__(layer, state, *self.args, **self.kwargs)
        else:
            output = nn.Module.__call__(layer, *self.args, **{self.name: state}, **self.kwargs)
        after: Tensor = output[0] if isinstance(output, tuple) else output
        return after


@dataclass(frozen=True)
class Trace:
    """Record of a forward pass.

    Args:
        decoder: decoder of the model, or the layers of one that loops by itself.
        schedule: schedule that ran; ``schedule.coordinates[l]`` is step l's ``(layer, loop)``.
        real: True for tokens that are not padding, ``(batch, tokens)``.
        inputs, outputs: states before and after each step, ``(batch, tokens, dim)`` each.
        logits: ``(batch, tokens, vocabulary)``.
        calls: arguments of each step's layer call.
        modules: layer (or view of it) of each step.
        sublayers: attention and MLP contributions of each step; None if not recorded.
        readout: states -> logits.
        carried: step that ends a loop -> what the loop carries on, ``(batch, tokens, …)``, for
            models with a carry or a conditioning; empty where it is the step's output.
    """

    decoder: Decoder | NativeLoops
    schedule: Schedule
    real: Tensor
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    logits: Tensor
    calls: tuple[Call, ...]
    modules: tuple[nn.Module, ...]
    sublayers: tuple[Sublayers, ...] | None
    readout: Readout
    carried: Mapping[int, Tensor] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.inputs)

    @property
    def coordinates(self) -> tuple[tuple[int, int], ...]:
        """``(layer, loop)`` of each step."""
        return self.schedule.coordinates

    @cached_property
    def contributions(self) -> tuple[Tensor, ...]:
        """Contributions ``c_l`` of each step, ``(batch, tokens, dim)`` each."""
        return tuple(
            after - before for before, after in zip(self.inputs, self.outputs, strict=True)
        )

    def check_flow(self) -> None:
        """Refuse a model that changes the state between its steps.

        Raises:
            InputError: naming the first step whose input is not the output of the one before.
        """
        for step in range(1, self.steps):
            before, now = self.outputs[step - 1], self.inputs[step]
            if before is not now and not torch.equal(before, now):
                raise InputError(
                    f"the input of step {step} is not the output of the one before: this "
                    "diagnostic needs a model that changes nothing between its steps (a "
                    "recurrence with injection or damping does)"
                )

    @torch.no_grad()
    def check_readout(self) -> None:
        """Refuse a model whose logits are not its norm and head on the last state.

        Raises:
            InputError: with the largest difference.
        """
        expected = self.readout(self.outputs[-1])[self.real].float()
        logits = self.logits[self.real].float()
        difference = float((expected - logits).abs().max())
        scale = 1e-3 if self.logits.dtype == torch.float32 else 5e-2
        if not difference <= scale * max(1.0, float(logits.abs().max())):
            raise InputError(
                "the logits of this model are not its final norm and head on its last state "
                f"(they differ by {difference:.3g}): no lens or early exit can read its states"
            )


@torch.no_grad()
def trace(
    model: PreTrainedModel,
    ids: Tensor,
    mask: Tensor | None = None,
    sublayers: bool | None = False,
    **more: Any,
) -> Trace:
    """Run a model once in evaluation mode and record every step.

    Args:
        model: any decoder, plain, looped or grown.
        ids: tokens, ``(batch, tokens)``.
        mask: attention mask: 1 for real tokens, 0 for padding, ``(batch, tokens)``; or one of
            the model's own shape, such as ``(batch, 1, tokens, tokens)``: then all tokens are real.
        sublayers: also record the contributions of attention and MLP; None: where a layer is its
            input plus both.
        more: further arguments of the model's forward, such as ``position_ids``.

    Raises:
        InputError: an architecture whose layers or sublayers are not found; steps that an early
            exit skipped; a padded batch of lengths that the model reads with different positions; a
            last state or logits that are NaN or infinite, naming the first such module.

    Example::

        result = trace(model, tokenizer(text, return_tensors="pt").input_ids)
        result.coordinates[5], result.inputs[5].norm(dim=-1)
    """
    decoder = find_layers(adopt(model))
    if isinstance(decoder, NativeLoops) and not NATIVE[model.config.model_type].reads_masks:
        refuse_padding(model, mask)
    _check_lengths(model, ids, mask)
    recorder = _Recorder(decoder, sublayers)
    masks = {} if mask is None else {"attention_mask": mask}
    with evaluating(model), recorder.watching():
        logits = model(input_ids=ids, use_cache=False, **masks, **more).logits
    flat = mask is not None and mask.dim() == 2
    real = mask.bool() if flat and mask is not None else torch.ones_like(ids, dtype=torch.bool)
    last, top_logits = recorder.outputs[-1], logits.amax(-1)
    top_logits = (
        top_logits[real] if top_logits.shape == real.shape else top_logits
    )  # all positions, or logits_to_keep
    if last is not None and not bool(last[real].isfinite().all() & top_logits.isfinite().all()):
        with evaluating(model):
            again = functools.partial(model, input_ids=ids, use_cache=False, **masks, **more)
            where = first_not_finite(model, again)
        raise InputError(f"the model's output is not finite: {where or 'its logits hold NaN'}")
    return recorder.result(logits, real, Readout(model, decoder))


def _check_lengths(model: nn.Module, ids: Tensor, mask: Tensor | None) -> None:
    """Refuse a batch whose prompts would all get the positions of the longest one."""
    rotary = regimes(model)
    if rotary is None:
        return
    reset_rope_length(model)  # earlier prompts change nothing
    if mask is None or mask.dim() != 2:
        return
    width = rotary.of(ids.shape[1])
    for length in mask.sum(1).tolist():
        if rotary.of(length) != width:
            raise InputError(
                "positions of this model depend on the length of a prompt: prompts of "
                f"{length:,} and {ids.shape[1]:,} tokens cannot be one batch"
            )


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode inside a ``with`` block; restore every module's mode after it."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class _Recorder:
    """Forward hooks that record one forward pass."""

    def __init__(self, decoder: Decoder | NativeLoops, sublayers: bool | None) -> None:
        self.decoder, self.with_sublayers = decoder, sublayers is not False
        self.optional = sublayers is None  # sublayers only where layers can be separated
        layers = None if isinstance(decoder, NativeLoops) else decoder.layers
        self.native = layers is None
        self.looped = isinstance(layers, LoopedLayers)
        self.runner: Any = layers.runner if isinstance(layers, LoopedLayers) else None
        self.carried: dict[int, Tensor] = {}
        self.count = -1  # steps of a model that loops by itself
        self.schedule = decoder.schedule
        self.position = {id(layer): i for i, layer in enumerate(decoder.unique)}
        steps = len(self.schedule)
        self.inputs: list[Any] = [None] * steps
        self.outputs: list[Any] = [None] * steps
        self.calls: list[Any] = [None] * steps
        self.modules: list[Any] = [None] * steps
        self.parts: list[Any] = [None] * steps
        self.child_calls: list[ChildCall] = []  # calls inside the current step
        self.size = 0  # numbers in its state

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Register the hooks inside a ``with`` block."""
        handles = []
        try:
            for layer in self.decoder.unique:  # its views share its hooks
                handles.append(layer.register_forward_pre_hook(self.before, with_kwargs=True))
                handles.append(layer.register_forward_hook(self.after))
                for child in layer.children() if self.with_sublayers else ():
                    handles.append(child.register_forward_hook(self.inside, with_kwargs=True))
            if self.runner is not None:
                self.runner.watch = self.carry
            yield
        finally:
            if self.runner is not None:
                self.runner.watch = None
            for handle in handles:
                handle.remove()

    def step_of(self, layer: Any) -> int:
        """Return the step of a layer: that of a view, or the position of a plain layer."""
        if self.native:
            return self.count
        return int(layer._step) if self.looped else self.position[id(layer)]

    def carry(self, step: int, state: Tensor) -> None:
        """Record what a loop that ends at a step carries on."""
        self.carried[step] = state.detach().clone()

    def before(self, layer: nn.Module, args: Any, kwargs: Any) -> None:
        """Record the input of a step."""
        self.count += 1
        step = self.step_of(layer)
        if self.native and (
            step >= len(self.schedule) or self.schedule.layers[step] != self.position[id(layer)]
        ):
            raise InputError(
                f"step {step} runs layer {self.position[id(layer)]}, which the schedule "
                f"{self.schedule} does not have there: the model loops by another rule than is "
                "known of its architecture"
            )
        name = None if args else "hidden_states"
        rest = {key: value for key, value in kwargs.items() if key != name}
        hidden = args[0] if args else kwargs[name]
        before = self.outputs[step - 1] if step else None
        same = before is not None and torch.equal(before, hidden)
        self.inputs[step] = before if same else hidden.detach().clone()
        self.calls[step] = Call(name, args[1:], rest)
        self.modules[step] = layer
        self.child_calls, self.size = [], hidden.numel()

    def inside(self, child: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Record a forward of a layer's child."""
        if (call := record_call(child, args, kwargs, output, self.size)) is not None:
            self.child_calls.append(call)

    def after(self, layer: nn.Module, args: Any, output: Any) -> None:
        """Record the output of a step."""
        step = self.step_of(layer)
        state = output[0] if isinstance(output, tuple) else output
        self.outputs[step] = state.detach().clone()
        if self.with_sublayers:
            self.parts[step] = decompose(self.inputs[step], self.outputs[step], self.child_calls)
            self.child_calls = []

    def result(self, logits: Tensor, real: Tensor, readout: Readout) -> Trace:
        """Return the trace.

        Raises:
            InputError: steps that did not run, or a layer that does not decompose.
        """
        if any(state is None for state in self.outputs):
            missing = [i for i, state in enumerate(self.outputs) if state is None]
            raise InputError(
                f"{len(missing)} of {len(self.schedule)} steps did not run, the first "
                f"{missing[0]}: diagnostics need a model without early exit"
            )
        if self.optional and None in self.parts:
            self.with_sublayers = False
        if self.with_sublayers and None in self.parts:
            step = self.parts.index(None)
            raise InputError(
                f"{type(self.modules[step]).__name__} (layer {self.schedule.layers[step]}) is not "
                "its input plus an attention and an MLP output: its sublayers cannot be separated"
            )
        parts = tuple(self.parts) if self.with_sublayers else None
        return Trace(
            self.decoder,
            self.schedule,
            real,
            tuple(self.inputs),
            tuple(self.outputs),
            logits,
            tuple(self.calls),
            tuple(self.modules),
            parts,
            readout,
            self.carried,
        )
