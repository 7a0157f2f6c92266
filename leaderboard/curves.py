"""Curves for the page of a study: the value against whatever number it varied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .entries import Entry, task_label
from .records import Task

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 420, 240, 44, 34, 12, 12
MOST_LINES = 8

Points = list[tuple[float, Entry]]


@dataclass(frozen=True)
class Line:
    """A model: where its points are in the picture, and what they stand for."""

    label: str
    points: tuple[tuple[float, float], ...]
    bars: tuple[tuple[float, float, float], ...]  # x, low, high
    words: str

    @property
    def path(self) -> str:
        """The points as SVG writes them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True)
class Curves:
    """A chart: a task, what varies, a line a model."""

    title: str
    name: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    chance: float | None


def curves(found: Sequence[Entry]) -> list[Curves]:
    """A chart for each task of which a number was varied."""
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in found:
        task = entry.task.model_copy(update={"shots": None})
        groups.setdefault(task.key, []).append(entry)
    charts = [_chart(group) for group in groups.values()]
    return [chart for chart in charts if chart is not None]


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


def _chart(group: Sequence[Entry]) -> Curves | None:
    values = [_numbers(entry) for entry in group]
    names = {name for numbers in values for name in numbers}
    varied = {n: {numbers.get(n) for numbers in values} for n in names}
    ranked = sorted(names, key=lambda name: (-len(varied[name] - {None}), name))
    if not ranked or len(varied[ranked[0]] - {None}) < 2:
        return None
    name = ranked[0]
    by_label: dict[tuple[str, ...], Points] = {}
    for entry, numbers in zip(group, values, strict=True):
        if name in numbers:
            label = _label(entry, name.replace("_", " "))
            by_label.setdefault(label, []).append((numbers[name], entry))
    if any(len({x for x, _ in points}) < len(points) for points in by_label.values()):
        return None  # something else varies too: the table tells
    series = _short(by_label)
    best = sorted(series, key=lambda label: -max(entry.value for _, entry in series[label]))
    chosen = [(label, series[label]) for label in sorted(best[:MOST_LINES])]
    return _drawn(group[0].task, name, chosen)


def _label(entry: Entry, name: str) -> tuple[str, ...]:
    """The model, and each other condition."""
    rest = [f"{k.replace('_', ' ')} {v}" for k, v in sorted(entry.first.conditions.items())]
    return entry.label, *(text for text in rest if not text.startswith(f"{name} "))


def _short(series: dict[tuple[str, ...], Points]) -> dict[str, Points]:
    """The labels without what all of them say."""
    said = set.intersection(*(set(label[1:]) for label in series))
    return {
        ", ".join([label[0], *(text for text in label[1:] if text not in said)]): points
        for label, points in series.items()
    }


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


def _drawn(task: Task, name: str, series: Sequence[tuple[str, Points]]) -> Curves:
    xs = sorted({x for _, points in series for x, _ in points})
    found = [entry for _, points in series for _, entry in points]
    values = [value for e in found for value in (e.value, *(e.interval or (e.value,)))]
    low, high = min(values), max(values)
    if task.chance is not None:
        low, high = min(low, task.chance), max(high, task.chance)
    room = (high - low) * 0.06 or max(0.05, abs(high) * 0.06)
    low, high = low - room, high + room
    across = (WIDTH - LEFT - RIGHT) / max(1, len(xs) - 1)

    def x_of(x: float) -> float:
        return float(LEFT + xs.index(x) * across)  # equal steps: 0, 64, 128 ... stay apart

    def y_of(value: float) -> float:
        return float(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM))

    lines = []
    for label, points in series:
        points = sorted(points, key=lambda point: point[0])
        bars = [(x_of(x), *map(y_of, e.interval)) for x, e in points if e.interval]
        lines.append(
            Line(
                label,
                tuple((x_of(x), y_of(e.value)) for x, e in points),
                tuple((x, a, b) for x, a, b in bars),
                f"{label}: " + ", ".join(f"{e.value:.3f} at {x:g}" for x, e in points),
            )
        )
    every = max(1, len(xs) // 8)
    return Curves(
        task_label(task.model_copy(update={"shots": None} if name == "shots" else {})),
        name.replace("_", " "),
        tuple(lines),
        tuple((x_of(x), f"{x:g}") for x in xs[::every]),
        tuple((y_of(value), f"{value:g}") for value in ticks(low, high)),
        None if task.chance is None else y_of(task.chance),
    )
