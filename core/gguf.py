"""The tensors that a GGUF file lists: its header is read, none of its weights."""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path

SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Type of a value: its bytes. Strings and arrays say their length themselves."""
STRING, ARRAY = 8, 9


def tensor_sizes(path: Path) -> dict[str, int]:
    """How many numbers each tensor of a GGUF file holds, by name.

    Raises:
        ValueError: a file that is not GGUF, or one that is cut.
    """
    with open(path, "rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path} is no GGUF file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _Reader(data).tensor_sizes()
            except (struct.error, KeyError, IndexError) as error:
                raise ValueError(f"the header of {path} is damaged") from error


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.place = data, 8  # after magic and version

    def tensor_sizes(self) -> dict[str, int]:
        tensors, values = self.number("Q"), self.number("Q")
        for _ in range(values):
            self.text()
            self.skip(self.number("I"))
        found = {}
        for _ in range(tensors):
            name = self.text().decode("utf-8", "replace")
            found[name] = math.prod(self.number("Q") for _ in range(self.number("I")))
            self.place += 12  # its type, and where it begins
        return found

    def number(self, kind: str) -> int:
        (found,) = struct.unpack_from("<" + kind, self.data, self.place)
        self.place += struct.calcsize(kind)
        return int(found)

    def text(self) -> bytes:
        length = self.number("Q")
        self.place += length
        return self.data[self.place - length : self.place]

    def skip(self, kind: int) -> None:
        """Go past a value."""
        if kind == STRING:
            self.text()
        elif kind == ARRAY:
            inner, count = self.number("I"), self.number("Q")
            if inner in SCALARS:
                self.place += SCALARS[inner] * count
            else:
                for _ in range(count):
                    self.skip(inner)
        else:
            self.place += SCALARS[kind]
