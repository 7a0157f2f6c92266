"""The paper's protocol at a scale, from trainings to the page: a plan of cells that leave files.

A cell that is done is never done again. All can run in order here, several beside each other as
processes of their own, or each by itself anywhere that shares the folder.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, whole
from ...models.training.checks import check_writable
from ...models.training.locks import locked
from ...tasks.catalog import resolve
from ..work_folder import refuse_other, use_folder
from .estimates import REFERENCE, Estimator, missing
from .jobs import Training
from .measurements import show
from .parallel import Job, end_with_parent, run_all
from .plan import CLOSING, PAGE, RECORDS, SCORE, TRAIN, Cell, cells
from .results import Kept, newest
from .scales import Row, scale
from .settings import Settings

if TYPE_CHECKING:
    from ...leaderboard.claims.claims import Finding

PLAN, LOGS = "reproduce.json", "logs"
KIND = "reproduction"  # in messages
Watch = Callable[[str, float, str], object]
"""Told of a cell, the share of it that is done, and a word about it."""


class Reproduction:
    """A plan and its folder.

    Raises:
        InputError: an unknown scale, a number of seeds that is none.
    """

    def __init__(self, asked: Settings) -> None:
        whole("seeds", asked.seeds, 1, 1000)
        self.asked, self.out = asked, Path(asked.out)
        self.scale = scale(asked.scale, asked.fast)
        self.cells = cells(self.scale, asked.seeds)
        self.estimate = Estimator(self.scale, REFERENCE, asked.data_dir)
        self.page: Path | None = None
        self.findings: list[Finding] = []

    @cached_property
    def by_id(self) -> dict[str, Cell]:
        """The cells by their names."""
        return {cell.id: cell for cell in self.cells}

    def training(self, cell: Cell) -> Training:
        """What a cell trains."""
        row = self._row(cell)
        fields = row.fields(self.scale.changes, cell.seed or 0)
        base = None
        if row.base is not None:
            step = fields["events"][0]["step"]
            base = self.out / "runs" / f"{row.base}-{cell.seed}" / f"step-{step:09d}"
        folder = self.out / "runs" / cell.model
        return Training(cell.model, fields, folder, base, self.scale.launched)

    def _row(self, cell: Cell) -> Row:
        assert cell.row is not None
        return self.scale.row(cell.row)

    @cached_property
    def kept(self) -> Kept:
        """The files of what was measured."""
        return Kept(self.out / "cells")

    def done(self, cell: Cell) -> bool:
        """Whether a cell has left its file; what closes a plan is made anew each time."""
        if cell.kind in CLOSING:
            return False
        if cell.kind == TRAIN:
            return self.training(cell).done
        if not self.kept.has(cell.id):
            return False
        self.kept.check(cell.id, self._checkpoint(cell), self._data(cell))
        return True

    def _checkpoint(self, cell: Cell) -> Path:
        """That a cell measures."""
        training = self.training(cell)
        return training.branch if self.scale.ask(cell.kind).before else training.checkpoint

    def _data(self, cell: Cell) -> dict[str, Path]:
        """Files that a cell measures on, by name."""
        folder = Path(self.asked.data_dir)
        if cell.kind != SCORE or self.scale.tasks:
            return {}
        return {
            file.relative_to(folder).as_posix(): file
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }

    def check(self, wanted: Sequence[Cell]) -> None:
        """Refuse what :meth:`run` would refuse before it trains; data may still be missing.

        Raises:
            InputError: the folder is of something else, or cannot be written.
            InputError: a training that cannot be done.
        """
        refuse_other(self.out, self.out / PLAN, self._plan_text(), KIND)
        check_writable(self.out)
        for cell in wanted:
            if self.done(cell) or cell.kind != TRAIN:
                continue
            if missing(self.estimate.needs(cell)) is None:
                self.training(cell).check()

    def _begun(self, shared: bool) -> contextlib.AbstractContextManager[None]:
        """The folder, held."""
        return use_folder(self.out, PLAN, self._plan_text(), KIND, shared)

    def _plan_text(self) -> str:
        """What decides the numbers that any cell would find."""
        plan: dict[str, Any] = {
            "format": "growloop reproduce",
            "scale": self.scale.name,
            "runs": [row.fields(self.scale.changes, 0) for row in self.scale.rows],
            "asks": [[ask.study, ask.options, ask.rows, ask.before] for ask in self.scale.asks],
            **{name: getattr(self.scale, name) for name in ("tasks", "shots", "items")},
            **{name: getattr(self.scale, name) for name in ("block", "dtype")},
        }
        known = {name: resolve(name) for name in self.scale.tasks}
        plan["versions"] = {name: task.version for name, task in known.items() if task}
        return json.dumps(plan, indent=1)

    def run(self, wanted: Sequence[Cell], jobs: int, watch: Watch) -> None:
        """Do cells in order, several at a time.

        Raises:
            InputError: a cell failed, or needs one that is neither done nor wanted. Those that do
                not need it are done.
        """
        whole("jobs", jobs, 1, 1000)
        with self._begun(shared=False):
            todo = []
            for cell in wanted:
                if self.done(cell):
                    watch(cell.id, 1.0, "")
                else:
                    todo.append(cell)
            coming = {cell.id for cell in todo}
            for cell in todo:
                self._check(cell, coming)
            failed: InputError | None = None
            try:
                run_all(self._jobs(todo, watch), jobs, self.asked.device, keep_going=True)
            except InputError as error:  # the page shows what there is all the same
                failed = error
            self._close(todo, watch)
            if failed is not None:
                raise failed

    def _jobs(self, todo: Sequence[Cell], watch: Watch) -> list[Job]:
        """A process for each training, and one for all that is measured of a model."""
        found: list[Job] = []
        names: dict[str, str] = {}  # of the jobs that train, by cell
        for cell in (c for c in todo if c.kind == TRAIN):
            needs = frozenset(names[need] for need in cell.needs if need in names)
            job = self.training(cell).job(partial(watch, cell.id), needs)
            names[cell.id] = job.name
            found.append(job)
        models: dict[str, list[Cell]] = {}
        for cell in todo:
            if cell.kind not in (TRAIN, *CLOSING):
                models.setdefault(cell.model, []).append(cell)
        for model, own in models.items():
            needs = frozenset(names[n] for cell in own for n in cell.needs if n in names)
            ids = json.dumps([cell.id for cell in own])
            command = (sys.executable, "-m", __name__, json.dumps(asdict(self.asked)), ids)
            # cells of a model may run beside each other, each by a command of its own
            stem = model if len(own) > 1 else own[0].id.replace("/", "-")
            log = self.out / LOGS / f"{stem}.log"
            look = partial(self._look, log, own, watch)
            threads = None if self.scale.launched else 1
            name = f"measuring {model}"
            found.append(Job(name, command, log, look=look, needs=needs, threads=threads))
        return found

    def _look(self, log: Path, own: Sequence[Cell], watch: Watch) -> None:
        """What the process that measures a model has come to."""
        for cell in own:
            if self.kept.has(cell.id):
                watch(cell.id, 1.0, "done")
        told = newest(log)
        if told is not None and not self.kept.has(told["cell"]):
            watch(told["cell"], told["share"], told["word"])

    def cell(self, cell: Cell, watch: Watch) -> None:
        """Do one.

        Raises:
            InputError: what it needs is not there yet, or it is being done elsewhere.
        """
        with self._begun(shared=True):
            lock = self.out / "cells" / f".{cell.id.replace('/', '-')}.lock"
            with locked(lock, False, f"cell {cell.number} is done"):
                if self.done(cell):
                    watch(cell.id, 1.0, "")
                    return
                self._check(cell, set())
                run_all(self._jobs([cell], watch), 1, self.asked.device)
                self._close([cell], watch)

    def _check(self, cell: Cell, coming: set[str]) -> None:
        """Refuse a cell that needs what is not there."""
        for need in cell.needs:
            other = self.by_id[need]
            if need not in coming and not self._there(cell, other):
                raise InputError(
                    f"cell {cell.number} ({cell.id}) needs cell {other.number} ({need}), which is "
                    "not done yet"
                )
        if (lost := missing(self.estimate.needs(cell))) is not None:
            raise InputError(f"cell {cell.number} ({cell.id}): {lost.advice}")
        if cell.kind == TRAIN:
            self.training(cell).check()

    def _there(self, cell: Cell, other: Cell) -> bool:
        """A training that goes on from another needs the checkpoint before its cooldown alone."""
        base = self.training(cell).base if cell.kind == TRAIN else None
        if base is None:
            return self.done(other)
        from ...models.training.checkpoints import problem

        return problem(base) is None

    def measure(self, cell: Cell, watch: Callable[[float, str], object]) -> None:
        """Score or study a model, and keep what was found."""
        from .measure_cell import measure

        started = time.perf_counter()
        watch(0.0, "")
        ask, checkpoint, data = self.scale.ask(cell.kind), self._checkpoint(cell), self._data(cell)
        given: dict[str, Any] = {"asked": self.asked, "watch": watch}
        records = measure(cell, ask, self.scale, checkpoint, self.out, **given)
        row, seconds = self._row(cell), time.perf_counter() - started
        self.kept.keep(cell, row, records, self.asked, round(seconds, 1), checkpoint, data)
        watch(1.0, "")

    def _close(self, todo: Sequence[Cell], watch: Watch) -> None:
        """Records, and the page of them."""
        from ...leaderboard import Store
        from ...leaderboard.claims.claims import findings
        from ...leaderboard.claims.ledger import CLAIMS

        kinds = [cell.kind for cell in todo]
        store = Store(self.out / "records")
        if RECORDS in kinds:
            ids = [cell.id for cell in self.cells if cell.kind not in (TRAIN, *CLOSING)]
            there = [name for name in ids if self.kept.has(name)]
            for name in there:
                store.add(self.kept.records(name))
            watch(RECORDS, 1.0, f"of {len(there)} of {len(ids)} cells")
        if PAGE in kinds:
            watch(PAGE, 0.0, "building")
            title = f"From growing to looping, {self.scale.name}"
            self.page = show(store.folder, self.out / "site", title)
            self.findings = findings(store.read(), CLAIMS)
            watch(PAGE, 1.0, "")


def main(asked: str, ids: str) -> int:
    """Measure some cells of a model, one after the other; the exit code."""
    end_with_parent()
    from transformers.utils import logging

    from ...tasks.evaluate import quiet

    logging.disable_progress_bar()
    quiet()
    reproduction, code = Reproduction(Settings(**json.loads(asked))), 0
    failed = ""
    for name in json.loads(ids):

        def watch(share: float, word: str, name: str = name) -> None:
            told = {"cell": name, "share": share, "word": word}
            print(f"\n{json.dumps(told)}", flush=True)

        try:
            reproduction.measure(reproduction.by_id[name], watch)
        except ValueError as error:
            if not getattr(error, "is_for_the_user", False):
                raise
            code, failed = 2, failed or f"{name}: {error}"
    if failed:
        print(failed, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
