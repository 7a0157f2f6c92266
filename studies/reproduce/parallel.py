"""Run subprocesses in parallel, one core each by default.

Small models train and run faster on one core each than one after the other on all cores. Every
subprocess writes a log and saves its state when it is stopped, so a later call can resume it.
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

POLL_SECONDS = 0.3  # between two polls of the subprocesses
SAVE_SECONDS = 60  # that a stopped subprocess has to save its state
INTERRUPTED = 3  # exit code of a subprocess that was stopped before it finished


@dataclass(frozen=True, eq=False)
class Subprocess:
    """Subprocess to run.

    Args:
        name: used in messages and in ``needs``.
        command: program and arguments.
        log: file that receives stdout and stderr.
        prepare: called before the subprocess starts.
        on_poll: called at every poll while the subprocess runs.
        needs: names of subprocesses of the same call that must succeed first.
        attached: stops by :func:`stop_with_parent` when this process dies. False for a subprocess
            of the same session, which receives Ctrl-C itself.
        threads: CPU threads of torch; None for torch's default.
    """

    name: str
    command: Sequence[str]
    log: Path
    prepare: Callable[[], object] = lambda: None
    on_poll: Callable[[], object] = lambda: None
    needs: frozenset[str] = field(default=frozenset())
    attached: bool = True
    threads: int | None = 1


def run_parallel(
    processes: Sequence[Subprocess],
    max_parallel: int,
    device: str | None = "cpu",
    keep_going: bool = False,
) -> None:
    """Run subprocesses in order, each as soon as its ``needs`` have succeeded.

    Args:
        max_parallel: number of subprocesses that run at the same time.
        device: computing device of the subprocesses.
        keep_going: after a failure, still run the subprocesses that do not need the failed one.

    Raises:
        InputError: a subprocess failed. The others were stopped after saving their state, or, with
            ``keep_going``, have finished.
    """
    waiting, running = list(processes), dict[Subprocess, subprocess.Popen[bytes]]()
    failed: dict[str, InputError] = {}
    try:
        while waiting or running:
            blocked = {process for process in waiting if process.needs & failed.keys()}
            failed |= {process.name: next(iter(failed.values())) for process in blocked}
            waiting = [process for process in waiting if process not in blocked]
            unfinished = {process.name for process in (*waiting, *running)}
            ready = [process for process in waiting if not process.needs & unfinished]
            for process in ready[: max_parallel - len(running)]:
                waiting.remove(process)
                process.prepare()
                running[process] = _start(process, device)
                process.on_poll()
            time.sleep(POLL_SECONDS)
            for process, handle in list(running.items()):
                code = handle.poll()
                process.on_poll()
                if code is None:
                    continue
                _close(running.pop(process))
                try:
                    _check_exit_code(process, code)
                except InputError as error:
                    if not keep_going:
                        raise
                    failed[process.name] = error
    finally:
        for process, handle in running.items():
            if process.attached and handle.stdin is not None:
                handle.stdin.close()
            else:
                handle.terminate()
        for handle in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                handle.wait(SAVE_SECONDS)
            handle.kill()
            _close(handle)
    if failed:
        raise next(iter(failed.values()))


def device_environment(device: str | None) -> dict[str, str]:
    """Environment variables that select a device for Accelerate and torch; none for the default."""
    if device is None:
        return {}
    if device == "cpu":
        return {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    return {"ACCELERATE_TORCH_DEVICE": device}


def _start(process: Subprocess, device: str | None) -> subprocess.Popen[bytes]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if process.threads else ()
    variables = {name: str(process.threads) for name in names}
    if process.attached or device == "cpu":  # Accelerate gives each of its processes a GPU
        variables |= device_environment(device)
    process.log.parent.mkdir(parents=True, exist_ok=True)
    with open(process.log, "wb") as log:
        # own session: Ctrl-C reaches this process only, which then stops the others in order
        return subprocess.Popen(
            list(process.command),
            stdin=subprocess.PIPE if process.attached else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | variables,
            start_new_session=process.attached,
        )


def _close(handle: subprocess.Popen[bytes]) -> None:
    handle.wait()
    if handle.stdin is not None:
        handle.stdin.close()


def _check_exit_code(process: Subprocess, code: int) -> None:
    if code == 0:
        return
    if code == INTERRUPTED:
        raise InputError(f"{process.name} was stopped from outside: call again to resume")
    text = process.log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.split("\n") if line.strip()] or [f"exit code {code}"]
    raise InputError(f"{process.name} failed: {lines[-1][:300]} (see {process.log})")


def stop_with_parent() -> None:
    """Send SIGTERM to this process when the process that started it dies."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    """Wait for end-of-file on stdin: the parent holds the other end of the pipe."""
    while os.read(0, 1):
        pass
    while True:  # the first signal makes a run save its state, a later one ends what follows
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(POLL_SECONDS)
