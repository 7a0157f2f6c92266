"""lm-eval's Hugging Face model, with checks of what it loads and computes.

transformers initialises missing weights at random, and lm-eval compares NaN like any number: both
would silently give a score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from ...core.errors import InputError
from ...core.finite import first_not_finite
from ...core.loading import IncompleteError, load_complete, loading_problem
from ...core.text_tokens import check_embedded, num_embeddings
from .scan import Scores
from .verify import Pair


class _Loader:
    """Stand-in for the Auto class of a model during loading; refuses incomplete checkpoints."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def from_pretrained(self, name: str, **options: Any) -> Any:
        """Load the model of a checkpoint.

        Raises:
            InputError: files or weights are missing, damaged or of the wrong shape.
        """
        try:
            return load_complete(self.kind.from_pretrained, name, **options)
        except IncompleteError as error:
            raise InputError(str(error)) from error


class _Finite(LogitsProcessor):  # type: ignore[misc]
    """Logits processor that stops generation at the first logits that are not finite."""

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        wrong = ~scores.amax(-1).isfinite()
        if bool(wrong.any()):
            raise _NotFiniteError(ids[int(wrong.nonzero()[0])])
        return scores


class _NotFiniteError(Exception):
    """Logits that are not finite; ``ids`` are the tokens of their row."""

    def __init__(self, ids: Tensor) -> None:
        super().__init__("logits are not finite")
        self.ids = ids


class CheckedHF(HFLM):  # type: ignore[misc]
    """``hf`` of lm-eval that refuses incomplete checkpoints and outputs that are not finite."""

    AUTO_MODEL_CLASS: Any

    def _create_model(self, pretrained: str, **options: Any) -> None:
        """Load the model, and check it and its adapter for missing weights."""
        for name in ("autogptq", "gptqmodel"):
            if options.get(name):
                raise InputError(
                    f"{name} loads weights without telling which are missing: leave it out, "
                    "transformers reads the checkpoint itself"
                )
        plain: Any = self.AUTO_MODEL_CLASS
        self.AUTO_MODEL_CLASS = _Loader(plain)
        try:
            super()._create_model(pretrained, **options)
        finally:
            self.AUTO_MODEL_CLASS = plain
        if adapter := options.get("peft"):
            # only PEFT's own loading reports missing and unexpected names
            name, revision = self._model.active_adapter, options.get("revision")
            report = self._model.load_adapter(adapter, name, revision=revision)
            names = ("missing_keys", "unexpected_keys")
            if wrong := loading_problem({name: getattr(report, name) for name in names}):
                raise InputError(f"the adapter {adapter} {wrong}")

    def _model_call(self, inps: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        call = super()._model_call
        logits: Tensor = call(inps, *args, **kwargs)
        if not bool(logits.amax(-1).isfinite().all()):
            _refuse(first_not_finite(self.model, lambda: call(inps, *args, **kwargs)))
        return logits

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **options: Any
    ) -> Tensor:
        options["logits_processor"] = LogitsProcessorList([_Finite()])
        try:
            return super()._model_generate(context, max_length, stop, **options)  # type: ignore[no-any-return]
        except _NotFiniteError as error:
            real = error.ids[error.ids != self.tokenizer.pad_token_id]
            _refuse(self._where(real[-self.max_length :].tolist()))

    def check_embedded(self, tokens: Iterable[Sequence[int]]) -> None:
        """Refuse tokens that the model has no embeddings for.

        Raises:
            TokenizerError: the message has both sizes and the first such token.
        """
        check_embedded(tokens, num_embeddings(self.model), self.tokenizer)

    def check_scores(self, scores: Scores, pairs: Sequence[Pair]) -> None:
        """Refuse scores that are not finite.

        A score of -inf is valid where the model masks parts of its vocabulary, and not where a
        layer's output is not finite.

        Args:
            scores: scores of the requests.
            pairs: tokens of their contexts and continuations.

        Raises:
            InputError: the message names the first module whose output is not finite.
        """
        wrong = [i for i, (score, _) in enumerate(scores) if not math.isfinite(score)]
        if not wrong:
            return
        first = min(wrong, key=lambda i: scores[i][0] == -math.inf)  # valid -inf last
        context, option = pairs[first]
        where = self._where([*context, *option][:-1][-self.max_length :])
        if where is not None or scores[first][0] != -math.inf:
            _refuse(where)

    def _where(self, ids: list[int]) -> str | None:
        """Return the first module whose output on these tokens is not finite, or None."""
        call = super()._model_call
        rows = torch.tensor([ids], device=self.device)
        return first_not_finite(self.model, lambda: call(rows))


def _refuse(where: str | None) -> NoReturn:
    raise InputError(f"the model's output is not finite: {where or 'its logits hold NaN'}")
