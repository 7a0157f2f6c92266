"""Build and save the charts of studies in the theme of the leaderboard."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from ...core.errors import InputError, one_of
from ...core.files import write_atomically
from ...leaderboard.site import theme

COLOURS = list(theme.LIGHT.series)
INK = theme.INK
GREY = theme.GREY
DASHES = [list(dash) for dash in theme.DASHES]
KINDS = (".html", ".svg", ".png", ".pdf", ".json")


def altair() -> Any:
    """Import Altair.

    Raises:
        InputError: Altair is not installed; the message has the command that installs it.
    """
    try:
        import altair as alt
    except ImportError as error:
        raise InputError("a picture needs altair: pip install 'growloop[plots]'") from error
    return alt


def rows(values: list[dict[str, Any]]) -> Any:
    """Wrap rows as the data of a chart."""
    return altair().Data(values=values)


def colour(field: str, names: list[str], title: str | None = None) -> Any:
    """Encode names by colour, in the order of the list; a model has its colour of the theme."""
    alt = altair()
    range_ = {"range": theme.series_colours(names)} if field == "model" else {}
    scale = alt.Scale(domain=names, **range_)  # else the series colours of the theme in order
    legend = alt.Legend(symbolOpacity=1, symbolType="stroke", symbolStrokeWidth=3, symbolSize=400)
    return alt.Color(f"{field}:N", scale=scale, title=title, sort=names, legend=legend)


def dash(field: str, names: list[str], title: str | None = None, alone: bool = False) -> Any:
    """Encode names by dash, for print without colour; shares the legend of the colours.

    Args:
        alone: give the dashes their own legend, because colours encode something else.
    """
    alt = altair()
    scale = alt.Scale(domain=names, range=[DASHES[i % len(DASHES)] for i in range(len(names))])
    encoding = alt.StrokeDash(f"{field}:N", scale=scale, title=title, sort=names)
    if not alone:
        return encoding
    stroke = {"symbolType": "stroke", "symbolStrokeColor": theme.GREY, "symbolSize": 500}
    return encoding.legend(**stroke, symbolStrokeWidth=2)


def heat(field: str, title: str, domain: list[float], signed: bool = False) -> Any:
    """Encode numbers by colour: dark is low; with ``signed`` blue is negative, orange positive."""
    alt = altair()
    low, high = domain
    scheme, form = ("blueorange", "+.2~r") if signed else ("viridis", ".2~r")
    scale = alt.Scale(scheme=scheme, domain=domain, clamp=True)
    # label the exact ends of the domain, which rounding would change
    label = f"datum.value ? format(datum.value, '{form}') : '0'"
    legend = alt.Legend(values=[low, (low + high) / 2, high], labelExpr=label)
    return alt.Color(f"{field}:Q", scale=scale, title=title, legend=legend)


def steps_line(field: str, title: str) -> Any:
    """Continuous x axis of steps, labelled at whole numbers only."""
    alt = altair()
    label = "datum.value == floor(datum.value) ? datum.label : ''"  # a short axis has half ticks
    axis = alt.Axis(tickMinStep=1, format="d", labelExpr=label)
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
    """Draw a dotted line at chance level."""
    rule = (
        altair()
        .Chart(rows([{"chance": chance}]))
        .mark_rule(color=GREY, strokeDash=list(theme.DOTS))
    )
    return rule.encode(y="chance:Q")


def around_zero(values: list[float]) -> list[float]:
    """Return a domain centred on 0 that contains all values."""
    limit = max((abs(value) for value in values), default=0.0) or 1.0
    return [-limit, limit]


def steps_axis(field: str, title: str) -> Any:
    """Discrete x axis of steps, without overlapping labels."""
    alt = altair()
    axis = alt.Axis(labelOverlap="greedy", labelSeparation=4, labelAngle=0, tickSize=3)
    return alt.X(f"{field}:O", title=title, axis=axis)


def finish(chart: Any, dark: bool = False) -> Any:
    """Apply the theme to a chart."""
    if not dark:
        return chart.configure(**theme.altair_config(theme.LIGHT))
    spec = json.dumps(chart.to_dict())
    for light, other in zip(theme.LIGHT.series, theme.DARK.series, strict=True):
        spec = spec.replace(f'"{light}"', f'"{other}"')
    return altair().Chart.from_json(spec).configure(**theme.altair_config(theme.DARK))


def check_picture(path: str | Path) -> None:
    """Check the file type of a picture before the slow part."""
    altair()
    one_of("kind of picture", Path(path).suffix, KINDS)


def save(chart: Any, path: str | Path, dark: bool = False) -> Path:
    """Write a chart atomically, in the format of the file's suffix."""
    check_picture(path)
    write_atomically(path, content(finish(chart, dark), Path(path).suffix))
    return Path(path)


def content(chart: Any, kind: str) -> bytes:
    """Serialise a chart to the content of a file.

    Args:
        kind: suffix of the file, one of ``KINDS``.
    """
    # a page holds all it needs: it is looked at where there is no network too
    kinds: dict[str, dict[str, Any]] = {".png": {"scale_factor": 2}, ".html": {"inline": True}}
    form, more = kind.removeprefix("."), kinds.get(kind, {})
    if kind in (".png", ".pdf"):
        data = io.BytesIO()
        chart.save(data, format=form, **more)
        return data.getvalue()
    text = io.StringIO()
    chart.save(text, format=form, **more)
    return text.getvalue().encode()
