"""Checks before the first step of a run, shared by a run and its dry run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ...core.errors import InputError
from ...core.model_files import model_files
from ...core.text_tokens import check_embedded, num_embeddings, special_tokens, text_of
from .. import checkpoints
from ..growing.maps import GrowthMap
from ..looping.decoder import find_decoder
from . import checkpoint_contents as contents
from . import checkpoints as snapshots
from .data.batches import Source
from .data.curriculum import Curriculum
from .data.examples import Examples
from .inputs import Inputs, comparable, read_inputs, refuse_changed
from .metrics import trackers
from .plan import check_events, planned_growth
from .runfile import Run, parse_stored
from .setup import (
    check_fits,
    check_positions,
    final_depth,
    first_model,
    held_out,
    source_of,
    vocabulary_of,
)

Report = Callable[[str], object]


@dataclass(frozen=True)
class ResumePoint:
    """Checkpoint that a run resumes or branches off from.

    Args:
        folder: folder of the checkpoint.
        state: content of its ``training.json``.
        own: True if this run wrote it; False if it is the parent that this run branches off from.
    """

    folder: Path
    state: dict[str, Any]
    own: bool


@dataclass(frozen=True)
class Start:
    """Result of the checks: everything that the engine needs to begin or resume a run.

    Args:
        source: source of batches.
        inputs: identities of the input files.
        growth: step -> growth map to apply before it.
        last: checkpoint to resume from; None for a new run.
    """

    source: Source
    inputs: Inputs
    growth: dict[int, GrowthMap]
    last: ResumePoint | None


def check(
    run: Run,
    out: Path,
    say: Report = lambda text: None,
    force: bool = False,
    parent: Path | None = None,
    processes: int = 1,
) -> Start:
    """Check a run before any weights are loaded.

    Args:
        out: folder of the run; an existing run is resumed.
        say: callback for progress messages, one line each.
        force: resume although the run file differs from the one that the run began with.
        parent: checkpoint of another run to branch off from, if ``out`` has no checkpoint yet.
        processes: number of processes that share a batch.

    Raises:
        InputError: the run cannot start.
    """
    trackers(run.trackers)
    check_writable(out)
    if run.data.batch_size % processes:
        raise InputError(
            f"a batch of {run.data.batch_size} does not divide among {processes} processes"
        )
    last = _find_checkpoint(out, say, parent)
    inputs = _check_inputs(run, last, force, say)
    source = source_of(run, special=last is None or _began_special(last))
    _warn_without_special(source, last, say)
    model = _empty_model(run, source, last)
    if last is None:
        growth = planned_growth(run, final_depth(run, len(find_decoder(model).unique)))
        check_positions(run, model)
        _check_weights(run)
    else:
        growth = dict(run.growth_steps(last.state["full_depth"]))
    check_fits(run, model, source)
    check_events(run, model.config, growth, 0 if last is None else last.state["step"])
    if isinstance(source, Curriculum):
        source.check()
    batches = held_out(run, source)
    if isinstance(source, Examples):
        rows = (row.tolist() for batch in batches for row in batch.tokens)
        check_embedded(rows, num_embeddings(model), source.saved)
    return Start(source, inputs, growth, last)


def check_writable(out: Path) -> None:
    """Refuse a folder that cannot be created or written.

    Raises:
        InputError: the message names the file or folder that prevents it.
    """
    path = out.absolute()
    existing = next(place for place in (path, *path.parents) if place.exists())
    if not existing.is_dir():
        raise InputError(f"cannot write to {out}: {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {out}: {existing} cannot be written to")


def _find_checkpoint(out: Path, say: Report, parent: Path | None) -> ResumePoint | None:
    newest = snapshots.newest(out, say)
    if newest is not None:
        return ResumePoint(newest[1], contents.read_state(newest[1]), own=True)
    if any(out.glob("step-*")):
        raise InputError(
            f"every checkpoint in {out} is damaged: move the folder away to start anew"
        )
    if parent is None:
        return None
    if damage := snapshots.problem(parent):
        raise InputError(f"the checkpoint {parent} is damaged: {damage}")
    return ResumePoint(parent, contents.read_state(parent), own=False)


def _check_inputs(run: Run, last: ResumePoint | None, force: bool, say: Report) -> Inputs:
    """Identify the input files; refuse a changed run file or changed inputs of a resumed run."""
    if last is None:
        return read_inputs(run)
    recorded: Inputs | None = last.state.get("inputs")
    current = read_inputs(run, recorded)
    began = parse_stored(last.state["run"], str(last.folder)).model_dump(mode="json")
    if recorded is None:
        if current:
            say(
                f"{last.folder.name} does not record the identity of its inputs: "
                "they are not checked"
            )
    else:
        refuse_changed(run, began, recorded, current, force or not last.own, str(last.folder))
    if last.own and not force:
        known = {*(recorded or {})} & current.keys()
        now = run.model_dump(mode="json")
        snapshots.refuse_other_run(comparable(began, known), comparable(now, known))
    return current


def _began_special(last: ResumePoint) -> bool:
    """Return whether the run began with special tokens; earlier versions did not use them."""
    return bool(last.state.get("special_tokens"))


def _warn_without_special(source: Source, last: ResumePoint | None, say: Report) -> None:
    """Report a run that trains without the special tokens (such as BOS) that evaluation
    puts before texts."""
    tokenizer = source.tokenizer()
    if tokenizer is None or (last is not None and not isinstance(source, Examples)):
        return  # for shards, the new run has reported it already
    usual = special_tokens(tokenizer).before
    if usual != source.special:
        what = "the run began" if isinstance(source, Examples) else "the shards were made"
        say(
            f"{what} without {text_of(tokenizer, usual)}, which the tokenizer puts before a text: "
            "evaluation does so, training does not"
        )


def _empty_model(run: Run, source: Source, last: ResumePoint | None) -> PreTrainedModel:
    """Build the model as it starts or resumes, without weights."""
    if last is not None and run.model.lora is None:
        model: PreTrainedModel = checkpoints.empty(checkpoints.load_config(str(last.folder)))
        return model
    with torch.device("meta"):
        return first_model(run, vocabulary_of(run, source))


def _check_weights(run: Run) -> None:
    folder = Path(run.model.path or "")
    if run.model.path is None or not folder.is_dir():
        return
    if not any(file.suffix in (".safetensors", ".bin") for file in model_files(folder)):
        raise InputError(f"{folder} holds no weights")
