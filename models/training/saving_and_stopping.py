"""Steps at which a run saves a checkpoint, validates, logs and stops early.

The engine and fine-tuning share it, so that both mean the same best checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .runfile import Run


@dataclass(frozen=True)
class StepPolicy:
    """Decisions after a step; ``step`` counts the optimizer steps done.

    ``best`` is the record of held-out losses in a checkpoint's ``training.json``: ``step`` and
    ``loss`` of the lowest, and ``since``, the number of validations after it.

    Args:
        steps: number of optimizer steps of the run.
        log_every, validate_every, save_every: steps between two of each.
        keep: number of newest checkpoints to keep, besides milestones.
        keeps_best: whether the checkpoint with the lowest held-out loss is kept.
        patience: validations without a lower held-out loss before stopping early; None for never.
        milestones: steps whose checkpoints are never deleted.
    """

    steps: int
    log_every: int
    validate_every: int
    save_every: int
    keep: int
    keeps_best: bool
    patience: int | None
    milestones: frozenset[int]

    @classmethod
    def of(cls, run: Run) -> StepPolicy:
        """Return the policy of a run file."""
        marked = (event.step for event in run.events if event.checkpoint or event.evaluate)
        return cls(
            steps=run.steps,
            log_every=run.log_every,
            validate_every=run.validate_every,
            save_every=run.checkpoints.every,
            keep=run.checkpoints.keep,
            keeps_best=run.checkpoints.best or run.patience is not None,
            patience=run.patience,
            milestones=frozenset((*marked, run.steps)),
        )

    def logs(self, step: int) -> bool:
        """Return whether metrics are logged after a step."""
        return step % self.log_every == 0 or step == self.steps

    def validates(self, step: int) -> bool:
        """Return whether the held-out loss is computed after a step."""
        return step % self.validate_every == 0 or step == self.steps

    def saves(self, step: int, best: Mapping[str, Any]) -> bool:
        """Return whether a checkpoint is written after a step."""
        regular = step % self.save_every == 0
        return regular or step in self.milestones or self.best_step(best) == step

    def best_step(self, best: Mapping[str, Any]) -> int | None:
        """Return the step of the best checkpoint; None if the run does not keep it."""
        step: int | None = best["step"]
        return step if self.keeps_best else None

    def stops_early(self, best: Mapping[str, Any]) -> bool:
        """Return whether the last ``patience`` validations brought no lower held-out loss."""
        return self.patience is not None and bool(best["since"] >= self.patience)

    def finished(self, step: int, best: Mapping[str, Any]) -> bool:
        """Return whether a run is over after a step: at its last step, or stopped early."""
        return step >= self.steps or self.stops_early(best)
