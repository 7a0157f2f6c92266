"""Set an SVG of a study into the theme of today: model colours, text, and its finding as title.

Cells of studies are not committed, so their charts cannot be drawn again from data. Their marks,
axes and numbers stay as measured. Restyling twice gives the same file.
"""

from __future__ import annotations

import re
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from growloop.leaderboard.site import theme
from growloop.studies.scan.chart import BELOW

SVG = "http://www.w3.org/2000/svg"
LEAST = 11  # px of the smallest text
TITLE = 15  # px of the finding
LINE = 20
NEUTRAL = {
    "#222": theme.LIGHT.ink,
    "#000": theme.LIGHT.ink,
    "#ddd": theme.LIGHT.line,
    "#dddddd": theme.LIGHT.line,
    "#666666": theme.LIGHT.faint,
    "white": theme.LIGHT.background,
}
GREYS = {"", "#888", theme.GREY, theme.LIGHT.ink, theme.LIGHT.faint, *NEUTRAL}
MODEL = re.compile("|".join(pattern for pattern, _ in theme.METHODS) + "|smollm2")

ET.register_namespace("", SVG)
ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def restyle(path: Path, finding: str) -> None:
    """Rewrite an SVG file in the theme, with a finding above it."""
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    _remove_finding(root)
    colours = NEUTRAL | _colours(root)
    for element in root.iter():
        for name in ("fill", "stroke"):
            value = element.get(name)
            if value is not None and value.lower() in colours:
                element.set(name, colours[value.lower()])
        size = element.get("font-size")
        if size is not None:
            element.set("font-size", f"{max(LEAST, float(size.removesuffix('px'))):g}px")
            element.set("font-family", theme.CHART_FONT)
    _add_finding(root, finding)
    path.write_text(ET.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def legends(root: ET.Element) -> Iterator[list[tuple[str, str]]]:
    """Yield the ``(label, colour)`` pairs of each legend of colours, without neutral entries."""
    for legend in root.iter(f"{{{SVG}}}g"):
        if "role-legend" not in (legend.get("class") or "").split():
            continue
        symbols = list(_parts(legend, "role-legend-symbol"))
        labels = list(_parts(legend, "role-legend-label"))
        if len(symbols) != len(labels):  # a legend of a continuous scale
            continue
        pairs = [
            (label.text or "", _hex(symbol.get("stroke")) or _hex(symbol.get("fill")))
            for symbol, label in zip(symbols, labels, strict=True)
        ]
        pairs = [(label, colour) for label, colour in pairs if colour not in GREYS]
        if pairs and len({colour for _, colour in pairs}) == len(pairs):
            yield pairs


def expected(labels: list[str]) -> list[str]:
    """Return the colours of a legend: a model has its own, other lines the series in order."""
    if all(MODEL.search(label.lower()) for label in labels):
        return theme.series_colours(labels)
    if labels == ["on the front", "below"]:  # candidates of a scan
        return [theme.LIGHT.series[0], BELOW]
    return list(theme.LIGHT.series[: len(labels)])


def _colours(root: ET.Element) -> dict[str, str]:
    """Return old colour -> colour of the theme, by the legends."""
    found: dict[str, str] = {}
    for pairs in legends(root):
        new = expected([label for label, _ in pairs])
        found |= {colour: now for (_, colour), now in zip(pairs, new, strict=True)}
    return found


def _parts(legend: ET.Element, role: str) -> Iterator[ET.Element]:
    for group in legend.iter(f"{{{SVG}}}g"):
        if role in (group.get("class") or "").split():
            yield from group


def _hex(colour: str | None) -> str:
    return colour.lower() if colour is not None and colour.startswith("#") else ""


def _add_finding(root: ET.Element, finding: str) -> None:
    width, height = (float(root.get(name, "0").removesuffix("px")) for name in ("width", "height"))
    lines = textwrap.wrap(finding, int((width - 16) / 8.6))
    room = LINE * len(lines) + 10
    moved = ET.Element(f"{{{SVG}}}g", {"class": "chart", "transform": f"translate(0,{room})"})
    moved.extend(list(root))
    for child in list(root):
        root.remove(child)
    back = {"width": "100%", "height": f"{height + room:g}", "fill": theme.LIGHT.background}
    ET.SubElement(root, f"{{{SVG}}}rect", {"class": "finding"} | back)
    for number, line in enumerate(lines, start=1):
        text = ET.SubElement(
            root,
            f"{{{SVG}}}text",
            {
                "class": "finding",
                "x": "6",
                "y": f"{LINE * number}",
                "font-family": theme.CHART_FONT,
                "font-size": f"{TITLE}px",
                "font-weight": "bold",
                "fill": theme.LIGHT.ink,
            },
        )
        text.text = line
    root.append(moved)
    _resize(root, width, height + room)


def _remove_finding(root: ET.Element) -> None:
    chart = root.find(f"{{{SVG}}}g[@class='chart']")
    if chart is None:
        return
    room = float((chart.get("transform") or "").removeprefix("translate(0,").removesuffix(")"))
    for child in list(root):
        root.remove(child)
    root.extend(list(chart))
    width, height = (float(root.get(name, "0")) for name in ("width", "height"))
    _resize(root, width, height - room)


def _resize(root: ET.Element, width: float, height: float) -> None:
    root.set("width", f"{width:g}")
    root.set("height", f"{height:g}")
    root.set("viewBox", f"0 0 {width:g} {height:g}")
