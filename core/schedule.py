"""A schedule: which unique layer runs at each step of a forward pass.

Looping, repeating a block, swapping and skipping layers are all edits of this one index list.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from .errors import InputError, shown, whole
from .notation import MAX_STEPS, is_list, read, write


class Section(NamedTuple):
    """``size`` steps from step ``start`` on that run ``times`` times in all."""

    start: int
    size: int
    times: int


@dataclass(frozen=True)
class Schedule:
    """The unique layer of each step; equal if the same layers run in the same order.

    Args:
        layers: unique layer indices from 0, one a step.

    Raises:
        InputError: no steps, more than 10,000, or something that is no layer index.

    >>> schedule = Schedule.parse("4-4x4-4")  # Loop(4-4x4-4), paper appendix E
    >>> schedule.num_unique_layers, schedule.effective_depth
    (12, 24)
    >>> str(Schedule.plain(24).repeat(8, 12))
    '8-4x2-12'
    >>> Schedule.parse("2x3").coordinates[-1]  # layer 1, in its third loop
    (1, 2)
    """

    layers: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not 0 < len(self.layers) <= MAX_STEPS:
            raise InputError(f"a schedule has 1 to {MAX_STEPS:,} steps, not {len(self.layers):,}")
        for layer in self.layers:
            whole("a layer of a schedule", layer, 0)

    @classmethod
    def plain(cls, depth: int) -> Schedule:
        """Every layer once: ``plain(24)`` is ``24``."""
        return cls(tuple(range(whole("the depth", depth, 1, MAX_STEPS))))

    @classmethod
    def parse(cls, text: str, stored: bool = False) -> Schedule:
        """Read any notation; ``x`` and ``×`` mean the same.

        ``24`` is a plain stack, ``4x6`` four layers run six times, ``4-4x4-4`` four layers, then
        four run four times, then four; ``0:12,8:12,12:24``, or ``0-11,8-11,12-23``, are the layers
        as they run.

        Args:
            stored: read what a config or a checkpoint holds: ``8-24`` is two blocks there, and
                refused where it is given.

        Raises:
            NotationError: pointing at the character that cannot be read, or saying how to write
                what may be two blocks or a range.
        """
        return cls(read(text, stored))

    @property
    def effective_depth(self) -> int:
        """How many layers a forward pass runs."""
        return len(self.layers)

    @property
    def num_unique_layers(self) -> int:
        """How many different layers run."""
        return len(set(self.layers))

    @property
    def needs(self) -> int:
        """How many layers a model must have to run this."""
        return max(self.layers) + 1

    @cached_property
    def coordinates(self) -> tuple[tuple[int, int], ...]:
        """``(layer, loop)`` of each step; ``loop`` counts the earlier runs of the layer."""
        seen: dict[int, int] = {}
        found = []
        for layer in self.layers:
            loop = seen.get(layer, 0)
            found.append((layer, loop))
            seen[layer] = loop + 1
        return tuple(found)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The steps as blocks that run several times and stretches that run once.

        >>> Schedule.parse("0-11,8-11,12-23").sections
        (Section(start=0, size=8, times=1), Section(start=8, size=4, times=2), \
Section(start=16, size=12, times=1))
        """
        places: dict[int, list[int]] = {}
        for step, layer in enumerate(self.layers):
            places.setdefault(layer, []).append(step)
        found: list[Section] = []
        step = 0
        while step < len(self.layers):
            size, times = self._repeat_at(step, places[self.layers[step]])
            if times == 1 and found and found[-1].times == 1:
                start, length, _ = found.pop()
                size, step = length + 1, start
            found.append(Section(step, size, times))
            step += size * times
        return tuple(found)

    def _repeat_at(self, step: int, places: list[int]) -> tuple[int, int]:
        """The shortest block from ``step`` on that runs at least twice in a row.

        Args:
            places: all steps of the layer at ``step``; the second run starts at one of them.
        """
        for place in places[bisect_right(places, step) :]:
            size, times = place - step, 1
            block = self.layers[step:place]
            while self.layers[step + times * size : place + times * size] == block:
                times += 1
            if times > 1:
                return size, times
        return 1, 1

    def check_fits(self, layers: int) -> None:
        """Refuse a model that has too few layers for this.

        Raises:
            InputError: naming both numbers.
        """
        if self.needs > layers:
            raise InputError(
                f"the schedule {self} needs {self.needs} layers, the model has {layers}"
            )

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __str__(self) -> str:
        """The shortest notation that reads back as this schedule."""
        return write(self.layers, self.sections)

    def repeat(self, start: int, stop: int, times: int = 1) -> Schedule:
        """Run steps ``start .. stop-1`` ``times`` more often, right after themselves.

        >>> Schedule.plain(4).repeat(1, 3).layers
        (0, 1, 2, 1, 2, 3)
        """
        self._check_block(start, stop)
        whole("times", times, 1, MAX_STEPS)
        if len(self) + (stop - start) * times > MAX_STEPS:
            raise InputError(f"a schedule has at most {MAX_STEPS:,} steps")
        return Schedule(self.layers[:stop] + self.layers[start:stop] * times + self.layers[stop:])

    def with_loops(self, times: int) -> Schedule:
        """The same with every looped block run ``times`` times in all.

        >>> str(Schedule.parse("4-4x4-4").with_loops(2))
        '4-4x2-4'
        """
        whole("the number of loops", times, 1, MAX_STEPS)
        if all(section.times == 1 for section in self.sections):
            raise InputError(f"the schedule {self} has no looped block")
        layers: list[int] = []
        for start, size, old in self.sections:
            layers += self.layers[start : start + size] * (times if old > 1 else 1)
        return Schedule(tuple(layers))

    def swap(self, first: int, second: int, size: int = 1) -> Schedule:
        """Exchange the ``size`` steps from ``first`` on with those from ``second`` on.

        >>> Schedule.plain(4).swap(1, 2).layers
        (0, 2, 1, 3)
        """
        whole("the size of a block", size, 1)
        self._check_block(first, first + size)
        self._check_block(second, second + size)
        if first != second and abs(first - second) < size:
            raise InputError(f"blocks of {size} steps at {first} and {second} overlap")
        layers = list(self.layers)
        layers[first : first + size] = self.layers[second : second + size]
        layers[second : second + size] = self.layers[first : first + size]
        return Schedule(tuple(layers))

    def skip(self, start: int, stop: int | None = None) -> Schedule:
        """Leave out step ``start``, or the steps ``start .. stop-1``."""
        stop = start + 1 if stop is None else stop
        self._check_block(start, stop)
        return Schedule(self.layers[:start] + self.layers[stop:])

    def reverse(self, start: int = 0, stop: int | None = None) -> Schedule:
        """The steps ``start .. stop-1``, all by default, in the opposite order."""
        stop = len(self) if stop is None else stop
        self._check_block(start, stop)
        turned = self.layers[start:stop][::-1]
        return Schedule(self.layers[:start] + turned + self.layers[stop:])

    def _check_block(self, start: object, stop: object) -> None:
        for bound in (start, stop):
            if isinstance(bound, bool) or not isinstance(bound, int):
                raise InputError(f"steps are whole numbers, not {shown(bound)}")
        assert isinstance(start, int)
        assert isinstance(stop, int)
        if stop <= start:
            raise InputError(f"the block {start}:{stop} is empty or backwards")
        if start < 0 or stop > len(self):
            raise InputError(f"the block {start}:{stop} is outside the steps 0:{len(self)}")


def check_whole(text: str, layers: int) -> None:
    """Refuse blocks that are of fewer layers than a model has: the rest would go unnoticed.

    Raises:
        InputError: saying how to leave layers out on purpose.
    """
    if not is_list(text) and (needs := Schedule.parse(text).needs) < layers:
        raise InputError(
            f"the schedule {text} is of {needs} layers, the model has {layers}: to leave layers "
            f"out, list those that run, such as 0:{needs}"
        )


def as_schedule(given: Schedule | str | int | Sequence[int]) -> Schedule:
    """A schedule from itself, its notation, its list of layers, or the depth of a plain stack."""
    if isinstance(given, Schedule):
        return given
    if isinstance(given, str):
        return Schedule.parse(given)
    if isinstance(given, (list, tuple)):
        return Schedule(tuple(given))
    if isinstance(given, int) and not isinstance(given, bool):
        return Schedule.plain(given)
    raise InputError(f"a schedule is a notation such as 4-4x4-4, not {shown(given)}")
