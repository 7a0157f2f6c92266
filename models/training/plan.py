"""What a run will do and cost, before it starts: ``growloop train --dry-run``."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from ...core.errors import InputError
from ...core.schedule import Schedule
from ..checkpoints import empty
from ..costs import Stage, cost, training_flops
from ..growing.maps import GrowthMap
from ..looping.config import current_schedule
from ..looping.decoder import find_decoder
from ..looping.recurrence import Recurrence
from . import events as changes
from .data.shards import INDEX, Shards
from .metrics import matrix_peak
from .optim.objective import block_cosine
from .runfile import Run
from .setup import final_depth, first_model, source_of

UTILISATION = 0.4
SAMPLE = 8  # steps looked at for the number of tokens


def plan(run: Run) -> dict[str, Any]:
    """Stages, tokens, FLOPs, memory and time of a run. No weight is allocated.

    Shards that are not there yet are taken to have the tokens of the preset.
    """
    with torch.device("meta"):
        model = first_model(run, _vocabulary(run))
    depth = final_depth(run, len(find_decoder(model).unique))
    growth = whole_growth(run, depth)
    edges = sorted({0, run.steps, *growth, *(event.step for event in run.events)})
    per_step = tokens_a_step(run)
    stages = []
    flops = 0.0
    for first, stop in pairwise(edges):
        changes.happen(model, run, growth, first)
        found = cost(model, seq_len=run.data.seq_len)
        ran = _schedules(model, found.schedule, range(first, stop))
        parts = [Stage(schedule, count * per_step) for schedule, count in ran.items()]
        spent = training_flops(model, parts, run.data.seq_len)
        flops += spent
        stages.append(
            {
                "first": first,
                "last": stop - 1,
                "schedule": str(found.schedule),
                "unique_parameters": found.unique_parameters,
                "tokens": (stop - first) * per_step,
                "flops": spent,
            }
        )
    tokens = run.steps * per_step
    full = tokens * cost(model, seq_len=run.data.seq_len).training_flops
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if run.precision == "bf16" else torch.float32
    return {
        "name": run.name,
        "steps": run.steps,
        "tokens": tokens,
        "stages": stages,
        "flops": flops,
        "share": flops / full,
        "memory_bytes": _memory(model, run),
        "seconds": flops / (matrix_peak(device, dtype) * UTILISATION),
    }


def _vocabulary(run: Run) -> int | None:
    """How many tokens the shards of a run have; None if it reads none, or they are not there."""
    there = [folder for folder in run.data.sources.values() if (Path(folder) / INDEX).is_file()]
    return Shards(there[0]).vocabulary if there else None


def whole_growth(run: Run, depth: int) -> dict[int, GrowthMap]:
    """Before which step of a run from its beginning which map is applied.

    Raises:
        InputError: the run ends before it has grown.
    """
    found = dict(run.growth_steps(depth))
    if max(found, default=0) >= run.steps:
        raise InputError(f"the last layers come at step {max(found)}: there are {run.steps} steps")
    return found


def rehearse(
    run: Run, config: PretrainedConfig, growth: Mapping[int, GrowthMap], step: int = 0
) -> None:
    """Let what is to happen from a step on happen to a model without weights.

    Raises:
        InputError: what cannot be done, and when it would have been noticed.
    """
    due = sorted({*growth, *(event.step for event in run.events)})
    if not due:
        return
    model = empty(copy.deepcopy(config))
    for at in due:
        if not step <= at < run.steps:
            continue
        try:
            changes.happen(model, run, growth, at)
            if run.regulariser_at(at):
                block_cosine(model, run.regulariser_block)
        except InputError as error:
            raise InputError(f"step {at}: {error}") from error


def _schedules(model: PreTrainedModel, schedule: Schedule, steps: range) -> dict[Schedule, int]:
    """How many of the steps run each schedule: several where the number of loops is random."""
    random = getattr(model, "recurrence", Recurrence()).random_loops
    if random is None:
        return {schedule: len(steps)}
    counts = Counter(map(random.at, steps))
    return {schedule.with_loops(loops): count for loops, count in counts.items()}


def tokens_a_step(run: Run) -> int:
    """Places a step computes; where rows differ in length the mean of the first steps.

    A curriculum is taken at its last stage.
    """
    if run.data.sources:
        return run.data.batch_size * run.data.seq_len
    source = source_of(run)
    if run.data.curriculum:
        source.state["stage"] = len(run.data.curriculum) - 1
    return sum(source.batch(step).tokens.size for step in range(SAMPLE)) // SAMPLE


def _memory(model: PreTrainedModel, run: Run) -> float:
    """Bytes of weights, of gradients and two moments where trained, and of activations, roughly.

    All in float32 but activations.

    Activations of a layer: about 34 values of the width a token (Korthikanti 2022, without the
    attention matrix), one with checkpointing; logits twice in float32.
    """
    config = model.config
    schedule = current_schedule(model)
    rows = run.micro_batch_size or run.data.batch_size
    values = 1 if run.gradient_checkpointing else 17
    size = 2 if run.precision == "bf16" else 4
    tokens = rows * run.data.seq_len
    activations = tokens * config.hidden_size * values * size * len(schedule)
    logits = 8.0 * tokens * int(config.vocab_size)
    trained = sum(int(p.numel()) for p in model.parameters() if p.requires_grad)
    stored = sum(int(p.numel()) for p in model.parameters())
    return 4.0 * stored + 12.0 * trained + float(activations) + logits
