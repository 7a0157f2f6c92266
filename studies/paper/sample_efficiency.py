"""How many examples does fine-tuning need (paper section 3.2, Figures 3 right and 12)?

Models are fine-tuned on variable assignment in code, on equal numbers of examples of each training
depth, and scored at every depth. Training, validation and test items are of different splits, which
share no item; the smaller sets of a seed are parts of its larger ones. Looped models may lose their
ties first: each step gets a layer of its own. The paper does not say with which optimizer, how
long, or with how many examples in the prompt: all of that is a parameter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError, one_of, whole
from ...core.schedule import check_whole
from ...models import Schedule, checkpoints
from ...models.growing.grow import check_untie
from ...models.looping.config import current_schedule
from ...models.training.data.shards import write_whole
from ...models.training.finetuning import Settings, finetune, run_of
from ...primitives import Source, generate, make_task
from ...primitives.uniqueness import check_capacity
from ...tasks.evaluate import model_arguments
from ..checkpoints import Loaded, Model, as_folder
from ..measure.accuracy import accuracy_row, ask, check_accuracy, right_together
from ..measure.controls import ABOUT, NONE, check_control, with_controls
from ..model_identity import digest
from ..progress import Told
from ..study import Cell, Study, option, settled
from .sample_efficiency_table import TIED, UNTIED, chart, table

TASK = "variable_assignment"
USUAL = Settings()


@dataclass(frozen=True)
class Options:
    """What is trained and measured."""

    sizes: tuple[int, ...] = option(
        (0, 64, 128, 256, 512, 1024), "numbers of training examples; 0 is the model as it is"
    )
    seeds: int = option(3, "of the examples and their order")
    ties: tuple[str, ...] = option(
        (TIED,), f"of looped models in fine-tuning: {TIED}, {UNTIED}, or both with a comma"
    )
    train_depths: tuple[int, ...] = option((1, 2), "that are trained on, in equal numbers")
    depths: tuple[int, ...] = option((0, 1, 2), "that are scored")
    style: str = option("code", "of variable assignment: basic, math, code")
    held_out: int = option(64, "validation examples, for early stopping")
    items: int = option(1000, "test questions a depth")
    shots: int = option(0, "examples before a question")
    fixed_shots: bool = option(False, "the same examples before all: cheaper")
    control: str = option(NONE, ABOUT, later=True)
    seed: int = option(0, "which questions and examples are drawn")
    lr: float = option(USUAL.lr, "peak learning rate")
    epochs: int = option(USUAL.epochs, "passes over the training examples")
    min_steps: int = option(USUAL.min_steps, "at least, for few examples")
    batch_size: int = option(USUAL.batch_size, "training examples a step")
    patience: int = option(USUAL.patience, "validations without a lower loss before it stops")
    validations: int = option(USUAL.validations, "in a run")
    seq_len: int = option(USUAL.seq_len, "tokens a packed row")
    rows: int = option(USUAL.micro_batch_size, "packed rows a forward pass of training")
    precision: str = option(USUAL.precision, "of training: bf16 or fp32")
    lora: int = option(0, "rank of low-rank adapters; 0 trains all weights")
    schedule: str | None = option(None, "run the layers by this schedule, e.g. 4-4x4-4")
    keep: bool = option(False, "keep the fine-tuned checkpoints", drawn=True)

    def settings(self, untie: bool) -> Settings:
        """Of a fine-tuning."""
        same = (
            "lr", "epochs", "min_steps", "batch_size", "patience", "validations", "seq_len",
            "precision", "schedule",
        )  # fmt: skip
        given = {name: getattr(self, name) for name in same}
        return Settings(**given, micro_batch_size=self.rows, lora=self.lora or None, untie=untie)

    def task(self, depth: int) -> str:
        """The name of the task of a depth."""
        return f"{TASK}:style={self.style}:depth={depth}"

    def check(self) -> None:
        """Refuse what cannot be done, before the slow part.

        Raises:
            InputError: naming it.
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
        """Prompts and targets, the depths in turn."""
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
"""Options that do not decide what the fine-tuned model is."""
BEFORE = SCORING | {"style", "schedule"}
"""Options of the model as it is."""


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """For each model the model as it is, and a fine-tuning for each size, seed and kind of ties."""
    options.check()
    kept = settled(options, "sizes", "seeds", "ties")
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
                f"{model.name} has no ties to lose: --ties {UNTIED} is for looped models"
            )
        sizes = [(TIED, 0)] if 0 in options.sizes else []
        sizes += [(t, n) for t in options.ties if t == TIED or looped for n in options.sizes if n]
        for ties, size in sizes:
            for seed in range(options.seeds if size else 1):
                params = {"examples": size, "seed": seed, "ties": ties}
                told = kept if size else {k: v for k, v in kept.items() if k in BEFORE}
                cells.append(Cell("sample-efficiency", model.name, model.path, params, told))
    return cells


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """A fine-tuning, and the accuracy of its best checkpoint at each depth."""
    place, finished, data = cell.path, list[Path](), dict[str, Any]()
    if cell.params["examples"]:
        folder, stays = _folder(cell, options, out.resolve())
        place, run = _tuned(cell, options, loaded, folder, out.resolve())
        data = {"run": run, "checkpoint": place if stays else None}
        finished = [] if stays else [folder]
    model, _ = loaded(place)
    base = current_schedule(model)
    if not cell.params["examples"] and options.schedule is not None:
        base = Schedule.parse(options.schedule)
    depths = {options.task(depth): depth for depth in options.depths}
    names = with_controls([*depths], options.control)
    asked = [ask(loaded, name, options, "test") for name, _ in names]
    found = right_together(loaded, asked, [base])
    more = dict(cell.params)
    more["tuning_seed"] = more.pop("seed")  # that of a row says which questions were drawn
    if more["ties"] == TIED:  # the schedule of untied layers says nothing of the model there was
        more["schedule"] = str(base)
    rows = [
        accuracy_row(right, each, depth=depths[name.partition(":control=")[0]], **more, **of)
        for (name, of), each, [right] in zip(names, asked, found, strict=True)
    ]
    return {"rows": rows, "data": data, "finished": finished}


