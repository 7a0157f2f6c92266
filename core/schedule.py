"""Schedule: the unique layer that runs at each step of a forward pass.

Looping, repeating a block, swapping and skipping layers are all edits of this one index list.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import NamedTuple

from .errors import InputError, shown, whole
from .schedule_notation import MAX_STEPS, is_list, read, write


class Section(NamedTuple):
    """Block of ``size`` steps, from step ``start`` on, that runs ``times`` times in all."""

    start: int
    size: int
    times: int


@dataclass(frozen=True)
class Schedule:
    """Unique layer of each step; equal if the same layers run in the same order.

    Args:
        layers: unique layer indices from 0, one a step.

    Raises:
        InputError: no steps, more than 10,000, or an entry that is not a layer index.

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
        """Make the schedule that runs every layer once, in order: ``plain(24)`` is ``24``."""
        return cls(tuple(range(whole("the depth", depth, 1, MAX_STEPS))))

    @classmethod
    def parse(cls, text: str, stored: bool = False) -> Schedule:
        """Parse a schedule in any notation; ``x`` and ``×`` mean the same.

        ``24`` is a plain stack; ``4x6`` is four layers run six times; ``4-4x4-4`` is four layers,
        four layers run four times, four layers. ``0:12,8:12,12:24`` and ``0-11,8-11,12-23`` list
        the layers in the order they run.

        Args:
            text: the notation.
            stored: accept ``8-24`` as two blocks, as configs and checkpoints hold it; from a user
                it is refused, since it may mean a range.

        Raises:
            NotationError: with the character that cannot be parsed, or with the ways to write an
                ambiguous notation.
        """
        return cls(read(text, stored))

    @property
    def effective_depth(self) -> int:
        """Number of steps."""
        return len(self.layers)

    @property
    def num_unique_layers(self) -> int:
        """Number of different layers that run."""
        return len(set(self.layers))

    @property
    def needs(self) -> int:
        """Number of layers a model must have to run this."""
        return max(self.layers) + 1

    @cached_property
    def coordinates(self) -> tuple[tuple[int, int], ...]:
        """``(layer, loop)`` of each step; ``loop`` counts the earlier runs of the layer."""
        runs: dict[int, int] = {}
        coordinates = []
        for layer in self.layers:
            loop = runs.get(layer, 0)
            coordinates.append((layer, loop))
            runs[layer] = loop + 1
        return tuple(coordinates)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Steps grouped into blocks that run several times and stretches that run once.

        >>> Schedule.parse("0-11,8-11,12-23").sections
        (Section(start=0, size=8, times=1), Section(start=8, size=4, times=2), \
Section(start=16, size=12, times=1))
        """
        steps_of: dict[int, list[int]] = {}
        for step, layer in enumerate(self.layers):
            steps_of.setdefault(layer, []).append(step)
        sections: list[Section] = []
        step = 0
        while step < len(self.layers):
            size, times = self._repeat_at(step, steps_of[self.layers[step]])
            if times == 1 and sections and sections[-1].times == 1:
                start, length, _ = sections.pop()
                size, step = length + 1, start
            sections.append(Section(step, size, times))
            step += size * times
        return tuple(sections)

    def _repeat_at(self, step: int, steps: list[int]) -> tuple[int, int]:
        """Return size and number of runs of the shortest looped block that starts at ``step``.

        Args:
            steps: all steps that run the layer of ``step``; the second run starts at one of them.
        """
        for second in steps[bisect_right(steps, step) :]:
            size, times = second - step, 1
            block = self.layers[step:second]
            while self.layers[step + times * size : second + times * size] == block:
                times += 1
            if times > 1:
                return size, times
        return 1, 1

    def check_fits(self, layers: int) -> None:
        """Refuse a model with too few layers for this schedule.

        Args:
            layers: number of layers of the model.

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
        """Format in the shortest notation that parses back to this schedule."""
        return write(self.layers, self.sections)

    def _repr_html_(self) -> str:
        """Draw the steps as boxes in notebooks."""
        from .drawing import schedule_svg

        counts = f"{self.num_unique_layers:,} layers, {self.effective_depth:,} steps"
        label = f"schedule {self}: {counts}"
        return f"<div>{escape(label)}<br>{schedule_svg(self.layers, self.sections, label)}</div>"

    def repeat(self, start: int, stop: int, times: int = 1) -> Schedule:
        """Repeat the steps ``start .. stop-1`` right after themselves, ``times`` extra passes.

        >>> Schedule.plain(4).repeat(1, 3).layers
        (0, 1, 2, 1, 2, 3)
        """
        self._check_block(start, stop)
        whole("times", times, 1, MAX_STEPS)
        if len(self) + (stop - start) * times > MAX_STEPS:
            raise InputError(f"a schedule has at most {MAX_STEPS:,} steps")
        return Schedule(self.layers[:stop] + self.layers[start:stop] * times + self.layers[stop:])

    def with_loops(self, times: int) -> Schedule:
        """Set the number of loops of every looped block to ``times`` passes in all.

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
        """Skip step ``start``, or the steps ``start .. stop-1``."""
        stop = start + 1 if stop is None else stop
        self._check_block(start, stop)
        return Schedule(self.layers[:start] + self.layers[stop:])

    def reverse(self, start: int = 0, stop: int | None = None) -> Schedule:
        """Reverse the order of the steps ``start .. stop-1``, by default of all."""
        stop = len(self) if stop is None else stop
        self._check_block(start, stop)
        reversed_block = self.layers[start:stop][::-1]
        return Schedule(self.layers[:start] + reversed_block + self.layers[stop:])

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
    """Refuse a block notation that covers fewer layers than the model has.

    Such a schedule would drop layers unnoticed. A list of layers may leave some out.

    Args:
        text: the notation, as a user wrote it.
        layers: number of layers of the model.

    Raises:
        InputError: saying how to leave layers out on purpose.

    >>> check_whole("4x2", 6)
    Traceback (most recent call last):
    ...
    growloop.core.errors.InputError: the schedule 4x2 is of 4 layers, the model has 6: to leave \
layers out, list those that run, such as 0:4
    """
    if not is_list(text) and (needs := Schedule.parse(text).needs) < layers:
        raise InputError(
            f"the schedule {text} is of {needs} layers, the model has {layers}: to leave layers "
            f"out, list those that run, such as 0:{needs}"
        )


def as_schedule(value: Schedule | str | int | Sequence[int]) -> Schedule:
    """Convert a notation, a list of layers, or the depth of a plain stack to a schedule.

    >>> as_schedule("2x2").layers, as_schedule([0, 1, 1]).layers, as_schedule(2).layers
    ((0, 1, 0, 1), (0, 1, 1), (0, 1))
    """
    if isinstance(value, Schedule):
        return value
    if isinstance(value, str):
        return Schedule.parse(value)
    if isinstance(value, (list, tuple)):
        return Schedule(tuple(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return Schedule.plain(value)
    raise InputError(f"a schedule is a notation such as 4-4x4-4, not {shown(value)}")
