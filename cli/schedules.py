"""Options ``--schedule``, ``--block`` and ``--repeats``, and the schedules they select."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..core.errors import InputError
from ..core.schedule_notation import read_range
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
    check_repeats(block, repeats)
    repeat = None if block is None else read_range(block)
    from ..models.looping import requested

    return requested.looping(schedule, repeat, repeats)


def check_repeats(block: str | None, repeats: object) -> None:
    """Refuse ``--repeats`` without ``--block``."""
    if repeats is not None and block is None:
        raise InputError("--repeats says how often --block START:STOP runs again: give both")
