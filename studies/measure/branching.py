"""Cooldowns that branch off from a checkpoint of a run: what ``cooldown`` and ``retrofit`` train.

The run goes on with its weights, its optimizer state and its place in the learning-rate schedule;
nothing is reset. Only what a :class:`Change` says is another: the mixture, a block that runs once
more, the order of the data. A cooldown is kept below the name of all that decided it, so that
studies with the same folder share it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import InputError, whole
from ...models.training import checkpoint_contents as contents
from ...models.training import checkpoints as snapshots
from ...models.training import runfile
from ...models.training.data.shards import INDEX
from ...models.training.inputs import read_inputs, refuse_changed
from ...models.training.setup import source_of
from ..checkpoints import StudyModel
from ..progress import TrainingProgress

Say = Callable[[str], object]


@dataclass(frozen=True)
class Change:
    """What a cooldown does otherwise than its parent's run would.

    Args:
        name: of it.
        mixture: shares of the sources, or of the lessons.
        sources: folders of token shards that the parent's run has not, by name.
        block: steps of the schedule that run once more, from and to.
    """

    name: str
    mixture: dict[str, float] | None = None
    sources: dict[str, str] = field(default_factory=dict)
    block: tuple[int, int] | None = None


@dataclass(frozen=True)
class Parent:
    """A checkpoint of ``growloop train`` that is about to cool down.

    Args:
        name: of the model.
        folder: the checkpoint.
        step: steps done.
        run: that it is of.
        depth: layers that the run ends with.
    """

    name: str
    folder: Path
    step: int
    run: runfile.Run
    depth: int

    @classmethod
    def read(cls, model: StudyModel) -> Parent:
        """From a model of a study.

        Raises:
            InputError: no checkpoint of a run, or a damaged one.
        """
        folder = Path(model.path)
        if not (folder / contents.STATE).is_file():
            raise InputError(
                f"{model.path} was not made by growloop train: it has no {contents.STATE}, which "
                "says what it was trained on"
            )
        if wrong := snapshots.problem(folder):
            raise InputError(f"the checkpoint {model.path} is damaged: {wrong}")
        state = contents.read_state(folder)
        run = runfile.parse_stored(state["run"], model.path)
        if run.data.examples is not None:
            raise InputError(f"{model.path} was fine-tuned: only pretraining has a cooldown")
        return cls(model.name, folder, state["step"], run, state["full_depth"])

    @property
    def decay(self) -> int:
        """The step from which on the learning rate of the run falls."""
        return self.run.steps - self.run.optimizer.cooldown

    def check(self, steps: int) -> None:
        """Refuse a checkpoint that cannot cool down now.

        Args:
            steps: of the cooldown; 0 for what is left of the run.

        Raises:
            InputError: saying what to do instead.
        """
        whole("steps", steps, 0, 10**9)
        run = self.run
        if self.step < run.optimizer.warmup:
            raise InputError(
                f"step {self.step} of {self.name} is in its warm-up of {run.optimizer.warmup} steps"
            )
        if self.step > self.decay:
            raise InputError(
                f"the learning rate of {self.name} falls from step {self.decay} on, and this is "
                f"step {self.step}: take an earlier checkpoint"
            )
        if not steps and not run.optimizer.cooldown:
            raise InputError(f"the run of {self.name} has no cooldown: give one with --steps")
        if not steps and self.step < self.decay:
            raise InputError(
                f"the learning rate of {self.name} falls from step {self.decay} on, and this is "
                f"step {self.step}: train it --until {self.decay}, or let it cool down from here "
                "with --steps"
            )
        growing = [step for step, _ in run.growth_steps(self.depth) if step >= self.step]
        if growing:
            raise InputError(f"{self.name} is to grow at step {growing[0]}: it cools down later")


def continued(parent: Parent, change: Change, seed: int = 0, steps: int = 0) -> runfile.Run:
    """The run file of a cooldown.

    Args:
        seed: 0 for the parent's order of the data, others for other orders.
        steps: of the cooldown; 0 for what is left of the parent's run.

    Raises:
        InputError: a block or a mixture that the run cannot have.
    """
    run, start = parent.run, parent.step
    fields = run.model_dump(mode="json")
    fields |= {"name": f"{run.name}-{change.name}", "seed": run.seed + seed}
    fields |= {"trackers": [], "patience": None, "checkpoints": {**fields["checkpoints"]}}
    fields["checkpoints"] |= {"keep": 1, "best": False}
    if run.growth is not None:
        fields["growth"]["steps"] = run.growth.steps or parent.decay
    if steps:
        fields["steps"] = start + steps
        fields["optimizer"]["cooldown"] = steps
    fields["data"]["sources"] |= change.sources
    fields["events"] = [
        kept for event in run.events if (kept := _kept(event, parent, change, fields["steps"]))
    ]
    told = {"mixture": change.mixture, "repeat": change.block}
    if added := {name: value for name, value in told.items() if value is not None}:
        fields["events"].append({"step": start, **added})
    return runfile.parse(fields, f"{change.name} of {parent.name}")


def _kept(event: runfile.Event, parent: Parent, change: Change, end: int) -> dict[str, Any]:
    """What an event of the parent's run does in a cooldown too."""
    kept = event.model_dump(mode="json", exclude={"evaluate", "checkpoint"})
    if event.step >= parent.step:
        if change.mixture is not None:
            kept["mixture"] = None
        if change.block is not None and (event.schedule or event.repeat):
            raise InputError(
                f"the run of {parent.name} changes its schedule at step {event.step} itself: give "
                "a run that does not"
            )
    does = any(value is not None for name, value in kept.items() if name not in ("step", "times"))
    return kept if does and event.step < end else {}


