"""What can be refused before the first step of a run: the same for a run and for its dry run."""

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
from ...core.text_tokens import check_embedded, embedded, special_tokens, text_of
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
class Last:
    """A checkpoint that a run goes on from.

    Args:
        folder: of it.
        state: what its ``training.json`` holds.
        own: whether it is of this run, not of another one that this branches off from.
    """

    folder: Path
    state: dict[str, Any]
    own: bool


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Args:
        source: of its batches.
        inputs: identities of the files that it reads.
        growth: before which step which map is applied.
        last: the checkpoint that it goes on from; None for a run that begins.
    """

    source: Source
    inputs: Inputs
    growth: dict[int, GrowthMap]
    last: Last | None


def check(
    run: Run,
    out: Path,
    say: Report = lambda text: None,
    force: bool = False,
    parent: Path | None = None,
    processes: int = 1,
) -> Start:
    """Refuse what cannot be trained, before any weight is loaded.

    Args:
        out: folder of the run; what is there goes on.
        say: told of whatever is worth a line.
        force: go on although the run file is not the one the run was begun with.
        parent: a checkpoint of another run to branch off from, while ``out`` has none.
        processes: that share a batch.

    Raises:
        InputError: anything that keeps the run from starting.
    """
    trackers(run.trackers)
    check_writable(out)
    if run.data.batch_size % processes:
        raise InputError(
            f"a batch of {run.data.batch_size} does not divide among {processes} processes"
        )
    last = _last(out, say, parent)
    inputs = _inputs(run, last, force, say)
    source = source_of(run, special=last is None or _began_special(last))
    _say_special(source, last, say)
    model = _empty(run, source, last)
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
        check_embedded(rows, embedded(model), source.saved)
    return Start(source, inputs, growth, last)


def check_writable(out: Path) -> None:
    """Refuse a folder that cannot be written.

    Raises:
        InputError: saying what is in the way.
    """
    path = out.absolute()
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"cannot write to {out}: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {out}: {there} cannot be written to")


def _last(out: Path, say: Report, parent: Path | None) -> Last | None:
    found = snapshots.newest(out, say)
    if found is not None:
        return Last(found[1], contents.read_state(found[1]), own=True)
    if any(out.glob("step-*")):
        raise InputError(f"no checkpoint in {out} is whole: move it away to start anew")
    if parent is None:
        return None
    if wrong := snapshots.problem(parent):
        raise InputError(f"the checkpoint {parent} is damaged: {wrong}")
    return Last(parent, contents.read_state(parent), own=False)


def _inputs(run: Run, last: Last | None, force: bool, say: Report) -> Inputs:
    """Identities of what the run reads; refuses others than those that it began with."""
    if last is None:
        return read_inputs(run)
    recorded: Inputs | None = last.state.get("inputs")
    found = read_inputs(run, recorded)
    began = parse_stored(last.state["run"], str(last.folder)).model_dump(mode="json")
    if recorded is None:
        if found:
            say(f"{last.folder.name} does not say what its inputs held: they are taken as they are")
    else:
        refuse_changed(run, began, recorded, found, force or not last.own, str(last.folder))
    if last.own and not force:
        known = {*(recorded or {})} & found.keys()
        now = run.model_dump(mode="json")
        snapshots.refuse_other_run(comparable(began, known), comparable(now, known))
    return found


def _began_special(last: Last) -> bool:
    """Whether a run began with the special tokens of its tokenizer; earlier versions had none."""
    return bool(last.state.get("special_tokens"))


def _say_special(source: Source, last: Last | None, say: Report) -> None:
    """Say where texts are trained on without the special tokens that scoring puts before them."""
    tokenizer = source.tokenizer()
    if tokenizer is None or (last is not None and not isinstance(source, Examples)):
        return  # of shards it was said when the run began
    usual = special_tokens(tokenizer).before
    if usual != source.special:
        what = "the run began" if isinstance(source, Examples) else "the shards were made"
        say(
            f"{what} without {text_of(tokenizer, usual)}, which the tokenizer puts before a text: "
            "evaluation does so, training does not"
        )


def _empty(run: Run, source: Source, last: Last | None) -> PreTrainedModel:
    """The model of now without its weights."""
    if last is not None and run.model.lora is None:
        found: PreTrainedModel = checkpoints.empty(checkpoints.load_config(str(last.folder)))
        return found
    with torch.device("meta"):
        return first_model(run, vocabulary_of(run, source))


def _check_weights(run: Run) -> None:
    folder = Path(run.model.path or "")
    if run.model.path is None or not folder.is_dir():
        return
    if not any(file.suffix in (".safetensors", ".bin") for file in model_files(folder)):
        raise InputError(f"{folder} holds no weights")
