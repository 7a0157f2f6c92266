"""Progress of several parts on standard error: bars in a terminal, else lines of a log.

A log gets a line when a part begins or ends, and once a minute the share done and the time left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

FEW = 20  # parts that fit on a screen
LOG_SECONDS = 60  # between two lines on the whole in a log


class Board:
    """Progress bars in a terminal, else lines.

    Args:
        parts: part -> its estimated share of the time.
        clock: time in seconds.
    """

    def __init__(
        self, parts: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from ..api.progress import WIDE, whole, wraps

        self.weights = dict(parts)
        self.shares: dict[str, float] = {}
        self.earlier: dict[str, float] = {}  # part -> share that an earlier run had done
        self.few = len(parts) <= FEW
        self.clock = clock
        self.started = self.logged = clock()
        # what libraries write to standard error goes to a file meanwhile: this stays
        self.file = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
        self.console = Console(file=self.file, highlight=False)
        self.live = self.console.is_terminal
        self.bars = Progress(
            TextColumn("{task.description}", table_column=wraps()),
            *([BarColumn(bar_width=24)] if self.console.width >= WIDE else []),
            TextColumn("{task.percentage:>3.0f} %", table_column=whole(5)),
            TimeRemainingColumn(table_column=whole(7)),
            TextColumn("{task.fields[word]}", table_column=wraps()),
            console=self.console,
            transient=True,
            disable=not self.live,
            speed_estimate_period=120,
        )
        self.all = self.bars.add_task("in all", total=sum(parts.values()), word="")
        self.tasks = {
            part: self.bars.add_task(part, total=1.0, start=False, visible=self.few, word="waiting")
            for part in parts
        }

    def __enter__(self) -> Board:
        if self.live:  # rich before 15 ends a display that is not live with an empty line
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.bars.stop()
        self.file.close()

    def __call__(self, part: str, share: float, word: str) -> None:
        """Update the progress of a part.

        Args:
            share: share of the part that is done, 0 to 1.
            word: status shown after the bar.
        """
        previous = self.shares.get(part)
        if previous == share == 1:
            return
        if previous is None:
            self.bars.start_task(self.tasks[part])
            if share == 1 and not word:  # by an earlier run: says nothing of the time that is left
                self.weights.pop(part)
                word = "there already"
        self.shares[part] = share
        self.earlier.setdefault(part, share)
        visible_now = self.few or share < 1
        self.bars.update(self.tasks[part], completed=share, visible=visible_now, word=word)
        done = sum(weight * self.shares.get(name, 0) for name, weight in self.weights.items())
        self.bars.update(self.all, completed=done, total=sum(self.weights.values()))
        if self.live:
            return
        if previous is None or share == 1:
            status = "done" if share == 1 and previous is not None else word or "begun"
            self.console.print(f"{part}: {status}", soft_wrap=True)
        if self.clock() - self.logged >= LOG_SECONDS:
            self.logged = self.clock()
            self.console.print(self._whole(done), soft_wrap=True)

    def _whole(self, done: float) -> str:
        """Format parts and share done, and the time left at the mean speed of this run.

        Args:
            done: finished share of the time, in the units of ``weights``.
        """
        every = sum(self.weights.values())
        new = done - sum(weight * self.earlier.get(p, 0) for p, weight in self.weights.items())
        parts = sum(self.shares.get(part, 0) == 1 for part in self.tasks)
        text = f"in all: {parts} of {len(self.tasks)} parts and {done / every:.0%} of the time done"
        if new <= 0:
            return text
        return f"{text}, {_duration((self.clock() - self.started) * (every - done) / new)} left"


def _duration(seconds: float) -> str:
    """Format a duration: seconds, minutes or hours, whichever reads best.

    >>> _duration(50), _duration(400), _duration(9000)
    ('less than a minute', 'about 7 minutes', 'about 2.5 hours')
    """
    if seconds < 60:
        return "less than a minute"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    return f"about {seconds / 3600:.1f} hours"
