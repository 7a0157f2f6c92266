"""What the cells of a plan cost, and what data they need, before anything is done.

A laptop's hours are those of one core at the speed measured here and now. Larger scales are counted
in GPU-hours at an assumed share of a GPU's peak.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ...models import build, cost
from ...models.training import runfile
from ...models.training.data.shards import INDEX
from ...models.training.plan import plan as plan_of
from .plan import SCORE, TRAIN, Cell
from .scales import Scale

REFERENCE = 7e10  # FLOPs a second of one core of an AMD EPYC, which the seconds of studies are of
TOKENIZER = "-t HuggingFaceTB/cosmo2-tokenizer"
SOURCES = {
    # of token shards: what growloop tokenize makes them of (docs/recipes.md)
    "fineweb-edu": "HuggingFaceTB/smollm-corpus:fineweb-edu-dedup",
    "cosmopedia-v2": "HuggingFaceTB/smollm-corpus:cosmopedia-v2",
    "python-edu": "./python-edu",
    "open-web-math": "open-web-math/open-web-math",
    "stackoverflow": "bigcode/stackoverflow-clean --field content",
    "finemath": "HuggingFaceTB/finemath:finemath-4plus",
    "nemotron": "nvidia/Nemotron-CC-Math-v1:4plus",
}


@dataclass(frozen=True)
class Need:
    """A data set that a cell reads.

    Args:
        name: of it.
        path: where it is looked for.
        found: ``here``, on the ``hub``, or ``missing``.
        advice: how to get it.
    """

    name: str
    path: str
    found: str
    advice: str


@dataclass(frozen=True)
class Estimate:
    """What a cell costs; hours are of a core or a GPU."""

    steps: int
    tokens: float
    flops: float
    hours: float


class Estimator:
    """Costs of the cells of a scale.

    Args:
        changes: fields of the run files, as the scale has them.
        rate: FLOPs a second of the core or GPU.
        data_dir: folder of the benchmarks.
    """

    def __init__(self, scale: Scale, rate: float, data_dir: str) -> None:
        self.scale, self.rate, self.data_dir = scale, rate, data_dir
        self.plans: dict[str, dict[str, Any]] = {}

    def __call__(self, cell: Cell) -> Estimate:
        """Of a cell."""
        if cell.row is None:
            return Estimate(0, 0.0, 0.0, 0.0)
        if cell.kind == TRAIN:
            return self._training(cell.row)
        ask = self.scale.ask(cell.kind)
        if not self.scale.launched:
            return Estimate(0, 0.0, 0.0, ask.seconds * REFERENCE / self.rate / 3600)
        flops = ask.tokens * 1e6 * self._forward(cell.row)
        return Estimate(0, ask.tokens * 1e6, flops, flops / self.rate / 3600)

    def _plan(self, name: str) -> dict[str, Any]:
        if name not in self.plans:
            fields = self.scale.row(name).fields(self.scale.changes, 0)
            self.plans[name] = plan_of(runfile.parse(fields))
        return self.plans[name]

    def _training(self, name: str) -> Estimate:
        """Of a row that goes on from another one the steps of its own."""
        row, plan = self.scale.row(name), self._plan(name)
        first = 0
        if row.base is not None:
            first = row.fields(self.scale.changes, 0)["events"][0]["step"]
        stages = [stage for stage in plan["stages"] if stage["first"] >= first]
        tokens, flops = (sum(stage[key] for stage in stages) for key in ("tokens", "flops"))
        return Estimate(plan["steps"] - first, tokens, flops, flops / self.rate / 3600)

    def _forward(self, name: str) -> float:
        """FLOPs of a token of the finished model: a third of those of training on it."""
        last = self._plan(name)["stages"][-1]
        return float(last["flops"] / last["tokens"] / 3)

    def needs(self, cell: Cell) -> list[Need]:
        """The data that a cell reads."""
        if cell.row is None or not self.scale.launched:
            return []
        if cell.kind == TRAIN:
            return _shards(json.dumps(self.scale.row(cell.row).fields(self.scale.changes, 0)))
        return _benchmarks(self.data_dir) if cell.kind == SCORE else []


@cache
def _shards(fields: str) -> list[Need]:
    """Of a run file."""
    found = []
    for name, folder in json.loads(fields)["data"]["sources"].items():
        advice = (
            f"no token shards of {name}: growloop tokenize {SOURCES[name]} -o {folder} {TOKENIZER}"
        )
        there = (Path(folder) / INDEX).is_file()
        found.append(Need(name, folder, "here" if there else "missing", advice))
    return found


@cache
def _benchmarks(folder: str) -> list[Need]:
    """Of the paper's suite; what is not in the folder is asked of the hub, unless off line."""
    from ...tasks.benchmarks import BENCHMARKS
    from ...tasks.benchmarks.sources import DATASETS, HOLDOUT

    needed = [(b.dataset, split) for b in BENCHMARKS.values() if b.dataset for split in b.splits]
    online = os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0")
    found = []
    for name, split in dict.fromkeys(needed):
        dataset = DATASETS[name]
        place = "hub" if dataset.hub is not None and online else "missing"
        place = "here" if dataset.file(folder, split) is not None else place
        found.append(Need(name, f"{folder}/{name}/{split}.jsonl", place, dataset.advice(folder)))
    path = f"{folder}/{HOLDOUT}"
    advice = f"no held-out text: write text or token shards into {path}"
    return [*found, Need(HOLDOUT, path, "here" if Path(path).exists() else "missing", advice)]


def missing(needs: Sequence[Need]) -> Need | None:
    """The first that is not there."""
    return next((need for need in needs if need.found == "missing"), None)


def measured_rate(device: str | None) -> float:
    """FLOPs a second of one thread, or of the device, when it trains a model of lessons."""
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = build("lessons", 6).to(where)
    ids = torch.ones(32, 200, dtype=torch.long, device=where)
    flops = cost(model, seq_len=ids.shape[1]).training_flops * ids.numel()
    threads, best = torch.get_num_threads(), float("inf")
    torch.set_num_threads(1)
    try:
        for _ in range(3):
            start = time.perf_counter()
            loss = model(ids, labels=ids).loss
            loss.backward()
            loss.item()  # waits for the device
            best = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return flops / best
