"""Report on test items that chose nothing: paired gains, corrected p-values, control, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ...core.significance import holm, sign_flip_mean
from ...core.statistics import change_interval, mean_interval
from ..measure.pooled_accuracy import pool_answers
from .candidates import Candidate
from .items import Floats, ProbeItems
from .racing import NONE


@dataclass(frozen=True)
class Gain:
    """Paired comparison of a candidate with the unedited model, on the same items.

    Args:
        name: name of the candidate.
        accuracy, plain: mean over probes of each one's own metric, of the candidate and of the
            model as it is.
        difference, low, high: their paired difference with its 95 % interval.
        p: McNemar's p-value over all items, or that of a sign-flip test where a metric gives parts
            of a point; corrected by Holm where several are reported.
        margin_difference, margin_low, margin_high: the same of the margin, in nats.
        items: items in all.
        answers: per probe the candidate's and the plain model's correctness, 0 or 1 an item.
        points: the same of probes whose metric gives parts of a point, from 0 to 1 an item.
    """

    name: str
    accuracy: float
    plain: float
    difference: float
    low: float
    high: float
    p: float
    margin_difference: float
    margin_low: float | None
    margin_high: float | None
    items: int
    answers: dict[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    points: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, as a result file has them."""
        return asdict(self)


def gains(
    some: Sequence[Candidate], probes: Sequence[ProbeItems], margins: Floats, points: Floats
) -> list[Gain]:
    """Compare candidates with the first, the model as it is.

    Args:
        margins, points: ``(candidates, probes, items)``.

    Returns:
        One per candidate but the first, with Holm's correction over them.
    """
    found, points = [], points.astype(np.float64)
    # probes whose answers are right or wrong
    whole = [bool(np.isin(points[:, i], (0, 1)).all()) for i in range(len(probes))]
    texts = [["".join(map(str, row)) for row in one] for one in points.astype(int).tolist()]
    rows = np.round(points, 6).tolist()
    for number, candidate in enumerate(some[1:], start=1):
        value, (low, high), p = _difference(points[number], points[0], texts[number], texts[0])
        changes = (margins[number] - margins[0]).mean(axis=0)  # over probes
        interval = mean_interval(changes.tolist())
        found.append(
            Gain(
                candidate.name,
                float(points[number].mean()),
                float(points[0].mean()),
                value,
                low,
                high,
                p,
                float(changes.mean()),
                None if interval is None else interval[0],
                None if interval is None else interval[1],
                points[0].size,
                {
                    probe.name: (texts[number][i], texts[0][i])
                    for i, probe in enumerate(probes)
                    if whole[i]
                },
                {
                    probe.name: (rows[number][i], rows[0][i])
                    for i, probe in enumerate(probes)
                    if not whole[i]
                },
            )
        )
    corrected = holm([gain.p for gain in found])
    return [Gain(**{**vars(gain), "p": p}) for gain, p in zip(found, corrected, strict=True)]


def _difference(
    points: Floats, plain: Floats, texts: Sequence[str], plain_texts: Sequence[str]
) -> tuple[float, tuple[float, float], float]:
    """Return the paired difference of points, ``(probes, items)``, its interval and its p-value."""
    changes = points - plain
    if np.isin(changes, (-1, 0, 1)).all():
        pooled = pool_answers({"plain": plain_texts, "other": texts})
        estimate, p = pooled.difference("other", "plain")
        ends = float(estimate.low or 0.0), float(estimate.high or 0.0)
        return float(estimate.value or 0.0), ends, p
    return (
        float(changes.mean()),
        change_interval(list(changes)),
        sign_flip_mean(changes.ravel().tolist()),
    )


def verdict(result: dict[str, Any]) -> str:
    """Say the outcome in one sentence.

    Args:
        result: fields of a result file.

    Example::

        repeat 6:10 once: +0.118 [0.080, 0.154] on test, p = 2e-09, chosen among 213; …
    """
    among, state = result["candidates"], ""
    if not result["complete"]:
        state = f", budget spent after {result['validation_items']} items a probe"
        if result["options"]["race"] != NONE:
            left = len([name for name in result["alive"] if name != "plain"])
            state += f" with {left} of them left"
    if result["chosen"] == "plain":
        return (
            f"no edit is better than the model as it is, among {among} on "
            f"{result['validation_items']} validation items a probe{state}"
        )
    gain = result["test"][0]
    parts = [
        f"{_words(result['chosen'])}: {gain['difference']:+.3f} "
        f"[{gain['low']:.3f}, {gain['high']:.3f}] on test, p = {gain['p']:.2g}, chosen among "
        f"{among}{state}"
    ]
    if not gain["low"] > 0:
        parts.append("this gain is not significant" if gain["high"] >= 0 else "this is a loss")
    if control := result.get("control"):
        parts.append(
            f"counterfactual control {control['difference']:+.3f} "
            f"[{control['low']:.3f}, {control['high']:.3f}]"
        )
    if held_out := result.get("held_out"):
        parts.append(f"held-out NLL {held_out['increase']:+.3f} nats a token")
    parts += [
        f"{row['task']} {row['metric']} {row['values'][0]:.3f} → {row['values'][1]:.3f}"
        for row in result.get("guards", ())
    ]
    parts.append(f"FLOPs {result['extra_flops']:+.0%}")
    return "; ".join(parts)


def _words(name: str) -> str:
    """Say how often a single block is repeated.

    >>> _words("repeat 6:10"), _words("repeat 6:10 x2"), _words("skip 3:4")
    ('repeat 6:10 once', 'repeat 6:10 x2', 'skip 3:4')
    """
    once = name.startswith("repeat ") and not any(sign in name for sign in "+x(")
    return f"{name} once" if once else name


def pareto(rows: Sequence[dict[str, Any]], gain: str, price: str) -> list[bool]:
    """Tell which rows no other row beats in both gain and price.

    >>> pareto([{"g": 1, "f": 1}, {"g": 0, "f": 2}], "g", "f")
    [True, False]
    """
    order = sorted(range(len(rows)), key=lambda i: (rows[i][price], -rows[i][gain]))
    front, highest = [False] * len(rows), -np.inf
    for i in order:
        if rows[i][gain] > highest:
            front[i], highest = True, rows[i][gain]
    return front
