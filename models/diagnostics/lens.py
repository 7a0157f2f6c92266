"""Lenses: predictions read off the state before any step (paper Figure 5; Belrose 2023).

The logit lens is the model's own norm and head on the state. A tuned lens first adds an affine map
of it, ``h + A h + b``, one for the input of each step, trained to predict what the model predicts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import ModelError, one_of, whole
from ..readout import Readout
from ..schedule import Schedule
from .contributions import mean_over
from .trace import Trace, trace

OPTIMIZERS = {"sgd": 0.1, "adam": 1e-3}
"""Optimizer: its usual learning rate. SGD is Nesterov's, momentum 0.9."""
FORMAT = "growloop tuned lens"


@dataclass(frozen=True)
class Lens:
    """A tuned lens: an affine map for the input of each step.

    Args:
        schedule: of the model it belongs to.
        matrices: ``A``, ``(steps, dim, dim)``.
        shifts: ``b``, ``(steps, dim)``.
    """

    schedule: Schedule
    matrices: Tensor
    shifts: Tensor

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
            ModelError: naming both.
        """
        width = found.inputs[0].shape[-1]
        if self.schedule != found.schedule or self.shifts.shape[1] != width:
            raise ModelError(
                f"the lens was trained on schedule {self.schedule}, width {self.shifts.shape[1]}; "
                f"the model has schedule {found.schedule}, width {width}"
            )

    def save(self, path: str | Path) -> None:
        """Write it as safetensors, whole or not at all."""
        target = Path(path)
        part = target.with_name(f".{target.name}.part")
        layers = json.dumps(list(self.schedule.layers))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            tensors = {"matrices": self.matrices.contiguous(), "shifts": self.shifts.contiguous()}
            part.write_bytes(save(tensors, {"format": FORMAT, "layers": layers}))
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> Lens:
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: no such file, or one that holds no lens.
        """
        if not Path(path).is_file():
            raise ModelError(f"there is no lens {path}")
        try:
            with safe_open(str(path), framework="pt") as file:
                about = file.metadata() or {}
                if about.get("format") != FORMAT:
                    raise ModelError(f"{path} holds no tuned lens")
                tensors = [file.get_tensor(name) for name in ("matrices", "shifts")]
        except SafetensorError as error:
            raise ModelError(f"{path} holds no tuned lens: {error}") from error
        return cls(Schedule(tuple(json.loads(about["layers"]))), *tensors)


def fit_lens(
    model: PreTrainedModel,
    batches: Iterable[Tensor],
    updates: int,
    *,
    optimizer: str = "sgd",
    lr: float | None = None,
    positions: int | None = None,
    seed: int = 0,
    watch: Callable[[int, float], object] = lambda update, loss: None,
) -> Lens:
    """Train a lens: ``KL(final ‖ lens)`` on the given texts. The model stays as it is.

    The learning rate falls linearly to 0, gradients are clipped to norm 1, each step's on their
    own: the lens of a step does not depend on which others are trained beside it.

    Args:
        model: any decoder.
        batches: tokens, ``(batch, tokens)`` each, without padding; at least ``updates`` of them.
        updates: of the weights.
        optimizer: ``sgd`` (Nesterov) or ``adam``.
        lr: peak learning rate, by default 0.1 or 1e-3.
        positions: learn from so many tokens of a batch, drawn anew each time; None for all.
        seed: of that draw.
        watch: called with each update's number and mean loss in nats.

    Raises:
        ModelError: too few batches, or a model whose logits are not read off its last state.
    """
    one_of("optimizer", optimizer, OPTIMIZERS)
    whole("updates", updates, 1)
    if positions is not None:
        whole("positions", positions, 1)
    rate = OPTIMIZERS[optimizer] if lr is None else lr
    if not 0 < rate < float("inf"):
        raise ModelError(f"a learning rate is above 0, not {rate}")
    random = torch.Generator().manual_seed(seed)
    source = iter(batches)
    lenses: list[_Trained] = []
    for update in range(updates):
        ids = next(source, None)
        if ids is None:
            raise ModelError(f"{updates} updates need as many batches of text, there are {update}")
        found = trace(model, ids)
        if not lenses:
            found.check_readout()
            lenses = [_Trained(found.inputs[0], optimizer, rate) for _ in found.inputs]
        chosen = torch.randperm(ids.numel(), generator=random)[: positions or ids.numel()]
        chosen = chosen.to(ids.device)
        wanted = found.logits.flatten(0, 1)[chosen].float().log_softmax(-1)
        left = (updates - update) / updates
        losses = [
            lens.update(states.flatten(0, 1)[chosen], wanted, found.readout, rate * left)
            for lens, states in zip(lenses, found.inputs, strict=True)
        ]
        watch(update, float(torch.stack(losses).mean()))
    matrices = torch.stack([lens.matrix.detach() for lens in lenses]).cpu()
    return Lens(found.schedule, matrices, torch.stack([x.shift.detach() for x in lenses]).cpu())


class _Trained:
    """The lens of one step while it learns."""

    def __init__(self, like: Tensor, optimizer: str, lr: float) -> None:
        width, device = like.shape[-1], like.device
        self.matrix = torch.zeros(width, width, device=device, requires_grad=True)
        self.shift = torch.zeros(width, device=device, requires_grad=True)
        self.weights = [self.matrix, self.shift]
        self.optimizer: Any
        if optimizer == "sgd":
            self.optimizer = torch.optim.SGD(self.weights, lr=lr, momentum=0.9, nesterov=True)
        else:
            self.optimizer = torch.optim.Adam(self.weights, lr=lr)

    def update(self, states: Tensor, wanted: Tensor, readout: Readout, lr: float) -> Tensor:
        """One step on states ``(tokens, dim)``; the loss before it."""
        here = states.float()
        with torch.enable_grad():
            moved = here + here @ self.matrix.T + self.shift
            loss = _divergence(wanted, readout(moved.to(states.dtype)).float()).mean()
        gradients = torch.autograd.grad(loss, self.weights)  # the model's own are not touched
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        return loss.detach()


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
    return {name: torch.stack(values, dim=1).cpu() for name, values in rows.items()}


def exit_logits(found: Trace, step: int, states: Tensor, lens: Lens | None = None) -> Tensor:
    """Logits ``(..., vocabulary)`` of leaving before a step with states ``(..., dim)``."""
    return found.readout(states if lens is None else lens(step, states))
