"""Train one model in a subprocess that leaves a checkpoint.

A stopped run saves its state and resumes from it when it is started again.
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
from .parallel import INTERRUPTED, SAVE_SECONDS, Subprocess, stop_with_parent

LOG = "train.log"
RUN = "run.yaml"
LAUNCH = ("-m", "growloop.cli", "train")


@dataclass(frozen=True)
class TrainingJob:
    """Run of ``growloop train`` in a folder.

    Args:
        name: used in messages.
        fields: content of the run file.
        folder: folder of the run.
        base: checkpoint of another run to continue from.
        distributed: train with ``accelerate launch`` on all GPUs.
    """

    name: str
    fields: dict[str, Any]
    folder: Path
    base: Path | None = None
    distributed: bool = False

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return int(self.fields["steps"])

    @property
    def checkpoint(self) -> Path:
        """Folder of the final checkpoint."""
        return self.folder / f"step-{self.steps:09d}"

    @property
    def cooldown_start(self) -> Path:
        """Folder of the checkpoint before the cooldown."""
        step = self.steps - int(self.fields["optimizer"]["cooldown"])
        return self.folder / f"step-{step:09d}"

    @property
    def done(self) -> bool:
        """True if the final checkpoint exists and is complete.

        Raises:
            InputError: an input file changed since the run. Deleted inputs are ignored.
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
            current = inputs.read_inputs(run, recorded, lenient=True)
            first_run, where = state["run"], str(self.checkpoint)
            inputs.refuse_changed(run, first_run, recorded, current, False, where)
        return True

    def check(self) -> None:
        """Check the run file before the first step.

        Raises:
            InputError: the run cannot be trained; the message says why.
        """
        from ...models.training import checks, runfile

        base = self.base if self.base is not None and self.base.is_dir() else None
        run = runfile.parse(self.fields, self.name)
        checks.check(run, self.folder, force=self.base is not None, parent=base)

    @property
    def command(self) -> tuple[str, ...]:
        """Program and arguments that train the model."""
        if not self.distributed:
            return sys.executable, "-m", __name__, str(self.folder / RUN), str(self.folder)
        return sys.executable, "-m", "accelerate.commands.launch", *self._launch_arguments

    @property
    def shell_command(self) -> str:
        """Command line that trains the model, once the run file is written."""
        return shlex.join(("accelerate", "launch", *self._launch_arguments))

    @property
    def _launch_arguments(self) -> tuple[str, ...]:
        arguments = (*LAUNCH, str(self.folder / RUN), "--out", str(self.folder))
        return arguments if self.base is None else (*arguments, "--force")

    def prepare(self) -> None:
        """Write the run file, and copy the base checkpoint unless the run has one already."""
        from ...models.training.yaml_text import write_yaml

        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / RUN, write_yaml(self.fields).encode())
        if self.base is None or any(self.folder.glob("step-*")):
            return
        part = self.folder / ".base.part"
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(self.base, part)
        part.replace(self.folder / self.base.name)

    def subprocess(
        self, watch: Callable[[float, str], object], needs: frozenset[str] = frozenset()
    ) -> Subprocess:
        """Return the subprocess that trains the model.

        Args:
            watch: progress callback, called with the fraction done and the loss as text.
            needs: names of subprocesses that must succeed first.
        """

        def report_progress() -> None:
            latest = last_step(self.folder)
            if latest is None:
                watch(0.0, "starting")
            else:
                watch(latest[0] / self.steps, f"loss {latest[1]:.2f}")

        return Subprocess(
            f"the training of {self.name}",
            self.command,
            self.folder / LOG,
            self.prepare,
            report_progress,
            needs,
            attached=not self.distributed,
            threads=None if self.distributed else 1,
        )


def last_step(out: Path) -> tuple[int, float] | None:
    """Return the last logged step and its loss; None before the first one."""
    try:
        with open(out / "metrics.jsonl", "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        with contextlib.suppress(ValueError, KeyError, TypeError):  # incomplete line
            metrics: dict[str, Any] = loads(line)
            return int(metrics["step"]), float(metrics["loss"])
    return None


def main(run_file: str, out: str) -> int:
    """Train a run file in this process and return the exit code."""
    stop_with_parent()
    import torch
    from transformers.utils import logging

    from ...models.training import runfile
    from ...models.training.engine import Engine

    torch.set_num_threads(1)
    logging.disable_progress_bar()

    def log_line(text: str) -> None:
        print(text, flush=True)

    try:
        # an earlier process whose parent was killed may still be saving
        with locked(Path(out) / LOCK, False, f"{out} is trained", SAVE_SECONDS):
            pass
        outcome = Engine(runfile.load(run_file), out, log_line).train()
    except ValueError as error:
        if not getattr(error, "is_for_the_user", False):
            raise
        print(error, file=sys.stderr)
        return 2
    return 0 if outcome.finished else INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
