"""Iso-depth scaling law: what is a second pass through a layer worth? (arXiv 2604.21106)

The law of a model with ``N_once`` parameters that run once and ``N_rec`` that run ``r`` times,
trained on ``D`` tokens::

    L = E + A (N_once + r^phi N_rec)^(-alpha) + B D^(-beta)

``phi`` is the recurrence-equivalence exponent: 0 if loops are worth nothing, 1 if a loop is worth
as much as new layers. Given the exponents the law is linear in E, A and B, so the fit is a search
on a grid of exponents, which has no local minima.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.errors import InputError
from ...core.statistics import Array, Interval, student

PHI = np.linspace(-0.5, 1.5, 201)
ALPHA = np.linspace(0.05, 1.0, 20)
BETA = np.linspace(0.05, 1.0, 20)


@dataclass(frozen=True)
class ScalingRun:
    """Trained model, with the numbers that the law needs.

    Args:
        once: parameters that run once in a forward pass.
        recurrent: parameters that run ``loops`` times.
        loops: passes of the recurrent parameters; 1 for a model without a loop.
        tokens: training tokens.
        loss: held-out loss in nats per token.
    """

    once: float
    recurrent: float
    loops: int
    tokens: float
    loss: float


@dataclass(frozen=True)
class IsoDepthFit:
    """Fitted law.

    Args:
        phi: recurrence-equivalence exponent, the estimate.
        interval: 95 % interval of phi by profile likelihood; its ends are at most the ends of the
            grid, -0.5 and 1.5.
        alpha, beta: other exponents; ``beta`` is None where all runs saw as many tokens.
        error: residual standard deviation in nats per token.
        runs: number of runs.
        known: whether the data can tell ``phi``: the interval does not hold both 0 and 1.
    """

    phi: float
    interval: Interval
    alpha: float
    beta: float | None
    error: float
    runs: int
    known: bool

    @property
    def answer(self) -> str:
        """Answer in a sentence: what the data say about loops."""
        low, high = self.interval
        numbers = f"phi = {self.phi:.2f} [{low:.2f}, {high:.2f}]"
        if not self.known:
            return f"{numbers}: these runs cannot tell what a loop is worth"
        if low > 1:
            return f"{numbers}: a loop is worth more than as many new layers"
        if high < 0:
            return f"{numbers}: loops harm"
        if low > 0 and high < 1:
            return f"{numbers}: a loop helps, and is worth less than new layers"
        if low > 0:
            return f"{numbers}: a loop helps, and may be worth as much as new layers"
        return f"{numbers}: a loop is worth less than new layers, and may be worth nothing"


def fit_iso_depth_law(runs: Sequence[ScalingRun]) -> IsoDepthFit:
    """Fit the law by least squares over a grid of exponents.

    The interval of phi holds the values whose best residual sum of squares is not significantly
    larger than the smallest (F test; Seber and Wild 1989, section 5.2). Its coverage is measured
    in the tests.

    Raises:
        InputError: too few runs, or runs that do not differ in loops or parameters.

    Example::

        fit = fit_iso_depth_law(runs)
        fit.phi, fit.interval, fit.answer
    """
    losses = np.array([run.loss for run in runs], dtype=np.float64)
    tokens = np.array([run.tokens for run in runs], dtype=np.float64)
    several = len(set(tokens.tolist())) > 2
    parameters = 6 if several else 4
    _check(runs, parameters)
    sizes = np.array([[run.once + run.loops**phi * run.recurrent for run in runs] for phi in PHI])
    of_size = _scaled(sizes[:, None], ALPHA[:, None])  # (phi, alpha, runs)
    of_data = _scaled(tokens, BETA[:, None]) if several else None  # (beta, runs)
    squares = _residuals(losses, of_size, of_data).reshape(len(PHI), -1)
    profile = squares.min(1)
    best, column = np.unravel_index(int(squares.argmin()), squares.shape)
    smallest, freedom = float(squares[best, column]), len(runs) - parameters
    # F(1, freedom) at 95 % is the square of Student's t
    limit = smallest * (1 + student(freedom) ** 2 / freedom) + 1e-15
    inside = PHI[profile <= limit]
    interval = float(inside.min()), float(inside.max())
    place_of_alpha, place_of_beta = divmod(int(column), len(BETA) if several else 1)
    known = not (interval[0] <= 0 and interval[1] >= 1)
    error = float(np.sqrt(smallest / freedom))
    phi = float(PHI[int(best)])
    beta = float(BETA[place_of_beta]) if several else None
    alpha = float(ALPHA[place_of_alpha])
    return IsoDepthFit(phi, interval, alpha, beta, error, len(runs), known)


def _check(runs: Sequence[ScalingRun], parameters: int) -> None:
    """Refuse runs that the law cannot be fitted to."""
    if len(runs) <= parameters:
        raise InputError(
            f"the law has {parameters} parameters: it needs more than {parameters} runs, "
            f"not {len(runs)}"
        )
    if len({run.loops for run in runs}) < 2:
        raise InputError("all runs have as many loops: phi needs runs with and without loops")
    if len({(run.once, run.recurrent) for run in runs}) < 2:
        raise InputError("all runs have the same parameters: the law needs models of several sizes")
    if not all(np.isfinite(run.loss) and run.loss > 0 and run.tokens > 0 for run in runs):
        raise InputError("a run without training tokens or with a loss that is not above 0")


def _scaled(values: Array, exponents: Array) -> Array:
    """Return values to the power of minus the exponents, about 1 in size, centred over runs."""
    scaled = (values / values.mean(-1, keepdims=True)) ** -exponents
    centred: Array = scaled - scaled.mean(-1, keepdims=True)
    return centred


def _residuals(losses: Array, of_size: Array, of_data: Array | None) -> Array:
    """Compute residual sums of squares of linear fits whose coefficients are 0 or more.

    Args:
        losses: ``(runs,)``.
        of_size: centred term of the parameters, ``(phi, alpha, runs)``.
        of_data: centred term of the tokens, ``(beta, runs)``; None to leave it out.

    Returns:
        ``(phi, alpha)``, or ``(phi, alpha, beta)``.
    """
    y = losses - losses.mean()
    total = float(y @ y)
    size_y, size_size = of_size @ y, (of_size**2).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        size_alone = np.where(size_y > 0, total - size_y**2 / size_size, total)
        if of_data is None:
            return np.nan_to_num(size_alone, nan=total)
        data_y, data_data = of_data @ y, (of_data**2).sum(-1)
        data_alone = np.where(data_y > 0, total - data_y**2 / data_data, total)
        both = of_size @ of_data.T  # (phi, alpha, beta)
        a, b = size_size[..., None], data_data
        p, q = size_y[..., None], data_y
        determinant = a * b - both**2
        of_first, of_second = (p * b - q * both), (q * a - p * both)  # times the determinant
        together = total - (p * of_first + q * of_second) / determinant
        usable = (of_first >= 0) & (of_second >= 0) & (determinant > 1e-12 * a * b)
    alone = np.minimum(size_alone[..., None], data_alone)
    return np.where(usable, together, np.nan_to_num(alone, nan=total))
