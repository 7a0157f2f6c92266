"""Trainings side by side: each a process of one thread, which ends when this one does.

Small models train faster on a core each than one after the other on all of them. A training that is
ended saves its state, and goes on from there when it is begun again; so nothing is lost however
this process ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..primitives.errors import InputError

LOOKS = 0.3  # seconds between two looks at the processes
PATIENCE = 60  # seconds that a training has to save its state
ENDED = 3  # exit code of a training that was ended before its last step
LOG = "train.log"


@dataclass(frozen=True)
class Job:
    """A training: a run file, the folder of the run, and how many steps it has."""

    name: str
    run_file: Path
    out: Path
    steps: int


Watch = Callable[[Job, int, "float | None"], object]
"""Told of a training's last logged step and its loss; step 0 is its start."""


def train_all(jobs: Sequence[Job], at_once: int, watch: Watch) -> None:
    """Train all, some at a time, on CPU cores.

    Raises:
        InputError: a training failed; the others were ended and saved.
    """
    waiting, running = list(jobs), dict[Job, subprocess.Popen[bytes]]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running[job] = _start(job)
                watch(job, 0, None)
            time.sleep(LOOKS)
            for job, process in list(running.items()):
                code = process.poll()
                if (found := last_step(job.out)) is not None:
                    watch(job, *found)
                if code is not None:
                    _close(running.pop(job))
                    _check(job, code)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()
            _close(process)


def _start(job: Job) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "CUDA_VISIBLE_DEVICES": "",
    }
    job.out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", __name__, str(job.run_file), str(job.out)]
    with open(job.out / LOG, "wb") as log:
        # of a session of its own: Ctrl-C is for this process, which then ends it in order
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _close(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _check(job: Job, code: int) -> None:
    if code == 0:
        return
    if code == ENDED:
        raise InputError(f"the training of {job.name} was ended from outside: call again to go on")
    log = job.out / LOG
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()] or [f"exit code {code}"]
    raise InputError(f"the training of {job.name} failed: {said[-1][:300]} (see {log})")


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
            found: dict[str, Any] = json.loads(line)
            return int(found["step"]), float(found["loss"])
    return None


def main(run_file: str, out: str) -> int:
    """What each process does; its exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch
    from transformers.utils import logging

    from ..models.training import runfile
    from ..models.training.engine import Engine

    torch.set_num_threads(1)
    logging.disable_progress_bar()
    try:
        outcome = Engine(runfile.load(run_file), out, lambda text: print(text, flush=True)).train()
    except ValueError as error:
        if not getattr(error, "is_for_the_user", False):
            raise
        print(error, file=sys.stderr)
        return 2
    return 0 if outcome.finished else ENDED


def _end_with_parent() -> None:
    """Whoever started this holds the other end of standard input, and lets go when it dies."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
