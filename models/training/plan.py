"""Dry run: stages, cost and time of a run before it starts (``growloop train --plan``)."""

from __future__ import annotations

import copy
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
from .data.shards import INDEX, Shards
from .events import Timeline
from .metrics import matrix_peak
from .optim.objective import block_cosine
from .random_loops import loops_of_step
from .runfile import Run
from .setup import final_depth, first_model, source_of

UTILISATION = 0.4  # assumed model FLOP utilisation
SEQUENCE_SAMPLE = 32  # steps sampled for random loops per sequence
SAMPLE = 8  # steps sampled for the number of tokens per step


def plan(run: Run) -> dict[str, Any]:
    """Estimate stages, tokens, FLOPs, memory and time of a run, without allocating weights.

    Shards that do not exist yet are assumed to have the preset's vocabulary.

    Returns:
        ``name``, ``steps``, ``tokens``, ``stages`` (first and last step, schedule, parameters,
        tokens and FLOPs each), ``flops``, ``share`` (of the FLOPs of the full-depth model for all
        steps), ``memory_bytes`` and ``seconds``.
    """
    with torch.device("meta"):
        model = first_model(run, _vocabulary(run))
    depth = final_depth(run, len(find_decoder(model).unique))
    growth = planned_growth(run, depth)
    edges = sorted({0, run.steps, *growth, *(event.step for event in run.events)})
    per_step = tokens_per_step(run)
    stages = []
    flops = 0.0
    for first, stop in pairwise(edges):
        Timeline(run, growth).apply(model, first)
        stage_cost = cost(model, seq_len=run.data.seq_len)
        counts = _count_schedules(model, stage_cost.schedule, range(first, stop), run)
        parts = [Stage(schedule, round(count * per_step)) for schedule, count in counts.items()]
        stage_flops = training_flops(model, parts, run.data.seq_len)
        flops += stage_flops
        stages.append(
            {
                "first": first,
                "last": stop - 1,
                "schedule": str(stage_cost.schedule),
                "unique_parameters": stage_cost.unique_parameters,
                "tokens": (stop - first) * per_step,
                "flops": stage_flops,
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
    """Return the vocabulary size of a run's shards; None if it has none, or they do not exist."""
    existing = [folder for folder in run.data.sources.values() if (Path(folder) / INDEX).is_file()]
    return Shards(existing[0]).vocabulary if existing else None


def planned_growth(run: Run, depth: int) -> dict[int, GrowthMap]:
    """Return the growth maps of a whole run, by the step they are applied before.

    Args:
        depth: final number of layers.

    Raises:
        InputError: the run ends before its last growth step.
    """
    growth = dict(run.growth_steps(depth))
    if max(growth, default=0) >= run.steps:
        raise InputError(
            f"the last growth step is at step {max(growth)}, but the run has {run.steps} steps"
        )
    return growth


def check_events(
    run: Run, config: PretrainedConfig, growth: Mapping[int, GrowthMap], step: int = 0
) -> None:
    """Apply all events from a step on to a model without weights, to find errors before training.

    Args:
        config: config of the model at that step.
        growth: growth maps by step.
        step: steps done so far.

    Raises:
        InputError: an event that cannot be applied, with its step.
    """
    due = sorted({*growth, *(event.step for event in run.events)})
    if not due:
        return
    model = empty(copy.deepcopy(config))
    for at in due:
        if not step <= at < run.steps:
            continue
        try:
            Timeline(run, growth).apply(model, at)
            if run.regulariser_at(at):
                block_cosine(model, run.regulariser_block)
        except InputError as error:
            raise InputError(f"step {at}: {error}") from error


def _count_schedules(
    model: PreTrainedModel, schedule: Schedule, steps: range, run: Run
) -> dict[Schedule, float]:
    """Count the steps that run each schedule; several where the number of loops is random.

    Loops per sequence are counted on a sample of the steps.
    """
    random = getattr(model, "recurrence", Recurrence()).random_loops
    if random is None:
        return {schedule: len(steps)}
    rows = run.data.batch_size
    micro = run.micro_batch_size or rows
    drawn = steps if random.per == "step" else steps[:: max(1, len(steps) // SEQUENCE_SAMPLE)]
    counts: dict[int, float] = {}
    for step in drawn:
        for loops, share in loops_of_step(random, step, rows, micro).items():
            counts[loops] = counts.get(loops, 0.0) + share
    scale = len(steps) / len(drawn)
    return {schedule.with_loops(loops): count * scale for loops, count in counts.items()}


def tokens_per_step(run: Run) -> int:
    """Return the tokens of a step, padding included; a mean of the first steps if they differ.

    A curriculum is sampled at its last stage.
    """
    if run.data.sources:
        return run.data.batch_size * run.data.seq_len
    source = source_of(run)
    if run.data.curriculum:
        source.state["stage"] = len(run.data.curriculum) - 1
    return sum(source.batch(step).tokens.size for step in range(SAMPLE)) // SAMPLE


def _memory(model: PreTrainedModel, run: Run) -> float:
    """Estimate the memory of a training step in bytes.

    Weights, and for trained ones gradients and two moments, are in float32. Activations of a layer
    are about 34 bytes per value of the width and token in 16 bits (Korthikanti 2022, without the
    attention matrix), or one value with checkpointing. Logits count twice in float32.
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
