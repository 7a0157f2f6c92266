"""Recurrence settings: what happens between the loops of a block (variants of looped models).

``.runner`` applies them during a forward pass, around Hugging Face's own layers. Per loop of a
block::

    h = state after the previous loop        e = state that entered the block
    h' = block(inject(h, e))                 injection, from the second loop on
    h' = h + damping (h' - h)                damped repeats, from the second loop on
    h' = h + (h' - h) / loops                sub-steps, in every loop
    exit?                                    early exit, in evaluation
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...core.errors import InputError, flag, one_of, shown, whole
from ...core.schedule import Schedule
from .early_exit import EarlyExit

INJECTIONS = ("none", "add", "concat")


@dataclass(frozen=True)
class RandomLoops:
    """Random number of loops per training step (Geiping 2025).

    ``Poisson(LogNormal(ln mean - sigma^2 / 2, sigma)) + 1``, so ``mean + 1`` loops on average. All
    processes draw the same number.

    Args:
        mean: mean of the Poisson part.
        sigma: standard deviation of the log-normal part.
        seed: of the draws.

    >>> [RandomLoops(mean=4, seed=0).at(step) for step in range(3)] == [
    ...     RandomLoops(mean=4, seed=0).at(step) for step in range(3)]
    True
    """

    mean: float
    sigma: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.mean <= 1000 or not 0 <= self.sigma <= 2:
            raise InputError(
                "random loops need a mean above 0, up to 1000, and a sigma from 0 to 2"
            )
        whole("the seed", self.seed, 0)

    def at(self, step: int) -> int:
        """Draw the number of loops of a training step."""
        random = np.random.default_rng((self.seed, step))
        rate = random.lognormal(np.log(self.mean) - self.sigma**2 / 2, self.sigma)
        return int(random.poisson(rate)) + 1


@dataclass(frozen=True)
class Recurrence:
    """Settings of what happens between the loops of a block; by default nothing.

    Example::

        loop(model, "4-4x4-4", recurrence=Recurrence(injection="add", kv_sharing="last"))

    Args:
        injection: input of the block from the second loop on: ``none``, the state; ``add``, the
            state plus the block's first input; ``concat``, a learned linear map of both,
            initialised to the state alone.
        backward_loops: number of final loops that gradients flow through; earlier loops run
            without a graph (truncated back-propagation). None for all.
        random_loops: distribution of the number of loops in training; None for a fixed number.
        kv_sharing: KV-cache slots of a looped layer: ``full``, one per loop; ``last``, one, which
            holds the last loop; a number n: n slots, loop i in slot i mod n.
        damping: share of a repeat's change to the state that is applied, above 0 up to 1.
        early_exit: rule for leaving the block before its last loop, in evaluation.
        substeps: read a block as one Euler step and its k loops as k smaller ones: every loop,
            the first too, applies 1/k of its change (arXiv 2605.23872).
    """

    injection: str = "none"
    backward_loops: int | None = None
    random_loops: RandomLoops | None = None
    kv_sharing: str | int = "full"
    damping: float = 1.0
    early_exit: EarlyExit | None = None
    substeps: bool = False

    def __post_init__(self) -> None:
        one_of("injection", self.injection, INJECTIONS)
        if self.backward_loops is not None:
            whole("backward_loops", self.backward_loops, 1)
        if self.kv_sharing not in ("full", "last"):
            if isinstance(self.kv_sharing, str):
                raise InputError(
                    f"kv_sharing is full, last or a number of slots, not {shown(self.kv_sharing)}"
                )
            whole("the number of slots in kv_sharing", self.kv_sharing, 1)
        if not 0 < self.damping <= 1:
            raise InputError(f"damping is above 0, up to 1, not {self.damping}")
        flag("substeps", self.substeps)
        if self.substeps and self.damping != 1:
            raise InputError("substeps apply 1/loops of a change: give damping or substeps")
        if self.substeps and self.early_exit is not None:
            raise InputError("substeps with an early exit would leave a part of the step undone")
        for name, settings in (("random_loops", RandomLoops), ("early_exit", EarlyExit)):
            if not isinstance(value := getattr(self, name), (settings, type(None))):
                fields = ", ".join(settings.__dataclass_fields__)
                raise InputError(f"{name} takes fields ({fields}), not {shown(value)}")

    def check_fits(self, schedule: Schedule) -> None:
        """Refuse a schedule with several looped blocks if the exit rule reads through the coda.

        Raises:
            InputError: naming the schedule.
        """
        if self.early_exit is None or not self.early_exit.through_coda:
            return
        if (blocks := sum(section.times > 1 for section in schedule.sections)) > 1:
            raise InputError(
                f"schedule {schedule} has {blocks} looped blocks: an exit that looks through the "
                "layers after its block (through_coda) needs one"
            )

    def applied_share(self, loop: int, loops: int) -> float:
        """Return the share of a loop's change to the state that is applied.

        Args:
            loop: number of the loop, from 0.
            loops: loops of the block in all.

        >>> [Recurrence(damping=0.25).applied_share(loop, 2) for loop in range(2)]
        [1.0, 0.25]
        >>> [Recurrence(substeps=True).applied_share(loop, 2) for loop in range(2)]
        [0.5, 0.5]
        """
        if self.substeps:
            return 1 / loops
        return self.damping if loop > 0 else 1.0

    @property
    def slots(self) -> int | None:
        """KV-cache slots per layer; None for one per step."""
        named = {"full": None, "last": 1}
        return named[self.kv_sharing] if isinstance(self.kv_sharing, str) else self.kv_sharing

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that differ from the default, as JSON-able fields."""
        default = asdict(Recurrence())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Recurrence:
        """Build the settings from the fields that :meth:`to_dict` returned."""
        fields = dict(fields)
        nested = {"random_loops": RandomLoops, "early_exit": EarlyExit}
        try:
            for name, settings in nested.items():
                if isinstance(fields.get(name), dict):
                    fields[name] = settings(**fields[name])
            return cls(**fields)
        except TypeError as error:
            raise InputError(f"the recurrence in the config cannot be read: {error}") from error
