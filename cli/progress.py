"""The live line of a training run, on standard error."""

from __future__ import annotations

from typing import Any


class Progress:
    """Loss, speed, and the time that is left; call it with each logged step.

    Args:
        steps: of the run; None if not known before it starts.
        name: what it shows until the first step.
        done: steps done already.
        show: whether this process shows it.
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

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
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
