"""Tensor sizes of a GGUF file, from its header alone."""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path

SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Value type -> bytes. Strings and arrays hold their own length."""
STRING, ARRAY = 8, 9


def tensor_sizes(path: Path) -> dict[str, int]:
    """Return the number of elements of each tensor of a GGUF file, by name.

    Raises:
        ValueError: a file that is not GGUF, or a truncated one.
    """
    with open(path, "rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path} is not a GGUF file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _Reader(data).tensor_sizes()
            except (struct.error, KeyError, IndexError) as error:
                raise ValueError(f"the header of {path} is damaged") from error


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.offset = data, 8  # after magic and version

    def tensor_sizes(self) -> dict[str, int]:
        tensors, values = self.number("Q"), self.number("Q")
        for _ in range(values):
            self.text()
            self.skip(self.number("I"))
        sizes = {}
        for _ in range(tensors):
            name = self.text().decode("utf-8", "replace")
            sizes[name] = math.prod(self.number("Q") for _ in range(self.number("I")))
            self.offset += 12  # type and offset of the data
        return sizes

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from("<" + kind, self.data, self.offset)
        self.offset += struct.calcsize(kind)
        return int(value)

    def text(self) -> bytes:
        length = self.number("Q")
        self.offset += length
        return self.data[self.offset - length : self.offset]

    def skip(self, kind: int) -> None:
        """Skip a value."""
        if kind == STRING:
            self.text()
        elif kind == ARRAY:
            inner, count = self.number("I"), self.number("Q")
            if inner in SCALARS:
                self.offset += SCALARS[inner] * count
            else:
                for _ in range(count):
                    self.skip(inner)
        else:
            self.offset += SCALARS[kind]
