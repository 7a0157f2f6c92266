"""Load or train the tuned lens of a study (Belrose et al., 2023).

A lens is trained on held-out prompts, never on measured ones, and stored in ``OUT/lenses/``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, one_of, whole
from ...core.locks import locked
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..model_identity import digest
from ..options import option
from ..progress import TrainingProgress
from .prompts import check_prompts, count_prompts, first_prompts, read_prompts

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.diagnostics import Lens


@dataclass(frozen=True)
class LensOptions:
    """Options of a study that reads predictions from intermediate layers by a lens."""

    lens: str | None = option(None, "file of a tuned lens (safetensors), for one model")
    lens_updates: int = option(0, "optimizer updates to train a tuned lens; 0: logit lens")
    lens_text: str | None = option(
        None, "training prompts of the lens; by default generated questions"
    )
    lens_batch: int = option(4, "prompts an update")
    lens_positions: int = option(256, "token positions of a batch in the loss")
    lens_optimizer: str = option("sgd", "sgd or adam")
    lens_recipe: str = option(
        "ours", "ours, or tuned-lens: weight decay and clipping of that package", later=True
    )


WEIGHTS = "weights"  # field of a lens file: digest of the model it was trained on
MAX_PROMPTS = 50_000  # training prompts of a lens; further updates reuse them


def check_lens(
    models: Sequence[StudyModel],
    options: LensOptions,
    tokens: int,
    measured: tuple[str | None, int] = (None, 0),
    seed: int = 0,
) -> None:
    """Check the lens options before the slow part.

    Raises:
        InputError: an option is invalid, the lens is of another model, or prompts are missing.
    """
    from ...models.diagnostics import Lens
    from ...models.diagnostics.lens_fitting import OPTIMIZERS, RECIPES

    one_of("lens optimizer", options.lens_optimizer, OPTIMIZERS)
    one_of("lens recipe", options.lens_recipe, RECIPES)
    for name in ("lens_updates", "lens_batch", "lens_positions"):
        whole(name.replace("_", "-"), getattr(options, name), int(name != "lens_updates"), 10**7)
    if options.lens is not None:
        if options.lens_updates:
            raise InputError("--lens is trained already: leave --lens-updates out")
        if len(models) > 1:
            raise InputError("--lens fits one model: give one --model")
        lens = Lens.load(options.lens)
        if lens.schedule != models[0].schedule:
            raise InputError(
                f"the lens was trained on schedule {lens.schedule}, {models[0].name} has "
                f"{models[0].schedule}"
            )
        if lens.about.get(WEIGHTS, expected := digest(models[0].path)) != expected:
            raise InputError(f"the lens was trained on another model than {models[0].path}")
    file = options.lens_text or measured[0]
    if options.lens_updates and file is not None:
        least = max(8, options.lens_batch)
        check_prompts(file, least, tokens)
        if (left := count_prompts(file, _measured_prompts(file, measured, seed))) < least:
            raise InputError(f"{file} has {left} prompts that are not measured, {least} are needed")


def load_or_train_lens(
    cell: StudyCell,
    loader: ModelLoader,
    options: LensOptions,
    out: Path,
    tokens: int,
    seed: int,
    measured: tuple[str | None, int] = (None, 0),
) -> Lens | None:
    """Return the lens of a cell's model, trained at most once; None for the logit lens.

    Training resumes after a kill. Other processes that need the same lens wait for it.

    Args:
        tokens: maximum number of tokens per training prompt.
        seed: seed of generated prompts and of sampled token positions.
        measured: file of the measured prompts and their number. The lens trains on other prompts,
            of the same file unless ``--lens-text`` names another.
    """
    from ...models.diagnostics import Lens, fit_lens

    model, tokenizer = loader(cell.path)
    if options.lens is not None:
        return _to_device(Lens.load(options.lens), model)
    if not options.lens_updates:
        return None
    file = options.lens_text or measured[0]
    excluded = _measured_prompts(file, measured, seed)
    about = {k: v for k, v in cell.options.items() if k.startswith("lens")}
    about |= {"tokens": tokens, "seed": seed, WEIGHTS: digest(cell.path)}
    about |= {"dtype": str(model.dtype).removeprefix("torch.")}
    if file is not None:
        about |= {"text": cell.options.get("text"), "texts": measured[1]}
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]
    path = out / "lenses" / f"{cell.model}-{name}.safetensors"
    with locked(path.with_suffix(".lock"), False, f"{path} is trained", patience=math.inf):
        if not path.is_file():
            partial_file = path.with_suffix(".part")
            batches = _batches(model, tokenizer, options, tokens, seed, file, excluded)
            progress = TrainingProgress(loader.say, 0, options.lens_updates, "update")
            lens = fit_lens(
                model,
                batches,
                options.lens_updates,
                optimizer=options.lens_optimizer,
                recipe=options.lens_recipe,
                positions=options.lens_positions,
                seed=seed,
                state_file=partial_file,
                watch=lambda update, loss: progress(update + 1, {"loss": loss}),
            )
            metadata = {name: about[name] for name in (WEIGHTS, "dtype")}
            replace(lens, about=metadata).save(path)
            partial_file.unlink(missing_ok=True)
    return _to_device(Lens.load(path), model)


def _measured_prompts(
    file: str | None, measured: tuple[str | None, int], seed: int
) -> frozenset[str]:
    """Return the measured prompts, which a lens that trains on a file must not see."""
    if file is None or not measured[1]:
        return frozenset()
    return frozenset(first_prompts(*measured, seed))


def _to_device(lens: Lens, model: Any) -> Lens:
    tensors = {name: getattr(lens, name).to(model.device) for name in ("matrices", "shifts")}
    return replace(lens, **tensors)


def _batches(
    model: Any,
    tokenizer: Any,
    options: LensOptions,
    tokens: int,
    seed: int,
    file: str | None,
    excluded: frozenset[str],
) -> Iterator[Tensor]:
    """Yield one batch ``(batch, tokens)`` per update, cut to its shortest prompt."""
    import torch

    count = max(8, min(options.lens_batch * options.lens_updates, MAX_PROMPTS))
    if file is not None:
        count = min(count, count_prompts(file, excluded))
    # generated prompts: the train split, which is never measured
    prompts = read_prompts(
        tokenizer,
        file,
        count,
        tokens,
        seed,
        split="train",
        without=excluded,
        distinct=False,
        model=model,
    )
    ids, size = prompts.ids, options.lens_batch
    for update in range(options.lens_updates):
        rows = [ids[(update * size + i) % len(ids)] for i in range(size)]
        length = min(row.shape[1] for row in rows)
        yield torch.cat([row[:, :length] for row in rows]).to(model.device)
