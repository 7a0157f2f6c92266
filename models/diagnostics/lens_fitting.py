"""Training of a tuned lens (Belrose 2023): minimise ``KL(final ‖ lens)`` for each step's input.

Recipe ``tuned-lens`` is that of their package; ``ours`` is the same without weight decay, and with
each step's gradients clipped separately.

The training state can be saved to a file. A killed run resumes from it to the same weights.
"""

from __future__ import annotations

import itertools
import math
import pickle
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from ...core.errors import InputError, one_of, whole
from ...core.files import write_atomically
from ..looping.readout import Readout
from .lens import Lens
from .trace import trace

OPTIMIZERS = {"sgd": 0.1, "adam": 1e-3}
"""Optimizer -> default learning rate. SGD has Nesterov momentum 0.9."""
RECIPES = ("ours", "tuned-lens")
DECAY = 1e-3  # weight decay of tuned-lens
CLIP = 1.0  # gradient norm
EVERY = 60.0  # seconds between two saves of the state, at least
SHARE = 20  # seconds of training per second of saving, at least


def fit_lens(
    model: PreTrainedModel,
    batches: Iterable[Tensor],
    updates: int,
    *,
    optimizer: str = "sgd",
    lr: float | None = None,
    recipe: str = "ours",
    positions: int | None = None,
    seed: int = 0,
    state_file: str | Path | None = None,
    watch: Callable[[int, float], object] = lambda update, loss: None,
) -> Lens:
    """Train a tuned lens on ``KL(final ‖ lens)``. The model is not changed.

    The learning rate decays linearly to 0; gradients are clipped to norm 1.

    Args:
        model: any decoder.
        batches: tokens, ``(batch, tokens)`` each, without padding; at least ``updates`` of them.
        updates: number of optimizer steps.
        optimizer: ``sgd`` (Nesterov) or ``adam``.
        lr: peak learning rate, by default 0.1 or 1e-3.
        recipe: ``ours`` clips each step's gradients separately, so that a step's lens does not
            depend on the other steps; ``tuned-lens``, as that package 0.2.0, clips them together,
            decays the weights (1e-3) and uses Adam as AMSGrad.
        positions: number of tokens of a batch to learn from, drawn per update; None for all.
        seed: of that draw.
        state_file: file for the training state, saved about every minute. An existing one is
            resumed from, given the same batches from the first. The caller removes it.
        watch: called with each update's number and mean loss in nats.

    Raises:
        InputError: too few batches; a model whose logits are not norm and head on its last state; a
            state file of another run; a loss that is NaN or infinite.

    Example::

        lens = fit_lens(model, batches, 250, state_file="lens.part")
        lens.save("lens.safetensors")
    """
    one_of("optimizer", optimizer, OPTIMIZERS)
    one_of("recipe", recipe, RECIPES)
    whole("updates", updates, 1)
    if positions is not None:
        whole("positions", positions, 1)
    rate = OPTIMIZERS[optimizer] if lr is None else lr
    if not 0 < rate < float("inf"):
        raise InputError(f"a learning rate is above 0, not {rate}")
    arguments = {"updates": updates, "optimizer": optimizer, "lr": rate} | {
        "positions": positions, "seed": seed, "recipe": recipe,
    }  # fmt: skip
    resuming = state_file is not None and Path(state_file).is_file()
    state = _read(state_file, arguments) if state_file is not None and resuming else None
    random = torch.Generator().manual_seed(seed)
    if state is not None:
        random.set_state(state["random"])
    done = 0 if state is None else state["update"]
    source = iter(batches)
    lenses: list[_StepLens] = []
    due = time.monotonic() + EVERY
    for update in range(updates):
        ids = next(source, None)
        if ids is None:
            raise InputError(f"{updates} updates need as many batches of text, there are {update}")
        if update < done:
            continue
        record = trace(model, ids)
        if not lenses:
            record.check_readout()
            lenses = [_StepLens(record.inputs[0], optimizer, rate, recipe) for _ in record.inputs]
            if state is not None:
                _restore(lenses, state, state_file)
        sample = torch.randperm(ids.numel(), generator=random)[: positions or ids.numel()]
        sample = sample.to(ids.device)
        target = _Target(record.logits.flatten(0, 1)[sample].float().log_softmax(-1))
        left = (updates - update) / updates
        losses = [
            lens.learn(states.flatten(0, 1)[sample], target, record.readout)
            for lens, states in zip(lenses, record.inputs, strict=True)
        ]
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            step = int(torch.stack(losses).isfinite().logical_not().nonzero()[0])
            raise InputError(
                f"the loss of the lens of step {step} is not finite in update {update}: try a "
                "lower learning rate, or float32"
            )
        every = [lens.weights for lens in lenses]
        for weights in every if recipe == "ours" else [list(itertools.chain(*every))]:
            torch.nn.utils.clip_grad_norm_(weights, CLIP)
        for lens in lenses:
            lens.step(rate * left)
        watch(update, mean)
        if state_file is not None and time.monotonic() >= due and update + 1 < updates:
            began = time.monotonic()
            steps = [lens.state() for lens in lenses]
            now = {"asked": arguments, "update": update + 1, "random": random.get_state()}
            _save(now | {"steps": steps}, Path(state_file))
            due = time.monotonic() + max(EVERY, SHARE * (time.monotonic() - began))
    matrices = torch.stack([lens.matrix.detach() for lens in lenses]).cpu()
    return Lens(record.schedule, matrices, torch.stack([x.shift.detach() for x in lenses]).cpu())


