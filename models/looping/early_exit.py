"""Early exit from a looped block: criteria of convergence.

After each loop a criterion decides for every token whether its state has converged. A sequence
exits when all its new tokens have converged, padding aside; its state is frozen from then on. When
every sequence of the batch has exited, the remaining loops are skipped.

:meth:`EarlyExit.geiping` is the rule of Geiping et al. 2025 as in their code. The default rule is
ours. It reads predictions off the state without running the layers after the block, and it tests
every token, so it also suits tasks that score all positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from ...core.errors import InputError, one_of, shown, unknown, whole

DEFAULTS = {"entropy": 1e-3, "latent": 0.03, "kl": 1e-3, "argmax": 5.0, "gate": 0.5,
            "confidence": 0.5}  # fmt: skip
"""Criterion -> default threshold."""
LEARNED = ("gate", "confidence")
"""Criteria of a learned head."""
DIRECTIONS = ("new-old", "old-new")
COUNTS = ("loops", "repeats")
JUDGED = ("all", "last", "mean")
NO_ENTROPY = 100.0  # nats; Geiping et al.'s entropy before the first loop, above any real one


@dataclass(frozen=True)
class EarlyExit:
    """Rule for leaving a looped block before its last loop, in evaluation only.

    Args:
        criterion: quantity compared between consecutive loops:
            ``entropy``: change of the entropy of the next-token distribution, in nats;
            ``latent``: relative change of the hidden state, ``|h' - h| / |h'|``;
            ``kl``: KL divergence between the next-token distributions, in nats;
            ``argmax``: consecutive loops with the same most likely token;
            ``gate``: probability of having halted, by a learned gate on the state (Ouro),
            ``1 - prod(1 - sigmoid(gate(h)))``;
            ``confidence``: probability that the prediction is right, by a learned head on the
            change of the state, ``sigmoid(head(h' - h))`` (LoopUS).
        threshold: exit when the change is below it (``entropy``, ``latent``, ``kl``) or when it is
            reached (``argmax``, ``gate``, ``confidence``). Defaults: 1e-3, 0.03, 1e-3, 5 loops,
            0.5, 0.5.
        min_loops: number of loops that always run.
        direction: for ``kl``: ``new-old`` is ``KL(new ‖ old)``, ``old-new`` is ``KL(old ‖ new)``.
        count: for ``argmax``: ``loops`` counts loops that agree (a threshold of 5 needs five);
            ``repeats`` counts agreements with the previous loop (5 needs six loops).
        judged: tokens that must have converged: ``all`` new tokens, the ``last`` one, or the
            ``mean`` of their changes (not for ``argmax``, ``gate`` and ``confidence``).
        from_start: compare the first loop with the state that entered the block (``latent``), a
            uniform distribution (``kl``) or an entropy of 100 nats (``entropy``).
        through_coda: read predictions after the layers that follow the block, as an exiting model
            would. Each check then runs these layers.

    Logits are the model's own final norm and head on the state.

    >>> EarlyExit("latent").threshold
    0.03
    """

    criterion: str
    threshold: float = -1.0
    min_loops: int = 1
    direction: str = "new-old"
    count: str = "loops"
    judged: str = "all"
    from_start: bool = False
    through_coda: bool = False

    def __post_init__(self) -> None:
        if self.criterion not in DEFAULTS:
            raise unknown("exit criterion", self.criterion, DEFAULTS)
        if self.threshold == -1.0:
            object.__setattr__(self, "threshold", DEFAULTS[self.criterion])
        if not 0 <= self.threshold < float("inf"):
            raise InputError(f"an exit threshold is 0 or more, not {self.threshold}")
        whole("min_loops", self.min_loops, 1)
        one_of("direction of kl", self.direction, DIRECTIONS)
        one_of("count of argmax", self.count, COUNTS)
        one_of("choice of judged tokens", self.judged, JUDGED)
        if self.judged == "mean" and self.criterion in ("argmax", *LEARNED):
            raise InputError(f"{self.criterion} has no mean over tokens: judge all or the last")
        for name in ("from_start", "through_coda"):
            if not isinstance(value := getattr(self, name), bool):
                raise InputError(f"{name} is true or false, not {shown(value)}")

    @classmethod
    def geiping(cls, criterion: str, threshold: float = -1.0) -> EarlyExit:
        """Build the rule of Geiping et al. 2025 (arXiv 2502.05171), as in their code.

        It reads predictions of the last token through the coda, takes the mean over tokens for
        ``latent`` and ``KL(old ‖ new)`` for ``kl``, counts repeats for ``argmax``, and compares the
        first loop with the start. Their random initial state corresponds to the state that enters
        the block. The default thresholds are theirs (1e-3, 0.03, 1e-3, 5 repeats).

        >>> EarlyExit.geiping("kl").direction
        'old-new'

        Raises:
            InputError: criterion ``gate`` or ``confidence``, which are of other works.
        """
        if criterion in LEARNED:
            of = "Ouro" if criterion == "gate" else "LoopUS"
            raise InputError(f"the criterion {criterion} is {of}'s, not Geiping et al.'s")
        return cls(
            criterion,
            threshold,
            direction="old-new",
            count="repeats",
            judged="mean" if criterion == "latent" else "last",
            from_start=True,
            through_coda=criterion != "latent",
        )


def exit_signal(criterion: str, states: Tensor, logits: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute the signal that a criterion compares between two loops.

    Args:
        criterion: ``entropy``, ``latent``, ``kl`` or ``argmax``.
        states: ``(..., dim)``.
        logits: states -> ``(..., vocabulary)``; not called for ``latent``.

    Returns:
        ``entropy``: entropies in nats, ``(...)``; ``argmax``: token ids, ``(...)``; ``latent``: the
        states; ``kl``: log-probabilities, ``(..., vocabulary)``.
    """
    if criterion == "latent":
        return states.float()
    log_probs = torch.log_softmax(logits(states).float(), dim=-1)
    if criterion == "entropy":
        return -(log_probs.exp() * log_probs).sum(-1)
    return log_probs.argmax(-1) if criterion == "argmax" else log_probs


def initial_signal(criterion: str, entering: Tensor, like: Tensor) -> Tensor:
    """Return the signal that the first loop is compared with under ``from_start``.

    Args:
        criterion: ``entropy``, ``latent``, ``kl`` or ``argmax``.
        entering: states that entered the block, ``(..., dim)``.
        like: signal of the first loop, for shape and device.
    """
    if criterion == "latent":
        return entering.float()
    if criterion == "entropy":
        return torch.full_like(like, NO_ENTROPY)
    return torch.full_like(like, -log(like.shape[-1]) if criterion == "kl" else -1)


def signal_change(
    criterion: str, before: Tensor, now: Tensor, direction: str = "new-old"
) -> Tensor:
    """Measure the change between two signals, ``(...)``; ``argmax``: 0 where tokens are equal."""
    if criterion == "entropy":
        return (now - before).abs()
    if criterion == "latent":
        relative: Tensor = (now - before).norm(dim=-1) / now.norm(dim=-1).clamp_min(1e-6)
        return relative
    if criterion == "argmax":
        return (now != before).float()
    first, second = (now, before) if direction == "new-old" else (before, now)
    return (first.exp() * (first - second)).sum(-1)


class ExitMonitor:
    """Convergence test over the loops of one looped block.

    Args:
        rule: when to exit.
        logits: states ``(batch, tokens, dim)`` -> ``(batch, tokens, vocabulary)``.
        gate: states -> one logit per token, for the criterion ``gate``; changes of the state -> one
            logit per token, for ``confidence``.
        mask: True for tokens that are not padding, ``(batch, tokens)``; None if all are real.
        entering: states that entered the block, ``(batch, tokens, dim)``.
        coda: layers after the block, states -> states, for ``through_coda``.
    """

    def __init__(
        self,
        rule: EarlyExit,
        logits: Callable[[Tensor], Tensor],
        gate: Callable[[Tensor], Tensor] | None,
        mask: Tensor | None,
        entering: Tensor,
        coda: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.rule, self.logits, self.gate, self.coda = rule, logits, gate, coda
        self.mask = mask
        if rule.judged == "last":
            self.last_token = _last_token(mask, entering)
            entering = self._judged(entering)
        self.entering = entering
        self.loops = 0
        self.previous: Tensor | None = None  # signal of the previous loop
        self.accumulated: Tensor | None = None  # loops in agreement, or probability of not halting

    @torch.no_grad()
    def exits(self, states: Tensor, changes: Tensor | None = None) -> Tensor:
        """Return which sequences may exit after this loop, ``(batch,)`` bool.

        Call it once per loop, in order.

        Args:
            states: states after the loop, ``(batch, tokens, dim)``.
            changes: changes of the state by the block, for ``confidence``.
        """
        self.loops += 1
        if self.rule.criterion == "confidence":
            assert self.gate is not None
            assert changes is not None
            logits = self.gate(self._judged(changes)).squeeze(-1).float()
            converged = torch.sigmoid(logits) >= self.rule.threshold
        else:
            converged = self._converged(states)
        if self.loops < self.rule.min_loops:
            converged = torch.zeros_like(converged)
        if self.mask is not None and self.rule.judged == "all":
            converged = converged | ~self.mask
        return converged.all(dim=1)

    def _judged(self, states: Tensor) -> Tensor:
        """Select the states that the rule tests, ``(batch, tokens or 1, dim)``."""
        if self.rule.judged != "last":
            return states
        return states.take_along_dim(self.last_token.to(states.device)[:, None, None], dim=1)

    def _converged(self, states: Tensor) -> Tensor:
        """Return which tested tokens have converged, ``(batch, tokens or 1)`` bool."""
        criterion, threshold = self.rule.criterion, self.rule.threshold
        if self.coda is not None and criterion not in ("latent", "gate"):
            states = self.coda(states)
        states = self._judged(states)
        if criterion == "gate":
            assert self.gate is not None
            stays = 1 - torch.sigmoid(self.gate(states).squeeze(-1).float())
            self.accumulated = stays if self.accumulated is None else self.accumulated * stays
            return 1 - self.accumulated >= threshold
        now = exit_signal(criterion, states, self.logits)
        before, self.previous = self.previous, now
        if before is None and self.rule.from_start:
            before = initial_signal(criterion, self.entering, now)
        if criterion == "argmax":
            first = 1 if self.rule.count == "loops" else 0
            if before is None or self.accumulated is None:
                self.accumulated = torch.full_like(now, first)
            else:
                same = signal_change(criterion, before, now) == 0
                self.accumulated = torch.where(same, self.accumulated + 1, first)
            return self.accumulated >= threshold
        if before is None:
            return torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
        change = signal_change(criterion, before, now, self.rule.direction)
        if self.rule.judged == "mean":
            mask = torch.ones_like(change) if self.mask is None else self.mask.to(change)
            change = ((change * mask).sum(1) / mask.sum(1).clamp_min(1))[:, None]
        return change < threshold


def _last_token(mask: Tensor | None, states: Tensor) -> Tensor:
    """Return the index of the last real token of each sequence, ``(batch,)``."""
    rows, length = states.shape[:2]
    if mask is None:
        return torch.full((rows,), length - 1, device=states.device)
    positions = torch.arange(length, device=mask.device)
    return torch.where(mask, positions, -1).amax(1).clamp_min(0)
