"""Sample efficiency: how many examples does fine-tuning need (paper section 3.2, Figures 3, 12)?

Models are fine-tuned on variable assignment in code, on equal numbers of examples of each training
depth, and scored at every depth. Training, validation and test items come from splits that share
no item; the smaller training sets of a seed are subsets of its larger ones. Looped models can be
untied first: each step gets a layer of its own (``--ties``). The paper states neither the
optimizer, nor the number of steps, nor the number of examples in the prompt: all are options.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, one_of, whole
from ...core.files import write_atomically
from ...core.schedule import Schedule, check_whole
from ...primitives import Source, generate, make_task
from ...primitives.uniqueness import check_capacity
from ...tasks.evaluate import model_arguments
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel, as_folder
from ..measure.accuracy import (
    accuracy_row,
    check_accuracy,
    item_correctness_per_task,
    load_questions,
)
from ..measure.controls import check_control, with_controls
from ..model_identity import digest
from ..options import (
    QuestionOptions,
    control_option,
    fixed_shots_option,
    items_option,
    option,
    recorded_options,
    shots_option,
)
from ..progress import TrainingProgress
from ..study import Measurement, Study
from .sample_efficiency_table import TIED, UNTIED, chart, table

if TYPE_CHECKING:
    from ...models.training.finetuning import Settings

TASK = "variable_assignment"


@dataclass(frozen=True)
class Options(QuestionOptions):
    """Options of sample-efficiency."""

    sizes: tuple[int, ...] = option(
        (0, 64, 128, 256, 512, 1024), "numbers of training examples; 0 is the model as it is"
    )
    seeds: int = option(3, "seeds of the examples and their order")
    ties: tuple[str, ...] = option(
        (TIED,), f"ties of looped models in fine-tuning: {TIED}, {UNTIED}, or both with a comma"
    )
    train_depths: tuple[int, ...] = option((1, 2), "depths that are trained on, in equal numbers")
    depths: tuple[int, ...] = option((0, 1, 2), "depths that are scored")
    style: str = option("code", "wording of variable assignment: basic, math, code")
    held_out: int = option(64, "validation examples, for early stopping")
    items: int = items_option(1000, "test questions a depth")
    shots: int = shots_option(0)
    fixed_shots: bool = fixed_shots_option(later=False)
    control: str = control_option()
    lr: float = option(1e-4, "peak learning rate")
    epochs: int = option(10, "passes over the training examples")
    min_steps: int = option(60, "fewest steps, for few examples")
    batch_size: int = option(16, "training examples a step", flags="--batch-size -b")
    patience: int = option(3, "validations without a lower loss before it stops")
    validations: int = option(10, "validations in a run")
    seq_len: int = option(512, "tokens in a packed row")
    rows: int = option(1, "packed rows a forward pass of training")
    precision: str = option("bf16", "precision of training: bf16 or fp32")
    lora: int = option(0, "rank of low-rank adapters; 0 trains all weights")
    schedule: str | None = option(None, "run the layers by this schedule, e.g. 4-4x4-4")
    keep: bool = option(False, "keep the fine-tuned checkpoints", drawn=True)

    def settings(self, untie: bool) -> Settings:
        """Return the settings of a fine-tuning."""
        from ...models.training.finetuning import Settings

        same = (
            "lr", "epochs", "min_steps", "batch_size", "patience", "validations", "seq_len",
            "precision", "schedule",
        )  # fmt: skip
        kwargs = {name: getattr(self, name) for name in same}
        return Settings(**kwargs, micro_batch_size=self.rows, lora=self.lora or None, untie=untie)

    def task(self, depth: int) -> str:
        """Return the name of the task with chains of a depth."""
        return f"{TASK}:style={self.style}:depth={depth}"

    def check(self) -> None:
        """Refuse options that cannot be run, before the slow part.

        Raises:
            InputError: names the option.
        """
        for name in ("sizes", "ties", "train_depths", "depths"):
            if not getattr(self, name):
                raise InputError(f"{name} needs at least one value")
        whole("seeds", self.seeds, 1, 10_000)
        one_of("precision", self.precision, ("bf16", "fp32"))
        for name in ("epochs", "min_steps", "batch_size", "validations", "patience", "rows"):
            whole(name, getattr(self, name), 1, 10**7)
        whole("seq_len", self.seq_len, 8, 10**7)
        whole("lora", self.lora, 0, 10**5)
        if not 0 < self.lr < 1:
            raise InputError(f"lr is a number between 0 and 1, not {self.lr}")
        for ties in self.ties:
            one_of("ties", ties, (TIED, UNTIED))
        if self.schedule is not None and UNTIED in self.ties:
            raise InputError(
                f"--schedule does not go with --ties {UNTIED}: give a model that loops so (growloop"
                " loop MODEL --schedule)"
            )
        names = [self.task(depth) for depth in self.depths]
        check_accuracy(names, self.items, self.shots, self.seed, "test")
        check_control(names, self.control)
        parts = len(self.train_depths)
        for name, size in [*(("size", n) for n in self.sizes), ("held_out", self.held_out)]:
            whole(name, size, 0, 10**7)
            if size % parts:
                depths = ", ".join(map(str, self.train_depths))
                raise InputError(
                    f"{name} {size} does not divide into equal numbers of depths {depths}"
                )
        for depth in self.train_depths:
            task = make_task(TASK, {"style": self.style, "depth": depth})
            for split, count in (("train", max(self.sizes)), ("validation", self.held_out)):
                if count:
                    check_capacity(Source(task, split, 0), count // parts)

    def examples(self, split: str, count: int, seed: int) -> list[dict[str, str]]:
        """Generate prompts and targets, the depths in turn."""
        share = count // len(self.train_depths)
        parts = [
            generate(TASK, share, split, seed, style=self.style, depth=depth) if share else []
            for depth in self.train_depths
        ]
        return [
            {"prompt": item.prompt, "target": item.target, "id": item.id}
            for together in zip(*parts, strict=True)
            for item in together
        ]


SCORING = {"depths", "items", "shots", "fixed_shots", "control", "seed"}
"""Options that do not change the fine-tuned model."""
BASELINE = SCORING | {"style", "schedule"}
"""Options that decide the score of the model without fine-tuning."""


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make, for each model, a cell without fine-tuning and one per size, seed and ``ties``."""
    from ...models import checkpoints
    from ...models.growing.grow import check_untie

    options.check()
    recorded = recorded_options(options, "sizes", "seeds", "ties")
    cells = []
    for model in models:
        if options.schedule is not None:
            Schedule.parse(options.schedule).check_fits(model.layers)
            check_whole(options.schedule, model.layers)
        looped = model.schedule.effective_depth > model.schedule.num_unique_layers
        if UNTIED in options.ties and looped:
            check_untie(checkpoints.load_config(**model_arguments(model.path)))
        elif TIED not in options.ties:
            raise InputError(
                f"{model.name} does not loop, so nothing can be untied: --ties {UNTIED} is "
                "for looped models"
            )
        sizes = [(TIED, 0)] if 0 in options.sizes else []
        sizes += [(t, n) for t in options.ties if t == TIED or looped for n in options.sizes if n]
        for ties, size in sizes:
            for seed in range(options.seeds if size else 1):
                params = {"examples": size, "seed": seed, "ties": ties}
                decisive = {k: v for k, v in recorded.items() if size or k in BASELINE}
                cells.append(
                    StudyCell("sample-efficiency", model.name, model.path, params, decisive)
                )
    return cells


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Fine-tune a model, and measure its best checkpoint at each depth."""
    from ...models.looping.config import current_schedule

    place, temporary, data = cell.path, list[Path](), dict[str, Any]()
    if cell.params["examples"]:
        folder, stays = _folder(cell, options, out.resolve())
        place, run = _tuned(cell, options, loader, folder, out.resolve())
        data = {"run": run, "checkpoint": place if stays else None}
        temporary = [] if stays else [folder]
    model, _ = loader(place)
    base = current_schedule(model)
    if not cell.params["examples"] and options.schedule is not None:
        base = Schedule.parse(options.schedule)
    depths = {options.task(depth): depth for depth in options.depths}
    names = with_controls([*depths], options.control)
    questions = [load_questions(loader, name, options, "test") for name, _ in names]
    correct = item_correctness_per_task(loader, questions, [base])
    more = dict(cell.params)
    more["tuning_seed"] = more.pop("seed")  # the seed of a row is that of the questions
    if more["ties"] == TIED:  # untied layers have another schedule than the measured model
        more["schedule"] = str(base)
    rows = [
        accuracy_row(right, each, depth=depths[name.partition(":control=")[0]], **more, **of)
        for (name, of), each, [right] in zip(names, questions, correct, strict=True)
    ]
    return Measurement(rows, data, temporary=temporary)


def _tuned(
    cell: StudyCell, options: Options, loader: ModelLoader, folder: Path, out: Path
) -> tuple[str, dict[str, Any]]:
    """Fine-tune, or resume; return the path of the best checkpoint, and the run file."""
    from transformers.utils import logging

    from ...models.training.finetuning import finetune, run_of

    logging.disable_progress_bar()
    size, seed = cell.params["examples"], cell.params["seed"]
    train = _written(folder / "train.jsonl", options.examples("train", size, seed))
    held_out = options.examples("validation", options.held_out, seed)
    validation = _written(folder / "validation.jsonl", held_out)
    assert train is not None
    settings = options.settings(cell.params["ties"] == UNTIED)
    run = run_of(as_folder(cell.path, out), train, validation, settings, seed)
    best = finetune(run, folder, loader.say, TrainingProgress(loader.say, 0, run.steps))
    return str(best), run.model_dump(mode="json")


def _folder(cell: StudyCell, options: Options, out: Path) -> tuple[Path, bool]:
    """Return the folder of a fine-tuning, and whether it stays after the measurement.

    A folder that stays is named after what decides the model, so that other questions reuse it;
    others are named after the cell too. Another model at the same path gets other folders.
    """
    decisive = {name: value for name, value in cell.options.items() if name not in SCORING}
    text = json.dumps([cell.params, decisive, digest(cell.path)], sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:8]
    size, seed, ties = (cell.params[name] for name in ("examples", "seed", "ties"))
    folder = out / "fine-tunings"
    lasting = folder / f"kept-{cell.model}-{size}-s{seed}-{ties}-{name}"
    return (
        (lasting, True)
        if options.keep or lasting.is_dir()
        else (folder / f"{cell.id}-{name}", False)
    )


def _written(path: Path, rows: Sequence[dict[str, str]]) -> str | None:
    """Write a file of examples and return its path; None without examples.

    Raises:
        InputError: the file exists with other examples.
    """
    if not rows:
        return None
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    elif path.read_bytes() != content:
        raise InputError(
            f"{path} does not hold the examples of its fine-tuning: move {path.parent} away to "
            "begin anew"
        )
    return str(path)


STUDY = Study(
    name="sample-efficiency",
    question="How many examples does fine-tuning need, and do looped and grown models need fewer?",
    figure="Figures 3 (right) and 12",
    cost="for each number of examples and seed as many training passes as --epochs over them, and "
    "a forward pass for each test question",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    conditions=("examples",),
    averaged_over=("tuning_seed",),
    variant=("ties", TIED),
)