def check_data(parent: Parent, run: runfile.Run) -> None:
    """Refuse data that cannot be trained on, before the slow part.

    Raises:
        InputError: data that is not there, is not what its index says, or is other data than the
            parent read under the same name; a mixture that is none.
    """
    recorded = contents.read_state(parent.folder).get("inputs", {})
    fields, where = parent.run.model_dump(mode="json"), str(parent.folder)
    refuse_changed(run, fields, recorded, read_inputs(run, recorded), True, where)
    source_of(run)


def data_of(run: runfile.Run) -> dict[str, str]:
    """What tells the shards of a run's sources from others that were there before."""
    indices = {name: Path(folder) / INDEX for name, folder in run.data.sources.items()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for name, path in indices.items()
        if path.is_file()
    }


def cooled(parent: Parent, run: runfile.Run, out: Path, say: Say) -> Path:
    """Train a cooldown, or go on with it; its last checkpoint.

    Args:
        run: of :func:`continued`.
        out: folder of the study; the cooldown is kept in ``cooldowns/``.
        say: told how far it is.

    Raises:
        InputError: it was interrupted.
        InputError: another process trains it.
    """
    from transformers.utils import logging

    from ...models.training.engine import Engine

    logging.disable_progress_bar()
    folder = out / "cooldowns" / f"{run.name}-s{run.seed}-{_digest(parent, run)}"
    engine = Engine(run, folder, say, parent=parent.folder)
    outcome = engine.train(watch=TrainingProgress(say, engine.step, run.steps))
    if not outcome.finished:
        raise InputError(f"interrupted after step {outcome.step}; call again to go on")
    for path in folder.glob("step-*"):
        if path != outcome.folder:
            shutil.rmtree(path)
    return outcome.folder


def _digest(parent: Parent, run: runfile.Run) -> str:
    """What tells two cooldowns apart: the files of the parent, the run file, the shards."""
    files = json.loads((parent.folder / snapshots.MANIFEST).read_text())["sha256"]
    shards = [data] if (data := data_of(run)) else []
    text = json.dumps([files, run.hash(), *shards], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
