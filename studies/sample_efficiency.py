"""Sample efficiency of fine-tuning (paper section 3.2, Figures 3 and 12).

Models are fine-tuned on variable assignment in code, on equal numbers of examples of each training
depth, and scored at every depth. Training, validation and test items are of different splits, which
share no item; the smaller sets of a seed are parts of its larger ones. The paper does not say with
which optimizer, how long, or with how many examples in the prompt: all of that is a parameter.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import PartialState

from ..leaderboard import Cost, Record
from ..models.training.finetuning import Settings, finetune, run_of
from ..models.training.shards import write_whole
from ..primitives import Source, generate, make_task
from ..primitives.errors import InputError, unknown, whole
from ..primitives.uniqueness import check_capacity
from ..tasks.evaluate import DTYPES
from .intervals import interval, wilson
from .questions import check_questions

TASK = "variable_assignment"
SELDOM = ("min_steps", "batch_size", "weight_decay", "patience", "validations")
"""Settings that a record says where they are not the usual ones."""


@dataclass(frozen=True)
class Protocol:
    """What is measured.

    Args:
        sizes: numbers of training examples; 0 is the model as it is.
        seeds: of the examples and their order; ``0 .. seeds - 1``.
        train_depths: depths that are trained on, in equal numbers.
        depths: depths that are scored.
        style: of the task.
        items: test items a depth.
        held_out: validation examples, in equal numbers of each training depth.
        shots: examples in the prompt when scoring.
        dtype: of the weights when scoring.
    """

    sizes: tuple[int, ...] = (0, 64, 128, 256, 512, 1024)
    seeds: int = 3
    train_depths: tuple[int, ...] = (1, 2)
    depths: tuple[int, ...] = (0, 1, 2)
    style: str = "code"
    items: int = 1000
    held_out: int = 64
    shots: int = 0
    dtype: str = "auto"
    settings: Settings = field(default_factory=Settings)

    def check(self) -> None:
        """Refuse what cannot be done, before the slow part.

        Raises:
            InputError: naming it.
        """
        if not self.sizes or not self.depths or not self.train_depths:
            raise InputError("sizes, depths and training depths need at least one value each")
        whole("seeds", self.seeds, 1, 10_000)
        whole("items", self.items, 1, 10**7)
        for name, size in [*(("size", n) for n in self.sizes), ("held_out", self.held_out)]:
            whole(name, size, 0, 10**7)
            if size % len(self.train_depths):
                raise InputError(
                    f"{name} {size} does not divide into equal numbers of depths "
                    f"{', '.join(map(str, self.train_depths))}"
                )
        for depth in self.train_depths:
            for split, count in (("train", max(self.sizes)), ("validation", self.held_out)):
                if count:
                    source = Source(self.task(depth), split, 0)
                    check_capacity(source, count // len(self.train_depths))
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)
        for depth in self.depths:
            name = f"{TASK}:style={self.style}:depth={depth}"
            check_questions(name, self.items, "test", 0, self.shots)

    def task(self, depth: int) -> Any:
        """The task of a depth."""
        return make_task(TASK, {"style": self.style, "depth": depth})

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


@dataclass(frozen=True)
class Cell:
    """One fine-tuning: a model, a number of examples, a seed."""

    model: str
    path: str
    size: int
    seed: int

    @property
    def id(self) -> str:
        """Stable name of the cell."""
        return f"{self.model}-{self.size}-{self.seed}"


def plan(models: dict[str, str], protocol: Protocol) -> list[Cell]:
    """All cells; without training there is one a model.

    Args:
        models: folder or hub id by name.
    """
    return [
        Cell(name, path, size, seed)
        for name, path in models.items()
        for size in protocol.sizes
        for seed in range(protocol.seeds if size else 1)
    ]


def run_cell(
    cell: Cell,
    protocol: Protocol,
    out: str | Path,
    say: Callable[[str], object] = lambda text: None,
    watch: Callable[[int, dict[str, Any]], object] = lambda step, values: None,
    keep: bool = False,
    device: str | None = None,
) -> dict[str, Any]:
    """Fine-tune and score one cell, unless that is done; its record.

    A run that was killed goes on where it was.

    Args:
        out: folder of the study; records go to ``records/``, checkpoints to ``runs/``.
        keep: keep the checkpoint.
        device: to score on; Accelerate chooses where to train.
    """
    file = Path(out) / "records" / f"{cell.id}.json"
    asked = {"cell": asdict(cell), "protocol": json.loads(json.dumps(asdict(protocol)))}
    asked["protocol"] = {k: v for k, v in asked["protocol"].items() if k not in ("sizes", "seeds")}
    if file.is_file():
        try:
            record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            measured = {k: record[k] for k in (*asked, "accuracy")}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file} is no record of fine-tuning: move it away") from error
        if {k: measured[k] for k in asked} != asked:
            raise InputError(f"{file} was measured otherwise: give another folder")
        return record
    processes = PartialState()
    best, folder = cell.path, Path(out) / "runs" / cell.id
    if cell.size:
        with processes.main_process_first():
            train = _written(folder / "train.jsonl", protocol, cell.size, cell.seed)
            held_out = folder / "validation.jsonl"
            validation = _written(held_out, protocol, protocol.held_out, cell.seed)
        assert train is not None
        run = run_of(cell.path, train, validation, protocol.settings, cell.seed)
        best = str(finetune(run, folder, say, watch))
    accuracy = score(best, protocol, device)
    record = {**asked, "checkpoint": best, "accuracy": accuracy or {}}
    processes.wait_for_everyone()
    if accuracy is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(record, indent=2).encode())
        for path in folder.glob("step-*") if cell.size and not keep else ():
            shutil.rmtree(path)
    return record


def _written(path: Path, protocol: Protocol, count: int, seed: int) -> str | None:
    """A file of examples of the split it is named after; None for none."""
    if not count:
        return None
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = protocol.examples(path.stem, count, seed)
        write_whole(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return str(path)


def score(
    model: str, protocol: Protocol, device: str | None = None
) -> dict[str, dict[str, Any]] | None:
    """Accuracy at each depth: ``{"1": {"value": .., "n": .., "chance": ..}, ..}``.

    None on all processes but the first.
    """
    from ..tasks.evaluate import evaluate
    from ..tasks.results import rows

    names = {f"{TASK}_{protocol.style}_d{depth}": str(depth) for depth in protocol.depths}
    results = evaluate(
        model,
        [f"{TASK}:style={protocol.style}:depth={depth}" for depth in protocol.depths],
        shots=protocol.shots,
        count=protocol.items,
        device=device,
        dtype=protocol.dtype,
    )
    if results is None:
        return None
    return {
        names[row.task]: {
            "value": row.value,
            "stderr": row.stderr or 0.0,
            "n": float(row.n or 0),
            "chance": row.chance or 0.0,
            "fingerprint": row.fingerprint or "",
        }
        for row in rows(results)
    }


def records_of(cell: dict[str, Any], time: str | None = None) -> list[Record]:
    """What :func:`run_cell` returned as records of the leaderboard, one a depth.

    Args:
        cell: its record.
        time: when it was measured, in ISO 8601 with a time zone.
    """
    from ..models.checkpoints import load_config
    from .recording import cost_of, model_of, versions

    asked, protocol, settings = cell["cell"], cell["protocol"], cell["protocol"]["settings"]
    config = load_config(asked["path"])
    model = model_of(config, asked["path"], asked["model"])
    schedule, cost = cost_of(config, settings.get("schedule"))
    usual = asdict(Settings())
    looped = model.unique_layers != model.effective_layers
    if settings.get("untie") and asked["size"] and looped:
        recipe = ", ".join(part for part in (model.recipe, "untied") if part)
        model = model.model_copy(update={"family": "untied", "recipe": recipe})
        cost = Cost()  # that of the tied model, whose config was read, says nothing of it
    conditions = {
        "examples": asked["size"],
        "train_depths": ",".join(map(str, protocol["train_depths"])),
        **{name: settings[name] for name in ("lr", "epochs", "lora") if settings.get(name)},
        **{
            name: settings[name]
            for name in SELDOM
            if settings.get(name, usual[name]) != usual[name]
        },
    }
    found = []
    for depth, accuracy in cell["accuracy"].items():
        task = make_task(TASK, {"style": protocol["style"], "depth": int(depth)})
        fields = {
            "version": 1,
            "study": "sample-efficiency",
            "model": model.model_dump(mode="json", exclude_defaults=True),
            "cost": cost.model_dump(mode="json", exclude_defaults=True),
            "schedule": None if schedule == model.schedule else schedule,
            "task": {
                "name": task.label,
                "version": str(task.version),
                "fingerprint": accuracy.get("fingerprint") or None,
                "shots": protocol["shots"],
                "split": "test",
                "chance": accuracy["chance"],
            },
            "value": accuracy["value"],
            "stderr": accuracy["stderr"],
            "n": int(accuracy["n"]),
            "seed": asked["seed"],
            "conditions": conditions,
            "dtype": protocol["dtype"],
            "versions": versions(),
            "time": time,
        }
        found.append(Record.from_fields(fields))
    return found


@dataclass(frozen=True)
class Line:
    """Accuracy of a model after so many examples at a depth, over seeds.

    ``low`` and ``high`` are the 95 % interval: of the mean over seeds (t), or of the proportion
    over items (Wilson) where there is one seed.
    """

    model: str
    size: int
    depth: int
    seeds: int
    items: int
    mean: float
    low: float
    high: float
    chance: float


def table(records: Sequence[dict[str, Any]]) -> list[Line]:
    """The results by model, number of examples and depth."""
    found: dict[tuple[str, int, int], list[dict[str, float]]] = {}
    for record in records:
        cell = record["cell"]
        for depth, accuracy in record["accuracy"].items():
            found.setdefault((cell["model"], cell["size"], int(depth)), []).append(accuracy)
    lines = []
    for (model, size, depth), measured in found.items():
        values = [accuracy["value"] for accuracy in measured]
        items, chance = int(measured[0]["n"]), measured[0]["chance"]
        mean = statistics.fmean(values)
        low, high = interval(values) if len(values) > 1 else wilson(mean, items)
        lines.append(Line(model, size, depth, len(values), items, mean, low, high, chance))
    return lines
