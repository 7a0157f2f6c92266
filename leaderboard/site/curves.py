"""Curves for the page of a study: the value against whatever number it varied.

Every result of a task is in its chart. A line is a model: what was varied along with the number
(the block that was repeated, the schedule that ran) is told by its points, and lines are split only
where a number would otherwise stand twice on one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from ..entries import Entry, task_label
from ..interval_kinds import dots, over, over_words
from ..records import Task
from .formats import score

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 420, 240, 44, 34, 12, 12
MARGIN = 14  # of the first and the last number
COLOURS, DASHES, SHAPES = 8, 4, 4  # a model has a colour and a shape; its further lines dashes
DODGE = 3.0  # between the intervals of neighbouring lines at one number
MOST_SPLIT = 10  # facts of which all combinations are tried

Look = tuple[int, int]


@dataclass(frozen=True)
class Point:
    """A result: where it is in the picture, and what it says.

    Args:
        bar: ends of its interval.
        over: what the interval is over.
        dots: heights of the values of its seeds or measurements.
        words: value, interval and all that was varied, in words.
    """

    x: float
    y: float
    bar: tuple[float, float] | None
    over: str | None
    dots: tuple[float, ...]
    words: str


@dataclass(frozen=True)
class Line:
    """A model, or one of several lines of it.

    Args:
        look: number of the model among all of the page, and of the line among those of the model.
    """

    label: str
    look: Look
    points: tuple[Point, ...]
    words: str

    @property
    def path(self) -> str:
        """The points as SVG writes them."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)

    @property
    def style(self) -> str:
        """Classes of its colour and its dashes: the same in all charts of a page."""
        return f"s-{self.look[0] % COLOURS} d-{self.look[1] % DASHES}"

    @property
    def shape(self) -> int:
        """Of its points."""
        return self.look[0] // COLOURS % SHAPES


@dataclass(frozen=True)
class Curves:
    """A chart: a task, what varies, a line a model.

    Args:
        elsewhere: results of the task that have no such number, and are in the table alone.
    """

    title: str
    name: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    chance: float | None
    elsewhere: int

    @property
    def overs(self) -> set[str]:
        """What its intervals are over."""
        return {point.over for line in self.lines for point in line.points if point.over}


def curves(found: Sequence[Entry]) -> list[Curves]:
    """A chart for each task of which a number was varied."""
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in found:
        task = entry.task.model_copy(update={"shots": None})
        groups.setdefault(task.key, []).append(entry)
    parts = [part for group in groups.values() for part in _alike(group)]
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
    return [_drawn(name, series, part, looks) for name, series, part in split]


def _alike(group: Sequence[Entry]) -> Iterable[tuple[str, list[Entry]]]:
    """What was varied, and the results that are comparable: shots apart, unless they are varied."""
    name = _varied(group)
    if name == "shots":
        yield name, list(group)
        return
    by_shots: dict[int | None, list[Entry]] = {}
    for entry in group:
        by_shots.setdefault(entry.task.shots, []).append(entry)
    for part in by_shots.values():
        if (varied := _varied(part)) is not None:
            yield varied, part


def _varied(group: Sequence[Entry]) -> str | None:
    """The number of which there are most; None if there is none of which there are two."""
    values: dict[str, set[float]] = {}
    for entry in group:
        for name, value in _numbers(entry).items():
            values.setdefault(name, set()).add(value)
    most = min(values, key=lambda name: (-len(values[name]), name), default=None)
    return None if most is None or len(values[most]) < 2 else most


