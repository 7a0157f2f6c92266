"""The quick start: small models of every kind trained on generated lessons, scored and compared.

A chain of parts, each of which leaves a file and is skipped where that is there: trainings (two at
a time, on a core each), scores, two studies, records, the page. So a second run does nothing anew,
and one that was ended goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..primitives.errors import InputError

if TYPE_CHECKING:
    from ..leaderboard import Record
    from .beside import Job
    from .plain_words import Standing
    from .study import Study

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


@contextlib.contextmanager
def quiet_libraries(log: Path) -> Iterator[None]:
    """What libraries, and programs they call, write to standard error goes to a file."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with open(log, "ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)


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
            InputError: a folder with something else in it, a part that failed.
        """
        self.watch, self.records = watch or self.watch, []
        self._begin()
        self._train()
        with quiet_libraries(self.out / LOG):
            for name in self.names:
                self._score(name)
            self._study()
        return self._show()

    def fields(self, model: str) -> dict[str, Any]:
        """The run file of a model: its recipe, for fewer steps on easier lessons."""
        from ..models.training.recipes import recipe

        size = self.size
        fields = recipe(f"lessons-{model}")
        stages = [{"lessons": lessons, "until": until} for lessons, until in STAGES]
        fields |= {"name": f"quickstart-{model}", "steps": size.steps, "log_every": 5}
        fields["checkpoints"] = {"every": 100, "keep": 2}
        fields["data"] |= {"curriculum": stages, "batch_size": size.batch_size, "seq_len": 224}
        fields["optimizer"] |= {"warmup": size.steps // 30, "cooldown": size.steps // 5}
        return fields

    def _begin(self) -> None:
        """Refuse a folder of something else; write down what this is."""
        from ..models.training.shards import write_whole

        plan = {
            "format": "growloop quickstart",
            "size": asdict(self.size),
            "runs": [self.fields(model) for model in self.size.models],
            "tasks": TASKS,
        }
        text = json.dumps(plan, indent=1)
        file = self.out / PLAN
        try:
            if self.out.is_dir() and not file.is_file() and _holds_something(self.out):
                raise InputError(f"{self.out} holds something else: give another --out")
            if file.is_file() and file.read_text(encoding="utf-8") != text:
                raise InputError(
                    f"{self.out} holds a quick start of another size or version: give another --out"
                )
            self.out.mkdir(parents=True, exist_ok=True)
            if not file.is_file():
                write_whole(file, text.encode())
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot use the folder {self.out}: {reason}") from error

    def checkpoint(self, name: str) -> Path:
        """The last one of a run."""
        return self.out / "runs" / name / f"step-{self.size.steps:09d}"

    def _train(self) -> None:
        import yaml

        from ..models.training.shards import write_whole
        from .beside import Job, train_all

        jobs = []
        for model, name in zip(self.size.models, self.names, strict=True):
            if self._trained(name):
                self.watch(f"train {name}", 1.0, "")
                continue
            folder = self.out / "runs" / name
            folder.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(self.fields(model), sort_keys=False)
            write_whole(folder / "run.yaml", text.encode())
            jobs.append(Job(name, folder / "run.yaml", folder, self.size.steps))

        def watch(job: Job, step: int, loss: float | None) -> None:
            word = "starting" if loss is None else f"loss {loss:.2f}"
            self.watch(f"train {job.name}", step / job.steps, word)

        train_all(jobs, min(2, os.cpu_count() or 1), watch)

    def _trained(self, name: str) -> bool:
        from ..models.training.snapshots import problem

        return problem(self.checkpoint(name)) is None

    def _score(self, name: str) -> None:
        """lm-eval's results of a model, in a file."""
        from ..leaderboard.harness import read

        part, file = f"score {name}", self.out / "results" / f"{name}.json"
        if not file.is_file():
            from ..models.training.shards import write_whole
            from ..tasks.evaluate import evaluate
            from .recording import Recorder

            self.watch(part, 0.0, f"{self.size.items} questions a task")
            recorder = Recorder(str(self.checkpoint(name)))
            results = evaluate(
                recorder.path,
                TASKS,
                shots=0,
                limit=self.size.items,
                device="cpu",
                dtype="float32",
                prepare=recorder,
            )
            assert results is not None
            recorder.note(results)
            results["growloop"]["command"] = self.command
            results.pop("samples", None)
            file.parent.mkdir(exist_ok=True)
            write_whole(file, json.dumps(results, indent=1, default=str).encode())
        self._add(read(file))
        self.watch(part, 1.0, "")

    def _add(self, records: Sequence[Record]) -> None:
        from ..leaderboard import Store

        Store(self.out / "records").add(records)
        self.records += records

    def _study(self) -> None:
        """Repeats of a block of the best model; how all of them use their depth."""
        from . import depth, inference_scaling
        from .plain_words import best, standings

        top = best(standings(self.records)).name
        self._one_study("repeats", inference_scaling.STUDY, [top], self._repeats)
        self._one_study("depth", depth.STUDY, self.names, self._depth)

    def _repeats(self, models: Sequence[Any]) -> Any:
        from .inference_scaling import Options

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
        from .depth import Options

        return Options(
            texts=self.size.texts,
            tasks=(LEFT_EARLY,),
            items=self.size.studied,
            shots=0,
        )

    def _one_study(
        self, part: str, study: Study, names: Sequence[str], options: Callable[[Any], Any]
    ) -> None:
        from . import study as studies
        from .publishing import published, written_at

        models = studies.read_models([str(self.checkpoint(name)) for name in names])
        chosen = options(models)
        cells, folder = study.plan(models, chosen), self.out / "studies"
        files = [studies.record_path(cell, folder) for cell in cells]

        def say(text: str) -> None:
            number, _, count = text.split(":")[0].split()
            self.watch(part, (int(number) - 1) / int(count), f"{number} of {count}")

        found = studies.run(study, cells, chosen, folder, self.command, say, "float32", "cpu")
        self._add(published(found, max(map(written_at, files))))
        self.watch(part, 1.0, "")

    def _show(self) -> Outcome:
        from ..leaderboard import Store, page
        from ..leaderboard.paper import paper_rows
        from .plain_words import standings, told

        self.watch("page", 0.0, "building")
        found = Store(self.out / "records").read()
        first = page.build([*found, *paper_rows()], self.out / "site", TITLE)
        self.watch("page", 1.0, "")
        sentences = told(self.records, self._begun())
        return Outcome(first, tuple(standings(self.records)), tuple(sentences))

    def _begun(self) -> dict[str, int]:
        """The step before which each model had learned the lesson of the first stage."""
        found = {}
        for name in self.names:
            state = json.loads((self.checkpoint(name) / "training.json").read_text("utf-8"))
            begun = state["source"]["begun"]
            if len(begun) > 1:
                found[name] = int(begun[1])
        return found


def _holds_something(folder: Path) -> bool:
    return any(not path.name.startswith(".") for path in folder.iterdir())
