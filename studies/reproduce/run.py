"""Run the paper's protocol at a scale: train, score, study, then records, page and claims.

The plan is a list of cells that leave result files; finished cells are never repeated. Cells run
here as parallel subprocesses, or one by one on any machine that shares the folder.
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
from ...core.locks import locked
from ...models.training.checks import check_writable
from ...tasks.catalog import resolve
from ..work_folder import refuse_other, use_folder
from .cell_results import CellResults, last_progress
from .estimates import REFERENCE_FLOPS, CostEstimator, first_missing
from .evaluate import build_page
from .parallel import Subprocess, run_parallel, stop_with_parent
from .plan import FINAL, PAGE, RECORDS, SCORE, TRAIN, PlanCell, plan_cells
from .scales import ScaleModel, find_scale
from .settings import ReproductionSettings
from .training_job import TrainingJob

if TYPE_CHECKING:
    from ...leaderboard.claims.verdicts import Finding

PLAN, LOGS = "reproduce.json", "logs"
KIND = "reproduction"  # in messages
Watch = Callable[[str, float, str], object]
"""Progress callback: id of a cell, fraction done, one word."""


class Reproduction:
    """Plan of a reproduction, and the folder it runs in.

    Attributes:
        estimate: cost estimator of the plan's cells.
        page: first page of the site, once it is built.
        findings: verdicts on the paper's claims, once the site is built.

    Raises:
        InputError: the scale is unknown, or ``seeds`` is out of range.
    """

    def __init__(self, settings: ReproductionSettings) -> None:
        whole("seeds", settings.seeds, 1, 1000)
        self.settings, self.out = settings, Path(settings.out)
        self.scale = find_scale(settings.scale, settings.fast)
        self.cells = plan_cells(self.scale, settings.seeds)
        self.estimate = CostEstimator(self.scale, REFERENCE_FLOPS, settings.data_dir)
        self.page: Path | None = None
        self.findings: list[Finding] = []

    @cached_property
    def by_id(self) -> dict[str, PlanCell]:
        """Cell id -> cell."""
        return {cell.id: cell for cell in self.cells}

    def training_job(self, cell: PlanCell) -> TrainingJob:
        """Return the training run that a cell performs or measures."""
        model = self._model(cell)
        fields = model.run_fields(self.scale.overrides, cell.seed or 0)
        base = None
        if model.base is not None:
            step = fields["events"][0]["step"]
            base = self.out / "runs" / f"{model.base}-{cell.seed}" / f"step-{step:09d}"
        folder = self.out / "runs" / cell.run
        return TrainingJob(cell.run, fields, folder, base, self.scale.distributed)

    def _model(self, cell: PlanCell) -> ScaleModel:
        assert cell.model is not None
        return self.scale.model(cell.model)

    @cached_property
    def results(self) -> CellResults:
        """Result files of the cells."""
        return CellResults(self.out / "cells")

    def done(self, cell: PlanCell) -> bool:
        """Return True if a cell has left its file; records and page are rebuilt each time."""
        if cell.kind in FINAL:
            return False
        if cell.kind == TRAIN:
            return self.training_job(cell).done
        if not self.results.has(cell.id):
            return False
        self.results.check(cell.id, self._checkpoint(cell), self._data(cell))
        return True

    def _checkpoint(self, cell: PlanCell) -> Path:
        """Return the checkpoint that a cell measures."""
        job, study = self.training_job(cell), self.scale.study(cell.kind)
        return job.cooldown_start if study.before_cooldown else job.checkpoint

    def _data(self, cell: PlanCell) -> dict[str, Path]:
        """Return the benchmark files that a cell reads: relative name -> path."""
        folder = Path(self.settings.data_dir)
        if cell.kind != SCORE or self.scale.tasks:
            return {}
        return {
            file.relative_to(folder).as_posix(): file
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }

    def check(self, cells: Sequence[PlanCell]) -> None:
        """Check folder and run files as :meth:`run` does before training; data may be missing.

        Raises:
            InputError: the folder holds something else or cannot be written.
            InputError: a run cannot be trained.
        """
        refuse_other(self.out, self.out / PLAN, self._plan_text(), KIND)
        check_writable(self.out)
        for cell in cells:
            if self.done(cell) or cell.kind != TRAIN:
                continue
            if first_missing(self.estimate.needs(cell)) is None:
                self.training_job(cell).check()

    def _locked_folder(self, shared: bool) -> contextlib.AbstractContextManager[None]:
        """Lock the output folder, exclusively unless ``shared``."""
        return use_folder(self.out, PLAN, self._plan_text(), KIND, shared)

    def _plan_text(self) -> str:
        """Return, as JSON, every setting that affects the measured numbers."""
        plan: dict[str, Any] = {
            "format": "growloop reproduce",
            "scale": self.scale.name,
            "runs": [model.run_fields(self.scale.overrides, 0) for model in self.scale.models],
            "asks": [
                [study.study, study.options, study.models, study.before_cooldown]
                for study in self.scale.studies
            ],
            **{name: getattr(self.scale, name) for name in ("tasks", "shots", "items")},
            **{name: getattr(self.scale, name) for name in ("block", "dtype")},
        }
        tasks = {name: resolve(name) for name in self.scale.tasks}
        plan["versions"] = {name: task.version for name, task in tasks.items() if task}
        return json.dumps(plan, indent=1)

    def run(self, cells: Sequence[PlanCell], jobs: int, watch: Watch) -> None:
        """Run cells in order, ``jobs`` of them in parallel.

        Raises:
            InputError: a cell failed, or needs a cell that is neither done nor in ``cells``.
                Cells that do not need the failed one have run.
        """
        whole("jobs", jobs, 1, 1000)
        with self._locked_folder(shared=False):
            todo = []
            for cell in cells:
                if self.done(cell):
                    watch(cell.id, 1.0, "")
                else:
                    todo.append(cell)
            planned = {cell.id for cell in todo}
            for cell in todo:
                self._check_needs(cell, planned)
            failed: InputError | None = None
            try:
                processes = self._subprocesses(todo, watch)
                run_parallel(processes, jobs, self.settings.device, keep_going=True)
            except InputError as error:  # the page still shows the results so far
                failed = error
            self._finish(todo, watch)
            if failed is not None:
                raise failed

    def _subprocesses(self, todo: Sequence[PlanCell], watch: Watch) -> list[Subprocess]:
        """Return one subprocess per training run, and one per model for its measurements."""
        processes: list[Subprocess] = []
        names: dict[str, str] = {}  # training cell id -> name of its subprocess
        for cell in (c for c in todo if c.kind == TRAIN):
            needs = frozenset(names[need] for need in cell.needs if need in names)
            process = self.training_job(cell).subprocess(partial(watch, cell.id), needs)
            names[cell.id] = process.name
            processes.append(process)
        by_run: dict[str, list[PlanCell]] = {}
        for cell in todo:
            if cell.kind not in (TRAIN, *FINAL):
                by_run.setdefault(cell.run, []).append(cell)
        for run, cells in by_run.items():
            needs = frozenset(names[n] for cell in cells for n in cell.needs if n in names)
            ids = json.dumps([cell.id for cell in cells])
            command = (sys.executable, "-m", __name__, json.dumps(asdict(self.settings)), ids)
            # array jobs may measure several cells of a model in parallel: a log for each
            stem = run if len(cells) > 1 else cells[0].id.replace("/", "-")
            log = self.out / LOGS / f"{stem}.log"
            processes.append(
                Subprocess(
                    f"measuring {run}",
                    command,
                    log,
                    on_poll=partial(self._report_progress, log, cells, watch),
                    needs=needs,
                    threads=None if self.scale.distributed else 1,
                )
            )
        return processes

    def _report_progress(self, log: Path, cells: Sequence[PlanCell], watch: Watch) -> None:
        """Report the progress of the subprocess that measures a model's cells."""
        for cell in cells:
            if self.results.has(cell.id):
                watch(cell.id, 1.0, "done")
        message = last_progress(log)
        if message is not None and not self.results.has(message["cell"]):
            watch(message["cell"], message["share"], message["word"])

    def cell(self, cell: PlanCell, watch: Watch) -> None:
        """Run one cell.

        Raises:
            InputError: a cell it needs is not done, or another process runs the cell.
        """
        with self._locked_folder(shared=True):
            lock = self.out / "cells" / f".{cell.id.replace('/', '-')}.lock"
            with locked(lock, False, f"cell {cell.number} is done"):
                if self.done(cell):
                    watch(cell.id, 1.0, "")
                    return
                self._check_needs(cell, set())
                run_parallel(self._subprocesses([cell], watch), 1, self.settings.device)
                self._finish([cell], watch)

    def _check_needs(self, cell: PlanCell, planned: set[str]) -> None:
        """Refuse a cell whose needs are neither available nor among the ``planned`` cell ids."""
        for need in cell.needs:
            other = self.by_id[need]
            if need not in planned and not self._available(cell, other):
                raise InputError(
                    f"cell {cell.number} ({cell.id}) needs cell {other.number} ({need}), which is "
                    "not done yet"
                )
        if (need_data := first_missing(self.estimate.needs(cell))) is not None:
            raise InputError(f"cell {cell.number} ({cell.id}): {need_data.advice}")
        if cell.kind == TRAIN:
            self.training_job(cell).check()

    def _available(self, cell: PlanCell, other: PlanCell) -> bool:
        """Return True if ``cell`` can use the result of ``other``.

        A run that continues another needs only its checkpoint before the cooldown.
        """
        base = self.training_job(cell).base if cell.kind == TRAIN else None
        if base is None:
            return self.done(other)
        from ...models.training.checkpoints import problem

        return problem(base) is None

    def measure(self, cell: PlanCell, watch: Callable[[float, str], object]) -> None:
        """Score a model or run a study on it, and write the result file."""
        from .measure_cell import measure_cell

        start = time.perf_counter()
        watch(0.0, "")
        study = self.scale.study(cell.kind)
        checkpoint, data = self._checkpoint(cell), self._data(cell)
        records = measure_cell(
            cell, study, self.scale, checkpoint, self.out, settings=self.settings, watch=watch
        )
        model, seconds = self._model(cell), round(time.perf_counter() - start, 1)
        self.results.write(cell, model, records, self.settings, seconds, checkpoint, data)
        watch(1.0, "")

    def _finish(self, todo: Sequence[PlanCell], watch: Watch) -> None:
        """Collect the records of all cells, and build the page."""
        from ...leaderboard import Store
        from ...leaderboard.claims.paper_claims import CLAIMS
        from ...leaderboard.claims.verdicts import evaluate_claims

        kinds = [cell.kind for cell in todo]
        store = Store(self.out / "records")
        if RECORDS in kinds:
            ids = [cell.id for cell in self.cells if cell.kind not in (TRAIN, *FINAL)]
            measured = [cell_id for cell_id in ids if self.results.has(cell_id)]
            for cell_id in measured:
                store.add(self.results.read(cell_id))
            watch(RECORDS, 1.0, f"of {len(measured)} of {len(ids)} cells")
        if PAGE in kinds:
            watch(PAGE, 0.0, "building")
            title = f"From growing to looping, {self.scale.name}"
            self.page = build_page(store.folder, self.out / "site", title)
            self.findings = evaluate_claims(store.read(), CLAIMS)
            watch(PAGE, 1.0, "")


def main(settings: str, ids: str) -> int:
    """Measure cells of one model one after the other, and return the exit code.

    Args:
        settings: :class:`ReproductionSettings` as JSON.
        ids: JSON list of cell ids.
    """
    stop_with_parent()
    from transformers.utils import logging

    from ...tasks.evaluate import quiet

    logging.disable_progress_bar()
    quiet()
    reproduction, code = Reproduction(ReproductionSettings(**json.loads(settings))), 0
    failed = ""
    for cell_id in json.loads(ids):

        def watch(share: float, word: str, cell_id: str = cell_id) -> None:
            message = {"cell": cell_id, "share": share, "word": word}
            print(f"\n{json.dumps(message)}", flush=True)

        try:
            reproduction.measure(reproduction.by_id[cell_id], watch)
        except ValueError as error:
            if not getattr(error, "is_for_the_user", False):
                raise
            code, failed = 2, failed or f"{cell_id}: {error}"
    if failed:
        print(failed, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
