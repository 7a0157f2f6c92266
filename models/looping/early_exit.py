"""When a looped block has done enough: the criteria of early exit.

After each loop a criterion says for every token whether its state has settled. A sequence leaves
the block when all its real (not padded) new tokens have; its state is then frozen. When every
sequence of the batch has left, the remaining loops are not computed.

:meth:`EarlyExit.geiping` is the rule of Geiping et al. 2025 as their code has it. The default is
ours: it reads a prediction without running the layers after the block, and judges every token, so
that it also holds where all positions are scored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from ...core.errors import InputError, one_of, shown, unknown, whole

DEFAULTS = {"entropy": 1e-3, "latent": 0.03, "kl": 1e-3, "argmax": 5.0, "gate": 0.5}
"""Criterion: its usual threshold."""
DIRECTIONS = ("new-old", "old-new")
COUNTS = ("loops", "repeats")
JUDGED = ("all", "last", "mean")
NO_ENTROPY = 100.0  # nats; Geiping et al.'s entropy before the first loop: more than any


@dataclass(frozen=True)
class EarlyExit:
    """Leave a looped block before its last loop; in evaluation only.

    Args:
        criterion: what is compared between one loop and the next:
            ``entropy``: change of the entropy of the next-token distribution, in nats;
            ``latent``: relative change of the hidden state, ``|h' - h| / |h'|``;
            ``kl``: divergence of the next-token distributions of the two loops, in nats;
            ``argmax``: loops in a row with the same most likely token;
            ``gate``: the probability of having halted by now, by a learned gate on the state
            (Ouro), ``1 - prod(1 - sigmoid(gate(h)))``.
        threshold: leave when the change is below it (``entropy``, ``latent``, ``kl``), or when it
            is reached (``argmax``, ``gate``). By default 1e-3, 0.03, 1e-3, 5 loops, 0.5.
        min_loops: loops that always run.
        direction: of ``kl``: ``new-old`` is ``KL(new ‖ old)``, ``old-new`` is ``KL(old ‖ new)``.
        count: of ``argmax``: ``loops`` counts the loops that agree, so 5 needs five;
            ``repeats`` counts the times that a loop repeats the one before, so 5 needs six loops.
        judged: what must have settled: ``all`` new tokens, the ``last`` alone, or the ``mean`` of
            their changes (not of ``argmax`` and ``gate``).
        from_start: compare the first loop too: with the state that entered the block
            (``latent``), a uniform distribution (``kl``), an entropy of 100 nats (``entropy``).
        through_coda: read predictions after the layers that follow the block, as the model would
            predict if it left now. Each look then runs these layers.

    Distributions are read off the state through the model's own final norm and head.

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
        if self.judged == "mean" and self.criterion in ("argmax", "gate"):
            raise InputError(f"{self.criterion} has no mean over tokens: judge all or the last")
        for name in ("from_start", "through_coda"):
            if not isinstance(given := getattr(self, name), bool):
                raise InputError(f"{name} is true or false, not {shown(given)}")

    @classmethod
    def geiping(cls, criterion: str, threshold: float = -1.0) -> EarlyExit:
        """The rule of Geiping et al. 2025 (arXiv 2502.05171), as their code applies it.

        Predictions are read through the coda and of the last token alone, ``latent`` is the mean
        over tokens, ``kl`` is ``KL(old ‖ new)``, ``argmax`` counts repeats, and the first loop is
        compared with the start. Their random initial state is here the state that enters the
        block. The usual thresholds are theirs (1e-3, 0.03, 1e-3, 5 repeats).

        >>> EarlyExit.geiping("kl").direction
        'old-new'

        Raises:
            InputError: ``gate``, which is Ouro's.
        """
        if criterion == "gate":
            raise InputError("the criterion gate is Ouro's, not Geiping et al.'s")
        return cls(
            criterion,
            threshold,
            direction="old-new",
            count="repeats",
            judged="mean" if criterion == "latent" else "last",
            from_start=True,
            through_coda=criterion != "latent",
        )


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


