"""Colours, dashes and fonts of every chart: pages of the leaderboard and Altair charts of studies.

Series colours have the hues of Okabe and Ito. Their lightness is chosen so that each has a contrast
of at least 3:1 with the background, and any two differ for colour-blind readers too (CIE76 distance
of 22 and more, also as seen without red, green or blue cones). A model's colour follows from its
name alone: LIDAS is green in every chart.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.drawing import SERIES

FONT = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, Liberation Sans, sans-serif"
CHART_FONT = "Helvetica, Arial, Liberation Sans, sans-serif"
"""Font of charts: their labels are laid out in these widths, which system fonts exceed."""
GREY = "#888888"  # neutral, visible on light and dark backgrounds
DASHES = ((1, 0), (6, 3), (8, 3, 2, 3), (10, 2), (4, 4), (12, 4, 4, 4))  # stroke, gap, … in px
"""Dashes tell models of one colour apart and mean nothing else; chance levels are dotted (1, 3)."""
DOTS = (1, 3)
METHODS = (
    (r"retrofit", 3),
    (r"untied", 6),
    (r"lidas", 2),
    (r"midas", 0),
    (r"\d+-\d+x\d+-\d+|twice|repeat", 4),  # a loop between layers that run once
    (r"loop|\d+x\d+", 1),
    (r"standard[ -](?:6|24|32)\b(?![.\d]*[bm])", 7),  # full depth: laptop, 1.7B, 360M
    (r"standard[ -]\d+\b(?![.\d]*[bm])", 5),  # a standard model of fewer layers
    (r"standard|baseline|plain", 7),
)
"""Pattern of a model's name -> index of its series colour; the first that matches counts."""
SPARE = (3, 6, 4, 5, 7, 1, 2, 0)
"""Series colours in the order in which models without a free colour of their own take them."""
TINTS = 9  # shades of a cell by its score, 0 to TINTS - 1
INK = "ink"  # Altair style of marks drawn in the text colour


@dataclass(frozen=True)
class Palette:
    """Colours for one background.

    Args:
        background: page and chart background.
        surface: background of table heads and forms.
        ink, faint: text colour of main and secondary text.
        line: grid lines and borders.
        link: links.
        supported, contradicted, undecided: verdicts on claims.
        series: colours of models (:func:`series_index`) and of other lines, in order.
        loops: fill of a layer by how often it ran before, 0 to 6.
    """

    background: str
    surface: str
    ink: str
    faint: str
    line: str
    link: str
    supported: str
    contradicted: str
    undecided: str
    series: tuple[str, ...]
    loops: tuple[str, ...]

    def variables(self) -> dict[str, str]:
        """CSS variable name -> colour."""
        names = {
            "paper": self.background,
            "soft": self.surface,
            "ink": self.ink,
            "faint": self.faint,
            "line": self.line,
            "link": self.link,
            "yes": self.supported,
            "no": self.contradicted,
            "open": self.undecided,
        }
        names |= {f"s{number}": colour for number, colour in enumerate(self.series)}
        return names | {f"l{number}": colour for number, colour in enumerate(self.loops)}


LIGHT = Palette(
    background="#ffffff",
    surface="#f0f2f4",
    ink="#1b1f24",
    faint="#59636e",
    line="#d8dde3",
    link="#0b5cad",
    supported="#00744f",
    contradicted="#b3261e",
    undecided="#7a5b00",
    series=SERIES,
    loops=("#8db7d9", "#4e93c6", "#2b74ad", "#1b578a", "#123f68", "#0d3050", "#09233b"),
)
DARK = Palette(
    background="#14171b",
    surface="#1e2329",
    ink="#e8eaed",
    faint="#a0a9b4",
    line="#343b44",
    link="#7cb8f5",
    supported="#3fc797",
    contradicted="#ff8a80",
    undecided="#e3c34a",
    series=(
        *("#136bfb", "#fb771d", "#3e9b78", "#d667b3"),
        *("#fddb2e", "#b89757", "#a0acff", "#d2d3d4"),
    ),
    loops=("#3b5f7c", "#4e87b4", "#62a8dc", "#85c3f0", "#a8d6f7", "#c8e6fb", "#e3f2fd"),
)


