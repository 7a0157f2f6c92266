"""Measure next-token losses of schedules on the same prompts, as rows of a record."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ...core.schedule import Schedule
from ...core.statistics import SIZE, ends, mean_interval
from ..records import Row
from .prompts import round_digits

if TYPE_CHECKING:
    from torch import Tensor

LOSS = "loss"
"""Task name of the next-token loss, in nats per token."""


def loss_row(values: list[float], plain: list[float], **more: Any) -> Row:
    """Make a row of next-token losses, with the difference to a reference schedule.

    Args:
        values: loss of each prompt, in nats per token.
        plain: loss of each prompt under the reference.
        more: further columns.
    """
    changes = [a - b for a, b in zip(values, plain, strict=True)]
    return Row.make(
        task=LOSS,
        metric="nats a token",
        value=statistics.fmean(values),
        **ends(mean_interval(values, SIZE)),
        difference=statistics.fmean(changes),
        **ends(mean_interval(changes), "difference_"),
        chance=None,
        each=round_digits(values),
        **more,
    )


def schedule_losses(model: Any, schedules: Sequence[Schedule], ids: Tensor) -> list[float]:
    """Compute the mean next-token loss under each schedule by a forward pass of its own.

    Unlike :meth:`.schedule_sweep.ScheduleSweep.losses` it holds for recurrences that compute
    between the loops.

    Args:
        model: looped model.
        ids: token ids, ``(1, tokens)``.

    Returns:
        Loss of each schedule in nats per token.

    Raises:
        InputError: a loss that is not finite, naming the schedule.
    """
    import torch

    from ...models.diagnostics.trace import evaluating
    from ...models.looping.config import current_schedule

    losses = []
    with torch.no_grad(), evaluating(model):
        for schedule in schedules:
            own = schedule == current_schedule(model)
            scheduled: Any = contextlib.nullcontext() if own else model.scheduled(schedule)
            with scheduled:
                logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
            if not bool(loss.isfinite()):
                raise InputError(f"under the schedule {schedule} the loss of a prompt is {loss:g}")
            losses.append(float(loss))
    return losses
