"""Training of a tuned lens (Belrose 2023): ``KL(final ‖ lens)``, a lens for the input of each step.

The recipe ``ours`` is that of their package tuned-lens without weight decay, each step's gradients
clipped on their own; ``tuned-lens`` is the package's.

A training can keep its state in a file; killed, it goes on from there to the same weights.
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
"""Optimizer: its usual learning rate. SGD is Nesterov's, momentum 0.9."""
RECIPES = ("ours", "tuned-lens")
DECAY = 1e-3  # of the weights, in tuned-lens
CLIP = 1.0  # norm of the gradients
EVERY = 60.0  # seconds from one time the state is kept to the next, at least
SHARE = 20  # of the time is spent on training for one on keeping


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
    kept: str | Path | None = None,
    watch: Callable[[int, float], object] = lambda update, loss: None,
) -> Lens:
    """Train a lens: ``KL(final ‖ lens)`` on the given texts. The model stays as it is.

    The learning rate falls linearly to 0, gradients are clipped to norm 1.

    Args:
        model: any decoder.
        batches: tokens, ``(batch, tokens)`` each, without padding; at least ``updates`` of them.
        updates: of the weights.
        optimizer: ``sgd`` (Nesterov) or ``adam``.
        lr: peak learning rate, by default 0.1 or 1e-3.
        recipe: ``ours`` clips each step's gradients on their own, so the lens of a step does not
            depend on which others are trained beside it; ``tuned-lens``, as that package 0.2.0,
            clips them together, decays the weights (1e-3) and uses Adam as AMSGrad.
        positions: learn from so many tokens of a batch, drawn anew each time; None for all.
        seed: of that draw.
        kept: file that the state is kept in about every minute. If it is there, the training goes
            on from it, given the same batches from the first. It is left for the caller to remove.
        watch: called with each update's number and mean loss in nats.

    Raises:
        InputError: too few batches; a model whose logits are not read off its last state; a kept
            state of another training; a loss that is NaN or infinite.

    Example::

        lens = fit_lens(model, batches, 250, kept="lens.part")
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
    asked = {"updates": updates, "optimizer": optimizer, "lr": rate} | {
        "positions": positions, "seed": seed, "recipe": recipe,
    }  # fmt: skip
    state = _read(kept, asked) if kept is not None and Path(kept).is_file() else None
    random = torch.Generator().manual_seed(seed)
    if state is not None:
        random.set_state(state["random"])
    done = 0 if state is None else state["update"]
    source = iter(batches)
    lenses: list[_Trained] = []
    due = time.monotonic() + EVERY
    for update in range(updates):
        ids = next(source, None)
        if ids is None:
            raise InputError(f"{updates} updates need as many batches of text, there are {update}")
        if update < done:
            continue
        found = trace(model, ids)
        if not lenses:
            found.check_readout()
            lenses = [_Trained(found.inputs[0], optimizer, rate, recipe) for _ in found.inputs]
            if state is not None:
                _restore(lenses, state, kept)
        chosen = torch.randperm(ids.numel(), generator=random)[: positions or ids.numel()]
        chosen = chosen.to(ids.device)
        wanted = found.logits.flatten(0, 1)[chosen].float().log_softmax(-1)
        target = _Target(wanted)
        left = (updates - update) / updates
        losses = [
            lens.learn(states.flatten(0, 1)[chosen], target, found.readout)
            for lens, states in zip(lenses, found.inputs, strict=True)
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
        if kept is not None and time.monotonic() >= due and update + 1 < updates:
            began = time.monotonic()
            steps = [lens.state() for lens in lenses]
            now = {"asked": asked, "update": update + 1, "random": random.get_state()}
            _keep(now | {"steps": steps}, Path(kept))
            due = time.monotonic() + max(EVERY, SHARE * (time.monotonic() - began))
    matrices = torch.stack([lens.matrix.detach() for lens in lenses]).cpu()
    return Lens(found.schedule, matrices, torch.stack([x.shift.detach() for x in lenses]).cpu())


class _Target:
    """What the model predicts at some tokens, and the divergence of a lens from it."""

    def __init__(self, log_probs: Tensor) -> None:
        self.probs = log_probs.exp()
        self.negentropy = torch.linalg.vecdot(self.probs, log_probs).mean()

    def divergence(self, logits: Tensor) -> Tensor:
        """Mean ``KL(final ‖ lens)`` in nats of logits ``(tokens, vocabulary)``.

        As cross-entropy: a quarter of the passes over the vocabulary of what the formula says.
        """
        found: Tensor = functional.cross_entropy(logits, self.probs) + self.negentropy
        return found


class _Trained:
    """The lens of one step while it learns."""

    def __init__(self, like: Tensor, optimizer: str, lr: float, recipe: str) -> None:
        width, device = like.shape[-1], like.device
        self.matrix = torch.zeros(width, width, device=device, requires_grad=True)
        self.shift = torch.zeros(width, device=device, requires_grad=True)
        self.weights = [self.matrix, self.shift]
        theirs = recipe == "tuned-lens"
        given: dict[str, Any] = {"lr": lr, "weight_decay": DECAY if theirs else 0.0}
        self.optimizer: Any
        if optimizer == "sgd":
            self.optimizer = torch.optim.SGD(self.weights, momentum=0.9, nesterov=True, **given)
        else:
            self.optimizer = torch.optim.Adam(self.weights, amsgrad=theirs, **given)

    def learn(self, states: Tensor, target: _Target, readout: Readout) -> Tensor:
        """The loss on states ``(tokens, dim)``; leaves its gradients in the weights."""
        here = states.float()
        with torch.enable_grad():
            moved = here + here @ self.matrix.T + self.shift
            loss = target.divergence(readout(moved.to(states.dtype)).float())
        gradients = torch.autograd.grad(loss, self.weights)  # the model's own are not touched
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        return loss.detach()

    def step(self, lr: float) -> None:
        """Move along the gradients."""
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()

    def state(self) -> dict[str, Any]:
        """All that decides how it goes on."""
        weights = [weight.detach() for weight in self.weights]
        return {"weights": weights, "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        with torch.no_grad():
            for weight, was in zip(self.weights, state["weights"], strict=True):
                weight.copy_(was)
        self.optimizer.load_state_dict(state["optimizer"])


def _keep(state: dict[str, Any], path: Path) -> None:
    """Write a state, whole or not at all."""
    write_atomically(path, lambda file: torch.save(state, file))


def _read(path: str | Path, asked: dict[str, Any]) -> dict[str, Any]:
    """A kept state, if it is one of the training that is asked for."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        was = {"recipe": "ours"} | state["asked"]  # there was no other
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} holds no state of a lens: remove it") from error
    for name, value in asked.items():
        if was.get(name) != value:
            raise InputError(
                f"{path} is of a lens trained with {name} {was.get(name)}, not {value}: remove it"
            )
    return state


def _restore(lenses: list[_Trained], state: dict[str, Any], path: object) -> None:
    """The state of each step's lens."""
    was = [tuple(step["weights"][0].shape) for step in state["steps"]]
    if was != [tuple(lens.matrix.shape) for lens in lenses]:
        raise InputError(f"{path} is of a lens for another model: remove it")
    for lens, step in zip(lenses, state["steps"], strict=True):
        lens.restore(step)
