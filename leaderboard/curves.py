"""Curves for the page of a study: the value against whatever number it varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .entries import Entry, task_label
from .records import Task

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 420, 240, 44, 34, 12, 12
MOST_LINES = 8


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
    series: dict[str, list[tuple[float, Entry]]] = {}
    for entry, numbers in zip(group, values, strict=True):
        if name in numbers:
            series.setdefault(_label(entry, name), []).append((numbers[name], entry))
    if any(len({x for x, _ in points}) < len(points) for points in series.values()):
        return None  # something else varies too: the table tells
    chosen = sorted(series.items(), key=lambda item: -max(e.value for _, e in item[1]))
    return _drawn(group[0].task, name, chosen[:MOST_LINES])


def _label(entry: Entry, name: str) -> str:
    rest = [f"{k} {v}" for k, v in sorted(entry.first.conditions.items()) if k != name]
    return ", ".join([entry.label, *rest])


Series = tuple[str, list[tuple[float, Entry]]]


def _drawn(task: Task, name: str, series: Sequence[Series]) -> Curves:
    xs = sorted({x for _, points in series for x, _ in points})
    found = [entry for _, points in series for _, entry in points]
    low = min(min(e.value, *(e.interval or ())) if e.interval else e.value for e in found)
    high = max(max(e.value, *(e.interval or ())) if e.interval else e.value for e in found)
    if task.chance is not None:
        low, high = min(low, task.chance), max(high, task.chance)
    room = (high - low) * 0.06 or 0.05
    low, high = low - room, high + room
    across = (WIDTH - LEFT - RIGHT) / max(1, len(xs) - 1)

    def x_of(x: float) -> float:
        return LEFT + xs.index(x) * across  # equal steps: 0, 64, 128 ... stay apart

    def y_of(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

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
        tuple((y_of(low + part * (high - low)), f"{low + part * (high - low):.2f}")
              for part in (0.1, 0.3, 0.5, 0.7, 0.9)),
        None if task.chance is None else y_of(task.chance),
    )  # fmt: skip
