"""Line charts for the page of a study: score against the number that the study varies.

A chart shows all results of a task that have this number. A line is a model. Other conditions (the
repeated block, the schedule) are in the tooltip of each point; a model has several lines only where
one line would have two points at the same x.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from ..entries import LeaderboardEntry, task_label
from ..interval_basis import interval_basis, interval_basis_text, repeated_values
from ..records import Task
from .formats import score
from .theme import DASHES, LIGHT

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 420, 240, 44, 34, 12, 12
MARGIN = 14  # left of the first x and right of the last
SHAPES = 4  # a model has a colour and a shape; its further lines have dashes
DODGE = 3.0  # px between the intervals of neighbouring lines at one x
MAX_COMBINED = 10  # facts of which all combinations are tried

Look = tuple[int, int]  # model, line of the model


@dataclass(frozen=True)
class ChartPoint:
    """Point of a line, in px.

    Args:
        bar: y of both ends of the interval.
        over: sampling unit of the interval.
        dots: y of the value of each seed or measurement.
        words: tooltip: value, interval and conditions.
    """

    x: float
    y: float
    bar: tuple[float, float] | None
    over: str | None
    dots: tuple[float, ...]
    words: str


@dataclass(frozen=True)
class ChartLine:
    """Line of a model.

    Args:
        look: index of the model on the page, and of the line among the model's lines.
        words: label and values in words.
    """

    label: str
    look: Look
    points: tuple[ChartPoint, ...]
    words: str

    @property
    def path(self) -> str:
        """Points in SVG notation."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)

    @property
    def style(self) -> str:
        """CSS classes of colour and dashes, the same in all charts of a page."""
        return f"s-{self.look[0] % len(LIGHT.series)} d-{self.look[1] % len(DASHES)}"

    @property
    def shape(self) -> int:
        """Index of the shape of the points."""
        return self.look[0] // len(LIGHT.series) % SHAPES


