"""Table and chart of sample efficiency."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...core.significance import holm
from ...core.statistics import SHARE, seeds_interval
from .. import seed_aggregation
from ..compare import PairedDifference
from ..measure import charts
from ..measure.controls import split_controls
from ..records import Row, StudyRecord
from ..study import Table

TIED, UNTIED = "tied", "untied"
NAMES = {"gain": "gain", "untied": "untied less tied"}


@dataclass(frozen=True)
class FineTuningResult:
    """Accuracy of a model at a depth, after fine-tuning on ``examples`` examples.

    Args:
        values: accuracy of each seed.
        low, high: 95 % interval of the mean over seeds; over items where there is one seed, or
            seeds do not differ.
        ties: ``tied`` or ``untied``: whether loops shared their layers in fine-tuning.
        examples: number of training examples.
        depth: depth of the questions' chains.
        n: number of questions.
        chance: chance level.
        gain: difference to the same model without fine-tuning.
        untied: difference of the untied model to the tied one; None for the tied one.
    """

    model: str
    ties: str
    examples: int
    depth: int
    values: tuple[float, ...]
    low: float | None
    high: float | None
    n: int
    chance: float | None
    gain: PairedDifference | None
    untied: PairedDifference | None

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)


def fine_tuning_results(records: Sequence[StudyRecord]) -> list[FineTuningResult]:
    """Return results for every model (tied and untied), number of examples and depth."""
    rows: dict[tuple[str, str, int, int], list[Row]] = {}
    for record in records:
        for row in record.rows:
            key = record.model_name, row["ties"], row["examples"], row["depth"]
            rows.setdefault(key, []).append(row)
    answers = {key: {row["tuning_seed"]: row.answers for row in some} for key, some in rows.items()}
    results = []
    for (model, ties, size, depth), some in rows.items():
        mine = answers[model, ties, size, depth]
        gain = untied = None
        if size and (before := answers.get((model, TIED, 0, depth))):
            gain = PairedDifference.between(mine, dict.fromkeys(mine, before[0]))
        if ties == UNTIED and (tied := answers.get((model, TIED, size, depth))):
            untied = PairedDifference.between(mine, tied)
        values, first = tuple(row.value for row in some), some[0]
        low, high = seeds_interval(values, SHARE) or (first.low, first.high)
        place = model, ties, size, depth
        about = first.n, first.chance
        results.append(FineTuningResult(*place, values, low, high, *about, gain, untied))
    return results


@seed_aggregation.with_seed_means("ties", "examples", "depth", within=SHARE)
def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate accuracy, the gain over no fine-tuning, and the difference that untying makes.

    Differences are paired on the same items. Their first brackets are 95 % intervals over items,
    those after ``seeds`` over seeds; p is over items, corrected for all comparisons (Holm).
    """
    plain, controls = split_controls(records)
    results = fine_tuning_results(plain)
    control_gains = {_key(result): result.gain for result in fine_tuning_results(controls)}
    kinds = "gain", "untied"
    differences = {(result, kind): getattr(result, kind) for result in results for kind in kinds}
    tested = {key: difference.p for key, difference in differences.items() if difference}
    corrected = dict(zip(tested, holm([*tested.values()]), strict=True))
    compared = [kind for kind in kinds if any(kind == other for _, other in tested)]
    rows = []
    for result in results:
        row = {name: getattr(result, name) for name in ("model", "ties", "examples", "depth")}
        row |= {"seeds": len(result.values), "value": result.mean}
        row |= {"low": result.low, "high": result.high}
        for kind in compared:
            row[NAMES[kind]] = str(differences[result, kind] or "")
            row[f"p {kind} (Holm of {len(tested)})"] = corrected.get((result, kind))
        if control_gains:
            gain = control_gains.get(_key(result))
            row["control gain"] = None if gain is None else gain.mean
        rows.append(row | {"n": result.n, "chance": result.chance})
    return rows


def _key(result: FineTuningResult) -> tuple[Any, ...]:
    return result.model, result.ties, result.examples, result.depth


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw a panel for each depth: accuracy against examples, a line per model, tied and untied."""
    alt = charts.altair()
    records = split_controls(records)[0]
    results = fine_tuning_results(records)
    keys = "ties", "examples", "depth"
    values = [
        {name: getattr(result, name) for name in ("model", *keys, "low", "high")}
        | {"value": result.mean}
        for result in results
    ]
    values = seed_aggregation.seed_means(records, values, *keys, within=SHARE)
    ties = list(dict.fromkeys(value["ties"] for value in values))
    models = list(dict.fromkeys(value["model"] for value in values))
    # untied models start from the model with its ties
    values += [
        value | {"ties": UNTIED}
        for value in values
        if UNTIED in ties and not value["examples"]
        and any(o["model"] == value["model"] and o["ties"] == UNTIED for o in values)
    ]  # fmt: skip
    counts = sorted({value["examples"] for value in values})
    over = "items, or seeds where there are several"
    if groups := seed_aggregation.replicates_of(records):
        over = f"{len(groups[0].models)} runs"
    elif all(len(result.values) == 1 for result in results):
        over = "items"
    panels = []
    for depth in sorted({result.depth for result in results}):
        some = [value for value in values if value["depth"] == depth]
        first = next(result for result in results if result.depth == depth)
        title = alt.Title(
            f"variable assignment, depth {depth}",
            subtitle=[f"n = {first.n}, dotted: chance", f"bands: 95 % over {over}"],
        )
        base = alt.Chart(charts.rows(some), title=title).encode(
            x=alt.X(
                "examples:Q",
                title="fine-tuning examples",
                scale=alt.Scale(type="symlog", constant=32),
                axis=alt.Axis(values=counts),
            ),
            color=charts.colour("model", models),
        )
        y = alt.Y("value:Q", title="accuracy", scale=alt.Scale(zero=False))
        dash = charts.dash("model", models)
        if len(ties) > 1:
            dash = charts.dash("ties", ties)
            dash.legend = alt.Legend(title=None, symbolType="stroke", symbolSize=400)
        layers = charts.line_with_band(
            base,
            y,
            models,
            low=alt.Y("low:Q", title="accuracy"),
            point=False,
            opacity=0.12,
            dashes=dash,
            band_options={"detail": alt.Detail("ties:N")},
        )
        layers.append(base.mark_point(filled=True, size=30, opacity=1).encode(y=y))
        layers.append(charts.chance_line(first.chance))
        panels.append(alt.layer(*layers).properties(width=230, height=190))
    return alt.concat(*panels, columns=3).resolve_scale(y="shared")
