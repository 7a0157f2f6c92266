"""What the options --schedule, --repeat and --times ask for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..core.errors import InputError, shown

Command = TypeVar("Command", bound=Callable[..., Any])


def schedule_options(command: Command) -> Command:
    """The options of all commands that take a schedule."""
    again = click.option(
        "--times", type=int, help="how often --repeat runs them again  [default: 1]"
    )
    return _with_options(command, again)


def schedules_options(command: Command) -> Command:
    """The same, for commands that take several numbers of repeats at once."""
    again = click.option(
        "--times",
        help="how often --repeat runs them again, or several such numbers: 0,1,2,4  [default: 1]",
    )
    return _with_options(command, again)


def _with_options(command: Command, again: Callable[[Command], Command]) -> Command:
    for option in (
        again,
        click.option("--repeat", metavar="START:STOP", help="repeat the layers START .. STOP-1"),
        click.option(
            "--schedule",
            help="run the layers so: blocks, e.g. 4-4x4-4, or a list, e.g. "
            "0:12,8:12,12:30 (a list may leave layers out), or as RYS, e.g. '(6,10)'",
        ),
    ):
        command = option(command)
    return command


def block(text: str) -> tuple[int, int]:
    """``6:10`` as ``(6, 10)``."""
    found = re.fullmatch(r"\s*(\d{1,6})\s*:\s*(\d{1,6})\s*", text)
    if not found:
        raise InputError(
            f"a block is START:STOP, e.g. 6:10 for the layers 6 to 9, not {shown(text)}"
        )
    return int(found[1]), int(found[2])


def looping(
    schedule: str | None, repeat: str | None, times: int | None
) -> Callable[[Any], object] | None:
    """A function that loops a model as asked, or None; also lets looped checkpoints be loaded."""
    from ..models import Schedule, loop

    if times is not None and repeat is None:
        raise InputError("--times says how often --repeat START:STOP runs again: give both")
    if schedule is None and repeat is None:
        return None
    parsed = _parsed(schedule)
    repeated = None if repeat is None else block(repeat)
    again = 1 if times is None else times
    if isinstance(parsed, Schedule) and repeated is not None:
        parsed, repeated = parsed.repeat(*repeated, again), None

    def change(model: Any) -> object:
        _check(model, schedule)
        wanted = parsed(model) if callable(parsed) else parsed
        return loop(model, wanted, repeat=repeated, times=again)

    return change


def repeats(schedule: str | None, repeat: str | None, times: list[int]) -> Callable[[Any], Any]:
    """A function that gives a model's schedules with a block run so many times more."""
    from ..models import loop

    if repeat is None:
        raise InputError("--times says how often --repeat START:STOP runs again: give both")
    start, stop = block(repeat)
    parsed = _parsed(schedule)

    def found(model: Any) -> Any:
        _check(model, schedule)
        base = loop(model, parsed(model) if callable(parsed) else parsed).schedule
        return [base.repeat(start, stop, count) if count else base for count in times]

    return found


def _parsed(schedule: str | None) -> Any:
    """Parse a schedule; RYS notation becomes a function of the model, which has the depth."""
    from ..core.rys import blocks_of, is_rys, read_rys
    from ..core.schedule import Schedule

    if schedule is None:
        return None
    if not is_rys(schedule):
        return Schedule.parse(schedule)
    blocks_of(schedule)  # refuses before the model is loaded

    def of_model(model: Any) -> Schedule:
        from ..models.looping.decoder import find_decoder

        return read_rys(schedule, len(find_decoder(model).unique))

    return of_model


def _check(model: Any, schedule: str | None) -> None:
    """Refuse blocks of fewer layers than the model has."""
    from ..core.rys import is_rys
    from ..core.schedule import check_whole
    from ..models.looping.decoder import find_decoder

    if schedule is not None and not is_rys(schedule):
        check_whole(schedule, len(find_decoder(model).unique))
