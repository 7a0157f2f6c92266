"""Tables and paragraphs that fit the width of the terminal without truncation.

Columns that do not fit are folded (left out) in an order that each table sets, and a last line
names them. Names wrap and numbers stay whole. Columns of names, values and errors are never folded;
where they do not fit side by side, the table continues in further blocks. Output to a file or pipe
is never folded.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

GAP = 2  # blanks between columns
LEAST = 12  # cells that a wrapped column keeps
PIECE = re.compile(r"\s+|[^\s/_-]+[/_-]*|[/_-]+")  # where a name may be broken


@dataclass(frozen=True)
class Column:
    """Column of a table.

    Args:
        name: header.
        number: right-aligned, never wrapped.
        value: values or errors, which may move to a further block. Columns that neither fold nor
            hold values name the row, and are repeated in each block.
        fold: priority of folding, highest first; 0 never folds.
    """

    name: str
    number: bool = False
    value: bool = False
    fold: int = 0


@dataclass(frozen=True)
class Layout:
    """Layout of a table on a terminal; columns are indices.

    Args:
        blocks: ``(column, width)`` of each column, per block.
        folded: columns left out for lack of width.
        constant: columns left out because all rows have the same value.
    """

    blocks: tuple[tuple[tuple[int, int], ...], ...]
    folded: tuple[int, ...] = ()
    constant: tuple[int, ...] = ()


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as CSV: a column for each key of any row, lists and mappings as JSON."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    if names:
        writer.writeheader()
    for row in rows:
        writer.writerow({name: _csv_cell(cell) for name, cell in row.items()})
    click.echo(text.getvalue(), nl=False)


def _csv_cell(cell: Any) -> Any:
    return json.dumps(cell) if isinstance(cell, (list, tuple, dict, bool)) else cell


def width() -> int | None:
    """Width of the terminal in characters; None where output is not a terminal."""
    return shutil.get_terminal_size().columns if is_terminal() else None


def is_terminal() -> bool:
    """Tell whether output goes to a terminal, not to a file or another program."""
    return sys.stdout is not None and sys.stdout.isatty()  # None where it is closed


def show(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    title: str = "",
    style: Callable[[int], dict[str, bool]] = lambda _: {},
    below: Sequence[str] = (),
    hint: str = "a wider terminal, --json or --csv shows all",
) -> None:
    """Print a table.

    Args:
        rows: cells of each row, one string a column.
        style: row index -> arguments of ``click.style``.
        below: unwrapped line below each row, e.g. a command; empty for none.
        hint: how to see the folded columns.
    """
    limit = width()
    if title:
        paragraph(title)
    fitted = layout(columns, rows, limit)
    for number, block in enumerate(fitted.blocks):
        if number:
            click.echo()
        heads = [columns[place].name for place, _ in block]
        if any(heads):
            _line(heads, block, columns, {"bold": True})
        for place, row in enumerate(rows):
            _line([row[column] for column, _ in block], block, columns, style(place))
            if number == 0 and below and below[place]:
                click.echo(f"      {below[place]}")
    notes = []
    if fitted.folded:
        notes.append("folded: " + ", ".join(columns[place].name for place in fitted.folded))
    if fitted.constant:
        alike = ", ".join(f"{columns[p].name} {rows[0][p] or '–'}" for p in fitted.constant)
        notes.append(f"the same in all rows: {alike}")
    if notes:
        paragraph(f"({'; '.join(notes)}; {hint})")


def paragraph(
    text: str, indent: int = 0, hanging: int = 0, most: int | None = None, **style: bool | str
) -> None:
    """Print a paragraph, wrapped at spaces but not at no-break spaces.

    Args:
        indent: blanks before each line.
        hanging: further blanks before each line but the first.
        most: longest line; None for the width of the terminal.
    """
    limit = min((wide for wide in (width(), most) if wide is not None), default=None)
    room = 10**9 if limit is None else max(LEAST, limit - indent - hanging)
    lines = wrap(text, room, re.compile(r"[^\S\xa0]+|[\S\xa0]+"))
    for place, line in enumerate(lines):
        before = " " * (indent + (hanging if place else 0))
        click.echo(before + _styled(line.replace("\xa0", " "), style))


def layout(columns: Sequence[Column], rows: Sequence[Sequence[str]], limit: int | None) -> Layout:
    """Choose the blocks and folded columns of a table.

    Args:
        limit: width in terminal cells; None for no limit.
    """
    natural = [
        max(cells(text) for text in (column.name, *(row[place] for row in rows)))
        for place, column in enumerate(columns)
    ]
    every = tuple(range(len(columns)))
    if limit is None or _sum(natural) <= limit:
        return Layout((tuple(zip(every, natural, strict=True)),))
    wrapped = [place for place in every if not columns[place].number]
    names = [place for place in wrapped if not columns[place].fold]
    share = max(LEAST, limit * 9 // 20 // max(1, len(names)))
    least = [min(wide, LEAST) if p in wrapped else wide for p, wide in enumerate(natural)]
    good = [min(wide, share) if p in names else wide for p, wide in enumerate(natural)]
    visible, constant, folded = list(every), [], []
    alike = [p for p in every[1:] if not columns[p].value and len({row[p] for row in rows}) == 1]
    if len(rows) > 1:
        for place in sorted(alike, key=lambda p: -columns[p].fold):
            if _sum([good[p] for p in visible]) > limit:
                visible.remove(place)
                constant.append(place)
    for place in sorted(visible, key=lambda p: -columns[p].fold):
        if columns[place].fold and _sum([good[p] for p in visible]) > limit:
            visible.remove(place)
            folded.append(place)
    names = [place for place in visible if not columns[place].value]
    blocks: list[list[int]] = [names]
    for place in visible:
        if columns[place].value:
            if _sum([least[p] for p in (*blocks[-1], place)]) > limit and blocks[-1] != names:
                blocks.append(names)
            blocks[-1] = [*blocks[-1], place]
    return Layout(
        tuple(_widths(sorted(block), wrapped, least, natural, limit) for block in blocks),
        tuple(sorted(folded)),
        tuple(sorted(constant)),
    )


def _sum(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _widths(
    block: Sequence[int],
    wrapped: Sequence[int],
    least: Sequence[int],
    natural: Sequence[int],
    limit: int,
) -> tuple[tuple[int, int], ...]:
    """Compute the column widths of a block; wrapped columns share what is left, the first twice."""
    widths = {place: least[place] for place in block}
    left = limit - _sum([*widths.values()])
    while left > 0:
        needy = [p for p in block if p in wrapped and widths[p] < natural[p]]
        if not needy:
            break
        widths[min(needy, key=lambda p: widths[p] / (2 if p == block[0] else 1))] += 1
        left -= 1
    return tuple(widths.items())


def _line(
    texts: Sequence[str],
    block: Sequence[tuple[int, int]],
    columns: Sequence[Column],
    style: dict[str, bool],
) -> None:
    """Lay out one row over as many lines as its names need."""
    parts = [
        [text] if columns[place].number else wrap(text, wide)
        for text, (place, wide) in zip(texts, block, strict=True)
    ]
    for number in range(max(map(len, parts))):
        line = []
        for part, (place, wide) in zip(parts, block, strict=True):
            text = part[number] if number < len(part) else ""
            blank = " " * (wide - cells(text))
            line.append(blank + text if columns[place].number else text + blank)
        content = (" " * GAP).join(line).rstrip()
        click.echo(_styled(content, style))


def _styled(text: str, style: Mapping[str, bool | str]) -> str:
    return click.style(text, **style) if style else text  # type: ignore[arg-type]


def wrap(text: str, wide: int, pieces: re.Pattern[str] = PIECE) -> list[str]:
    """Wrap a string to lines of at most ``wide`` cells; its indent is repeated on each line.

    >>> wrap("lessons-loop-3x2, run as 6-4x2-20", 16)
    ['lessons-loop-', '3x2, run as 6-', '4x2-20']
    """
    if cells(text) <= wide:
        return [text]
    rest = text.lstrip(" ")
    indent = " " * min(len(text) - len(rest), wide // 2)
    wide -= len(indent)
    lines = [""]
    for piece in pieces.findall(rest):
        if cells(lines[-1] + piece.rstrip(" ")) > wide and lines[-1].strip():
            lines.append("")
        if not lines[-1]:
            piece = piece.lstrip(" ")
        while cells(piece.rstrip(" ")) > wide and pieces is PIECE:
            lines[-1], piece = _cut(piece, wide)
            lines.append("")
        lines[-1] += piece
    return [indent + line.rstrip(" ") for line in lines if line.strip()]


def _cut(text: str, wide: int) -> tuple[str, str]:
    """Split a string after its first ``wide`` cells."""
    count = 1
    while count < len(text) and cells(text[: count + 1]) <= wide:
        count += 1
    return text[:count], text[count:]


def cells(text: str) -> int:
    """Width of a string in terminal cells: wide letters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(map(_cell, text))


def _cell(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def number(name: str, fold: int = 0) -> Column:
    """Make a column of numbers that describe the row."""
    return Column(name, number=True, fold=fold)


def value(name: str) -> Column:
    """Make a column of values or errors."""
    return Column(name, number=True, value=True)