def _numbers(entry: Entry) -> dict[str, float]:
    found = {
        name: float(value)
        for name, value in entry.first.conditions.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    if entry.task.shots is not None:
        found["shots"] = float(entry.task.shots)
    if entry.first.loops is not None:
        found["loops"] = float(entry.first.loops)
    return found


@dataclass(frozen=True, eq=False)
class _Result:
    """A result at a number, and what else sets it apart from others of its model."""

    entry: Entry
    x: float
    facts: dict[str, str]

    def told(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Some of its facts."""
        return tuple(self.facts.get(key, "") for key in keys)

    def on(self, keys: Sequence[str]) -> tuple[str, ...]:
        """The line it is on, if lines are split by some facts."""
        return self.entry.name, *self.told(keys)


def _results(group: Sequence[Entry], name: str) -> list[_Result]:
    """Those with a number of that name."""
    found = []
    for entry in group:
        if (x := _numbers(entry).get(name)) is None:
            continue
        record = entry.first
        facts = {key: str(value) for key, value in record.conditions.items()}
        facts |= {"run as": record.schedule or "", "precision": record.dtype or ""}
        facts |= {"loops": str(record.loops or ""), "shots": str(entry.task.shots or "")}
        facts |= {"kind": record.kind}
        facts.pop(name, None)
        found.append(_Result(entry, x, facts))
    return found


def _series(group: Sequence[Entry], name: str) -> dict[str, list[_Result]]:
    """The lines, as few as there can be with each number at most once on each, by their label."""
    results = _results(group, name)
    split = _fewest(results)
    lines: dict[tuple[str, ...], list[_Result]] = {}
    for result in results:
        lines.setdefault(result.on(split), []).append(result)
    found: dict[str, list[_Result]] = {}
    for line in lines.values():
        entry, facts = line[0].entry, line[0].facts
        told = [f"{key.replace('_', ' ')} {facts.get(key) or 'none'}" for key in split]
        label = ", ".join([entry.name, *told])
        found[label] = sorted(line, key=lambda result: result.x)
    return found


def _fewest(results: Sequence[_Result]) -> tuple[str, ...]:
    """The facts by which lines are split so that they are as few as there can be."""
    at: dict[tuple[object, ...], list[_Result]] = {}
    for result in results:
        at.setdefault((result.entry.name, result.x), []).append(result)
    twice = [here for here in at.values() if len(here) > 1]
    keys = sorted({key for result in results for key in result.facts})
    differ = [k for k in keys if any(len({r.facts.get(k) for r in here}) > 1 for here in twice)]
    if len(differ) > MOST_SPLIT:
        return tuple(differ)

    def enough(keys: tuple[str, ...]) -> bool:
        return all(len({result.told(keys) for result in here}) == len(here) for here in twice)

    def cost(keys: tuple[str, ...]) -> tuple[int, int, tuple[str, ...]]:
        return len({result.on(keys) for result in results}), len(keys), keys

    tried = (keys for count in range(len(differ) + 1) for keys in combinations(differ, count))
    return min(filter(enough, tried), key=cost, default=tuple(differ))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``.

    >>> ticks(0.13, 0.98)
    [0.2, 0.4, 0.6, 0.8]
    """
    raw = (high - low) / count
    size = float(10.0 ** math.floor(math.log10(raw)))
    step = next(part for part in (1, 2, 2.5, 5, 10) if part * size >= raw) * size
    first = math.ceil(low / step)
    return [round(place * step, 9) for place in range(first, math.floor(high / step) + 1)]


def _drawn(
    name: str, series: dict[str, list[_Result]], group: Sequence[Entry], looks: dict[str, Look]
) -> Curves:
    task = group[0].task
    found = [result for line in series.values() for result in line]
    xs = sorted({result.x for result in found})
    low, high = _range(task, [result.entry for result in found])
    across = (WIDTH - LEFT - RIGHT - 2 * MARGIN) / max(1, len(xs) - 1)
    # equal steps: 0, 64, 128 ... stay apart; lines side by side: so do their intervals
    aside = min(DODGE, MARGIN * 2 / max(1, len(series)))

    def x_of(x: float, place: float = 0) -> float:
        return float(LEFT + MARGIN + xs.index(x) * across + place * aside)

    def y_of(value: float) -> float:
        return float(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM))

    lines = []
    for number, (label, line) in enumerate(sorted(series.items())):
        points = []
        for result in line:
            entry, ends = result.entry, result.entry.interval
            points.append(
                Point(
                    x_of(result.x, number - (len(series) - 1) / 2),
                    y_of(entry.value),
                    None if ends is None else (y_of(ends[0]), y_of(ends[1])),
                    over(entry),
                    tuple(map(y_of, dots(entry))),
                    _words(entry, name, result.x),
                )
            )
        words = ", ".join(f"{score(r.entry.value)} at {r.x:g}" for r in line)
        lines.append(Line(label, looks[label], tuple(points), f"{label}: {words}"))
    every = max(1, len(xs) // 8)
    return Curves(
        task_label(task.model_copy(update={"shots": None} if name == "shots" else {})),
        name.replace("_", " "),
        tuple(lines),
        tuple((x_of(x), f"{x:g}") for x in xs[::every]),
        tuple((y_of(value), f"{value:g}") for value in ticks(low, high)),
        None if task.chance is None else y_of(task.chance),
        len(group) - len(found),
    )


def _range(task: Task, found: Sequence[Entry]) -> tuple[float, float]:
    """The heights that are drawn: of values, intervals, seeds and chance."""
    values = [value for e in found for value in (e.value, *(e.interval or ()), *dots(e))]
    if task.chance is not None:
        values.append(task.chance)
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or max(0.05, abs(high) * 0.06)
    return low - room, high + room


def _words(entry: Entry, name: str, x: float) -> str:
    """A result, as its point tells it."""
    ends = entry.interval
    spread = f" [{score(ends[0])}, {score(ends[1])}] over {over_words(entry)}" if ends else ""
    lines = [f"{score(entry.value)}{spread} at {name.replace('_', ' ')} {x:g}"]
    if values := dots(entry):
        lines.append(f"each: {', '.join(map(score, values))}")
    lines += [f"{k.replace('_', ' ')} {v}" for k, v in entry.first.conditions.items() if k != name]
    if entry.first.schedule:
        lines.append(f"run as {entry.first.schedule}")
    return "\n".join(lines)
