"""Parsing and formatting of schedules.

There are two notations:

- blocks of new layers, as in the literature: ``24``, ``4x6``, ``4-4x4-4``;
- lists of layers in the order they run. Ranges with a colon exclude the end (``0:12,8:12,12:24``);
  ranges with a dash include it (``0-11,8-11,12-23``) and may descend. A single dash range ends in a
  comma.

``8-23`` alone would be two blocks but looks like a range, so it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .errors import InputError, NotationError, shown

Sections = Sequence[tuple[int, int, int]]
"""``(first step, steps, loops)`` of each stretch of a schedule."""
MAX_STEPS = 10_000
_BLOCK = re.compile(r"\s*([0-9]+)\s*(?:x\s*([0-9]+)\s*)?")
_RANGE = re.compile(r"\s*([0-9]+)\s*(?:([-:])\s*([0-9]+)\s*)?")


def is_list(text: str) -> bool:
    """Return whether a notation lists layers, rather than blocks."""
    return "," in text or ":" in text


def read(text: str, stored: bool = False) -> tuple[int, ...]:
    """Parse a notation into the layer of each step.

    Args:
        text: the notation.
        stored: the text comes from a file, where ``8-24`` can only be two blocks.

    Raises:
        NotationError: with the character that cannot be parsed.

    >>> read("1-2x2-1"), read("0:3,1:3"), read("2-0,")
    ((0, 1, 2, 1, 2, 3), (0, 1, 2, 1, 2), (2, 1, 0))
    """
    compact = text.replace("×", "x").replace("X", "x")
    if not compact.strip():
        raise NotationError(text, 0, "a schedule such as 24, 4x6 or 0:12,8:12,12:24 is needed")
    layers: list[int] = []
    for part in (_read_ranges if is_list(compact) else _read_blocks)(compact, text):
        layers += part
        if len(layers) > MAX_STEPS:
            raise NotationError(text, 0, f"more than {MAX_STEPS:,} steps")
    if "-" in compact and not stored and not is_list(compact) and "x" not in compact:
        raise NotationError(text, compact.index("-"), _readings(compact))
    return tuple(layers)


def _readings(compact: str) -> str:
    """Explain what blocks without a loop may mean, and how to write each meaning."""
    sizes = [int(size) for size in compact.split("-")]
    if len(sizes) > 2:
        return f"blocks that run once are a plain stack: write {sum(sizes)}"
    first, last = sizes
    down = f"layers {first} down to {last} (write {first}-{last},)"
    up = f"layers {first} to {last} (write {first}:{last + 1})"
    return (
        f"this may be blocks of {first} and {last} layers (write {first + last}) or "
        f"{up if last >= first else down}"
    )


def read_range(text: str) -> tuple[int, int]:
    """Parse a block of layers ``START:STOP`` to ``(start, stop)``.

    >>> read_range("6:10")
    (6, 10)

    Raises:
        InputError: not START:STOP.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*:\s*(\d{1,6})\s*", text)
    if not match:
        raise InputError(
            f"a block is START:STOP, e.g. 6:10 for the layers 6 to 9, not {shown(text)}"
        )
    return int(match[1]), int(match[2])


def write(layers: Sequence[int], sections: Sections) -> str:
    """Format layers in the shorter of the two notations; in blocks where both are equally long.

    Args:
        layers: layer of each step.
        sections: sections of the same layers (``Schedule.sections``).

    >>> write([0, 1, 2, 1, 2, 3], [(0, 1, 1), (1, 2, 2), (5, 1, 1)])
    '1-2x2-1'
    """
    blocks, ranges = _blocks(layers, sections), _ranges(layers)
    return blocks if blocks is not None and len(blocks) <= len(ranges) else ranges


def _number(text: str, digits: str, place: int, low: int) -> int:
    if len(digits) > 6:
        raise NotationError(text, place, f"{digits[:6]}… is too large")
    if int(digits) < low:
        raise NotationError(text, place, f"a number of at least {low} is needed")
    return int(digits)


def _read_blocks(compact: str, text: str) -> Iterator[Sequence[int]]:
    """Yield the layers of each block, repeated as often as it loops."""
    place = first = 0
    while True:
        match = _BLOCK.match(compact, place)
        if not match:
            raise NotationError(text, place, "a number is needed")
        if match[1] == "0":
            raise NotationError(
                text, match.start(1), "a block has 1 layer or more (layers 0 to 5 are 0:6)"
            )
        size = _number(text, match[1], match.start(1), 1)
        times = _number(text, match[2], match.start(2), 1) if match[2] else 1
        if size * times > MAX_STEPS:
            raise NotationError(text, match.start(1), f"more than {MAX_STEPS:,} steps")
        yield tuple(range(first, first + size)) * times
        first, place = first + size, match.end()
        if place == len(compact):
            return
        if compact[place] == "x" and not match[2]:
            raise NotationError(text, place + 1, "a number of loops is needed after x")
        if compact[place] != "-":
            raise NotationError(text, place, f"'{compact[place]}' is unexpected: write x, - or ,")
        place += 1


def _read_ranges(compact: str, text: str) -> Iterator[Sequence[int]]:
    """Yield the layers of each range or single layer."""
    place = 0
    while place < len(compact) or place == 0:
        match = _RANGE.match(compact, place)
        if not match:
            raise NotationError(text, place, "a layer or a range such as 8:12 is needed")
        start = _number(text, match[1], match.start(1), 0)
        stop = _number(text, match[3], match.start(3), 0) if match[3] else start
        step = 1 if stop >= start else -1
        if match[2] == ":" and stop <= start:
            reason = f"{start}:{stop} leaves layer {stop} out, so it is empty or goes down"
            raise NotationError(text, match.start(1), reason)
        yield range(start, stop if match[2] == ":" else stop + step, step)
        place = match.end()
        if place < len(compact) and compact[place] != ",":
            raise NotationError(text, place, f"'{compact[place]}' is unexpected: write :, - or ,")
        place += 1


def _blocks(layers: Sequence[int], sections: Sections) -> str | None:
    """Format in block notation; None where a section does not consist of new, ascending layers."""
    first = 0
    for start, size, _ in sections:
        if tuple(layers[start : start + size]) != tuple(range(first, first + size)):
            return None
        first += size
    return "-".join(str(size) if times == 1 else f"{size}x{times}" for _, size, times in sections)


def _ranges(layers: Sequence[int]) -> str:
    """Format as a list of layers, always with a comma."""
    parts: list[str] = []
    place = 0
    while place < len(layers):
        end = place
        for step, least in ((1, 2), (-1, 3)):
            stop = place
            while stop + 1 < len(layers) and layers[stop + 1] == layers[stop] + step:
                stop += 1
            if stop - place + 1 >= least:
                end = max(end, stop)
        parts.append(str(layers[place]) if end == place else f"{layers[place]}-{layers[end]}")
        place = end + 1
    text = ",".join(parts)
    return text if "," in text else text + ","
