"""Train cooldowns that branch off from a checkpoint, for the ``cooldown`` and ``retrofit`` studies.

A branch continues the run with its weights, optimizer state and learning-rate schedule; nothing is
reset. A :class:`CooldownVariant` changes the mixture, repeats a block, or both; the seed changes
the order of the data. The folder name of a cooldown holds a digest of everything that affects its
weights, so studies with the same output folder share it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, whole
from ...core.strict_json import read_object
from ..checkpoints import StudyModel
from ..progress import TrainingProgress

if TYPE_CHECKING:
    from ...models.training import runfile

Say = Callable[[str], object]


@dataclass(frozen=True)
class CooldownVariant:
    """Changes of a cooldown with respect to the parent's run.

    Args:
        name: name of the variant.
        mixture: source or lesson -> share; None for the run's own mixture.
        sources: source -> folder of token shards, for sources that the parent's run lacks.
        block: first step and end of the block to repeat once; None for no repeat.
    """

    name: str
    mixture: dict[str, float] | None = None
    sources: dict[str, str] = field(default_factory=dict)
    block: tuple[int, int] | None = None


@dataclass(frozen=True)
class ParentCheckpoint:
    """Checkpoint of ``growloop train`` from which cooldowns branch off.

    Args:
        name: name of the model.
        folder: folder of the checkpoint.
        step: number of training steps done.
        run: run file of the checkpoint.
        depth: number of layers at the end of the run.
    """

    name: str
    folder: Path
    step: int
    run: runfile.Run
    depth: int

    @classmethod
    def read(cls, model: StudyModel) -> ParentCheckpoint:
        """Read the checkpoint of a study's model.

        Raises:
            InputError: the model was not made by ``growloop train``, or is damaged.
        """
        from ...models.training import checkpoint_contents as contents
        from ...models.training import checkpoints as snapshots
        from ...models.training import runfile

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
        """Step at which the learning rate of the run starts to fall."""
        return self.run.steps - self.run.optimizer.cooldown

    def check(self, steps: int) -> None:
        """Check that the checkpoint can cool down.

        Args:
            steps: number of steps of the cooldown; 0 for the rest of the run.

        Raises:
            InputError: it cannot; the message says what to do instead.
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
            raise InputError(
                f"{self.name} still grows at step {growing[0]}: take a later checkpoint"
            )


def cooldown_run(
    parent: ParentCheckpoint, variant: CooldownVariant, seed: int = 0, steps: int = 0
) -> runfile.Run:
    """Return the run file of a cooldown.

    Args:
        seed: order of the data; 0 for the parent's order.
        steps: number of steps of the cooldown; 0 for the rest of the parent's run.

    Raises:
        InputError: the run cannot have this block or mixture.
    """
    from ...models.training import runfile

    run, start = parent.run, parent.step
    fields = run.model_dump(mode="json")
    fields |= {"name": f"{run.name}-{variant.name}", "seed": run.seed + seed}
    fields |= {"trackers": [], "patience": None, "checkpoints": {**fields["checkpoints"]}}
    fields["checkpoints"] |= {"keep": 1, "best": False}
    if run.growth is not None:
        fields["growth"]["steps"] = run.growth.steps or parent.decay
    if steps:
        fields["steps"] = start + steps
        fields["optimizer"]["cooldown"] = steps
    fields["data"]["sources"] |= variant.sources
    fields["events"] = [
        inherited
        for event in run.events
        if (inherited := _inherited_event(event, parent, variant, fields["steps"]))
    ]
    changes = {"mixture": variant.mixture, "repeat": variant.block}
    if added := {name: value for name, value in changes.items() if value is not None}:
        fields["events"].append({"step": start, **added})
    return runfile.parse(fields, f"{variant.name} of {parent.name}")


def _inherited_event(
    event: runfile.Event, parent: ParentCheckpoint, variant: CooldownVariant, end: int
) -> dict[str, Any]:
    """Return the fields of a parent's event that apply to the cooldown; empty if none do."""
    fields = event.model_dump(mode="json", exclude={"evaluate", "checkpoint"})
    if event.step >= parent.step:
        if variant.mixture is not None:
            fields["mixture"] = None
        if variant.block is not None and (event.schedule or event.repeat):
            raise InputError(
                f"the run of {parent.name} changes its schedule at step {event.step} itself: give "
                "a run that does not"
            )
    changes = any(v is not None for name, v in fields.items() if name not in ("step", "times"))
    return fields if changes and event.step < end else {}


def check_data(parent: ParentCheckpoint, run: runfile.Run) -> None:
    """Check the data of a cooldown before the slow part.

    Raises:
        InputError: data is missing, differs from its index, or differs from what the parent read
            under the same name; or the mixture is invalid.
    """
    from ...models.training import checkpoint_contents as contents
    from ...models.training.inputs import read_inputs, refuse_changed
    from ...models.training.setup import source_of

    recorded = contents.read_state(parent.folder).get("inputs", {})
    fields, where = parent.run.model_dump(mode="json"), str(parent.folder)
    refuse_changed(run, fields, recorded, read_inputs(run, recorded), True, where)
    source_of(run)


def shard_digests(run: runfile.Run) -> dict[str, str]:
    """Return source -> digest of its shard index; sources without an index are left out."""
    from ...models.training.data.shards import INDEX

    indices = {name: Path(folder) / INDEX for name, folder in run.data.sources.items()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for name, path in indices.items()
        if path.is_file()
    }


def train_cooldown(parent: ParentCheckpoint, run: runfile.Run, out: Path, say: Say) -> Path:
    """Train a cooldown, or resume it, and return its final checkpoint.

    Args:
        run: run file made by :func:`cooldown_run`.
        out: folder of the study; the cooldown is stored in its subfolder ``cooldowns``.
        say: callback for progress messages.

    Raises:
        InputError: the run was interrupted, or another process trains it.
    """
    from transformers.utils import logging

    from ...models.training.engine import Engine

    logging.disable_progress_bar()
    folder = out / "cooldowns" / f"{run.name}-s{run.seed}-{_digest(parent, run)}"
    engine = Engine(run, folder, say, parent=parent.folder)
    outcome = engine.train(watch=TrainingProgress(say, engine.step, run.steps))
    if not outcome.finished:
        raise InputError(f"interrupted after step {outcome.step}; call again to resume")
    for path in folder.glob("step-*"):
        if path != outcome.folder:
            shutil.rmtree(path)
    return outcome.folder


def _digest(parent: ParentCheckpoint, run: runfile.Run) -> str:
    """Digest of all that affects a cooldown: the parent's files, the run file, the shards."""
    from ...models.training import checkpoints as snapshots

    files = read_object(parent.folder / snapshots.MANIFEST, sha256=dict)["sha256"]
    shards = [data] if (data := shard_digests(run)) else []
    text = json.dumps([files, run.hash(), *shards], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
