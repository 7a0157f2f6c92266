"""Progress bar of a training run, on standard error."""

from __future__ import annotations

from typing import Any

WIDE = 100  # columns of a terminal from which there is room for a bar


def whole(cells: int) -> Any:
    """Make a column of numbers, never cut on a narrow terminal."""
    from rich.table import Column

    return Column(min_width=cells, no_wrap=True, justify="right")


def wraps() -> Any:
    """Make a column of text, wrapped on a narrow terminal."""
    from rich.table import Column

    return Column(overflow="fold")


class Progress:
    """Progress bar with loss, tokens per second and time left; called with each logged step.

    Args:
        steps: optimizer steps of the run; None if unknown before it starts.
        name: label until the first step.
        done: optimizer steps done by earlier processes.
        show: whether this process draws the bar.
    """

    def __init__(
        self, steps: int | None, name: str = "training", done: int = 0, show: bool = True
    ) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}", table_column=wraps()),
            *([BarColumn()] if console.width >= WIDE else []),
            MofNCompleteColumn(table_column=whole(2 * len(str(steps or 0)) + 1)),
            TimeRemainingColumn(table_column=whole(7)),
            console=console,
            disable=not show,
            transient=True,
        )
        self.task = self.bar.add_task(name, total=steps, completed=done)

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, step: int, values: dict[str, Any]) -> None:
        text = f"loss {values['loss']:.3f}"
        if rate := values.get("tokens_per_second"):
            text += f", {rate:,.0f} tokens/s"
        self.bar.update(self.task, completed=step, description=text)