def _tuned(
    cell: Cell, options: Options, loaded: Loaded, folder: Path, out: Path
) -> tuple[str, dict[str, Any]]:
    """The best checkpoint of a fine-tuning, and its run file; one that was killed goes on."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    size, seed = cell.params["examples"], cell.params["seed"]
    train = _written(folder / "train.jsonl", options.examples("train", size, seed))
    held_out = options.examples("validation", options.held_out, seed)
    validation = _written(folder / "validation.jsonl", held_out)
    assert train is not None
    settings = options.settings(cell.params["ties"] == UNTIED)
    run = run_of(as_folder(cell.path, out), train, validation, settings, seed)
    best = finetune(run, folder, loaded.say, Told(loaded.say, 0, run.steps))
    return str(best), run.model_dump(mode="json")


def _folder(cell: Cell, options: Options, out: Path) -> tuple[Path, bool]:
    """Of a fine-tuning, and whether it stays.

    One that stays is named by what decides the model, so that other questions find it; others by
    the cell too, so that nobody else looks into them. Another model at the path has other folders.
    """
    decides = {name: value for name, value in cell.options.items() if name not in SCORING}
    text = json.dumps([cell.params, decides, digest(cell.path)], sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:8]
    size, seed, ties = (cell.params[name] for name in ("examples", "seed", "ties"))
    folder = out / "fine-tunings"
    kept = folder / f"kept-{cell.model}-{size}-s{seed}-{ties}-{name}"
    return (kept, True) if options.keep or kept.is_dir() else (folder / f"{cell.id}-{name}", False)


def _written(path: Path, rows: Sequence[dict[str, str]]) -> str | None:
    """A file of examples; None for none.

    Raises:
        InputError: the file is there, with other examples.
    """
    if not rows:
        return None
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    elif path.read_bytes() != content:
        raise InputError(
            f"{path} does not hold the examples of its fine-tuning: move {path.parent} away to "
            "begin anew"
        )
    return str(path)


STUDY = Study(
    name="sample-efficiency",
    asks="How many examples does fine-tuning need, and do looped and grown models need fewer?",
    figure="Figures 3 (right) and 12",
    cost="for each number of examples and seed as many training passes as --epochs over them, and "
    "a forward pass for each test question",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    compares=("examples",),
    over=("tuning_seed",),
    variant=("ties", TIED),
)
