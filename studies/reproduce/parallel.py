"""Processes side by side: most of one thread, each with a log, which end with this process.

Small models train and are measured faster on a core each than one after the other on all of them.
Whatever is ended has left files to go on from, so nothing is lost however this process ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import InputError

LOOKS = 0.3  # seconds between two looks at the processes
PATIENCE = 60  # seconds that a process has to save its state
ENDED = 3  # exit code of a process that was ended before it was done


@dataclass(frozen=True, eq=False)
class Job:
    """A process.

    Args:
        name: what it does, in messages.
        command: its arguments.
        log: file of what it writes.
        prepare: called before it starts.
        look: called now and then while it runs.
        needs: names of the jobs, of those given with it, that must have ended well before.
        attached: whether it lets go when this process dies, by :func:`end_with_parent`; others
            are of the same session, so that Ctrl-C reaches them.
        threads: of torch; None for as many as there are cores.
    """

    name: str
    command: Sequence[str]
    log: Path
    prepare: Callable[[], object] = lambda: None
    look: Callable[[], object] = lambda: None
    needs: frozenset[str] = field(default=frozenset())
    attached: bool = True
    threads: int | None = 1


def run_all(
    jobs: Sequence[Job], at_once: int, device: str | None = "cpu", keep_going: bool = False
) -> None:
    """Run all, some at a time, in their order as far as their needs allow.

    Args:
        device: that they compute on.
        keep_going: when one fails, run those that do not need it.

    Raises:
        InputError: one failed; the others were ended and saved, or done too.
    """
    waiting, running = list(jobs), dict[Job, subprocess.Popen[bytes]]()
    failed: dict[str, InputError] = {}
    try:
        while waiting or running:
            lost = {job for job in waiting if job.needs & failed.keys()}
            failed |= {job.name: next(iter(failed.values())) for job in lost}
            waiting = [job for job in waiting if job not in lost]
            unfinished = {job.name for job in (*waiting, *running)}
            ready = [job for job in waiting if not job.needs & unfinished]
            for job in ready[: at_once - len(running)]:
                waiting.remove(job)
                job.prepare()
                running[job] = _start(job, device)
                job.look()
            time.sleep(LOOKS)
            for job, process in list(running.items()):
                code = process.poll()
                job.look()
                if code is None:
                    continue
                _close(running.pop(job))
                try:
                    _check(job, code)
                except InputError as error:
                    if not keep_going:
                        raise
                    failed[job.name] = error
    finally:
        for job, process in running.items():
            if job.attached and process.stdin is not None:
                process.stdin.close()
            else:
                process.terminate()
        for process in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()
            _close(process)
    if failed:
        raise next(iter(failed.values()))


def environment(device: str | None) -> dict[str, str]:
    """What tells Accelerate and torch to compute on a device; nothing for the best there is."""
    if device is None:
        return {}
    if device == "cpu":
        return {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    return {"ACCELERATE_TORCH_DEVICE": device}


def _start(job: Job, device: str | None) -> subprocess.Popen[bytes]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if job.threads else ()
    own = {name: str(job.threads) for name in names}
    if job.attached or device == "cpu":  # Accelerate gives each of its processes a GPU
        own |= environment(device)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "wb") as log:
        # of a session of its own: Ctrl-C is for this process, which then ends it in order
        return subprocess.Popen(
            list(job.command),
            stdin=subprocess.PIPE if job.attached else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | own,
            start_new_session=job.attached,
        )


def _close(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _check(job: Job, code: int) -> None:
    if code == 0:
        return
    if code == ENDED:
        raise InputError(f"{job.name} was ended from outside: call again to go on")
    text = job.log.read_text(encoding="utf-8", errors="replace")
    said = [line.strip() for line in text.split("\n") if line.strip()] or [f"exit code {code}"]
    raise InputError(f"{job.name} failed: {said[-1][:300]} (see {job.log})")


def end_with_parent() -> None:
    """End this process, as SIGTERM does, when the one that started it as a job dies."""
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    """The parent holds the other end of standard input, and lets go when it dies."""
    while os.read(0, 1):
        pass
    while True:  # a training saves at the first, and what comes after it ends at another
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LOOKS)
