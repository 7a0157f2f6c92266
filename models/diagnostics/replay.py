"""Runs layers again, in any order and from any state, as a forward pass called them.

A layer gets the masks and positions that it got in the traced pass; only its state differs. So what
lies before a change is never computed twice, and many changed states run as one batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import InputError
from .trace import Trace, evaluating


class Replay:
    """Layers of a traced model, callable on states of the traced texts.

    Args:
        found: the trace; its masks and positions are used.

    Example::

        again = Replay(found)
        again(3, found.inputs[3] - found.contributions[1])  # step 3 without what step 1 added
    """

    def __init__(self, found: Trace) -> None:
        self.trace = found
        self.batch = len(found.real)
        self.by_layer = {layer: step for step, layer in reversed(list(enumerate(found.schedule)))}
        self.batches: dict[type, bool] = {}  # whether a kind of layer takes several copies
        self.layer_calls = 0  # in copies of the traced batch

    @torch.no_grad()
    def __call__(self, step: int, states: Tensor) -> Tensor:
        """Run a step on copies of the batch.

        Args:
            states: ``(copies * batch, tokens, dim)``, copies first: row ``i`` is text
                ``i % batch``.

        Returns:
            The step's output, of the same shape.
        """
        copies = len(states) // self.batch
        with evaluating(self.trace.modules[step]):
            if copies == 1 or self._takes_copies(step):
                return self._run(step, states, copies)
            parts = torch.split(states, self.batch)
            return torch.cat([self._run(step, part, 1) for part in parts])

    def layer(self, layer: int, states: Tensor) -> Tensor:
        """Run a unique layer, as its first step was called."""
        if layer not in self.by_layer:
            raise InputError(f"layer {layer} did not run in the traced pass")
        return self(self.by_layer[layer], states)

    def _run(self, step: int, states: Tensor, copies: int) -> Tensor:
        self.layer_calls += copies
        name, args, kwargs = self.trace.calls[step]
        if copies > 1:
            args = tuple(_repeated(value, self.batch, copies) for value in args)
            kwargs = {key: _repeated(value, self.batch, copies) for key, value in kwargs.items()}
        # not the view's own call: that would run it as a step of a forward pass
        layer = self.trace.modules[step]
        if name is None:
            output = nn.Module.__call__(layer, states, *args, **kwargs)
        else:
            output = nn.Module.__call__(layer, *args, **{name: states}, **kwargs)
        state: Tensor = output[0] if isinstance(output, tuple) else output
        return state

    def _takes_copies(self, step: int) -> bool:
        """Whether a kind of layer computes on several copies what it does on one: it is tried."""
        kind = type(self.trace.modules[step])
        if kind not in self.batches:
            calls, states = self.layer_calls, self.trace.inputs[step]
            wanted = self.trace.outputs[step][self.trace.real]
            try:
                both = torch.split(self._run(step, torch.cat([states, states]), 2), self.batch)
                within = 1e-3 if wanted.dtype in (torch.float32, torch.float64) else 0.1
                scale = float(self.trace.contributions[step].abs().max())
                apart = max(float((x[self.trace.real] - wanted).abs().max()) for x in both)
                self.batches[kind] = apart <= within * scale + 1e-6
            except (RuntimeError, ValueError, IndexError):
                self.batches[kind] = False
            self.layer_calls = calls
        return self.batches[kind]


def _repeated(value: Any, batch: int, copies: int) -> Any:
    """An argument for a batch, for several copies of it."""
    if isinstance(value, Tensor) and value.dim() > 1 and len(value) == batch and batch > 1:
        return value.repeat(copies, *[1] * (value.dim() - 1))
    if isinstance(value, (tuple, list)):
        return type(value)(_repeated(part, batch, copies) for part in value)
    return value
