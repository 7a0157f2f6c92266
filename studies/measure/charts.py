"""One look for all charts: colours the colour-blind tell apart, light or dark, in print too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.errors import InputError, one_of

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666"]
"""Okabe and Ito's, the ones that show on white and on black."""
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 3], [10, 2], [4, 4]]
KINDS = (".html", ".svg", ".png", ".pdf", ".json")
INK = "ink"  # a style: drawn like text, dark on light or light on dark
FONT = "Helvetica, Arial, DejaVu Sans, sans-serif"


def altair() -> Any:
    """Altair, or a sentence about how to get it."""
    try:
        import altair as alt
    except ImportError as error:
        raise InputError("a picture needs altair: pip install 'growloop[plots]'") from error
    return alt


def rows(values: list[dict[str, Any]]) -> Any:
    """Data of a chart."""
    return altair().Data(values=values)


def colour(field: str, names: list[str], title: str | None = None) -> Any:
    """A colour for each name, always the same for the same place in the list."""
    alt = altair()
    scale = alt.Scale(domain=names, range=[COLOURS[i % len(COLOURS)] for i in range(len(names))])
    legend = alt.Legend(symbolOpacity=1, symbolType="stroke", symbolStrokeWidth=3, symbolSize=400)
    return alt.Color(f"{field}:N", scale=scale, title=title, sort=names, legend=legend)


def dash(field: str, names: list[str], title: str | None = None, alone: bool = False) -> Any:
    """A dash for each name, for print without colour; the title is that of the colour.

    Args:
        alone: colours mean something else, so that dashes need a legend of their own.
    """
    alt = altair()
    scale = alt.Scale(domain=names, range=[DASHES[i % len(DASHES)] for i in range(len(names))])
    found = alt.StrokeDash(f"{field}:N", scale=scale, title=title, sort=names)
    if not alone:
        return found
    stroke = {"symbolType": "stroke", "symbolStrokeColor": "#888", "symbolSize": 500}
    return found.legend(**stroke, symbolStrokeWidth=2)


def heat(field: str, title: str, domain: list[float], signed: bool = False) -> Any:
    """A colour for a number: dark is little; with ``signed`` blue is less, orange more than 0."""
    alt = altair()
    low, high = domain
    scheme, form = ("blueorange", "+.2~r") if signed else ("viridis", ".2~r")
    scale = alt.Scale(scheme=scheme, domain=domain, clamp=True)
    # the ends themselves: rounded ones would be other numbers
    label = f"datum.value ? format(datum.value, '{form}') : '0'"
    legend = alt.Legend(values=[low, (low + high) / 2, high], labelExpr=label)
    return alt.Color(f"{field}:Q", scale=scale, title=title, legend=legend)


def steps_line(field: str, title: str) -> Any:
    """A continuous axis of steps."""
    alt = altair()
    whole = "datum.value == floor(datum.value) ? datum.label : ''"  # few steps have ticks between
    axis = alt.Axis(tickMinStep=1, format="d", labelExpr=whole)
    return alt.X(f"{field}:Q", title=title, axis=axis)


def line_with_band(
    base: Any,
    value: Any,
    names: list[str],
    *,
    field: str = "model",
    low: Any = None,
    point: Any = True,
    opacity: float = 0.15,
    dashes: Any = None,
    line_options: dict[str, Any] | None = None,
    band_options: dict[str, Any] | None = None,
    band: Any = None,
) -> list[Any]:
    """Draw lines with their 95 % intervals as bands: the layers of a chart, bands first.

    Data has the fields of ``base`` and ``value``, and ``low`` and ``high``.

    Args:
        base: chart with data, x axis and colours.
        value: y encoding of the line.
        names: lines, in the order of the legend.
        field: field whose values are the names.
        low: y encoding of the lower end; by default the field ``low`` on the scale of ``value``.
        point: points on the line, as Altair's ``mark_line`` takes them.
        opacity: of the band.
        dashes: encoding of the dashes; by default one for each name.
        line_options, band_options: more encodings.
        band: chart of the bands, where it is not ``base``.
    """
    alt = altair()
    dashes = dash(field, names) if dashes is None else dashes
    low = alt.Y("low:Q", scale=value["scale"]) if low is None else low
    line = base.mark_line(point=point).encode(y=value, strokeDash=dashes, **(line_options or {}))
    area = (base if band is None else band).mark_area(opacity=opacity)
    return [area.encode(y=low, y2="high:Q", **(band_options or {})), line]


def chance_line(chance: float | None) -> Any:
    """Draw a dotted line at the value of a guesser."""
    rule = altair().Chart(rows([{"chance": chance}])).mark_rule(color="#888", strokeDash=[1, 3])
    return rule.encode(y="chance:Q")


def around_zero(values: list[float]) -> list[float]:
    """A domain with 0 in its middle."""
    most = max((abs(value) for value in values), default=0.0) or 1.0
    return [-most, most]


def steps_axis(field: str, title: str) -> Any:
    """A discrete axis of steps whose labels do not crowd."""
    alt = altair()
    axis = alt.Axis(labelOverlap="greedy", labelSeparation=4, labelAngle=0, tickSize=3)
    return alt.X(f"{field}:O", title=title, axis=axis)


def finish(chart: Any, dark: bool = False) -> Any:
    """The common look."""
    ink, paper, line = ("#e6e6e6", "#16181d", "#3a3f4a") if dark else ("#222", "white", "#dddddd")
    return (
        chart.configure(background=paper, font=FONT, style={INK: {"stroke": ink}})
        .configure_view(stroke=None)
        .configure_rule(color=ink)
        .configure_text(color=ink)
        .configure_axis(
            labelColor=ink,
            titleColor=ink,
            gridColor=line,
            domainColor=ink,
            tickColor=ink,
            labelFontSize=11,
            titleFontSize=12,
            titleFontWeight="normal",
        )
        .configure_legend(
            labelColor=ink, titleColor=ink, orient="top", labelFontSize=11, labelLimit=320,
            titleFontWeight="normal", titleLimit=320,
        )
        .configure_title(
            color=ink, subtitleColor=ink, anchor="start", fontSize=14, subtitleFontSize=11,
            fontWeight="bold",
        )
        .configure_header(labelColor=ink, titleColor=ink, labelFontSize=12)
    )  # fmt: skip


def check_picture(path: str | Path) -> None:
    """Refuse a kind of picture that cannot be written, before the slow part."""
    altair()
    one_of("kind of picture", Path(path).suffix, KINDS)


def save(chart: Any, path: str | Path, dark: bool = False) -> Path:
    """Write a chart, whole or not at all; its kind is that of the file's name."""
    check_picture(path)
    target = Path(path)
    part = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # a page holds all it needs: it is looked at where there is no network too
        kinds: dict[str, dict[str, Any]] = {".png": {"scale_factor": 2}, ".html": {"inline": True}}
        more = kinds.get(part.suffix, {})
        finish(chart, dark).save(str(part), **more)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target
