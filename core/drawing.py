"""Drawing of a schedule: a box a step in the order in which they run, a bracket a loop.

Boxes of one colour run the same layer. A drawing is SVG that needs nothing else, and follows the
colours of the page it stands on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

SERIES = (
    *("#0c6de4", "#de780a", "#10a66f", "#cd72b1"),
    *("#5e5e00", "#632b1f", "#510cf6", "#394d74"),
)
"""Colours of neighbouring layers, and of the models of a chart on a light page."""
BOX = 30, 24
GAP, ROW, TOP = 4, 62, 26
ACROSS = 24
"""Boxes in a row."""
MOST = 240
"""Boxes that are drawn; a longer schedule ends with its number of further steps."""
TEXT = '<text x="{:g}" y="{:g}" font-size="{}" text-anchor="{}" fill="{}">{}</text>'


def schedule_svg(
    layers: Sequence[int], sections: Sequence[tuple[int, int, int]] = (), label: str = "schedule"
) -> str:
    """Draw a schedule as SVG.

    Args:
        layers: layer of each step.
        sections: (start, size, times) of blocks of steps; those that run several times get
            brackets.
        label: description for screen readers.

    >>> schedule_svg([0, 1, 2, 1, 2, 3], [(1, 2, 2)]).count("<rect")
    6
    """
    rows = -(-min(len(layers), MOST) // ACROSS)
    width = min(len(layers), ACROSS) * (BOX[0] + GAP) + 90
    parts = [*_boxes(layers[:MOST]), *_brackets(sections, min(len(layers), MOST))]
    height = rows * ROW
    if len(layers) > MOST:
        words = f"and {len(layers) - MOST:,} more"
        parts.append(TEXT.format(0, height + 8, 12, "start", "currentColor", words))
        height += 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'role="img" aria-label="{escape(label)}" font-family="system-ui, sans-serif">'
        + "".join(parts)
        + "</svg>"
    )


def _place(step: int) -> tuple[int, int]:
    """Return the left upper corner of the box of a step."""
    return step % ACROSS * (BOX[0] + GAP), step // ACROSS * ROW + TOP


def _boxes(layers: Sequence[int]) -> Iterator[str]:
    for step, layer in enumerate(layers):
        x, y = _place(step)
        colour = SERIES[layer % len(SERIES)]
        yield f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="4" fill="{colour}"/>'
        yield TEXT.format(x + BOX[0] / 2, y + 16, 12, "middle", "#ffffff", layer)


def _brackets(sections: Sequence[tuple[int, int, int]], drawn: int) -> Iterator[str]:
    """Yield a bracket over each pass of a looped block; one that wraps has a part a row."""
    for start, size, times in sections:
        for number in range(times if times > 1 else 0):
            first = start + number * size
            last = min(first + size, drawn) - 1
            while first <= last:
                stop = min(last, first // ACROSS * ACROSS + ACROSS - 1)
                yield from _bracket(first, stop, f"loop {number + 1}")
                first = stop + 1


def _bracket(first: int, last: int, words: str) -> Iterator[str]:
    (left, top), right = _place(first), _place(last)[0] + BOX[0]
    path = f"M{left + 2} {top - 3}v-5H{right - 2}v5"
    yield f'<path d="{path}" fill="none" stroke="currentColor" stroke-opacity="0.6"/>'
    shown = words if last > first else words.removeprefix("loop ")
    yield TEXT.format((left + right) / 2, top - 11, 11, "middle", "currentColor", shown)
