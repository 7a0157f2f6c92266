"""Estimate the cost of the cells of a plan and find the data sets they need.

The laptop scale is counted in hours of one core, at the speed measured on this machine. Larger
scales are counted in GPU-hours at an assumed share of the GPU's peak (MFU).
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
from ...models.training.plan import plan as plan_run
from .plan import SCORE, TRAIN, PlanCell
from .scales import Scale

REFERENCE_FLOPS = 7e10  # per second, one core of an AMD EPYC: the unit of ``ScaleStudy.seconds``
TOKENIZER = "-t HuggingFaceTB/cosmo2-tokenizer"
SOURCES = {
    # source -> argument of growloop tokenize that makes its token shards (docs/recipes.md)
    "fineweb-edu": "HuggingFaceTB/smollm-corpus:fineweb-edu-dedup",
    "cosmopedia-v2": "HuggingFaceTB/smollm-corpus:cosmopedia-v2",
    "python-edu": "./python-edu",
    "open-web-math": "open-web-math/open-web-math",
    "stackoverflow": "bigcode/stackoverflow-clean --field content",
    "finemath": "HuggingFaceTB/finemath:finemath-4plus",
    "nemotron": "nvidia/Nemotron-CC-Math-v1:4plus",
}


@dataclass(frozen=True)
class DataNeed:
    """Data set that a cell reads.

    Args:
        name: name of the data set.
        path: expected file or folder.
        found: where it was found: ``here`` (local), ``hub`` (Hugging Face), or ``missing``.
        advice: how to obtain it.
    """

    name: str
    path: str
    found: str
    advice: str


@dataclass(frozen=True)
class CellCost:
    """Estimated cost of a cell.

    Args:
        steps: optimizer steps.
        tokens: tokens that run through the model.
        flops: FLOPs.
        hours: hours of one core, or of one GPU at larger scales.
    """

    steps: int
    tokens: float
    flops: float
    hours: float


class CostEstimator:
    """Estimate the cost of the cells of a scale.

    Args:
        rate: FLOPs per second of the core or GPU.
        data_dir: folder of the benchmarks.
    """

    def __init__(self, scale: Scale, rate: float, data_dir: str) -> None:
        self.scale, self.rate, self.data_dir = scale, rate, data_dir
        self.plans: dict[str, dict[str, Any]] = {}

    def __call__(self, cell: PlanCell) -> CellCost:
        """Return the cost of a cell."""
        if cell.model is None:
            return CellCost(0, 0.0, 0.0, 0.0)
        if cell.kind == TRAIN:
            return self._training_cost(cell.model)
        study = self.scale.study(cell.kind)
        if not self.scale.distributed:
            return CellCost(0, 0.0, 0.0, study.seconds * REFERENCE_FLOPS / self.rate / 3600)
        flops = study.tokens * 1e6 * self._forward_flops(cell.model)
        return CellCost(0, study.tokens * 1e6, flops, flops / self.rate / 3600)

    def _plan(self, name: str) -> dict[str, Any]:
        if name not in self.plans:
            fields = self.scale.model(name).run_fields(self.scale.overrides, 0)
            self.plans[name] = plan_run(runfile.parse(fields))
        return self.plans[name]

    def _training_cost(self, name: str) -> CellCost:
        """Return the cost of a run; a run that continues another counts its own steps only."""
        model, plan = self.scale.model(name), self._plan(name)
        first = 0
        if model.base is not None:
            first = model.run_fields(self.scale.overrides, 0)["events"][0]["step"]
        stages = [stage for stage in plan["stages"] if stage["first"] >= first]
        tokens, flops = (sum(stage[key] for stage in stages) for key in ("tokens", "flops"))
        return CellCost(plan["steps"] - first, tokens, flops, flops / self.rate / 3600)

    def _forward_flops(self, name: str) -> float:
        """Return forward FLOPs per token of the final model: a third of the training FLOPs."""
        last = self._plan(name)["stages"][-1]
        return float(last["flops"] / last["tokens"] / 3)

    def needs(self, cell: PlanCell) -> list[DataNeed]:
        """Return the data sets that a cell reads."""
        if cell.model is None or not self.scale.distributed:
            return []
        if cell.kind == TRAIN:
            fields = self.scale.model(cell.model).run_fields(self.scale.overrides, 0)
            return _shard_needs(json.dumps(fields))
        return _benchmark_needs(self.data_dir) if cell.kind == SCORE else []


@cache
def _shard_needs(fields: str) -> list[DataNeed]:
    """Return the token shards of a run file, given as JSON."""
    needs = []
    for name, folder in json.loads(fields)["data"]["sources"].items():
        advice = (
            f"no token shards of {name}: growloop tokenize {SOURCES[name]} -o {folder} {TOKENIZER}"
        )
        location = "here" if (Path(folder) / INDEX).is_file() else "missing"
        needs.append(DataNeed(name, folder, location, advice))
    return needs


@cache
def _benchmark_needs(folder: str) -> list[DataNeed]:
    """Return the data sets of the paper's suite: in the folder, else on the hub unless offline."""
    from ...tasks.benchmarks import BENCHMARKS
    from ...tasks.benchmarks.sources import DATASETS, HOLDOUT

    splits = [(b.dataset, split) for b in BENCHMARKS.values() if b.dataset for split in b.splits]
    online = os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0")
    needs = []
    for name, split in dict.fromkeys(splits):
        dataset, file = DATASETS[name], f"{folder}/{name}/{split}.jsonl"
        location = "hub" if dataset.hub is not None and online else "missing"
        location = "here" if dataset.file(folder, split) is not None else location
        needs.append(DataNeed(name, file, location, dataset.advice(folder)))
    path = f"{folder}/{HOLDOUT}"
    advice = f"no held-out text: write text or token shards into {path}"
    location = "here" if Path(path).exists() else "missing"
    return [*needs, DataNeed(HOLDOUT, path, location, advice)]


def first_missing(needs: Sequence[DataNeed]) -> DataNeed | None:
    """Return the first data set that is missing; None if all are available."""
    return next((need for need in needs if need.found == "missing"), None)


def measure_rate(device: str | None) -> float:
    """Measure training FLOPs per second of one CPU thread, or of a GPU, on a lessons model."""
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = build("lessons", 6).to(target)
    ids = torch.ones(32, 200, dtype=torch.long, device=target)
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
