"""Progress of several parts on standard error: bars in a terminal, else lines."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

FEW = 20  # parts that fit on a screen


class Board:
    """Progress bars in a terminal, else a line when a part begins or ends, with the time left.

    Args:
        parts: part -> its estimated share of the time.
    """

    def __init__(self, parts: Mapping[str, float]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from ..api.progress import WIDE, whole, wraps

        self.weights = dict(parts)
        self.shares: dict[str, float] = {}
        self.few = len(parts) <= FEW
        self.started = time.monotonic()
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
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
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
        visible_now = self.few or share < 1
        self.bars.update(self.tasks[part], completed=share, visible=visible_now, word=word)
        done = sum(weight * self.shares.get(name, 0) for name, weight in self.weights.items())
        self.bars.update(self.all, completed=done, total=sum(self.weights.values()))
        if not self.live and (previous is None or share == 1):
            status = "done" if share == 1 and previous is not None else word or "begun"
            left = self._left(done) if share == 1 and part in self.weights else ""
            self.console.print(f"{part}: {status}{left}")

    def _left(self, done: float) -> str:
        """Format the time left at the mean speed so far; empty on a board of few parts.

        Args:
            done: finished share of the time, in the units of ``weights``.
        """
        rest = sum(self.weights.values()) - done
        if self.few or not done or not rest:
            return ""
        hours = (time.monotonic() - self.started) * rest / done / 3600
        return f" ({done / (done + rest):.0%} of what was left; {hours:.1f} h to go)"