class _Target:
    """Predictions of the model at some tokens, ``(tokens, vocabulary)``, as a training target."""

    def __init__(self, log_probs: Tensor) -> None:
        self.probs = log_probs.exp()
        self.negentropy = torch.linalg.vecdot(self.probs, log_probs).mean()

    def divergence(self, logits: Tensor) -> Tensor:
        """Compute the mean ``KL(final ‖ lens)`` in nats of logits ``(tokens, vocabulary)``.

        It is a cross-entropy minus a constant, which takes a quarter of the passes over the
        vocabulary that the formula takes.
        """
        divergence: Tensor = functional.cross_entropy(logits, self.probs) + self.negentropy
        return divergence


class _StepLens:
    """Lens of one step during training, with its optimizer."""

    def __init__(self, like: Tensor, optimizer: str, lr: float, recipe: str) -> None:
        width, device = like.shape[-1], like.device
        self.matrix = torch.zeros(width, width, device=device, requires_grad=True)
        self.shift = torch.zeros(width, device=device, requires_grad=True)
        self.weights = [self.matrix, self.shift]
        theirs = recipe == "tuned-lens"
        options: dict[str, Any] = {"lr": lr, "weight_decay": DECAY if theirs else 0.0}
        self.optimizer: Any
        if optimizer == "sgd":
            self.optimizer = torch.optim.SGD(self.weights, momentum=0.9, nesterov=True, **options)
        else:
            self.optimizer = torch.optim.Adam(self.weights, amsgrad=theirs, **options)

    def learn(self, states: Tensor, target: _Target, readout: Readout) -> Tensor:
        """Compute the loss on states ``(tokens, dim)`` and set the gradients of the weights."""
        h = states.float()
        with torch.enable_grad():
            mapped = h + h @ self.matrix.T + self.shift
            loss = target.divergence(readout(mapped.to(states.dtype)).float())
        gradients = torch.autograd.grad(loss, self.weights)  # leaves the model's gradients alone
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        return loss.detach()

    def step(self, lr: float) -> None:
        """Do an optimizer step."""
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()

    def state(self) -> dict[str, Any]:
        """Return weights and optimizer state."""
        weights = [weight.detach() for weight in self.weights]
        return {"weights": weights, "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of :meth:`state`."""
        with torch.no_grad():
            for weight, saved in zip(self.weights, state["weights"], strict=True):
                weight.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])


def _save(state: dict[str, Any], path: Path) -> None:
    """Write a training state, atomically."""
    write_atomically(path, lambda file: torch.save(state, file))


def _read(path: str | Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Read a training state; refuse one of a run with other arguments."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        saved = {"recipe": "ours"} | state[
            "asked"
        ]  # older files have no recipe: there was only one
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is not the training state of a lens: remove it") from error
    for name, value in arguments.items():
        if saved.get(name) != value:
            raise InputError(
                f"{path} is the state of a lens trained with {name} "
                f"{saved.get(name)}, not {value}: remove it"
            )
    return state


def _restore(lenses: list[_StepLens], state: dict[str, Any], path: object) -> None:
    """Restore the lenses of all steps."""
    shapes = [tuple(step["weights"][0].shape) for step in state["steps"]]
    if shapes != [tuple(lens.matrix.shape) for lens in lenses]:
        raise InputError(f"{path} is the state of a lens for another model: remove it")
    for lens, step in zip(lenses, state["steps"], strict=True):
        lens.restore(step)
