"""Draw schedules and growth: one box per step, at the height of the layer that runs.

Reads the notations that ``models.Schedule`` writes; other notations are not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.errors import NotationError
from ...core.schedule_notation import read
from ..records import Growth

MAX_STEPS = 512  # more boxes would be too small to see


@dataclass(frozen=True)
class Box:
    """Box of a step.

    Args:
        column: index of the step, or of the growth stage.
        layer: index of the layer, from below.
        loop: number of earlier runs (or copies) of the layer.
    """

    column: int
    layer: int
    loop: int


@dataclass(frozen=True)
class Drawing:
    """Boxes on a grid of columns and rows, with a description in words."""

    boxes: tuple[Box, ...]
    columns: int
    rows: int
    words: str


def steps(notation: str) -> tuple[int, ...] | None:
    """Return the layer of each step; None for an unreadable notation or more than MAX_STEPS.

    >>> steps("1-2x2-1"), steps("0-2,1,"), steps("0:3,1")
    ((0, 1, 2, 1, 2, 3), (0, 1, 2, 1), (0, 1, 2, 1))
    """
    try:
        layers = read(notation, stored=True)
    except NotationError:
        return None
    return layers if len(layers) <= MAX_STEPS else None


def draw_schedule(notation: str | None) -> Drawing | None:
    """Draw a schedule; None if it cannot be drawn."""
    layers = steps(notation) if notation else None
    if layers is None:
        return None
    counts: dict[int, int] = {}
    boxes = []
    for column, layer in enumerate(layers):
        boxes.append(Box(column, layer, counts.get(layer, 0)))
        counts[layer] = counts.get(layer, 0) + 1
    return Drawing(tuple(boxes), len(layers), max(layers) + 1, _words(layers, counts))


def draw_growth(growth: Sequence[Growth]) -> Drawing | None:
    """Draw the growth of a model: one column per stage; further copies of a layer are marked."""
    if not growth or max(max(step.before, step.after) for step in growth) > MAX_STEPS:
        return None
    boxes = [Box(0, layer, 0) for layer in range(growth[0].before)]
    words = [f"{growth[0].before} layers at first"]
    for column, step in enumerate(growth, start=1):
        sources = steps(step.sources) if step.sources else None
        drawn: set[int] = set()
        for layer in range(step.after):
            source = sources[layer] if sources and layer < len(sources) else None
            boxes.append(Box(column, layer, int(source in drawn if source is not None else 0)))
            if source is not None:
                drawn.add(source)
        words.append(f"{step.operator} to {step.after}")
    rows = max(box.layer for box in boxes) + 1
    return Drawing(tuple(boxes), len(growth) + 1, rows, ", then ".join(words))


def _words(layers: Sequence[int], runs: dict[int, int]) -> str:
    """Describe the runs of each layer, from below: ``4 layers once, 4 layers 4 times``."""
    parts: list[tuple[int, int]] = []  # layers, runs
    for layer in sorted(runs):
        if parts and parts[-1][1] == runs[layer]:
            parts[-1] = (parts[-1][0] + 1, runs[layer])
        else:
            parts.append((1, runs[layer]))
    runs_of_layers = [
        f"{count} layer{'s' * (count > 1)} {'once' if times == 1 else f'{times} times'}"
        for count, times in parts
    ]
    return f"{len(layers)} steps over {len(runs)} layers: {', '.join(runs_of_layers)}"
