"""Vectorised formatting of texts that differ only in their slots.

A text is a sequence of pieces: literal bytes and slot names. Every piece has fixed columns in a
``(count, width)`` byte matrix. Short strings are padded with NULs, and one pass removes all NULs.
Formatting thus costs one table look-up per slot and no Python per item.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
FORBIDDEN = "\0\x01"  # characters that no text may hold: they serve as padding and separator


@dataclass(frozen=True)
class Slot:
    """Place in a text that column ``name`` fills.

    Args:
        escape: the slot is inside a JSON string, so its values are escaped.
    """

    name: str
    escape: bool = False


Piece: TypeAlias = bytes | Slot


def _matrix(strings: Sequence[bytes]) -> Bytes:
    """Pad strings with NULs to a matrix, ``(len(strings), longest)``."""
    width = max(1, max(map(len, strings), default=1))
    return np.frombuffer(b"".join(s.ljust(width, b"\0") for s in strings), np.uint8).reshape(
        -1, width
    )


def escape(text: str) -> str:
    """Escape a text for the inside of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


class Table:
    """Strings that a column can hold, as text and as bytes, ``(strings, longest)``."""

    def __init__(self, strings: Sequence[str]) -> None:
        self.strings = list(strings)
        self._plain = _matrix([s.encode() for s in self.strings])
        self._escaped = _matrix([escape(s).encode() for s in self.strings])

    def bytes(self, escaped: bool) -> Bytes:
        return self._escaped if escaped else self._plain


@dataclass(frozen=True)
class Column:
    """Column of strings, ``table.strings[codes[i]]`` for item i; codes: ``(count,)`` unsigned."""

    codes: NDArray[np.integer]
    table: Table = field(repr=False)

    def strings(self) -> list[str]:
        return [self.table.strings[code] for code in self.codes.tolist()]

    def width(self, escaped: bool) -> int:
        return int(self.table.bytes(escaped).shape[1])

    def write(self, out: Bytes, escaped: bool) -> None:
        """Write all strings to ``out``, ``(count, width)``."""
        source = self.table.bytes(escaped)
        width = source.shape[1]
        if width <= 3:
            for j in range(width):
                out[:, j] = np.ascontiguousarray(source[:, j]).take(self.codes)
        else:  # one memory copy per item
            whole = source.view(f"V{width}")[:, 0]
            out.view(f"V{width}")[:, 0] = whole.take(self.codes)


class Decimals(Column):
    """Column of non-negative whole numbers in decimal; it has no table, so no bound on the size."""

    def __init__(self, values: NDArray[np.integer]) -> None:
        super().__init__(values, Table([]))

    def strings(self) -> list[str]:
        return [str(value) for value in self.codes.tolist()]

    def width(self, escaped: bool) -> int:
        return len(str(int(self.codes.max(initial=0))))

    def write(self, out: Bytes, escaped: bool) -> None:
        rest = self.codes.astype(np.uint64)
        for j in range(out.shape[1] - 1, -1, -1):
            leading = (rest == 0) & (j < out.shape[1] - 1)
            out[:, j] = np.where(leading, 0, rest % np.uint64(10) + np.uint64(48))
            rest //= np.uint64(10)


def fill(pieces: Sequence[Piece], columns: Mapping[str, Column], count: int) -> Bytes:
    """Format ``count`` texts as a NUL-padded matrix ``(count, width)``.

    The width is a multiple of 8, so that rows can be read as 64-bit words.

    Args:
        pieces: literals and slots of a text, in order.
        columns: slot name -> strings that fill it.

    >>> column = Column(np.array([0, 1], np.uint8), Table(["one", "three"]))
    >>> squeeze(fill([b"n=", Slot("n"), b";"], {"n": column}, 2))
    b'n=one;n=three;'
    """
    layout: list[tuple[int, Slot, int]] = []
    template = bytearray()
    for piece in pieces:
        if isinstance(piece, bytes):
            template += piece
        else:
            width = columns[piece.name].width(piece.escape)
            layout.append((len(template), piece, width))
            template += bytes(width)
    template += bytes(-len(template) % 8)
    out = np.empty((count, len(template)), np.uint8)
    out[:] = np.frombuffer(template, np.uint8)
    for start, slot, width in layout:
        columns[slot.name].write(out[:, start : start + width], slot.escape)
    return out


def squeeze(matrix: Bytes) -> bytes:
    """Concatenate the texts of a :func:`fill` matrix, without padding."""
    return matrix.tobytes().translate(None, b"\0")


_END = b"\xff"  # occurs in no UTF-8 text
_CUT = bytes.maketrans(_END, b"\x01")  # no text may hold \x01, see FORBIDDEN


def texts(pieces: Sequence[Piece], columns: Mapping[str, Column], count: int) -> list[str]:
    """Format the texts of ``count`` items as strings."""
    joined = fill([*pieces, _END], columns, count).tobytes().translate(_CUT, b"\0")
    return joined.decode().split("\x01")[:count]
