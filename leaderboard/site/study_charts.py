"""Line charts for the page of a study: score against the number that the study varies.

A chart has one line a model and all results of a task that have the varied number. Other
conditions that differ (a lens, a precision) get a chart each. A block that a study chose for each
seed does not split a line: the seeds are averaged, and the tooltip names their blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from ..entries import LeaderboardEntry, task_label
from ..interval_basis import interval_basis, interval_basis_text, repeated_values
from ..model_identities import Key
from ..records import Task
from .formats import score, short_id
from .labels import condition_label, metric_label, metric_noun
from .looks import Look
from .theme import DASHES

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 320, 230, 58, 42, 12, 8
MARGIN = 12  # left of the first x and right of the last
DODGE = 3.0  # px between the intervals of neighbouring lines at one x
MAX_COMBINED = 10  # facts of which all combinations are tried
CHOSEN = ("block", "run as")  # facts that a study chooses for each seed by validation items


@dataclass(frozen=True)
class ChartPoint:
    """Point of a line, in px.

    Args:
        bar: y of both ends of the interval.
        over: sampling unit of the interval.
        dots: y of the value of each seed or measurement.
        words: tooltip: value, interval and conditions.
        results: number of results that the point averages.
    """

    x: float
    y: float
    bar: tuple[float, float] | None
    over: str | None
    dots: tuple[float, ...]
    words: str
    results: int = 1


@dataclass(frozen=True)
class ChartLine:
    """Line of a model.

    Args:
        id: the same for the lines of a model in all charts and builds.
        dash: index of the dash; 0 unless an earlier line of the chart has the same look.
        words: label and values in words.
    """

    label: str
    id: str
    look: Look
    dash: int
    points: tuple[ChartPoint, ...]
    words: str

    @property
    def style(self) -> str:
        """CSS classes of colour and dash."""
        return f"s-{self.look.colour} d-{self.dash}"

    @property
    def path(self) -> str:
        """Points in SVG notation."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass(frozen=True)
