"""What fine-tuning on few examples did: its table and its chart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...core.significance import holm
from ...core.statistics import SHARE, seeds_interval
from .. import seeds
from ..compare import Change
from ..measure import charts
from ..measure.controls import split_controls
from ..study import Record, Table

TIED, UNTIED = "tied", "untied"
NAMES = {"gain": "gain", "untied": "untied less tied"}


@dataclass(frozen=True)
class Line:
    """A model after so many examples, at a depth.

    Args:
        values: accuracy after each fine-tuning.
        low, high: of the mean: over seeds, or over items where they are one or do not differ.
        gain: over the same model without examples.
        untied: over the same model with its ties, after as many.
    """

    model: str
    ties: str
    examples: int
    depth: int
    values: tuple[float, ...]
    low: float
    high: float
    n: int
    chance: float
    gain: Change | None
    untied: Change | None

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.fmean(self.values)


def lines(records: Sequence[Record]) -> list[Line]:
    """Every model, kind of ties, number of examples and depth."""
    rows: dict[tuple[str, str, int, int], list[dict[str, Any]]] = {}
    for record in records:
        for row in record["rows"]:
            key = record["cell"]["model"], row["ties"], row["examples"], row["depth"]
            rows.setdefault(key, []).append(row)
    answers = {
        key: {row["tuning_seed"]: row["answers"] for row in some} for key, some in rows.items()
    }
    found = []
    for (model, ties, size, depth), some in rows.items():
        mine = answers[model, ties, size, depth]
        gain = untied = None
        if size and (before := answers.get((model, TIED, 0, depth))):
            gain = Change.of(mine, dict.fromkeys(mine, before[0]))
        if ties == UNTIED and (tied := answers.get((model, TIED, size, depth))):
            untied = Change.of(mine, tied)
        values = tuple(row["value"] for row in some)
        low, high = seeds_interval(values, SHARE) or (some[0]["low"], some[0]["high"])
        about = some[0]["n"], some[0]["chance"]
        found.append(Line(model, ties, size, depth, values, low, high, *about, gain, untied))
    return found


@seeds.over_seeds("ties", "examples", "depth", within=SHARE)
def table(records: Sequence[Record]) -> Table:
    """Accuracy; on the same items the gain over no examples, and what untying adds.

    Of these the first brackets are over items, those after ``seeds`` over seeds (both 95 %), p is
    over items and corrected for the number of comparisons (Holm).
    """
    plain, controls = split_controls(records)
    found = lines(plain)
    beside = {_place(line): line.gain for line in lines(controls)}
    kinds = "gain", "untied"
    changes = {(line, kind): getattr(line, kind) for line in found for kind in kinds}
    tested = {place: change.p for place, change in changes.items() if change}
    corrected = dict(zip(tested, holm([*tested.values()]), strict=True))
    shown = [kind for kind in kinds if any(kind == of for _, of in tested)]
    rows = []
    for line in found:
        row = {name: getattr(line, name) for name in ("model", "ties", "examples", "depth")}
        row |= {"seeds": len(line.values), "value": line.mean, "low": line.low, "high": line.high}
        for kind in shown:
            row[NAMES[kind]] = str(changes[line, kind] or "")
            row[f"p {kind} (Holm of {len(tested)})"] = corrected.get((line, kind))
        if beside:
            gain = beside.get(_place(line))
            row["control gain"] = None if gain is None else gain.mean
        rows.append(row | {"n": line.n, "chance": line.chance})
    return rows


def _place(line: Line) -> tuple[Any, ...]:
    return line.model, line.ties, line.examples, line.depth


def chart(records: Sequence[Record]) -> Any:
    """A panel for each depth: accuracy against examples, a line for each model and kind of ties."""
    alt = charts.altair()
    records = split_controls(records)[0]
    found = lines(records)
    keys = "ties", "examples", "depth"
    values = [
        {name: getattr(line, name) for name in ("model", *keys, "low", "high")}
        | {"value": line.mean}
        for line in found
    ]
    values = seeds.lines(records, values, *keys, within=SHARE)
    ties = list(dict.fromkeys(value["ties"] for value in values))
    models = list(dict.fromkeys(value["model"] for value in values))
    # what was untied began as the model with its ties
    values += [
        value | {"ties": UNTIED}
        for value in values
        if UNTIED in ties and not value["examples"]
        and any(o["model"] == value["model"] and o["ties"] == UNTIED for o in values)
    ]  # fmt: skip
    counts = sorted({value["examples"] for value in values})
    over = "items, or seeds where there are several"
    if kinds := seeds.kinds_of(records):
        over = f"{len(kinds[0].models)} trainings"
    elif all(len(line.values) == 1 for line in found):
        over = "items"
    panels = []
    for depth in sorted({line.depth for line in found}):
        some = [value for value in values if value["depth"] == depth]
        about = next(line for line in found if line.depth == depth)
        title = alt.Title(
            f"variable assignment, depth {depth}",
            subtitle=[f"n = {about.n}, dotted: chance", f"bands: 95 % over {over}"],
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
        line = base.mark_line().encode(y=y, strokeDash=dash)
        dots = base.mark_point(filled=True, size=30, opacity=1).encode(y=y)
        group = alt.Detail("ties:N")
        band = base.mark_area(opacity=0.12).encode(
            y=alt.Y("low:Q", title="accuracy"), y2="high:Q", detail=group
        )
        rule = alt.Chart(charts.rows([{"chance": about.chance}])).mark_rule(
            strokeDash=[2, 3], color="#888"
        )
        parts = band, line, dots, rule.encode(y="chance:Q")
        panels.append(alt.layer(*parts).properties(width=230, height=190))
    return alt.concat(*panels, columns=3).resolve_scale(y="shared")
