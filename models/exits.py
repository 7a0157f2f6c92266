"""When a looped block has done enough: the criteria of early exit.

After each loop a criterion says for every token whether its state has settled. A sequence leaves
the block when all its real (not padded) new tokens have; its state is then frozen. When every
sequence of the batch has left, the remaining loops are not computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import ModelError, unknown, whole

DEFAULTS = {"entropy": 1e-3, "latent": 0.03, "kl": 1e-3, "argmax": 5.0, "gate": 0.5}
"""Criterion: its usual threshold."""


@dataclass(frozen=True)
class EarlyExit:
    """Leave a looped block before its last loop; in evaluation only.

    Args:
        criterion: what is compared between one loop and the next:
            ``entropy``: change of the entropy of the next-token distribution, in nats;
            ``latent``: relative change of the hidden state, ``|h' - h| / |h'|``;
            ``kl``: divergence of the next-token distribution from the loop before, in nats;
            ``argmax``: loops in a row with the same most likely token;
            ``gate``: the probability of having halted by now, by a learned gate on the state
            (Ouro), ``1 - prod(1 - sigmoid(gate(h)))``.
        threshold: leave when the change is below it (``entropy``, ``latent``, ``kl``), or when it
            is reached (``argmax``, ``gate``). By default 1e-3, 0.03, 1e-3, 5 loops, 0.5.
        min_loops: loops that always run.

    Distributions are read off the state through the model's own final norm and head.

    >>> EarlyExit("latent").threshold
    0.03
    """

    criterion: str
    threshold: float = -1.0
    min_loops: int = 1

    def __post_init__(self) -> None:
        if self.criterion not in DEFAULTS:
            raise unknown("exit criterion", self.criterion, DEFAULTS)
        if self.threshold == -1.0:
            object.__setattr__(self, "threshold", DEFAULTS[self.criterion])
        if not 0 <= self.threshold < float("inf"):
            raise ModelError(f"an exit threshold is 0 or more, not {self.threshold}")
        whole("min_loops", self.min_loops, 1)


def reading(criterion: str, states: Tensor, logits: Callable[[Tensor], Tensor]) -> Tensor:
    """What a criterion compares between two looks at a state.

    Args:
        criterion: ``entropy``, ``latent``, ``kl`` or ``argmax``.
        states: ``(..., dim)``.
        logits: from states to ``(..., vocabulary)``; not called for ``latent``.

    Returns:
        Entropies or most likely tokens ``(...)``, states, or log-probabilities.
    """
    if criterion == "latent":
        return states.float()
    chances = torch.log_softmax(logits(states).float(), dim=-1)
    if criterion == "entropy":
        return -(chances.exp() * chances).sum(-1)
    return chances.argmax(-1) if criterion == "argmax" else chances


def change(criterion: str, before: Tensor, now: Tensor) -> Tensor:
    """How far two readings are apart, ``(...)``; for ``argmax`` 0 where the token is the same."""
    if criterion == "entropy":
        return (now - before).abs()
    if criterion == "latent":
        apart: Tensor = (now - before).norm(dim=-1) / now.norm(dim=-1).clamp_min(1e-6)
        return apart
    if criterion == "argmax":
        return (now != before).float()
    return (now.exp() * (now - before)).sum(-1)


class Judge:
    """Follows the states of one looped block through its loops.

    Args:
        rule: when to leave.
        logits: from states ``(batch, tokens, dim)`` to ``(batch, tokens, vocabulary)``.
        gate: from states to one number a token, for the criterion ``gate``.
        real: which tokens count, ``(batch, tokens)``; None if all do.
    """

    def __init__(
        self,
        rule: EarlyExit,
        logits: Callable[[Tensor], Tensor],
        gate: Callable[[Tensor], Tensor] | None,
        real: Tensor | None,
    ) -> None:
        self.rule, self.logits, self.gate, self.real = rule, logits, gate, real
        self.loops = 0
        self.last: Tensor | None = None
        self.tally: Tensor | None = None

    @torch.no_grad()
    def leaves(self, states: Tensor) -> Tensor:
        """Whether each sequence may leave after this loop: ``(batch,)``, bool."""
        self.loops += 1
        settled = self._settled(states)
        if self.loops < self.rule.min_loops:
            settled = torch.zeros_like(settled)
        if self.real is not None:
            settled = settled | ~self.real
        return settled.all(dim=1)

    def _settled(self, states: Tensor) -> Tensor:
        """Whether the state of each token has settled: ``(batch, tokens)``, bool."""
        kind, threshold = self.rule.criterion, self.rule.threshold
        none = torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
        if kind == "gate":
            assert self.gate is not None
            stays = 1 - torch.sigmoid(self.gate(states).squeeze(-1).float())
            self.tally = stays if self.tally is None else self.tally * stays
            return 1 - self.tally >= threshold
        now = reading(kind, states, self.logits)
        before, self.last = self.last, now
        if kind == "argmax":
            same = none if before is None else change(kind, before, now) == 0
            count = torch.ones_like(now) if self.tally is None else self.tally
            self.tally = torch.where(same, count + 1, 1)
            return self.tally >= threshold
        if before is None:
            return none
        return change(kind, before, now) < threshold