class StudyChart:
    """Chart of a task.

    Args:
        finding: what the chart shows, in a sentence.
        title: label of the task, and of conditions that other charts have otherwise.
        name: name of the varied number.
        x_title, y_title: titles of the axes, with units.
        x_ticks, y_ticks: position in px and label.
        chance: y of the chance level.
        elsewhere: number of the task's results without this number, shown in the table only.
    """

    finding: str
    title: str
    name: str
    x_title: str
    y_title: str
    lines: tuple[ChartLine, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    chance: float | None
    elsewhere: int

    @property
    def overs(self) -> set[str]:
        """Sampling units of the intervals."""
        return {point.over for line in self.lines for point in line.points if point.over}


def study_charts(entries: Sequence[LeaderboardEntry], looks: dict[Key, Look]) -> list[StudyChart]:
    """Return the charts of each task for which the study varied a number.

    Args:
        looks: look of each model of the entries.
    """
    groups: dict[tuple[object, ...], list[LeaderboardEntry]] = {}
    for entry in entries:
        task = entry.task.model_copy(update={"shots": None})
        groups.setdefault(task.key, []).append(entry)
    charts = []
    for name, part in chain.from_iterable(map(_comparable_parts, groups.values())):
        elsewhere = sum(name not in _numbers(entry) for entry in part)
        for facet, lines in _facets(part, name).items():
            charts.append(_chart(name, facet, lines, looks, elsewhere))
            elsewhere = 0
    return charts


def _comparable_parts(
    group: Sequence[LeaderboardEntry],
) -> Iterable[tuple[str, list[LeaderboardEntry]]]:
    """Yield the varied number and comparable results; other shots are another part."""
    name = _varied_number(group)
    if name == "shots":
        yield name, list(group)
        return
    by_shots: dict[int | None, list[LeaderboardEntry]] = {}
    for entry in group:
        by_shots.setdefault(entry.task.shots, []).append(entry)
    for part in by_shots.values():
        if (varied := _varied_number(part)) is not None:
            yield varied, part


def _varied_number(group: Sequence[LeaderboardEntry]) -> str | None:
    """Return the condition with most distinct numbers; None if none has two."""
    values: dict[str, set[float]] = {}
    for entry in group:
        for name, value in _numbers(entry).items():
            values.setdefault(name, set()).add(value)
    most = min(values, key=lambda name: (-len(values[name]), name), default=None)
    return None if most is None or len(values[most]) < 2 else most


def _numbers(entry: LeaderboardEntry) -> dict[str, float]:
    numbers = {
        name: float(value)
        for name, value in entry.first.conditions.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    if entry.task.shots is not None:
        numbers["shots"] = float(entry.task.shots)
    if entry.first.loops is not None:
        numbers["loops"] = float(entry.first.loops)
    return numbers


@dataclass(frozen=True, eq=False)
class _Result:
    """Result at x, with the facts that distinguish it from other results of its model."""

    entry: LeaderboardEntry
    x: float
    facts: dict[str, str]

    def values(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Return the values of some facts."""
        return tuple(self.facts.get(key, "") for key in keys)


def _results(group: Sequence[LeaderboardEntry], name: str) -> list[_Result]:
    """Return the results that have the varied number."""
    results = []
    for entry in group:
        if (x := _numbers(entry).get(name)) is None:
            continue
        record = entry.first
        facts = {key: str(value) for key, value in record.conditions.items()}
        facts |= {"run as": record.schedule or "", "precision": record.dtype or ""}
        facts |= {"loops": str(record.loops or ""), "shots": str(entry.task.shots or "")}
        facts |= {"settings": str(sorted(record.settings.items())), "kind": record.kind}
        facts.pop(name, None)
        results.append(_Result(entry, x, facts))
    return results


Lines = dict[Key, list[list[_Result]]]  # model -> for each x, in order, the results at it


def _facets(group: Sequence[LeaderboardEntry], name: str) -> dict[str, Lines]:
    """Return facet -> lines: the fewest charts in which a model has one value at each x."""
    results = _results(group, name)
    split = _splitting_facts(results)
    facets: dict[tuple[str, ...], dict[Key, dict[float, list[_Result]]]] = {}
    for result in results:
        lines = facets.setdefault(result.values(split), {})
        lines.setdefault(result.entry.key, {}).setdefault(result.x, []).append(result)
    named: dict[str, Lines] = {}
    for values, lines in sorted(facets.items()):
        parts = [
            f"{key.replace('_', ' ')} {value or 'none'}"
            for key, value in zip(split, values, strict=True)
        ]
        named[", ".join(parts)] = {
            key: [sorted(by_x[x], key=_first_seed) for x in sorted(by_x)]
            for key, by_x in lines.items()
        }
    return named


def _splitting_facts(results: Sequence[_Result]) -> tuple[str, ...]:
    """Return the facts that split the results into the fewest charts without a double value."""
    by_place: dict[tuple[object, ...], list[_Result]] = {}
    for result in results:
        by_place.setdefault((result.entry.key, result.x), []).append(result)
    clashes = [here for here in by_place.values() if not _is_one_value(here)]
    keys = sorted({key for result in results for key in result.facts})
    differ = [k for k in keys if any(len({r.facts.get(k) for r in here}) > 1 for here in clashes)]
    if len(differ) > MAX_COMBINED:
        return tuple(differ)

    def resolves(keys: tuple[str, ...]) -> bool:
        for here in clashes:
            parts: dict[tuple[str, ...], list[_Result]] = {}
            for result in here:
                parts.setdefault(result.values(keys), []).append(result)
            if not all(map(_is_one_value, parts.values())):
                return False
        return True

    def cost(keys: tuple[str, ...]) -> tuple[int, int, tuple[str, ...]]:
        return len({result.values(keys) for result in results}), len(keys), keys

    subsets = (keys for count in range(len(differ) + 1) for keys in combinations(differ, count))
    return min(filter(resolves, subsets), key=cost, default=tuple(differ))


def _is_one_value(results: Sequence[_Result]) -> bool:
    """Return True for results of different training seeds that differ in chosen facts alone."""
    if len(results) == 1:
        return True
    seeds = [{model.seed for model in r.entry.models} for r in results]
    if None in set().union(*seeds) or sum(map(len, seeds)) > len(set().union(*seeds)):
        return False
    facts = [{k: v for k, v in r.facts.items() if k not in CHOSEN} for r in results]
    return all(other == facts[0] for other in facts[1:])


def _first_seed(result: _Result) -> int:
    return min(model.seed or 0 for model in result.entry.models)


def _joined(results: Sequence[_Result]) -> LeaderboardEntry:
    """Return the results at a point of a line as one entry, averaged over their seeds."""
    if len(results) == 1:
        return results[0].entry
    pairs = [
        (model.seed or 0, record, model)
        for result in results
        for record, model in zip(result.entry.records, result.entry.models, strict=True)
    ]
    pairs.sort(key=lambda pair: pair[0])
    first = results[0].entry
    return LeaderboardEntry(
        tuple(record for _, record, _ in pairs),
        tuple(model for _, _, model in pairs),
        first.key,
        first.suffixes,
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round numbers from ``low`` to ``high``.

    >>> ticks(0.13, 0.98)
    [0.2, 0.4, 0.6, 0.8]
    """
    raw = (high - low) / count
    size = float(10.0 ** math.floor(math.log10(raw)))
    step = next(part for part in (1, 2, 2.5, 5, 10) if part * size >= raw) * size
    first = math.ceil(low / step)
    return [round(place * step, 9) for place in range(first, math.floor(high / step) + 1)]


def _chart(
    name: str, facet: str, lines: Lines, looks: dict[Key, Look], elsewhere: int
) -> StudyChart:
    joined = {
        key: [(results[0].x, _joined(results), results) for results in points]
        for key, points in lines.items()
    }
    entries = [entry for points in joined.values() for _, entry, _ in points]
    task = entries[0].task
    xs = sorted({x for points in joined.values() for x, _, _ in points})
    low, high = _y_range(task, entries)
    # categories, equally spaced: 0, 64, 128, … remain readable; lines are dodged at each x
    spacing = (WIDTH - LEFT - RIGHT - 2 * MARGIN) / max(1, len(xs) - 1)
    dodge = min(DODGE, MARGIN * 2 / max(1, len(joined)))

    def x_of(x: float, place: float = 0) -> float:
        return float(LEFT + MARGIN + xs.index(x) * spacing + place * dodge)

    def y_of(value: float) -> float:
        return float(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM))

    drawn: list[ChartLine] = []
    for number, (key, line) in enumerate(sorted(joined.items(), key=lambda i: i[1][0][1].name)):
        points = []
        for x, entry, results in line:
            ends = entry.interval
            points.append(
                ChartPoint(
                    x_of(x, number - (len(joined) - 1) / 2),
                    y_of(entry.value),
                    None if ends is None else (y_of(ends[0]), y_of(ends[1])),
                    interval_basis(entry),
                    tuple(map(y_of, repeated_values(entry))),
                    _tooltip(entry, results, name, x),
                    len(results),
                )
            )
        label = line[0][1].name
        words = ", ".join(f"{score(entry.value)} at {x:g}" for x, entry, _ in line)
        look, told = looks[key], f"{label}: {words}"
        dash = sum(other.look == look for other in drawn) % len(DASHES)
        drawn.append(ChartLine(label, short_id(key), look, dash, tuple(points), told))
    stride = max(1, -(-len(xs) // 8))
    title = task_label(task.model_copy(update={"shots": None} if name == "shots" else {}))
    return StudyChart(
        _finding([[(x, entry) for x, entry, _ in line] for line in joined.values()], name),
        f"{title} · {facet}" if facet else title,
        name.replace("_", " "),
        condition_label(name),
        metric_label(task),
        tuple(drawn),
        tuple((x_of(x), f"{x:g}") for x in xs[::stride]),
        tuple((y_of(value), f"{value:g}") for value in ticks(low, high)),
        None if task.chance is None else y_of(task.chance),
        elsewhere,
    )


def _finding(lines: Sequence[Sequence[tuple[float, LeaderboardEntry]]], name: str) -> str:
    """Say in a sentence which models change from their first to their last point.

    A change counts if the intervals of the two points do not overlap.
    """
    noun = metric_noun(lines[0][0][1].task)
    lines = [line for line in lines if len(line) > 1]
    rising = sum(_is_clearly_less(line[0][1], line[-1][1]) for line in lines)
    falling = sum(_is_clearly_less(line[-1][1], line[0][1]) for line in lines)
    ends = {(line[0][0], line[-1][0]) for line in lines}
    unit = condition_label(name)
    if len(ends) == 1:
        [(first, last)] = ends
        span = f"from {first:g} to {last:g} {unit}"
    else:
        span = f"from fewest to most {unit}"
    if not rising and not falling:
        return f"No clear change of {noun} {span}"
    if len(lines) == 1:
        first_value, last_value = (score(lines[0][place][1].value) for place in (0, -1))
        verb = "rises" if rising else "falls"
        return f"{noun[0].upper()}{noun[1:]} {verb} {span}: {first_value} to {last_value}"
    parts = [f"rises for {rising}"] * (rising > 0) + [f"falls for {falling}"] * (falling > 0)
    return f"{noun[0].upper()}{noun[1:]} {', '.join(parts)} of {len(lines)} models {span}"


def _is_clearly_less(one: LeaderboardEntry, other: LeaderboardEntry) -> bool:
    if one.interval is None or other.interval is None:
        return False
    return one.interval[1] < other.interval[0]


def _y_range(task: Task, entries: Sequence[LeaderboardEntry]) -> tuple[float, float]:
    """Return the range of values, intervals, seeds and chance, with a margin."""
    values = [
        value for e in entries for value in (e.value, *(e.interval or ()), *repeated_values(e))
    ]
    if task.chance is not None:
        values.append(task.chance)
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or max(0.05, abs(high) * 0.06)
    return low - room, high + room


def _tooltip(entry: LeaderboardEntry, results: Sequence[_Result], name: str, x: float) -> str:
    """Describe a point: value, interval, seeds, conditions, schedule."""
    ends = entry.interval
    spread = (
        f" [{score(ends[0])}, {score(ends[1])}] over {interval_basis_text(entry)}" if ends else ""
    )
    lines = [f"{score(entry.value)}{spread} at {name.replace('_', ' ')} {x:g}"]
    if values := repeated_values(entry):
        lines.append(f"each: {', '.join(map(score, values))}")
    for key in dict.fromkeys(k for r in results for k in r.entry.first.conditions if k != name):
        values_of = dict.fromkeys(str(r.entry.first.conditions.get(key)) for r in results)
        lines.append(f"{key.replace('_', ' ')} {', '.join(values_of)}")
    if schedules := dict.fromkeys(
        r.entry.first.schedule for r in results if r.entry.first.schedule
    ):
        lines.append(f"run as {', '.join(schedules)}")
    return "\n".join(lines)
