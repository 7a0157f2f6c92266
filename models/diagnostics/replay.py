"""Replay of single layers of a traced forward pass, in any order and from any state.

A layer gets the masks and positions of the traced pass; only its input state differs. So nothing
before a change is recomputed, and many changed states run as one batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.errors import InputError
from .trace import Trace, evaluating


class Replay:
    """Layers of a traced model, callable on states of the traced prompts.

    Args:
        trace: traced forward pass, for masks and positions.

    Example::

        replay = Replay(trace)
        replay(3, trace.inputs[3] - trace.contributions[1])  # step 3 without step 1's contribution
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.batch = len(trace.real)
        self.by_layer = {layer: step for step, layer in reversed(list(enumerate(trace.schedule)))}
        self.batches: dict[
            type, bool
        ] = {}  # layer class -> whether several copies can be one batch
        self.layer_calls = 0  # layer forwards, counted in copies of the traced batch

    @torch.no_grad()
    def __call__(self, step: int, states: Tensor) -> Tensor:
        """Run a step on copies of the batch.

        Args:
            step: number of the step.
            states: ``(copies * batch, tokens, dim)``; row ``i`` is prompt ``i % batch``.

        Returns:
            Output states of the step, of the same shape.
        """
        copies = len(states) // self.batch
        with evaluating(self.trace.modules[step]):
            if copies == 1 or self._takes_copies(step):
                return self._run(step, states, copies)
            parts = torch.split(states, self.batch)
            return torch.cat([self._run(step, part, 1) for part in parts])

    def layer(self, layer: int, states: Tensor) -> Tensor:
        """Run a unique layer, with the arguments of its first step.

        Raises:
            InputError: a layer that did not run in the traced pass.
        """
        if layer not in self.by_layer:
            raise InputError(f"layer {layer} did not run in the traced pass")
        return self(self.by_layer[layer], states)

    def _run(self, step: int, states: Tensor, copies: int) -> Tensor:
        self.layer_calls += copies
        call = self.trace.calls[step]
        if copies > 1:
            args = tuple(_repeated(value, self.batch, copies) for value in call.args)
            kwargs = {k: _repeated(value, self.batch, copies) for k, value in call.kwargs.items()}
            call = call._replace(args=args, kwargs=kwargs)
        return call.run(self.trace.modules[step], states)

    def _takes_copies(self, step: int) -> bool:
        """Test whether a layer class computes the same on several copies at once as on one."""
        layer_class = type(self.trace.modules[step])
        if layer_class not in self.batches:
            calls, states = self.layer_calls, self.trace.inputs[step]
            expected = self.trace.outputs[step][self.trace.real]
            try:
                both = torch.split(self._run(step, torch.cat([states, states]), 2), self.batch)
                tolerance = 1e-3 if expected.dtype in (torch.float32, torch.float64) else 0.1
                scale = float(self.trace.contributions[step].abs().max())
                error = max(float((x[self.trace.real] - expected).abs().max()) for x in both)
                self.batches[layer_class] = error <= tolerance * scale + 1e-6
            except (RuntimeError, ValueError, IndexError):
                self.batches[layer_class] = False
            self.layer_calls = calls
        return self.batches[layer_class]


def _repeated(value: Any, batch: int, copies: int) -> Any:
    """Repeat a layer argument for several copies of the batch."""
    if isinstance(value, Tensor) and value.dim() > 1 and len(value) == batch and batch > 1:
        return value.repeat(copies, *[1] * (value.dim() - 1))
    if isinstance(value, (tuple, list)):
        return type(value)(_repeated(part, batch, copies) for part in value)
    return value
