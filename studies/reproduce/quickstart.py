"""Quick start: do looping and growing work? Train small models on generated lessons and compare.

Runs in parts: training (two runs in parallel, one core each), scores, two studies, records, page.
Each part leaves a file and is skipped if that file exists, so a stopped quick start resumes.

Growth ends in the first half of a run. On the paper's schedule it ends with the cooldown's start,
and the last stage has few steps for the lessons that are like the questions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import whole
from ...core.strict_json import read_object
from ..work_folder import quiet_libraries, use_folder
from .evaluate import build_page, run_study, score_with_samples
from .parallel import run_parallel
from .training_job import TrainingJob

if TYPE_CHECKING:
    from ...leaderboard import Record
    from ...leaderboard.site.introduction import Introduction
    from ...tasks.compare_results import TaskDifference
    from ..study import Study
    from .quickstart_report import ModelSummary

PLAN = "quickstart.json"
LOG = "scoring.log"
TITLE = "growloop quick start"
TASKS = ("reasoning_primitives",)
REPEATED, LEFT_EARLY = "variable_assignment_code_d0", "variable_assignment_math_d0"
STAGES: tuple[tuple[dict[str, float], float], ...] = (
    # share of each lesson, and the running loss of the first lesson that starts the next stage
    ({"repeats": 1.0}, 0.9),
    (
        {
            "recall": 0.4,
            "assignment-0": 0.3,
            "repeats": 0.1,
            "copying-letters": 0.2,
        },
        0.0,
    ),
)


@dataclass(frozen=True)
class QuickStartSize:
    """Numbers of models, steps and questions; its fields are written to ``quickstart.json``.

    Args:
        models: models to train, by recipe ``lessons-NAME``.
        steps: optimizer steps per run.
        growth: steps of a run in which grown models reach their final depth.
        batch_size: sequences per step.
        items: questions per task.
        studied: questions per split in the studies.
        texts: prompts of the depth study.
    """

    models: tuple[str, ...]
    steps: int
    growth: int
    batch_size: int
    items: int
    studied: int
    texts: int


MODELS = ("standard", "standard-3", "loop-3x2", "lidas")
START_SECONDS = 6.0  # of a training process
ROW_SECONDS = {"standard": 2.7e-3, "standard-3": 1.3e-3, "loop-3x2": 2.7e-3, "lidas": 2.2e-3}
"""Model -> training time of a row of a lesson on one core."""
FULL = QuickStartSize(MODELS, 1500, 750, 64, 200, 100, 16)
FAST = QuickStartSize(MODELS, 24, 12, 16, 10, 8, 8)

Watch = Callable[[str, float, str], object]
"""Progress callback: name of a part, fraction done, one word."""


@dataclass(frozen=True)
class QuickStartResult:
    """Result of a quick start.

    Args:
        page: first page of the site.
        summaries: one summary per model.
        introduction: what was done, what it means, and what to run next.
    """

    page: Path
    summaries: tuple[ModelSummary, ...]
    introduction: Introduction


class QuickStart:
    """Quick start in a folder.

    Args:
        out: output folder.
        size: number of models, steps and questions.
        command: command line, copied into the records.
        seed: seed of initial weights and lessons, 0 or more.

    Raises:
        InputError: another seed.
    """

    def __init__(
        self,
        out: str | Path,
        size: QuickStartSize = FULL,
        command: str = "growloop quickstart",
        seed: int = 0,
    ) -> None:
        self.out, self.size, self.command = Path(out), size, command
        self.seed = whole("the seed", seed, 0, 2**63 - 1)
        self.watch: Watch = lambda part, share, word: None
        self.records: list[Record] = []  # of this call and earlier ones

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(f"quickstart-{model}" for model in self.size.models)

    @property
    def parts(self) -> dict[str, float]:
        """Part -> estimated seconds on two CPU cores; in order of execution."""
        rows = self.size.steps * self.size.batch_size
        seconds = {
            f"train {name}": START_SECONDS + ROW_SECONDS[model] * rows
            for model, name in zip(self.size.models, self.names, strict=True)
        }
        seconds |= {f"score {name}": 4.0 for name in self.names}
        return seconds | {"repeats": 13.0, "depth": 10.0, "page": 2.0}

    def run(self, watch: Watch | None = None) -> QuickStartResult:
        """Run the parts that are not done.

        Args:
            watch: progress callback.

        Raises:
            InputError: the folder holds something else or is in use, or a part failed.
        """
        self.watch, self.records = watch or self.watch, []
        with use_folder(self.out, PLAN, self.plan, "quick start"):
            self._train()
            with quiet_libraries(self.out / LOG):
                for job in self.training_jobs:
                    self._score(job)
                self._run_studies()
            return self._report()

    @property
    def plan(self) -> str:
        """Content of ``quickstart.json``: a folder with another plan is refused."""
        fields = {
            "format": "growloop quickstart",
            "size": asdict(self.size),
            "runs": [self.run_fields(model) for model in self.size.models],
            "tasks": TASKS,
        }
        return json.dumps(fields, indent=1)

    def run_fields(self, model: str) -> dict[str, Any]:
        """Return the run file of a model: its recipe, shorter, with easier lessons."""
        from ...models.training.recipes import recipe

        size = self.size
        fields = recipe(f"lessons-{model}")
        stages = [{"lessons": lessons, "until": until} for lessons, until in STAGES]
        fields |= {"name": f"quickstart-{model}", "steps": size.steps, "seed": self.seed}
        fields["log_every"] = 5
        fields["checkpoints"] = {"every": 100, "keep": 2}
        fields["data"] |= {"curriculum": stages, "batch_size": size.batch_size, "seq_len": 224}
        fields["optimizer"] |= {"warmup": size.steps // 30, "cooldown": size.steps // 5}
        if "growth" in fields:
            fields["growth"] |= {"steps": size.growth}
        return fields

    @cached_property
    def training_jobs(self) -> tuple[TrainingJob, ...]:
        """Training runs, one per model."""
        return tuple(
            TrainingJob(name, self.run_fields(model), self.out / "runs" / name)
            for model, name in zip(self.size.models, self.names, strict=True)
        )

    def _train(self) -> None:
        processes = []
        for job in self.training_jobs:
            watch = partial(self.watch, f"train {job.name}")
            if job.done:
                watch(1.0, "")
            else:
                processes.append(job.subprocess(watch))
        run_parallel(processes, min(2, os.cpu_count() or 1))

    def _score(self, job: TrainingJob) -> None:
        part, folder = f"score {job.name}", self._results(job.name)
        if not folder.is_dir():
            self.watch(part, 0.0, f"{self.size.items} questions a task")
        records = score_with_samples(
            job.checkpoint,
            TASKS,
            folder,
            shots=0,
            limit=self.size.items,
            device="cpu",
            command=self.command,
        )
        self._add_records(records)
        self.watch(part, 1.0, "")

    def _add_records(self, records: Sequence[Record]) -> None:
        from ...leaderboard import Store

        Store(self.out / "records").add(records)
        self.records += records

    def _run_studies(self) -> None:
        """Run inference-scaling on the best model and the depth study on all models."""
        from ..paper import depth, inference_scaling
        from .quickstart_report import best_model, summarize_models

        best = best_model(summarize_models(self.records)).name
        paths = {job.name: job.checkpoint for job in self.training_jobs}
        self._run_study("repeats", inference_scaling.STUDY, [paths[best]], self._repeats_options)
        self._run_study("depth", depth.STUDY, list(paths.values()), self._depth_options)

    def _repeats_options(self, models: Sequence[Any]) -> Any:
        from ..paper.inference_scaling import Options

        [model] = models
        looped = [section for section in model.schedule.sections if section.times > 1]
        block = looped[0].size if looped else 2  # steps; growing adds blocks of 2
        return Options(
            tasks=(REPEATED,),
            block=block,
            times=(1, 2),
            items=self.size.studied,
            shots=0,
            control="none",
        )

    def _depth_options(self, models: Sequence[Any]) -> Any:
        from ..paper.depth import Options

        return Options(
            texts=self.size.texts,
            tasks=(LEFT_EARLY,),
            items=self.size.studied,
            shots=0,
        )

    def _run_study(
        self, part: str, study: Study, paths: Sequence[Path], options: Callable[[Any], Any]
    ) -> None:
        watch = partial(self.watch, part)
        records = run_study(
            study,
            paths,
            options,
            self.out / "studies",
            device="cpu",
            command=self.command,
            watch=watch,
        )
        self._add_records(records)
        watch(1.0, "")

    def _report(self) -> QuickStartResult:
        from ...leaderboard.site.introduction import Introduction
        from .quickstart_report import describe_runs, findings, next_commands, summarize_models

        self.watch("page", 0.0, "building")
        summaries = summarize_models(self.records)
        introduction = Introduction(
            describe_runs(summaries, self.size.steps, self.seed),
            findings(summaries, self._compare, self._learned()),
            next_commands(
                self.out,
                self.seed,
                self.size == FAST,
                [self._results(name) for name in (self.names[-1], self.names[0])],
                self.training_jobs[0].checkpoint,
            ),
        )
        page = build_page(self.out / "records", self.out / "site", TITLE, introduction)
        self.watch("page", 1.0, "")
        return QuickStartResult(page, tuple(summaries), introduction)

    def _results(self, name: str) -> Path:
        """Folder of the results and samples of a model."""
        return self.out / "results" / name

    def _compare(self, first: str, second: str) -> TaskDifference:
        """Return the difference of two models on the suite: first minus second."""
        from ...tasks.compare_results import compare_results

        return compare_results(self._results(first), self._results(second), TASKS).rows[0]

    def _learned(self) -> dict[str, int | None]:
        """Return name of each run -> step at which its second stage began; None if never."""
        stages = {
            job.name: read_object(job.checkpoint / "training.json", source=dict)["source"]["begun"]
            for job in self.training_jobs
        }
        return {name: begun[1] if len(begun) > 1 else None for name, begun in stages.items()}
