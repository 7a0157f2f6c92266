"""Tables and paragraphs for a terminal: as wide as it is, and never cut.

What does not fit is folded in an order that each table gives, and the output says what was folded.
Names wrap; numbers stay whole; names, values and errors are always there, below each other if need
be. Where the output is not a terminal nothing is folded.
"""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import click

GAP = 2  # blanks between columns
LEAST = 12  # cells that a wrapped column keeps
PIECE = re.compile(r"\s+|[^\s/_-]+[/_-]*|[/_-]+")  # where a name may be broken


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: what stands above it.
        number: aligned to the right and never broken.
        value: a value or its error, which may stand in a further block below; columns that are
            neither folded nor values name the row, and are repeated in each block.
        fold: 0 stays; of the others the highest is folded first.
    """

    name: str
    number: bool = False
    value: bool = False
    fold: int = 0


@dataclass(frozen=True)
class Layout:
    """Which columns stand where.

    Args:
        blocks: columns and their widths, of each block.
        folded: columns that are left out.
        constant: columns that are left out as all rows have the same there.
    """

    blocks: tuple[tuple[tuple[int, int], ...], ...]
    folded: tuple[int, ...] = ()
    constant: tuple[int, ...] = ()


def width() -> int | None:
    """Columns of the terminal; None where the output is none."""
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
    hint: str = "a wider terminal or --json shows all",
) -> None:
    """Print a table.

    Args:
        rows: the texts of each row, one for each column.
        style: of a row, by its number: arguments of ``click.style``.
        below: a line below each row that is printed as it is, e.g. a command; empty for none.
        hint: how to see what was folded.
    """
    limit = width()
    if title:
        paragraph(title)
    found = layout(columns, rows, limit)
    for number, block in enumerate(found.blocks):
        if number:
            click.echo()
        heads = [columns[place].name for place, _ in block]
        if any(heads):
            _line(heads, block, columns, {"bold": True})
        for place, row in enumerate(rows):
            _line([row[column] for column, _ in block], block, columns, style(place))
            if number == 0 and below and below[place]:
                click.echo(f"      {below[place]}")
    said = []
    if found.folded:
        said.append("folded: " + ", ".join(columns[place].name for place in found.folded))
    if found.constant:
        alike = ", ".join(f"{columns[p].name} {rows[0][p] or '–'}" for p in found.constant)
        said.append(f"the same in all rows: {alike}")
    if said:
        paragraph(f"({'; '.join(said)}; {hint})")


def paragraph(text: str, indent: int = 0, hanging: int = 0, **style: bool | str) -> None:
    """Print a text that wraps between words; what is joined by no-break spaces stays together.

    Args:
        indent: blanks before it.
        hanging: further blanks before all lines but the first.
    """
    limit = width()
    room = 10**9 if limit is None else max(LEAST, limit - indent - hanging)
    lines = wrap(text, room, re.compile(r"[^\S\xa0]+|[\S\xa0]+"))
    for place, line in enumerate(lines):
        before = " " * (indent + (hanging if place else 0))
        click.echo(before + _styled(line.replace("\xa0", " "), style))


def layout(columns: Sequence[Column], rows: Sequence[Sequence[str]], limit: int | None) -> Layout:
    """What fits into so many cells."""
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
    shown, constant, folded = list(every), [], []
    alike = [p for p in every[1:] if not columns[p].value and len({row[p] for row in rows}) == 1]
    if len(rows) > 1:
        for place in sorted(alike, key=lambda p: -columns[p].fold):
            if _sum([good[p] for p in shown]) > limit:
                shown.remove(place)
                constant.append(place)
    for place in sorted(shown, key=lambda p: -columns[p].fold):
        if columns[place].fold and _sum([good[p] for p in shown]) > limit:
            shown.remove(place)
            folded.append(place)
    names = [place for place in shown if not columns[place].value]
    blocks: list[list[int]] = [names]
    for place in shown:
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
    """The widths of a block: what is left goes to the texts, twice as much to the first."""
    found = {place: least[place] for place in block}
    left = limit - _sum([*found.values()])
    while left > 0:
        needy = [p for p in block if p in wrapped and found[p] < natural[p]]
        if not needy:
            break
        found[min(needy, key=lambda p: found[p] / (2 if p == block[0] else 1))] += 1
        left -= 1
    return tuple(found.items())


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
        told = (" " * GAP).join(line).rstrip()
        click.echo(_styled(told, style))


def _styled(text: str, style: Mapping[str, bool | str]) -> str:
    return click.style(text, **style) if style else text  # type: ignore[arg-type]


def wrap(text: str, wide: int, pieces: re.Pattern[str] = PIECE) -> list[str]:
    """A text in lines of at most so many cells; blanks before it stand before each line.

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
    """The first cells of a text, and the rest."""
    count = 1
    while count < len(text) and cells(text[: count + 1]) <= wide:
        count += 1
    return text[:count], text[count:]


def cells(text: str) -> int:
    """How wide a text is: wide letters take two cells, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(map(_cell, text))


def _cell(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def number(name: str, fold: int = 0) -> Column:
    """A number that tells about the row."""
    return Column(name, number=True, fold=fold)


def value(name: str) -> Column:
    """A value, or its error."""
    return Column(name, number=True, value=True)