@dataclass(frozen=True)
class StudyChart:
    """Chart of a task.

    Args:
        title: label of the task.
        name: name of the varied number.
        x_ticks, y_ticks: position in px and label.
        chance: y of the chance level.
        elsewhere: number of the task's results without this number, shown in the table only.
    """

    title: str
    name: str
    lines: tuple[ChartLine, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    chance: float | None
    elsewhere: int

    @property
    def overs(self) -> set[str]:
        """Sampling units of the intervals."""
        return {point.over for line in self.lines for point in line.points if point.over}


def study_charts(entries: Sequence[LeaderboardEntry]) -> list[StudyChart]:
    """Return a chart for each task for which the study varied a number."""
    groups: dict[tuple[object, ...], list[LeaderboardEntry]] = {}
    for entry in entries:
        task = entry.task.model_copy(update={"shots": None})
        groups.setdefault(task.key, []).append(entry)
    parts = [part for group in groups.values() for part in _comparable_parts(group)]
    split = [(name, _series(part, name), part) for name, part in parts]
    labels: dict[str, set[str]] = {}
    for _, series, _ in split:
        for label, line in series.items():
            labels.setdefault(line[0].entry.name, set()).add(label)
    looks = {
        label: (number, place)
        for number, model in enumerate(sorted(labels))
        for place, label in enumerate(sorted(labels[model]))
    }
    return [_chart(name, series, part, looks) for name, series, part in split]


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

    def line(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Return the key of its line, if lines are split by these facts."""
        return self.entry.name, *self.values(keys)


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
        facts |= {"kind": record.kind}
        facts.pop(name, None)
        results.append(_Result(entry, x, facts))
    return results


def _series(group: Sequence[LeaderboardEntry], name: str) -> dict[str, list[_Result]]:
    """Return label -> line: the fewest lines on which each x occurs at most once."""
    results = _results(group, name)
    split = _splitting_facts(results)
    lines: dict[tuple[str, ...], list[_Result]] = {}
    for result in results:
        lines.setdefault(result.line(split), []).append(result)
    labelled: dict[str, list[_Result]] = {}
    for line in lines.values():
        entry, facts = line[0].entry, line[0].facts
        parts = [f"{key.replace('_', ' ')} {facts.get(key) or 'none'}" for key in split]
        label = ", ".join([entry.name, *parts])
        labelled[label] = sorted(line, key=lambda result: result.x)
    return labelled


def _splitting_facts(results: Sequence[_Result]) -> tuple[str, ...]:
    """Return the facts that split the results into the fewest lines without a double x."""
    by_place: dict[tuple[object, ...], list[_Result]] = {}
    for result in results:
        by_place.setdefault((result.entry.name, result.x), []).append(result)
    clashes = [here for here in by_place.values() if len(here) > 1]
    keys = sorted({key for result in results for key in result.facts})
    differ = [k for k in keys if any(len({r.facts.get(k) for r in here}) > 1 for here in clashes)]
    if len(differ) > MAX_COMBINED:
        return tuple(differ)

    def resolves(keys: tuple[str, ...]) -> bool:
        return all(len({result.values(keys) for result in here}) == len(here) for here in clashes)

    def cost(keys: tuple[str, ...]) -> tuple[int, int, tuple[str, ...]]:
        return len({result.line(keys) for result in results}), len(keys), keys

    subsets = (keys for count in range(len(differ) + 1) for keys in combinations(differ, count))
    return min(filter(resolves, subsets), key=cost, default=tuple(differ))


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
    name: str,
    series: dict[str, list[_Result]],
    group: Sequence[LeaderboardEntry],
    looks: dict[str, Look],
) -> StudyChart:
    task = group[0].task
    results = [result for line in series.values() for result in line]
    xs = sorted({result.x for result in results})
    low, high = _y_range(task, [result.entry for result in results])
    # categories, equally spaced: 0, 64, 128, … remain readable; lines are dodged at each x
    spacing = (WIDTH - LEFT - RIGHT - 2 * MARGIN) / max(1, len(xs) - 1)
    dodge = min(DODGE, MARGIN * 2 / max(1, len(series)))

    def x_of(x: float, place: float = 0) -> float:
        return float(LEFT + MARGIN + xs.index(x) * spacing + place * dodge)

    def y_of(value: float) -> float:
        return float(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM))

    lines = []
    for number, (label, line) in enumerate(sorted(series.items())):
        points = []
        for result in line:
            entry, ends = result.entry, result.entry.interval
            points.append(
                ChartPoint(
                    x_of(result.x, number - (len(series) - 1) / 2),
                    y_of(entry.value),
                    None if ends is None else (y_of(ends[0]), y_of(ends[1])),
                    interval_basis(entry),
                    tuple(map(y_of, repeated_values(entry))),
                    _tooltip(entry, name, result.x),
                )
            )
        words = ", ".join(f"{score(r.entry.value)} at {r.x:g}" for r in line)
        lines.append(ChartLine(label, looks[label], tuple(points), f"{label}: {words}"))
    stride = max(1, len(xs) // 8)
    return StudyChart(
        task_label(task.model_copy(update={"shots": None} if name == "shots" else {})),
        name.replace("_", " "),
        tuple(lines),
        tuple((x_of(x), f"{x:g}") for x in xs[::stride]),
        tuple((y_of(value), f"{value:g}") for value in ticks(low, high)),
        None if task.chance is None else y_of(task.chance),
        len(group) - len(results),
    )


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


def _tooltip(entry: LeaderboardEntry, name: str, x: float) -> str:
    """Describe a result: value, interval, seeds, conditions, schedule."""
    ends = entry.interval
    spread = (
        f" [{score(ends[0])}, {score(ends[1])}] over {interval_basis_text(entry)}" if ends else ""
    )
    lines = [f"{score(entry.value)}{spread} at {name.replace('_', ' ')} {x:g}"]
    if values := repeated_values(entry):
        lines.append(f"each: {', '.join(map(score, values))}")
    lines += [f"{k.replace('_', ' ')} {v}" for k, v in entry.first.conditions.items() if k != name]
    if entry.first.schedule:
        lines.append(f"run as {entry.first.schedule}")
    return "\n".join(lines)
