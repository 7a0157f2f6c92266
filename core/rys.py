"""RYS notation of repeated blocks: ``(45,52)`` runs layers 0 to 51, then 45 to the last.

Several blocks are separated by semicolons and inserted one after the other, each after the last run
of its last layer: ``(3,6);(4,6)``. The notation has no depth, so a model's is needed to read it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .errors import InputError, NotationError
from .schedule import Schedule

_BLOCK = re.compile(r"\s*\(\s*(\d{1,6})\s*,\s*(\d{1,6})\s*\)\s*")


def is_rys(text: str) -> bool:
    """Return whether a schedule is in RYS notation.

    >>> is_rys("(45,52)"), is_rys("45,52")
    (True, False)
    """
    return text.lstrip().startswith("(")


def blocks_of(text: str) -> list[tuple[int, int]]:
    """Parse the blocks ``(start, stop)``.

    Raises:
        NotationError: with the character that cannot be parsed.
    """
    blocks, place = [], 0
    while True:
        match = _BLOCK.match(text, place)
        if not match:
            raise NotationError(text, place, "a block such as (45,52) is needed")
        start, stop = int(match[1]), int(match[2])
        if stop <= start and (start, stop) != (0, 0):
            raise NotationError(text, match.start(1), f"the block ({start},{stop}) is empty")
        blocks.append((start, stop))
        place = match.end()
        if place == len(text):
            return blocks
        if text[place] != ";":
            raise NotationError(text, place, f"'{text[place]}' is unexpected: write ;")
        place += 1


def read_rys(text: str, layers: int) -> Schedule:
    """Parse the schedule of a model of ``layers`` layers; ``(0,0)`` is the model as it is.

    >>> str(read_rys("(1,3)", 4)), str(read_rys("(1,3);(1,3)", 4))
    ('1-2x2-1', '1-2x3-1')

    Raises:
        InputError: a block that the model does not have.
    """
    schedule = list(range(layers))
    for start, stop in blocks_of(text):
        if (start, stop) == (0, 0):
            continue
        if stop > layers:
            raise InputError(f"the block ({start},{stop}) is outside a model of {layers} layers")
        place = len(schedule) - schedule[::-1].index(stop - 1)
        schedule[place:place] = range(start, stop)
    return Schedule(tuple(schedule))


def write_rys(schedule: Schedule, layers: int) -> str:
    """Format a schedule of repeated blocks.

    >>> write_rys(Schedule.parse("6-4x2-20"), 30), write_rys(Schedule.plain(4), 4)
    ('(6,10)', '(0,0)')

    Raises:
        InputError: a schedule that is not a model of ``layers`` layers with repeated blocks.
    """
    blocks: list[tuple[int, int]] = []
    for start, size, times in schedule.sections:
        first = schedule.layers[start]
        blocks += [(first, first + size)] * (times - 1)
    text = ";".join(f"({start},{stop})" for start, stop in blocks) or "(0,0)"
    if _reads_as(text, layers) != schedule.layers:
        raise InputError(f"the schedule {schedule} has no RYS notation: it does more than repeat "
                         "blocks")  # fmt: skip
    return text


def _reads_as(text: str, layers: int) -> Sequence[int]:
    try:
        return read_rys(text, layers).layers
    except InputError:
        return ()
