"""Options ``--schedule``, ``--block`` and ``--repeats``, and the schedules they select."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..core.errors import InputError, whole
from ..core.notation import read_range
from ..core.schedule import Schedule
from .options import option

Command = TypeVar("Command", bound=Callable[..., Any])


def schedule_options(command: Command) -> Command:
    """Add the options of a command that takes one schedule."""
    again = _repeats("extra passes of --block  [default: 1]", type=int)
    return _with_options(command, again)


def schedules_options(command: Command) -> Command:
    """Add the options of a command that takes several numbers of repeats."""
    again = _repeats("extra passes of --block, or several numbers: 0,1,2,4  [default: 1]")
    return _with_options(command, again)


def schedule_option(help: str) -> Callable[[Command], Command]:
    """``--schedule``."""
    return option("--schedule", help=help, group="model")


def _repeats(help: str, **settings: Any) -> Callable[[Command], Command]:
    return option("--repeats", aliases=("--times",), help=help, group="model", **settings)


def _with_options(command: Command, again: Callable[[Command], Command]) -> Command:
    for add in (
        again,
        option(
            "--block",
            aliases=("--repeat",),
            metavar="START:STOP",
            help="repeat the layers START .. STOP-1",
            group="model",
        ),
        schedule_option(
            "run the layers by this schedule: blocks, e.g. 4-4x4-4, or a list, e.g. "
            "0:12,8:12,12:30 (a list may leave layers out), or as RYS, e.g. '(6,10)'"
        ),
    ):
        command = add(command)
    return command


def looping(
    schedule: str | None, block: str | None, repeats: int | None
) -> Callable[[Any], object] | None:
    """Return a function that loops a model by the options; None without options.

    Importing ``growloop.models`` here registers looped checkpoints with transformers.

    Raises:
        InputError: ``--repeats`` without ``--block``, or a notation that cannot be parsed.
    """
    if repeats is not None and block is None:
        raise InputError("--repeats says how often --block START:STOP runs again: give both")
    if repeats is not None:
        whole("repeats", repeats, 1)
    parsed = _parsed(schedule)
    repeated = None if block is None else read_range(block)
    from ..models import loop

    if parsed is None and repeated is None:
        return None
    again = 1 if repeats is None else repeats
    if isinstance(parsed, Schedule) and repeated is not None:
        parsed, repeated = parsed.repeat(*repeated, again), None

    def change(model: Any) -> object:
        _check(model, schedule)
        wanted = parsed(model) if callable(parsed) else parsed
        return loop(model, wanted, repeat=repeated, times=again)

    return change


def repeated_blocks(
    schedule: str | None, block: str | None, repeats: list[int]
) -> Callable[[Any], Any]:
    """Return a function from a model to its schedules, one for each number of repeats.

    Raises:
        InputError: no ``--block``, or a notation that cannot be parsed.
    """
    if block is None:
        raise InputError("--repeats says how often --block START:STOP runs again: give both")
    start, stop = read_range(block)
    parsed = _parsed(schedule)
    from ..models import loop

    def repeated_schedules(model: Any) -> Any:
        _check(model, schedule)
        base = loop(model, parsed(model) if callable(parsed) else parsed).schedule
        return [base.repeat(start, stop, count) if count else base for count in repeats]

    return repeated_schedules


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