def series_index(name: str) -> int:
    """Return the index of a model's colour, which depends on its name alone.

    Known methods have a colour each; other names get one by their checksum.

    >>> series_index("lessons-lidas") == series_index("LIDAS 1.7B")
    True
    """
    for pattern, index in METHODS:
        if re.search(pattern, name.lower()):
            return index
    return zlib.crc32(name.encode()) % len(LIGHT.series)


def series_colours(names: Sequence[str]) -> list[str]:
    """Return a light-theme colour for each model of a chart, no colour twice while some are free.

    A name has the colour of :func:`series_index`. Of several names with one colour the first has
    it; the others take colours that no name of the chart has.

    >>> series_colours(["Standard 4", "Standard 3", "MIDAS"])[2] == series_colours(["MIDAS"])[0]
    True
    """
    wanted = [series_index(name) for name in names]
    free = [index for index in SPARE if index not in wanted]
    taken: set[int] = set()
    indices = []
    for index in wanted:
        if index in taken and free:
            index = free.pop(0)
        taken.add(index)
        indices.append(index)
    return [LIGHT.series[index] for index in indices]


def css() -> str:
    """Return the CSS of the theme: colour variables, and classes that use them.

    Classes: ``s-0`` … colour of a model, ``d-1`` … dash of a line, ``loop-0`` … fill of a step,
    ``tint-0`` … background of a cell by its score.
    """
    return "\n".join(_css_rules()) + "\n"


def _css_rules() -> Iterator[str]:
    yield f":root {{ color-scheme: light dark; --font: {FONT}; {_declarations(LIGHT)} }}"
    dark = _declarations(DARK)
    yield f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    for number in range(len(LIGHT.series)):
        yield f".s-{number} {{ fill: var(--s{number}); stroke: var(--s{number}); }}"
    for number in range(len(LIGHT.loops)):
        yield f".loop-{number} {{ fill: var(--l{number}); }}"
    for number in range(TINTS):
        mixed = f"var(--s0) {number * 45 / (TINTS - 1):.0f}%, var(--paper)"
        yield f".tint-{number} {{ background: color-mix(in srgb, {mixed}); }}"
    for number, dash in enumerate(DASHES[1:], start=1):
        yield f".d-{number} {{ stroke-dasharray: {' '.join(map(str, dash))}; }}"


def _declarations(palette: Palette) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in palette.variables().items())


def altair_config(palette: Palette) -> dict[str, Any]:
    """Return the Vega-Lite configuration of a chart, for ``chart.configure(**altair_config(…))``.

    A colour scale without a range of its own takes the series colours of the palette.
    """
    ink, faint, line = palette.ink, palette.faint, palette.line
    return {
        "background": palette.background,
        "font": CHART_FONT,
        "style": {INK: {"stroke": ink}},
        "range": {"category": list(palette.series)},
        "view": {"stroke": None},
        "rule": {"color": ink},
        "text": {"color": ink},
        "axis": {
            "labelColor": faint,
            "titleColor": ink,
            "gridColor": line,
            "domainColor": faint,
            "tickColor": faint,
            "labelFontSize": 11,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
        },
        "legend": {
            "labelColor": ink,
            "titleColor": ink,
            "orient": "top",
            "labelFontSize": 11,
            "labelLimit": 320,
            "titleFontWeight": "normal",
            "titleLimit": 320,
        },
        "title": {
            "color": ink,
            "subtitleColor": faint,
            "anchor": "start",
            "fontSize": 14,
            "subtitleFontSize": 11,
            "fontWeight": "bold",
        },
        "header": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12},
    }
