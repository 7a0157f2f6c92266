"""The tuned lens that a study reads with: from a file, or trained first and kept.

A lens is trained on texts that nothing is measured on, and kept below ``--out`` in ``lenses/``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.errors import InputError, one_of, whole
from ...models.diagnostics import Lens, fit_lens
from ...models.diagnostics.fitting import OPTIMIZERS, RECIPES
from ...models.training.locks import locked
from ..checkpoints import Loaded, Model
from ..model_identity import digest
from ..progress import Told
from ..study import Cell, option
from .texts import check_texts, count_texts, first_texts, read_texts


@dataclass(frozen=True)
class LensOptions:
    """Options of a study that reads predictions before the end."""

    lens: str | None = option(None, "tuned lens to read with (safetensors); one model")
    lens_updates: int = option(0, "train a tuned lens so long first; 0: logit lens")
    lens_text: str | None = option(None, "texts it learns from; by default generated questions")
    lens_batch: int = option(4, "texts an update")
    lens_positions: int = option(256, "tokens of a batch it learns from")
    lens_optimizer: str = option("sgd", "sgd or adam")
    lens_recipe: str = option(
        "ours", "ours, or tuned-lens: weight decay and clipping of that package", later=True
    )


WEIGHTS = "weights"  # of the model that a lens was trained on, in its file
TEXTS = 50_000  # that a lens learns from before it reads them again


def check_lens(
    models: Sequence[Model],
    options: LensOptions,
    tokens: int,
    measured: tuple[str | None, int] = (None, 0),
    seed: int = 0,
) -> None:
    """Refuse what cannot be read with, before the slow part."""
    one_of("lens optimizer", options.lens_optimizer, OPTIMIZERS)
    one_of("lens recipe", options.lens_recipe, RECIPES)
    for name in ("lens_updates", "lens_batch", "lens_positions"):
        whole(name.replace("_", "-"), getattr(options, name), int(name != "lens_updates"), 10**7)
    if options.lens is not None:
        if options.lens_updates:
            raise InputError("--lens is trained already: leave --lens-updates out")
        if len(models) > 1:
            raise InputError("--lens is of one model: give one --model")
        lens = Lens.load(options.lens)
        if lens.schedule != models[0].schedule:
            raise InputError(
                f"the lens was trained on schedule {lens.schedule}, {models[0].name} has "
                f"{models[0].schedule}"
            )
        if lens.about.get(WEIGHTS, mine := digest(models[0].path)) != mine:
            raise InputError(f"the lens was trained on another model than {models[0].path}")
    file = options.lens_text or measured[0]
    if options.lens_updates and file is not None:
        least = max(8, options.lens_batch)
        check_texts(file, least, tokens)
        if (left := count_texts(file, _avoided(file, measured, seed))) < least:
            raise InputError(f"{file} has {left} texts that are not measured, {least} are needed")


def the_lens(
    cell: Cell,
    loaded: Loaded,
    options: LensOptions,
    out: Path,
    tokens: int,
    seed: int,
    measured: tuple[str | None, int] = (None, 0),
) -> Lens | None:
    """The lens that a cell reads with, None for the logit lens; trained once for a model.

    A training that was killed goes on; another process that wants the lens waits for it.

    Args:
        tokens: of each text it learns from, at most.
        seed: of generated texts and of what is drawn from them.
        measured: a file of texts and how many of them are measured: it learns from others, of
            that file where ``--lens-text`` names no other.
    """
    model, tokenizer = loaded(cell.path)
    if options.lens is not None:
        return _moved(Lens.load(options.lens), model)
    if not options.lens_updates:
        return None
    file = options.lens_text or measured[0]
    avoided = _avoided(file, measured, seed)
    about = {k: v for k, v in cell.options.items() if k.startswith("lens")}
    about |= {"tokens": tokens, "seed": seed, WEIGHTS: digest(cell.path)}
    about |= {"dtype": str(model.dtype).removeprefix("torch.")}
    if file is not None:
        about |= {"text": cell.options.get("text"), "texts": measured[1]}
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]
    path = out / "lenses" / f"{cell.model}-{name}.safetensors"
    with locked(path.with_suffix(".lock"), False, f"{path} is trained", patience=math.inf):
        if not path.is_file():
            kept = path.with_suffix(".part")
            batches = _batches(model, tokenizer, options, tokens, seed, file, avoided)
            told = Told(loaded.say, 0, options.lens_updates, "update")
            lens = fit_lens(
                model,
                batches,
                options.lens_updates,
                optimizer=options.lens_optimizer,
                recipe=options.lens_recipe,
                positions=options.lens_positions,
                seed=seed,
                state_file=kept,
                watch=lambda update, loss: told(update + 1, {"loss": loss}),
            )
            told_of = {name: about[name] for name in (WEIGHTS, "dtype")}
            replace(lens, about=told_of).save(path)
            kept.unlink(missing_ok=True)
    return _moved(Lens.load(path), model)


def _avoided(file: str | None, measured: tuple[str | None, int], seed: int) -> frozenset[str]:
    """What a lens that learns from a file must not see of it."""
    if file is None or not measured[1]:
        return frozenset()
    return frozenset(first_texts(*measured, seed))


def _moved(lens: Lens, model: Any) -> Lens:
    moved = {name: getattr(lens, name).to(model.device) for name in ("matrices", "shifts")}
    return replace(lens, **moved)


def _batches(
    model: Any,
    tokenizer: Any,
    options: LensOptions,
    tokens: int,
    seed: int,
    file: str | None,
    avoided: frozenset[str],
) -> Iterator[Tensor]:
    """Batches of texts that are not measured, cut to one length each; over and over."""
    count = max(8, min(options.lens_batch * options.lens_updates, TEXTS))
    if file is None:  # of the items for training: no question is asked that it learned from
        ids = read_texts(tokenizer, None, count, tokens, seed, split="train", distinct=False).ids
    else:
        count = min(count, count_texts(file, avoided))
        ids = read_texts(tokenizer, file, count, tokens, seed, without=avoided, distinct=False).ids
    size = options.lens_batch
    for update in range(options.lens_updates):
        chosen = [ids[(update * size + i) % len(ids)] for i in range(size)]
        length = min(row.shape[1] for row in chosen)
        yield torch.cat([row[:, :length] for row in chosen]).to(model.device)
