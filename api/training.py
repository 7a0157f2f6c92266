"""Training by a run file, and fine-tuning on a file of examples."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, shown, whole
from ..core.tabular import Tabular, html_table
from ..tasks.loading import check_device, require_extra

if TYPE_CHECKING:
    from ..models.training.runfile import Run

Say = Callable[[str], object]
CURVES = "loss", "held_out"
"""Metrics that a chart of a run shows, where the run logs them."""


@dataclass(frozen=True)
class TrainResult(Tabular):
    """Result of :func:`growloop.train`: the metrics of the run, a row a logged step.

    Args:
        out: folder of the run.
        step: optimizer steps done.
        finished: whether the run reached its end; False if it was interrupted or stopped by
            ``until``, and a later call goes on.
        folder: last checkpoint.
        best: checkpoint with the lowest held-out loss; None if the run does not keep it.
    """

    out: Path
    step: int
    finished: bool
    folder: Path
    best: Path | None = None

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the logged metrics: loss, tokens, FLOPs and more of each logged step."""
        from ..models.training.metrics import read_metrics

        return read_metrics(self.out)

    def to_dict(self) -> dict[str, Any]:
        """Return step, checkpoint and metrics."""
        return {
            "step": self.step,
            "finished": self.finished,
            "folder": str(self.folder),
            "best": None if self.best is None else str(self.best),
            "rows": self.to_rows(),
        }

    @property
    def title(self) -> str:
        """Line above the table in a notebook."""
        state = "finished" if self.finished else "stopped"
        return f"{state} after {self.step:,} steps: {self.best or self.folder}"

    def _repr_html_(self) -> str:
        rows = self.to_rows()
        return html_table(rows[-10:], self.title, [f"the last {min(10, len(rows))} logged steps"])

    def chart(self) -> Any:
        """Draw training and held-out loss against steps as an Altair chart.

        Raises:
            InputError: Altair is not installed, or nothing was logged.
        """
        return _loss_chart({self.out.name: self.to_rows()})


@dataclass(frozen=True)
class SftResult(Tabular):
    """Result of :func:`growloop.sft`: a row a seed.

    Args:
        checkpoints: best checkpoint of each seed, a plain Hugging Face folder.
    """

    checkpoints: tuple[Path, ...]

    @property
    def checkpoint(self) -> Path:
        """Best checkpoint of the first seed."""
        return self.checkpoints[0]

    def to_rows(self) -> list[dict[str, Any]]:
        """Return seed, checkpoint, steps and the last losses of each run."""
        rows = []
        for seed, (place, logged) in enumerate(self._runs()):
            last = {name: _last(logged, name) for name in CURVES}
            rows.append({"seed": seed, "checkpoint": str(place), **last})
        return rows

    def _runs(self) -> list[tuple[Path, list[dict[str, Any]]]]:
        from ..models.training.metrics import read_metrics

        return [(place, read_metrics(place.parent)) for place in self.checkpoints]

    @property
    def title(self) -> str:
        """Line above the table in a notebook."""
        return "fine-tuned checkpoints"

    def chart(self) -> Any:
        """Draw training and held-out loss of each seed against steps as an Altair chart.

        Raises:
            InputError: Altair is not installed, or nothing was logged.
        """
        return _loss_chart({place.parent.name: logged for place, logged in self._runs()})


