"""Chart of a scan: the map of blocks, start against end, and the front of gain against FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..measure import charts

CELL = 20  # pixels of a cell of the map
BELOW = "#8c8c8c"  # of candidates that are not on the front


class Scanned(Protocol):
    """Result of a scan (:class:`.result.ScanResult`)."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """Fields of the result file."""
        ...

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows, one per candidate."""
        ...


def chart(result: Scanned, column: str = "margin_gain") -> Any:
    """Draw the maps of a scan, and its Pareto front.

    A frame marks blocks that are certainly better than the model as it is, a thin one the block
    that was chosen. Candidates that were dropped early are drawn from fewer items.

    Args:
        column: gain shown by colour, ``margin_gain`` in nats or ``accuracy_gain``.
    """
    alt = charts.altair()
    rows = result.rows
    panels = [_map(result, kind, some, column) for kind, some in _kinds(rows).items()]
    return alt.hconcat(*panels, _front(rows)).resolve_scale(color="independent")


def _kinds(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Group single blocks by edit, extra passes and how a repeat is applied."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["edit"] not in ("repeat", "skip", "swap"):
            continue
        start, stop, times = row["blocks"][0]
        more = f" {times} times more" if row["edit"] == "repeat" and times > 1 else ""
        way = "" if row["applied"] == "plain" else f", {row['applied']}"
        way += "" if row.get("kv", "own") == "own" else f", {row['kv']} KV"
        cell = {**row, "start": start, "stop": stop}
        kinds.setdefault(f"{row['edit']}{more}{way}", []).append(cell)
    # combinations may repeat one block several times: a map needs more than a few blocks
    return {kind: some for kind, some in kinds.items() if len(some) > 2}


def _map(result: Scanned, kind: str, cells: Sequence[dict[str, Any]], column: str) -> Any:
    alt = charts.altair()
    chosen = result.fields["chosen"]
    values = [
        {
            "start": row["start"], "stop": row["stop"], "gain": row[column], "items": row["items"],
            "better": float(row["better"]), "chosen": float(row["name"] == chosen),
            "name": row["name"],
        }
        for row in cells
    ]  # fmt: skip
    gains = [value["gain"] for value in values]
    domain = charts.around_zero(_inner(gains))
    note = "" if domain == charts.around_zero(gains) else "; beyond the scale: its end colour"
    title = alt.Title(
        f"{result.fields['model']}: {kind}",
        subtitle=f"frame: certainly better than the model as it is; dot: chosen{note}",
    )
    unit = "nats" if column == "margin_gain" else "accuracy"
    base = alt.Chart(charts.rows(values), title=title).encode(
        x=charts.steps_axis("start", "first step of the block"),
        y=alt.Y("stop:O", title="end of the block (excluded)", sort="descending"),
    )
    squares = base.mark_rect().encode(
        color=charts.heat("gain", f"gain ({unit})", domain, signed=True),
        tooltip=["name:N", "gain:Q", "items:Q"],
    )
    frame = base.transform_filter("datum.better > 0").mark_rect(
        fill=None, style=charts.INK, strokeWidth=2
    )
    dot = base.transform_filter("datum.chosen > 0").mark_point(filled=True, size=30, color="black")
    wide, high = (len({value[name] for value in values}) for name in ("start", "stop"))
    return (squares + frame + dot).properties(width=CELL * wide, height=CELL * high)


def _inner(gains: Sequence[float]) -> list[float]:
    """Return the gains without a few far larger ones, which would leave the others without colour.

    >>> _inner([0.1, -0.2] * 9 + [-4.0]) == [0.1, -0.2] * 9, _inner([0.1, -0.2])
    (True, [0.1, -0.2])
    """
    sizes = sorted(map(abs, gains))
    limit = 2 * sizes[int(0.9 * (len(sizes) - 1))]
    return [gain for gain in gains if abs(gain) <= limit]


def _front(rows: Sequence[dict[str, Any]]) -> Any:
    alt = charts.altair()
    values = [
        {"flops": row["extra_flops"], "gain": row["accuracy_gain"], "name": row["name"],
         "front": "on the front" if row["pareto"] else "below"}
        for row in rows
    ]  # fmt: skip
    scale = alt.Scale(domain=["on the front", "below"], range=[charts.COLOURS[0], BELOW])
    encoding = {
        "x": alt.X("flops:Q", title="extra FLOPs", axis=alt.Axis(format="+.0%")),
        "y": alt.Y("gain:Q", title="accuracy gained on validation items"),
    }
    base = alt.Chart(charts.rows(values), title="gain against price").encode(**encoding)
    points = base.mark_point(filled=True, size=28).encode(
        color=alt.Color("front:N", scale=scale, title=None), tooltip=["name:N", "flops:Q", "gain:Q"]
    )
    line = base.transform_filter("datum.front == 'on the front'").mark_line(
        interpolate="step-after", strokeWidth=1
    )
    return (line + points).properties(width=300, height=250)
