"""The model that a study measures, in memory once for all cells that ask for it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..models import checkpoints
from ..primitives.errors import InputError
from ..tasks.evaluate import model_arguments


class Loaded:
    """The models that cells ask for; the last one stays in memory."""

    def __init__(self, dtype: str, device: str | None) -> None:
        self.dtype, self.device = dtype, device
        self.path: str | None = None
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
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            try:
                self.model.to(device)
            except (RuntimeError, AssertionError) as error:
                raise InputError(f"no device '{device}': {str(error).splitlines()[0]}") from error
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
            "device": self.model.device.type,
        }