def _last(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return next((row[name] for row in reversed(rows) if row.get(name) is not None), None)


def _loss_chart(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    from ..studies.measure.charts import finish
    from ..studies.measure.training_chart import loss_chart

    return finish(loss_chart(runs, CURVES))


def train(
    run: str | Path | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    until: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    force: bool = False,
    trust_task_code: bool = False,
    progress: bool = True,
    say: Say | None = None,
) -> TrainResult:
    """Train a model by a run file; called again, it resumes.

    Args:
        run: run file, or its fields.
        out: folder of the run; ``runs/NAME`` by default.
        overrides: values that replace those of the run file, such as ``optimizer.lr=1e-3``.
        until: step to stop at.
        dtype: precision in place of the run file's.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; by default Accelerate's choice.
        force: go on although the run file has changed.
        trust_task_code: run the code that task files of evaluate events name.
        progress: show a progress bar.
        say: receives messages; by default they go to standard error.

    Raises:
        InputError: the run cannot start or go on; the message says why.

    Example::

        result = growloop.train("lidas.yaml", overrides=["steps=200"])
        result.chart()
        model = growloop.load(str(result.folder))
    """
    require_extra("train", "training")
    if until is not None:
        whole("--until", until, 1)
    if device is not None:
        check_device(device)
    say = _say if say is None else say
    parsed = read_run(run, overrides, dtype)
    check_tasks(parsed, trust_task_code)
    folder = run_folder(parsed, out)
    from transformers.utils import logging

    from ..models.training.engine import Engine
    from .progress import Progress

    logging.disable_progress_bar()
    accuracy = functools.partial(_accuracy, trust_task_code, device)
    engine = Engine(parsed, folder, say, force, accuracy, device=device)
    main = engine.accelerator.is_main_process
    with Progress(parsed.steps, done=engine.step, show=main and progress) as bar:
        outcome = engine.train(until, bar)
    return TrainResult(folder, outcome.step, outcome.finished, outcome.folder, outcome.best)


def read_run(
    run: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), dtype: str | None = None
) -> Run:
    """Read a run file, or check the fields of one.

    Raises:
        InputError: it is invalid; the message lists field and problem.
    """
    from ..models.training import runfile

    if dtype is not None:
        overrides = (*overrides, f"precision={dtype}")
    if isinstance(run, (str, Path)):
        parsed = runfile.load(run, overrides)
    elif isinstance(run, Mapping):
        parsed = runfile.of_fields(run, overrides)
    else:
        raise InputError(f"a run is a run file or its fields, not {shown(run)}")
    if parsed.model.lora is not None:
        require_extra("lora", "a run with adapters")
    return parsed


def run_folder(run: Run, out: str | Path | None) -> Path:
    """Return the folder of a run; ``runs/NAME`` by default."""
    return Path(out) if out else Path("runs") / run.name


def check_tasks(run: Run, trust_task_code: bool) -> None:
    """Refuse tasks that cannot be scored before the run: it comes to them late.

    Raises:
        InputError: an unknown task, or one without enough items.
    """
    from ..tasks.catalog import ITEMS, SHOTS
    from ..tasks.scoring.planning import Plan, check_sizes, their_tasks

    for event in run.events:
        if (wanted := event.evaluate) is None:
            continue
        require_extra("eval", "a run that evaluates")
        found = Plan({})
        for name in wanted.tasks:
            found.add(name)
        found.check()
        shots = SHOTS if wanted.shots is None else wanted.shots
        check_sizes(list(found.ours.values()), ITEMS, 0, shots)
        if found.theirs:
            their_tasks(found.theirs, {}, trust_task_code)


def _accuracy(
    trust_task_code: bool, device: str | None, folder: Path, task: Any
) -> dict[str, float]:
    """Score a checkpoint on the tasks of an event: task -> accuracy."""
    from ..tasks.evaluate import evaluate
    from ..tasks.results import rows

    results = evaluate(
        str(folder),
        task.tasks,
        shots=task.shots,
        limit=task.limit,
        trust_task_code=trust_task_code,
        device=device,
    )
    return {} if results is None else {row.task: row.value for row in rows(results)}


def sft(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    validation: str | Path | None = None,
    seeds: int = 1,
    keep_optimizer: bool = False,
    device: str | None = None,
    progress: bool = True,
    say: Say | None = None,
    **settings: Any,
) -> SftResult:
    """Fine-tune a checkpoint on prompts and targets, or on conversations.

    Args:
        model: checkpoint, hub id, GGUF file or ``package:NAME``.
        data: JSONL, Parquet or datasets folder with the examples.
        out: folder of the runs, ``seed-0`` and on; called again, they go on.
        validation: held-out examples, for early stopping.
        seeds: number of runs.
        keep_optimizer: keep optimizer states and intermediate checkpoints.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; by default Accelerate's choice.
        progress: show a progress bar a run.
        say: receives messages; by default they go to standard error.
        settings: fields of :class:`growloop.models.training.finetuning.Settings`, such as
            ``epochs=3, lr=1e-4, lora=8, untie=True``.

    Raises:
        InputError: a setting or the data is not allowed, or the run cannot start or go on.

    Example::

        tuned = growloop.sft("./looped", "train.jsonl", "tuned", validation="held_out.jsonl")
        growloop.evaluate(tuned.checkpoint)
    """
    whole("seeds", seeds, 1, 10_000)
    require_extra("train" if settings.get("lora") is None else "lora", "fine-tuning")
    if device is not None:
        check_device(device)
    if not isinstance(model, (str, Path)):
        raise InputError(
            "fine-tuning reads a checkpoint by name or path: save a loaded model, and give its "
            f"folder, not {shown(model)}"
        )
    say = _say if say is None else say
    from transformers.utils import logging

    from ..models.training.checks import check, check_writable
    from ..models.training.data.rows import read_examples
    from ..models.training.finetuning import finetune, run_of
    from ..studies.checkpoints import as_folder
    from .progress import Progress

    logging.disable_progress_bar()
    given = _settings(settings)
    place, file = Path(out), str(data)
    held_out = None if validation is None else str(validation)
    check_writable(place)
    run_of(str(model), file, held_out, given)  # refuses settings and data
    if held_out is not None:
        read_examples(held_out, given.columns)
    folder = as_folder(str(model), place)
    runs = {
        place / f"seed-{seed}": run_of(folder, file, held_out, given, seed) for seed in range(seeds)
    }
    for number, (where, run) in enumerate(runs.items()):
        if number == 0 or where.exists():  # new ones differ in their seed alone
            start = check(run, where)
        if number == 0:
            say(_reading(file, start.source))
    found = []
    for seed, (where, run) in enumerate(runs.items()):
        with Progress(run.steps, f"seed {seed}", show=progress) as bar:
            found.append(finetune(run, where, say, bar, keep_optimizer, device))
    return SftResult(tuple(found))


def _settings(settings: Mapping[str, Any]) -> Any:
    """Make the settings of a fine-tuning run.

    Raises:
        InputError: an unknown name.
    """
    from dataclasses import fields

    from ..core.errors import one_of
    from ..models.training.finetuning import Settings

    for name in settings:
        one_of("setting of sft", name, [each.name for each in fields(Settings)])
    return Settings(**settings)


def _reading(data: str, source: Any) -> str:
    """Describe the columns read from the data, and the delimiter that joins them."""
    about = source.about
    what = f"{len(source):,} examples of {data}: {about['columns'].replace(',', ' and ')}"
    if "delimiter" in about:
        return f"{what}, {shown(about['delimiter'])} between them"
    return f"{what}, rendered by the chat template; learned are the turns of the assistant"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
