"""Results that are tables: as dictionaries, as a pandas frame, and as HTML in notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .errors import InputError

Rows = Sequence[Mapping[str, Any]]
MOST_SHOWN = 60
"""Rows of a table that a notebook shows."""
STYLE = "text-align:right;padding:2px 8px"
NOTE = "<div style='opacity:.7'>{}</div>"


class Tabular:
    """Mixin of results that are a table; subclasses define :meth:`to_rows`."""

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table: column -> value."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values that JSON can hold."""
        return {"rows": self.to_rows()}

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``.

        Raises:
            InputError: pandas is not installed.
        """
        return frame(self.to_rows())

    @property
    def title(self) -> str:
        """Line above the table in a notebook."""
        return type(self).__name__

    @property
    def notes(self) -> Sequence[str]:
        """Lines below the table in a notebook."""
        return ()

    def _repr_html_(self) -> str:
        return html_table(self.to_rows(), self.title, self.notes)


def frame(rows: Rows) -> Any:
    """Make a ``pandas.DataFrame`` of rows.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise InputError("to_pandas needs pandas: pip install pandas") from error
    return pandas.DataFrame(list(rows))


def html_table(rows: Rows, title: str = "", notes: Sequence[str] = ()) -> str:
    """Format rows as an HTML table; all texts are escaped, long tables are cut.

    Args:
        rows: column -> value; columns of all rows, in the order in which they appear.
        title: caption.
        notes: lines below.

    >>> print(html_table([{"task": "a<b", "value": 0.5}]))
    <table><thead><tr><th>task</th><th>value</th></tr></thead><tbody><tr><td \
style='text-align:left;padding:2px 8px'>a&lt;b</td><td style='text-align:right;padding:2px 8px'>\
0.5</td></tr></tbody></table>
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(_cell(row.get(name)) for name in names) + "</tr>"
        for row in rows[:MOST_SHOWN]
    )
    caption = f"<caption>{escape(title)}</caption>" if title else ""
    below = list(notes)
    if len(rows) > MOST_SHOWN:
        below.insert(0, f"{MOST_SHOWN} of {len(rows):,} rows")
    table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return table + "".join(NOTE.format(escape(note)) for note in below)


def _cell(value: object) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    style = STYLE if number else STYLE.replace("right", "left")
    return f"<td style='{style}'>{escape(_shown(value))}</td>"


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = f"{value:,}" if type(value) is int else str(value)
    return text if len(text) <= 300 else text[:299] + "…"
