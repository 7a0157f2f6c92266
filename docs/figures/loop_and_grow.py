"""Draws a standard, a looped and a grown model as boxes, a layer a box.

``python docs/figures/loop_and_grow.py docs/figures/loop-and-grow.svg``. Boxes of one colour have
the same weights (looping) or were copied from the same layer (growing). Schedule and growth maps
are those of the package.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

from growloop.core.schedule import Schedule
from growloop.leaderboard.site.theme import FONT, LIGHT
from growloop.models.growing.maps import growth_map

BOX, GAP, BASE = (58, 24), 5, 244
COLOURS = LIGHT.series[:6]


def main(out: str) -> None:
    """Write the picture."""
    looped = Schedule.parse("3x2")
    stages, depth = [[0, 1]], 2
    while depth < 6:
        growth = growth_map("lidas", depth, block_size=2)
        stages.append([stages[-1][source] for source in growth.sources])
        depth = len(growth)
    parts = [_heading(24, "Standard", "6 layers, each runs once"), *_stack(36, range(6), "layer")]
    parts += [_heading(190, "Looped: 3x2", "3 layers, each runs twice")]
    parts += _stack(202, looped.layers, "layer")
    parts += [_bracket(266, 0, 3, "loop 1"), _bracket(266, 3, 6, "loop 2")]
    parts += [_heading(392, "Grown: LIDAS", "2 layers; the middle is copied twice during training")]
    for place, stage in enumerate(stages):
        x = 404 + place * 98
        parts += _stack(x, stage, "from" if place else "layer")
        if place:
            parts.append(_text(x - 20, BASE - 9, "→", size=18, anchor="middle"))
    parts.append(_note(24, "parameters 6, compute 6"))
    parts.append(_note(190, "parameters 3, compute 6"))
    parts.append(_note(392, "parameters 6; training costs less, as it starts shallow"))
    width, height = 716, BASE + 46
    label = "A standard model of six layers, three layers that run twice, and two that grow to six"
    Path(out).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{label}" font-family="{escape(FONT)}">'
        f'<rect width="{width}" height="{height}" rx="8" fill="{LIGHT.background}"/>'
        + "".join(parts)
        + "</svg>\n",
        encoding="utf-8",
    )


def _y(step: int) -> int:
    """Return the top of the box of a step; the first runs at the bottom."""
    return BASE - BOX[1] - step * (BOX[1] + GAP)


def _stack(x: int, layers: range | list[int] | tuple[int, ...], word: str) -> list[str]:
    parts = []
    for step, layer in enumerate(layers):
        parts.append(
            f'<rect x="{x}" y="{_y(step)}" width="{BOX[0]}" height="{BOX[1]}" rx="4" '
            f'fill="{COLOURS[layer]}"/>'
        )
        middle = x + BOX[0] / 2
        parts.append(_text(middle, _y(step) + 16, f"{word} {layer}", "#ffffff", 12, "middle"))
    return parts


def _bracket(x: int, start: int, stop: int, word: str) -> str:
    top, bottom = _y(stop - 1) + 2, _y(start) + BOX[1] - 2
    path = f"M{x} {bottom}h6V{top}h-6"
    line = f'<path d="{path}" fill="none" stroke="{LIGHT.faint}" stroke-width="1.5"/>'
    return line + _text(x + 12, (top + bottom) / 2 + 4, word, LIGHT.faint, 12)


def _heading(x: int, title: str, words: str) -> str:
    return _text(x, 30, title, LIGHT.ink, 16, weight=600) + _text(x, 50, words, LIGHT.faint, 12)


def _note(x: int, words: str) -> str:
    return _text(x, BASE + 26, words, LIGHT.faint, 12)


def _text(
    x: float,
    y: float,
    words: str,
    colour: str = LIGHT.ink,
    size: int = 12,
    anchor: str = "start",
    weight: int = 400,
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


if __name__ == "__main__":
    main(sys.argv[1])
