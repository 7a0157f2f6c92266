"""Damaged files and odd options through every command: a sentence or a result, never a traceback.

``python tests/mutations.py --count 5000`` damages that many files, ``--log FILE`` goes on where it
was stopped, ``--round N --keep FOLDER`` does one round again and keeps its files;
``tests/test_mutations.py`` runs a few with each test run.

A round copies the files that a command reads, damages one or adds odd options, runs the command in
their folder, and looks for tracebacks, other exit codes than 0 and 2, hangs, and files left behind
by a refusal. It depends on the seed and its number alone. Rounds run in worker processes, which are
killed when a round takes too long; one in fifty runs the command in a process of its own, as a user
does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

if not __package__:  # run as a script, or in a worker of one
    sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.mutating.cases import CASES
from tests.mutating.rounds import attempt
from tests.mutating.undamaged import check_undamaged, prepare

LIMIT = 180  # seconds for a round
LIFE = 250  # rounds of a worker: what libraries hold on to goes with it


def _work(pipe: Connection, origin: Path, seed: int, names: Sequence[str]) -> None:
    """A worker: does rounds by their numbers, until it gets None."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # progress bars of libraries
    while (number := pipe.recv()) is not None:
        try:
            pipe.send(attempt(number, seed, origin, names))
        except BaseException:
            pipe.send(("harness", traceback.format_exc()))


class Worker:
    """A process that does a round at a time."""

    def __init__(self, *given: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, *given), daemon=True)
        self.process.start()
        theirs.close()
        self.number: int | None = None
        self.began, self.done = 0.0, 0

    def begin(self, number: int) -> None:
        """Start a round."""
        self.number, self.began = number, time.monotonic()
        self.pipe.send(number)

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def search(
    origin: Path, numbers: Sequence[int], seed: int, names: Sequence[str] = (), workers: int = 1,
    log: Path | None = None,
) -> list[str]:  # fmt: skip
    """Problems in rounds; those in ``log`` are not done again."""
    problems: list[str] = []
    done = Counter[str]()
    known = _read_log(log, seed)
    for name, problem in known.values():
        done[name] += 1
        problems += [problem] if problem else []
    waiting = iter([number for number in numbers if number not in known])
    running: list[Worker] = []
    start = time.monotonic()

    def report(number: int, name: str, problem: str | None) -> None:
        done[name] += 1
        if problem is not None:
            problems.append(f"round {number}: {problem}")
            print(problems[-1], flush=True)
        if log is not None:
            with open(log, "a") as file:
                file.write(json.dumps([seed, number, name, problem]) + "\n")
        if done.total() % 100 == 0:
            rate = 60 * (done.total() - len(known)) / (time.monotonic() - start)
            print(f"{done.total()} rounds, {rate:.0f} a minute, {len(problems)} problems",
                  flush=True)  # fmt: skip

    for number in waiting:
        running.append(Worker(origin, seed, names))
        running[-1].begin(number)
        if len(running) == workers:
            break
    while running:
        ready = wait([worker.pipe for worker in running], timeout=1)
        for worker in list(running):
            assert worker.number is not None
            late = time.monotonic() - worker.began > LIMIT
            if worker.pipe not in ready and not late:
                continue
            try:
                if late:
                    raise TimeoutError
                report(worker.number, *worker.pipe.recv())
                worker.done += 1
                fresh = worker.done >= LIFE
            except (EOFError, TimeoutError):
                what = f"more than {LIMIT} s" if late else "the process ended"
                report(worker.number, "killed", f"{what}: --round {worker.number} does it again")
                fresh = True
            running.remove(worker)
            number_next = next(waiting, None)
            if fresh or number_next is None:
                worker.end()
            if number_next is not None:
                again = Worker(origin, seed, names) if fresh else worker
                again.begin(number_next)
                running.append(again)
    rate = 60 * (done.total() - len(known)) / max(1e-9, time.monotonic() - start)
    print(dict(sorted(done.items())), f"{len(problems)} problems, {rate:.0f} rounds a minute")
    return problems


def _read_log(log: Path | None, seed: int) -> dict[int, tuple[str, str | None]]:
    """Rounds that are done, by number."""
    if log is None or not log.is_file():
        return {}
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return {number: (name, problem) for of, number, name, problem in rows if of == seed}


def main() -> None:
    from growloop.core.files import replacing

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=5000, help="rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", action="append", default=[], help="these cases alone")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--log", type=Path, help="rounds that are done; goes on there")
    parser.add_argument("--round", type=int, help="this round alone, in this process")
    parser.add_argument("--keep", type=Path, help="new folder for the files of --round")
    parser.add_argument("--whole", type=Path, help="folder of the whole files, kept and used again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        origin = given.whole or Path(temporary, "whole")
        is_new = not origin.exists()
        os.environ["HF_DATASETS_CACHE"] = str(Path(temporary, "datasets"))
        with open(os.devnull, "w") as null, contextlib.redirect_stderr(null):
            chosen = [case for case in CASES if not given.case or case.name in given.case]
            if is_new:
                with replacing(origin, folder=True) as part:
                    prepare(part, chosen)
                check_undamaged(origin, chosen)
        if given.round is not None:
            name, problem = attempt(given.round, given.seed, origin, given.case, given.keep)
            print(problem or f"{name}: no problem")
            sys.exit(problem is not None)
        numbers = range(given.count)
        found = search(origin, numbers, given.seed, given.case, given.workers, given.log)
        sys.exit(1 if found else 0)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)
    main()
