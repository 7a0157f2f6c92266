"""The quick start: small models of every kind trained on generated lessons, scored and compared.

A chain of parts, each of which leaves a file and is skipped where that is there: trainings (two at
a time, on a core each), scores, two studies, records, the page. So a second run does nothing anew,
and one that was ended goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..work_folder import quiet_libraries, use_folder
from .jobs import Training
from .measurements import scored, show, studied
from .parallel import run_all

if TYPE_CHECKING:
    from ...leaderboard import Record
    from ..study import Study
    from .report import Standing

PLAN = "quickstart.json"
LOG = "scoring.log"
TITLE = "growloop quick start"
TASKS = ("reasoning_primitives",)
REPEATED, LEFT_EARLY = "variable_assignment_code_d0", "variable_assignment_math_d0"
STAGES: tuple[tuple[dict[str, float], float], ...] = (
    # lessons, and the running loss of the first of them at which the next stage begins
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
class Size:
    """How much is done.

    Args:
        models: what is trained: recipes ``lessons-NAME``.
        steps: of each training.
        batch_size: rows a step.
        items: questions a task.
        studied: questions of the studies, of each split.
        texts: of the depth study.
    """

    models: tuple[str, ...]
    steps: int
    batch_size: int
    items: int
    studied: int
    texts: int


FULL = Size(("standard", "loop-3x2", "loop-1-2x2-1", "midas", "lidas"), 640, 64, 200, 100, 16)
FAST = Size(("standard", "loop-3x2"), 24, 16, 10, 8, 8)

Watch = Callable[[str, float, str], object]
"""Told of a part, the share of it that is done, and a word about it."""


@dataclass(frozen=True)
class Outcome:
    """What there is in the end.

    Args:
        page: first page of the site.
        standings: a line for each model.
        told: what they show, in sentences.
    """

    page: Path
    standings: tuple[Standing, ...]
    told: tuple[str, ...]


class QuickStart:
    """A quick start in a folder.

    Args:
        out: folder of everything.
        size: of it.
        command: what was typed; records quote it.
    """

    def __init__(
        self, out: str | Path, size: Size = FULL, command: str = "growloop quickstart"
    ) -> None:
        self.out, self.size, self.command = Path(out), size, command
        self.watch: Watch = lambda part, share, word: None
        self.records: list[Record] = []  # what was measured, now or earlier

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the runs."""
        return tuple(f"quickstart-{model}" for model in self.size.models)

    @property
    def parts(self) -> dict[str, float]:
        """What there is to do, in order, and the seconds it took where it was measured."""
        work = {f"train {name}": 100.0 for name in self.names}
        work |= {f"score {name}": 4.0 for name in self.names}
        return work | {"repeats": 13.0, "depth": 10.0, "page": 2.0}

    def run(self, watch: Watch | None = None) -> Outcome:
        """Do all that is not done yet.

        Args:
            watch: told of what is going on.

        Raises:
            InputError: a folder with something else in it, or in use, a part that failed.
        """
        self.watch, self.records = watch or self.watch, []
        plan = {
            "format": "growloop quickstart",
            "size": asdict(self.size),
            "runs": [self.fields(model) for model in self.size.models],
            "tasks": TASKS,
        }
        text = json.dumps(plan, indent=1)
        with use_folder(self.out, PLAN, text, "quick start"):
            self._train()
            with quiet_libraries(self.out / LOG):
                for training in self.trainings:
                    self._score(training)
                self._study()
            return self._show()

    def fields(self, model: str) -> dict[str, Any]:
        """The run file of a model: its recipe, for fewer steps on easier lessons."""
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
    def trainings(self) -> tuple[Training, ...]:
        """All of them."""
        return tuple(
            Training(name, self.fields(model), self.out / "runs" / name)
            for model, name in zip(self.size.models, self.names, strict=True)
        )

    def _train(self) -> None:
        jobs = []
        for training in self.trainings:
            watch = partial(self.watch, f"train {training.name}")
            if training.done:
                watch(1.0, "")
            else:
                jobs.append(training.job(watch))
        run_all(jobs, min(2, os.cpu_count() or 1))

    def _score(self, training: Training) -> None:
        part = f"score {training.name}"
        file = self.out / "results" / f"{training.name}.json"
        if not file.is_file():
            self.watch(part, 0.0, f"{self.size.items} questions a task")
        path, limit = training.checkpoint, self.size.items
        found = scored(path, TASKS, file, shots=0, limit=limit, device="cpu", command=self.command)
        self._add(found)
        self.watch(part, 1.0, "")

    def _add(self, records: Sequence[Record]) -> None:
        from ...leaderboard import Store

        Store(self.out / "records").add(records)
        self.records += records

    def _study(self) -> None:
        """Repeats of a block of the best model; how all of them use their depth."""
        from ..paper import depth, inference_scaling
        from .report import best, standings

        top = best(standings(self.records)).name
        paths = {training.name: training.checkpoint for training in self.trainings}
        self._one_study("repeats", inference_scaling.STUDY, [paths[top]], self._repeats)
        self._one_study("depth", depth.STUDY, list(paths.values()), self._depth)

    def _repeats(self, models: Sequence[Any]) -> Any:
        from ..paper.inference_scaling import Options

        [model] = models
        looped = [section for section in model.schedule.sections if section.times > 1]
        block = looped[0].size if looped else 2  # steps; 2 is what growing adds
        return Options(
            tasks=(REPEATED,),
            block=block,
            times=(1, 2),
            items=self.size.studied,
            shots=0,
            control="none",
        )

    def _depth(self, models: Sequence[Any]) -> Any:
        from ..paper.depth import Options

        return Options(
            texts=self.size.texts,
            tasks=(LEFT_EARLY,),
            items=self.size.studied,
            shots=0,
        )

    def _one_study(
        self, part: str, study: Study, paths: Sequence[Path], options: Callable[[Any], Any]
    ) -> None:
        watch = partial(self.watch, part)
        given: dict[str, Any] = {"device": "cpu", "command": self.command, "watch": watch}
        self._add(studied(study, paths, options, self.out / "studies", **given))
        watch(1.0, "")

    def _show(self) -> Outcome:
        from .report import standings, told

        self.watch("page", 0.0, "building")
        first = show(self.out / "records", self.out / "site", TITLE)
        self.watch("page", 1.0, "")
        sentences = told(self.records, self._begun())
        return Outcome(first, tuple(standings(self.records)), tuple(sentences))

    def _begun(self) -> dict[str, int]:
        """The step before which each model had learned the lesson of the first stage."""
        found = {}
        for training in self.trainings:
            state = json.loads((training.checkpoint / "training.json").read_text("utf-8"))
            begun = state["source"]["begun"]
            if len(begun) > 1:
                found[training.name] = int(begun[1])
        return found
