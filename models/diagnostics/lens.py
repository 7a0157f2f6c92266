"""Lenses: predictions read off the state before any step (paper Figure 5; Belrose 2023).

The logit lens is the model's own norm and head on the state. A tuned lens first adds an affine map
of it, ``h + A h + b``, one for the input of each step, trained to predict what the model predicts.
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
    """A tuned lens: an affine map for the input of each step.

    Args:
        schedule: of the model it belongs to.
        matrices: ``A``, ``(steps, dim, dim)``.
        shifts: ``b``, ``(steps, dim)``.
        about: what its file tells of it besides.
    """

    schedule: Schedule
    matrices: Tensor
    shifts: Tensor
    about: dict[str, str] = field(default_factory=dict)

    def __call__(self, step: int, states: Tensor) -> Tensor:
        """States as the final norm takes them; after the last step they are what they are."""
        if step == len(self.shifts):
            return states
        matrix, shift = (part[step].to(states.device) for part in (self.matrices, self.shifts))
        here = states.to(matrix.dtype)
        return (here + here @ matrix.T + shift).to(states.dtype)

    def check_fits(self, found: Trace) -> None:
        """Refuse a model that this lens was not trained on.

        Raises:
            InputError: naming both.
        """
        width = found.inputs[0].shape[-1]
        if self.schedule != found.schedule or self.shifts.shape[1] != width:
            raise InputError(
                f"the lens was trained on schedule {self.schedule}, width {self.shifts.shape[1]}; "
                f"the model has schedule {found.schedule}, width {width}"
            )

    def save(self, path: str | Path) -> None:
        """Write it as safetensors, whole or not at all."""
        layers = json.dumps(list(self.schedule.layers))
        tensors = {"matrices": self.matrices.contiguous(), "shifts": self.shifts.contiguous()}
        about = {**self.about, "format": FORMAT, "layers": layers}
        write_atomically(path, save(tensors, about))

    @classmethod
    def load(cls, path: str | Path) -> Lens:
        """Read what :meth:`save` wrote.

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
                raise ValueError("its layers are no whole numbers")
            schedule = Schedule(tuple(layers))
        except ValueError as error:
            raise InputError(f"{path} holds no tuned lens: {error}") from error
        more = {name: text for name, text in about.items() if name not in ("format", "layers")}
        return cls(schedule, tensors[0], tensors[1], more)


def _divergence(wanted: Tensor, logits: Tensor) -> Tensor:
    """``KL(final ‖ lens)`` in nats, of log-probabilities and logits ``(..., vocabulary)``."""
    return (wanted.exp() * (wanted - logits.log_softmax(-1))).sum(-1)


@torch.no_grad()
def exits(found: Trace, lens: Lens | None = None, top: int = 5) -> dict[str, Tensor]:
    """How near the predictions before each step are to the final ones.

    Args:
        found: a trace.
        lens: a tuned lens; None for the logit lens.
        top: how many of the most likely tokens are compared.

    Returns:
        ``kl``, ``KL(final ‖ exit)`` in nats, ``overlap``, the share of the ``top`` tokens in
        common, and ``agreement``, whether the most likely token is the same; means over real
        tokens, ``(batch, steps + 1)`` each. Exit i leaves before step i; the last is the model
        itself.

    Example::

        exits(trace(model, ids), Lens.load("lens.safetensors"))["overlap"].mean(0)

    Raises:
        InputError: a lens of another model; predictions that are NaN or infinite.
    """
    whole("top", top, 1, found.logits.shape[-1])
    found.check_readout()
    if lens is not None:
        lens.check_fits(found)
    wanted = found.logits.float().log_softmax(-1)
    best = wanted.topk(top, dim=-1).indices
    rows: dict[str, list[Tensor]] = {"kl": [], "overlap": [], "agreement": []}
    for step, states in enumerate((*found.inputs, found.outputs[-1])):
        logits = exit_logits(found, step, states, lens).float()
        mine = logits.topk(top, dim=-1).indices
        common = (mine[..., :, None] == best[..., None, :]).any(-1).float().mean(-1)
        for name, values in (
            ("kl", _divergence(wanted, logits)),
            ("overlap", common),
            ("agreement", (mine[..., 0] == best[..., 0]).float()),
        ):
            rows[name].append(mean_over(values, found.real))
        if not bool(rows["kl"][-1].isfinite().all()):
            what = "the logit lens" if lens is None else "the tuned lens"
            raise InputError(f"the predictions of {what} before step {step} are not finite")
    return {name: torch.stack(values, dim=1).cpu() for name, values in rows.items()}


def exit_logits(found: Trace, step: int, states: Tensor, lens: Lens | None = None) -> Tensor:
    """Logits ``(..., vocabulary)`` of leaving before a step with states ``(..., dim)``."""
    return found.readout(states if lens is None else lens(step, states))
