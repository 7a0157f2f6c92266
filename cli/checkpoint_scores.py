"""Scores of tuned checkpoints for a leaderboard, as ``growloop eval`` would make them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..tasks.evaluation_request import TaskSelection


@dataclass(frozen=True)
class Scores:
    """Tasks to score each checkpoint on, and the output of the results.

    Args:
        tasks: names of tasks, separated by commas.
        items: questions a task; None for the usual number.
        shots: examples before a question; None for the task's own number.
        leaderboard: folder of records.
        folder: folder of result files.
        device: device to score on; None for a GPU if there is one.
        command: command line, for records.
    """

    tasks: str
    items: int | None
    shots: int | None
    leaderboard: str
    folder: Path
    device: str | None
    command: str

    def check(self) -> None:
        """Refuse tasks or a leaderboard that cannot be used, before the slow part.

        Raises:
            InputError: names it.
        """
        from ..leaderboard import Store
        from ..tasks.evaluate import require_extra
        from ..tasks.scoring.planning import Plan, check_sizes, their_tasks

        require_extra("eval", "scoring for a leaderboard")
        require_extra("leaderboard", "a leaderboard")
        Store(self.leaderboard).scan()
        selection = self._selection()
        plan = Plan({})
        for name in selection.names:
            plan.add(name)
        plan.check()
        check_sizes(list(plan.ours.values()), selection.items, 0, selection.most_shots or 0)
        if plan.theirs:
            their_tasks(plan.theirs, {}, False)

    def add(self, checkpoint: str, silent: bool) -> None:
        """Score a checkpoint, and add its records.

        Args:
            silent: print no table.
        """
        from ..api.evaluation import evaluate
        from .evaluate import print_scores
        from .evaluation_outputs import Outputs

        folder = self.folder / Path(checkpoint).parent.name  # a folder for each seed
        outputs = Outputs(str(folder), self.leaderboard, None, False, False, None, self.command)
        result = evaluate(
            checkpoint,
            self.tasks,
            shots=self.shots,
            items=self.items,
            device=self.device,
            out=folder,
            leaderboard=self.leaderboard,
            command=self.command,
        )
        if result.results and not silent:
            print_scores(result, outputs)
        elif result.results:
            outputs.report(result.added or 0)

    def _selection(self) -> TaskSelection:
        from ..api.evaluation import limit_of
        from ..tasks.catalog import ITEMS
        from ..tasks.evaluation_request import TaskSelection

        names = [name.strip() for name in self.tasks.split(",") if name.strip()]
        return TaskSelection(
            names,
            shots=self.shots,
            limit=limit_of(self.items, names, {}),
            count=ITEMS if self.items is None else self.items,
        )
