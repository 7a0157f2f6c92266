"""Lenses: predictions read off the state before each step (paper Figure 5; Belrose 2023).

The logit lens applies the model's own norm and head to the state. A tuned lens applies them to
``h + A h + b``, with one affine map per step trained to match the model's final predictions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...core.errors import InputError, whole
from ...core.files import write_atomically
from ...core.schedule import Schedule
from ...core.strict_json import loads
from .contributions import mean_over
from .trace import Trace

FORMAT = "growloop tuned lens"


@dataclass(frozen=True)
class Lens:
    """Tuned lens: one affine translator ``h + A h + b`` for the input of each step.

    Args:
        schedule: schedule of the model it was trained on.
        matrices: ``A``, ``(steps, dim, dim)``.
        shifts: ``b``, ``(steps, dim)``.
        about: further metadata of its file.
    """

    schedule: Schedule
    matrices: Tensor
    shifts: Tensor
    about: dict[str, str] = field(default_factory=dict)

    def __call__(self, step: int, states: Tensor) -> Tensor:
        """Map states for the final norm; the state after the last step is unchanged."""
        if step == len(self.shifts):
            return states
        matrix, shift = (part[step].to(states.device) for part in (self.matrices, self.shifts))
        h = states.to(matrix.dtype)
        return (h + h @ matrix.T + shift).to(states.dtype)

    def check_fits(self, trace: Trace) -> None:
        """Refuse a model that this lens was not trained on.

        Raises:
            InputError: another schedule or width.
        """
        width = trace.inputs[0].shape[-1]
        if self.schedule != trace.schedule or self.shifts.shape[1] != width:
            raise InputError(
                f"the lens was trained on schedule {self.schedule}, width {self.shifts.shape[1]}; "
                f"the model has schedule {trace.schedule}, width {width}"
            )

    def save(self, path: str | Path) -> None:
        """Write the lens as safetensors, atomically."""
        layers = json.dumps(list(self.schedule.layers))
        tensors = {"matrices": self.matrices.contiguous(), "shifts": self.shifts.contiguous()}
        about = {**self.about, "format": FORMAT, "layers": layers}
        write_atomically(path, save(tensors, about))

    @classmethod
    def load(cls, path: str | Path) -> Lens:
        """Load a lens that :meth:`save` wrote.

        Raises:
            InputError: no such file, or one that holds no lens.
        """
        if not Path(path).is_file():
            raise InputError(f"there is no lens {path}")
        try:
            with safe_open(str(path), framework="pt") as file:
                about = file.metadata() or {}
                if about.get("format") != FORMAT:
                    raise InputError(f"{path} holds no tuned lens")
                tensors = [file.get_tensor(name) for name in ("matrices", "shifts")]
        except SafetensorError as error:
            raise InputError(f"{path} holds no tuned lens: {error}") from error
        try:
            layers = loads(about.get("layers", ""))
            if not isinstance(layers, list) or not all(type(layer) is int for layer in layers):
                raise ValueError("its layers are not whole numbers")
            schedule = Schedule(tuple(layers))
        except ValueError as error:
            raise InputError(f"{path} holds no tuned lens: {error}") from error
        more = {name: text for name, text in about.items() if name not in ("format", "layers")}
        return cls(schedule, tensors[0], tensors[1], more)


def _divergence(final: Tensor, logits: Tensor) -> Tensor:
    """Compute ``KL(final ‖ lens)`` in nats from log-probabilities and logits."""
    return (final.exp() * (final - logits.log_softmax(-1))).sum(-1)


@torch.no_grad()
def exits(trace: Trace, lens: Lens | None = None, top: int = 5) -> dict[str, Tensor]:
    """Compare the predictions before each step with the final ones.

    Args:
        trace: traced forward pass.
        lens: tuned lens; None for the logit lens.
        top: number of most likely tokens compared for ``overlap``.

    Returns:
        ``kl``: ``KL(final ‖ exit)`` in nats; ``overlap``: share of the ``top`` tokens in common;
        ``agreement``: share of tokens with the same most likely token. Means over real tokens,
        ``(batch, steps + 1)`` each. Exit i is before step i; the last is the model itself.

    Example::

        exits(trace(model, ids), Lens.load("lens.safetensors"))["overlap"].mean(0)

    Raises:
        InputError: a lens of another model; predictions that are NaN or infinite.
    """
    whole("top", top, 1, trace.logits.shape[-1])
    trace.check_readout()
    if lens is not None:
        lens.check_fits(trace)
    final = trace.logits.float().log_softmax(-1)
    final_top = final.topk(top, dim=-1).indices
    rows: dict[str, list[Tensor]] = {"kl": [], "overlap": [], "agreement": []}
    for step, states in enumerate((*trace.inputs, trace.outputs[-1])):
        logits = exit_logits(trace, step, states, lens).float()
        exit_top = logits.topk(top, dim=-1).indices
        common = (exit_top[..., :, None] == final_top[..., None, :]).any(-1).float().mean(-1)
        for name, values in (
            ("kl", _divergence(final, logits)),
            ("overlap", common),
            ("agreement", (exit_top[..., 0] == final_top[..., 0]).float()),
        ):
            rows[name].append(mean_over(values, trace.real))
        if not bool(rows["kl"][-1].isfinite().all()):
            what = "the logit lens" if lens is None else "the tuned lens"
            raise InputError(f"the predictions of {what} before step {step} are not finite")
    return {name: torch.stack(values, dim=1).cpu() for name, values in rows.items()}


def exit_logits(trace: Trace, step: int, states: Tensor, lens: Lens | None = None) -> Tensor:
    """Compute logits ``(..., vocabulary)`` of an exit before a step from states ``(..., dim)``."""
    return trace.readout(states if lens is None else lens(step, states))
