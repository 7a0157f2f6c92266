"""Random number of loops in training, per step or per sequence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError, one_of, whole
from ...core.schedule_notation import MAX_STEPS

DISTRIBUTIONS = ("poisson_lognormal", "poisson")
SCOPES = ("step", "sequence")


@dataclass(frozen=True)
class RandomLoops:
    """Distribution of the number of loops in training.

    Args:
        mean: mean of the Poisson part.
        sigma: standard deviation of the log-normal part, of ``poisson_lognormal``.
        seed: seed of the draws.
        distribution: ``poisson_lognormal`` (Geiping 2025): ``Poisson(LogNormal(ln mean - sigma^2 /
            2, sigma)) + 1``, so ``mean + 1`` loops on average; ``poisson`` (Parcae): ``max(1,
            Poisson(mean))``.
        choices: numbers of loops to draw from with equal chances, instead of the distribution
            (the budgets of LoopFormer).
        per: ``step``: all sequences of a step, on all processes, have the same number;
            ``sequence``: each has its own (Parcae).

    >>> [RandomLoops(mean=4, seed=0).at(step) for step in range(3)] == [
    ...     RandomLoops(mean=4, seed=0).at(step) for step in range(3)]
    True
    """

    mean: float = 1.0
    sigma: float = 0.5
    seed: int = 0
    distribution: str = "poisson_lognormal"
    choices: tuple[int, ...] = ()
    per: str = "step"

    def __post_init__(self) -> None:
        if not 0 < self.mean <= 1000 or not 0 <= self.sigma <= 2:
            raise InputError(
                "random loops need a mean above 0, up to 1000, and a sigma from 0 to 2"
            )
        whole("the seed", self.seed, 0)
        one_of("distribution of random loops", self.distribution, DISTRIBUTIONS)
        one_of("scope of random loops (per)", self.per, SCOPES)
        object.__setattr__(self, "choices", tuple(self.choices))
        for choice in self.choices:
            whole("a choice of random loops", choice, 1, MAX_STEPS)

    def at(self, step: int) -> int:
        """Draw the number of loops of a training step."""
        return self._draw(np.random.default_rng((self.seed, step)))

    def of_rows(self, step: int, first: int, rows: int) -> NDArray[np.int64]:
        """Draw the number of loops of each sequence of a step, ``(rows,)``.

        A draw depends on the place of its sequence in the batch of all processes alone.

        Args:
            first: place of the first sequence.
            rows: number of sequences.
        """
        if self.per == "step":
            return np.full(rows, self.at(step))
        seeds = ((self.seed, step, 1 + first + row) for row in range(rows))
        return np.array([self._draw(np.random.default_rng(seed)) for seed in seeds])

    def _draw(self, random: np.random.Generator) -> int:
        if self.choices:
            return int(random.choice(self.choices))
        if self.distribution == "poisson":
            return max(1, int(random.poisson(self.mean)))
        rate = random.lognormal(np.log(self.mean) - self.sigma**2 / 2, self.sigma)
        return int(random.poisson(rate)) + 1

    def to_dict(self) -> dict[str, Any]:
        """Return mean, sigma and seed, and other fields that differ from the default."""
        default = asdict(RandomLoops())
        always = ("mean", "sigma", "seed")
        fields = {k: v for k, v in asdict(self).items() if k in always or v != default[k]}
        if "choices" in fields:
            fields["choices"] = list(fields["choices"])
        return fields
