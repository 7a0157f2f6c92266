"""A training as a part of something larger: a process of its own that leaves a checkpoint.

It saves its state when it is ended, and goes on from there when it is begun again.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.files import write_atomically
from ...core.locks import LOCK, locked
from ...core.strict_json import loads
from .parallel import ENDED, PATIENCE, Job, end_with_parent

LOG = "train.log"
RUN = "run.yaml"
LAUNCH = ("-m", "growloop.cli", "train")


@dataclass(frozen=True)
class Training:
    """A run of ``growloop train`` in a folder.

    Args:
        name: of it, in messages.
        fields: of its run file.
        folder: of the run.
        base: checkpoint of another run that it goes on from.
        launched: by Accelerate, over all GPUs that are there.
    """

    name: str
    fields: dict[str, Any]
    folder: Path
    base: Path | None = None
    launched: bool = False

    @property
    def steps(self) -> int:
        """Of it."""
        return int(self.fields["steps"])

    @property
    def checkpoint(self) -> Path:
        """The last one."""
        return self.folder / f"step-{self.steps:09d}"

    @property
    def branch(self) -> Path:
        """The one before the cooldown."""
        step = self.steps - int(self.fields["optimizer"]["cooldown"])
        return self.folder / f"step-{step:09d}"

    @property
    def done(self) -> bool:
        """Whether that is there, and whole.

        Raises:
            InputError: its inputs are other files now; those that are gone are not looked at.
        """
        from ...models.training import (
            checkpoint_contents as contents,
        )
        from ...models.training import (
            checkpoints as snapshots,
        )
        from ...models.training import (
            inputs,
            runfile,
        )

        if snapshots.problem(self.checkpoint) is not None:
            return False
        state, run = contents.read_state(self.checkpoint), runfile.parse(self.fields, self.name)
        if (recorded := state.get("inputs")) is not None:
            found = inputs.read_inputs(run, recorded, lenient=True)
            began, where = state["run"], str(self.checkpoint)
            inputs.refuse_changed(run, began, recorded, found, False, where)
        return True

    def check(self) -> None:
        """Refuse what the training would refuse before its first step.

        Raises:
            InputError: saying what cannot be trained.
        """
        from ...models.training import checks, runfile

        base = self.base if self.base is not None and self.base.is_dir() else None
        run = runfile.parse(self.fields, self.name)
        checks.check(run, self.folder, force=self.base is not None, parent=base)

    @property
    def command(self) -> tuple[str, ...]:
        """What trains it."""
        if not self.launched:
            return sys.executable, "-m", __name__, str(self.folder / RUN), str(self.folder)
        return sys.executable, "-m", "accelerate.commands.launch", *self._launched

    @property
    def typed(self) -> str:
        """What one would type to train it, once the run file is there."""
        return shlex.join(("accelerate", "launch", *self._launched))

    @property
    def _launched(self) -> tuple[str, ...]:
        found = (*LAUNCH, str(self.folder / RUN), "--out", str(self.folder))
        return found if self.base is None else (*found, "--force-run-file")

    def prepare(self) -> None:
        """Write the run file, and the checkpoint it goes on from."""
        from ...models.training.yaml_text import write_yaml

        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / RUN, write_yaml(self.fields).encode())
        if self.base is None or any(self.folder.glob("step-*")):
            return
        part = self.folder / ".base.part"
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(self.base, part)
        part.replace(self.folder / self.base.name)

    def job(
        self, watch: Callable[[float, str], object], needs: frozenset[str] = frozenset()
    ) -> Job:
        """The process.

        Args:
            watch: told of the share that is done, and the loss.
            needs: names of jobs that must be done before.
        """

        def look() -> None:
            found = last_step(self.folder)
            if found is None:
                watch(0.0, "starting")
            else:
                watch(found[0] / self.steps, f"loss {found[1]:.2f}")

        name, log = f"the training of {self.name}", self.folder / LOG
        threads = None if self.launched else 1
        attached = not self.launched
        return Job(name, self.command, log, self.prepare, look, needs, attached, threads)


def last_step(out: Path) -> tuple[int, float] | None:
    """The last step that a run has logged, and its loss."""
    try:
        with open(out / "metrics.jsonl", "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        with contextlib.suppress(ValueError, KeyError, TypeError):  # being written, or cut
            found: dict[str, Any] = loads(line)
            return int(found["step"]), float(found["loss"])
    return None


def main(run_file: str, out: str) -> int:
    """What each process does; its exit code."""
    end_with_parent()
    import torch
    from transformers.utils import logging

    from ...models.training import runfile
    from ...models.training.engine import Engine

    torch.set_num_threads(1)
    logging.disable_progress_bar()

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        # an earlier process whose parent was killed may still be saving
        with locked(Path(out) / LOCK, False, f"{out} is trained", PATIENCE):
            pass
        outcome = Engine(runfile.load(run_file), out, say).train()
    except ValueError as error:
        if not getattr(error, "is_for_the_user", False):
            raise
        print(error, file=sys.stderr)
        return 2
    return 0 if outcome.finished else ENDED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