def at_start(criterion: str, entering: Tensor, like: Tensor) -> Tensor:
    """What the first loop is compared with under ``from_start``.

    Args:
        criterion: ``entropy``, ``latent``, ``kl`` or ``argmax``.
        entering: the states that entered the block, ``(..., dim)``.
        like: the reading of the first loop.
    """
    if criterion == "latent":
        return entering.float()
    if criterion == "entropy":
        return torch.full_like(like, NO_ENTROPY)
    return torch.full_like(like, -log(like.shape[-1]) if criterion == "kl" else -1)


def change(criterion: str, before: Tensor, now: Tensor, direction: str = "new-old") -> Tensor:
    """How far two readings are apart, ``(...)``; for ``argmax`` 0 where the token is the same."""
    if criterion == "entropy":
        return (now - before).abs()
    if criterion == "latent":
        apart: Tensor = (now - before).norm(dim=-1) / now.norm(dim=-1).clamp_min(1e-6)
        return apart
    if criterion == "argmax":
        return (now != before).float()
    first, second = (now, before) if direction == "new-old" else (before, now)
    return (first.exp() * (first - second)).sum(-1)


class Judge:
    """Follows the states of one looped block through its loops.

    Args:
        rule: when to leave.
        logits: from states ``(batch, tokens, dim)`` to ``(batch, tokens, vocabulary)``.
        gate: from states to one number a token, for the criterion ``gate``.
        real: which tokens count, ``(batch, tokens)``; None if all do.
        entering: the states that entered the block, ``(batch, tokens, dim)``.
        coda: the layers after the block, from states to states, for ``through_coda``.
    """

    def __init__(
        self,
        rule: EarlyExit,
        logits: Callable[[Tensor], Tensor],
        gate: Callable[[Tensor], Tensor] | None,
        real: Tensor | None,
        entering: Tensor,
        coda: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.rule, self.logits, self.gate, self.coda = rule, logits, gate, coda
        self.real = real
        if rule.judged == "last":
            self.place = _last(real, entering)
            entering = self._judged(entering)
        self.entering = entering
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
        if self.real is not None and self.rule.judged == "all":
            settled = settled | ~self.real
        return settled.all(dim=1)

    def _judged(self, states: Tensor) -> Tensor:
        """Those of the states that the rule looks at: ``(batch, tokens or 1, dim)``."""
        if self.rule.judged != "last":
            return states
        return states.take_along_dim(self.place.to(states.device)[:, None, None], dim=1)

    def _settled(self, states: Tensor) -> Tensor:
        """Whether what is judged has settled: ``(batch, tokens or 1)``, bool."""
        kind, threshold = self.rule.criterion, self.rule.threshold
        if self.coda is not None and kind not in ("latent", "gate"):
            states = self.coda(states)
        states = self._judged(states)
        if kind == "gate":
            assert self.gate is not None
            stays = 1 - torch.sigmoid(self.gate(states).squeeze(-1).float())
            self.tally = stays if self.tally is None else self.tally * stays
            return 1 - self.tally >= threshold
        now = reading(kind, states, self.logits)
        before, self.last = self.last, now
        if before is None and self.rule.from_start:
            before = at_start(kind, self.entering, now)
        if kind == "argmax":
            first = 1 if self.rule.count == "loops" else 0
            if before is None or self.tally is None:
                self.tally = torch.full_like(now, first)
            else:
                same = change(kind, before, now) == 0
                self.tally = torch.where(same, self.tally + 1, first)
            return self.tally >= threshold
        if before is None:
            return torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
        changed = change(kind, before, now, self.rule.direction)
        if self.rule.judged == "mean":
            real = torch.ones_like(changed) if self.real is None else self.real.to(changed)
            changed = ((changed * real).sum(1) / real.sum(1).clamp_min(1))[:, None]
        return changed < threshold


def _last(real: Tensor | None, states: Tensor) -> Tensor:
    """The place of the last real token of each sequence, ``(batch,)``."""
    rows, length = states.shape[:2]
    if real is None:
        return torch.full((rows,), length - 1, device=states.device)
    places = torch.arange(length, device=real.device)
    return torch.where(real, places, -1).amax(1).clamp_min(0)
