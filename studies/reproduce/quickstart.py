"""Quick start: train small models of each architecture on generated lessons, score and compare.

Runs in parts: training (two runs in parallel, one core each), scores, two studies, records, page.
Each part leaves a file and is skipped if that file exists, so a stopped quick start resumes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.strict_json import read_object
from ..work_folder import quiet_libraries, use_folder
from .evaluate import build_page, run_study, score_checkpoint
from .parallel import run_parallel
from .training_job import TrainingJob

if TYPE_CHECKING:
    from ...leaderboard import Record
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
        batch_size: sequences per step.
        items: questions per task.
        studied: questions per split in the studies.
        texts: prompts of the depth study.
    """

    models: tuple[str, ...]
    steps: int
    batch_size: int
    items: int
    studied: int
    texts: int


FULL = QuickStartSize(
    ("standard", "loop-3x2", "loop-1-2x2-1", "midas", "lidas"), 640, 64, 200, 100, 16
)
FAST = QuickStartSize(("standard", "loop-3x2"), 24, 16, 10, 8, 8)

Watch = Callable[[str, float, str], object]
"""Progress callback: name of a part, fraction done, one word."""


@dataclass(frozen=True)
class QuickStartResult:
    """Result of a quick start.

    Args:
        page: first page of the site.
        summaries: one summary per model.
        sentences: plain-language findings.
    """

    page: Path
    summaries: tuple[ModelSummary, ...]
    sentences: tuple[str, ...]


class QuickStart:
    """Quick start in a folder.

    Args:
        out: output folder.
        size: number of models, steps and questions.
        command: command line, copied into the records.
    """

    def __init__(
        self, out: str | Path, size: QuickStartSize = FULL, command: str = "growloop quickstart"
    ) -> None:
        self.out, self.size, self.command = Path(out), size, command
        self.watch: Watch = lambda part, share, word: None
        self.records: list[Record] = []  # of this call and earlier ones

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(f"quickstart-{model}" for model in self.size.models)

    @property
    def parts(self) -> dict[str, float]:
        """Part -> duration in seconds, measured on two CPU cores; in order of execution."""
        seconds = {f"train {name}": 100.0 for name in self.names}
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
        plan = {
            "format": "growloop quickstart",
            "size": asdict(self.size),
            "runs": [self.run_fields(model) for model in self.size.models],
            "tasks": TASKS,
        }
        text = json.dumps(plan, indent=1)
        with use_folder(self.out, PLAN, text, "quick start"):
            self._train()
            with quiet_libraries(self.out / LOG):
                for job in self.training_jobs:
                    self._score(job)
                self._run_studies()
            return self._report()

    def run_fields(self, model: str) -> dict[str, Any]:
        """Return the run file of a model: its recipe with fewer steps and easier lessons."""
        from ...models.training.recipes import recipe

        size = self.size
        fields = recipe(f"lessons-{model}")
        stages = [{"lessons": lessons, "until": until} for lessons, until in STAGES]
        fields |= {"name": f"quickstart-{model}", "steps": size.steps, "log_every": 5}
        fields["checkpoints"] = {"every": 100, "keep": 2}
        fields["data"] |= {"curriculum": stages, "batch_size": size.batch_size, "seq_len": 224}
        fields["optimizer"] |= {"warmup": size.steps // 30, "cooldown": size.steps // 5}
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
        part = f"score {job.name}"
        file = self.out / "results" / f"{job.name}.json"
        if not file.is_file():
            self.watch(part, 0.0, f"{self.size.items} questions a task")
        records = score_checkpoint(
            job.checkpoint,
            TASKS,
            file,
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
        from .quickstart_report import summarize_models, summary_sentences

        self.watch("page", 0.0, "building")
        page = build_page(self.out / "records", self.out / "site", TITLE)
        self.watch("page", 1.0, "")
        sentences = summary_sentences(self.records, self._second_stage_steps())
        return QuickStartResult(page, tuple(summarize_models(self.records)), tuple(sentences))

    def _second_stage_steps(self) -> dict[str, int]:
        """Model -> step that started its second stage; models that never got there are left out."""
        steps = {}
        for job in self.training_jobs:
            state = read_object(job.checkpoint / "training.json", source=dict)
            stage_starts = state["source"]["begun"]
            if len(stage_starts) > 1:
                steps[job.name] = int(stage_starts[1])
        return steps
