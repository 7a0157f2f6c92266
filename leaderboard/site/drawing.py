"""A schedule as a drawing: a box for each step, at the height of the layer that runs.

Reads the notations that ``models.Schedule`` writes; what it cannot read is not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.errors import NotationError
from ...core.notation import read
from ..records import Growth

MOST = 512  # steps that can still be seen


@dataclass(frozen=True)
class Box:
    """A step: its column, its layer from below, and how often the layer ran before."""

    column: int
    layer: int
    loop: int


@dataclass(frozen=True)
class Drawing:
    """Boxes, and the same in words."""

    boxes: tuple[Box, ...]
    columns: int
    rows: int
    words: str


def steps(notation: str) -> tuple[int, ...] | None:
    """Return the layer of each step; None for what cannot be read or drawn.

    >>> steps("1-2x2-1"), steps("0-2,1,"), steps("0:3,1")
    ((0, 1, 2, 1, 2, 3), (0, 1, 2, 1), (0, 1, 2, 1))
    """
    try:
        layers = read(notation, stored=True)
    except NotationError:
        return None
    return layers if len(layers) <= MOST else None


def of_schedule(notation: str | None) -> Drawing | None:
    """The drawing of a schedule."""
    layers = steps(notation) if notation else None
    if layers is None:
        return None
    seen: dict[int, int] = {}
    boxes = []
    for column, layer in enumerate(layers):
        boxes.append(Box(column, layer, seen.get(layer, 0)))
        seen[layer] = seen.get(layer, 0) + 1
    return Drawing(tuple(boxes), len(layers), max(layers) + 1, _words(layers, seen))


def of_growth(growth: Sequence[Growth]) -> Drawing | None:
    """The drawing of growth: a column a stage; a box is marked where its source came before."""
    if not growth or max(max(step.before, step.after) for step in growth) > MOST:
        return None
    boxes = [Box(0, layer, 0) for layer in range(growth[0].before)]
    words = [f"{growth[0].before} layers at first"]
    for column, step in enumerate(growth, start=1):
        sources = steps(step.sources) if step.sources else None
        seen: set[int] = set()
        for layer in range(step.after):
            source = sources[layer] if sources and layer < len(sources) else None
            boxes.append(Box(column, layer, int(source in seen if source is not None else 0)))
            if source is not None:
                seen.add(source)
        words.append(f"{step.operator} to {step.after}")
    rows = max(box.layer for box in boxes) + 1
    return Drawing(tuple(boxes), len(growth) + 1, rows, ", then ".join(words))


def _words(layers: Sequence[int], runs: dict[int, int]) -> str:
    """``4 layers once, 4 layers 4 times, ...`` in the order of the layers."""
    parts: list[tuple[int, int]] = []  # layers, runs
    for layer in sorted(runs):
        if parts and parts[-1][1] == runs[layer]:
            parts[-1] = (parts[-1][0] + 1, runs[layer])
        else:
            parts.append((1, runs[layer]))
    told = [
        f"{count} layer{'s' * (count > 1)} {'once' if times == 1 else f'{times} times'}"
        for count, times in parts
    ]
    return f"{len(layers)} steps over {len(runs)} layers: {', '.join(told)}"
