"""lm-eval's Hugging Face model, with what it loads and what it computes checked.

Weights that a checkpoint has not are random numbers to transformers, and a NaN is a number like
others to lm-eval: each would give a score.
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
from ...core.text_tokens import check_embedded, embedded
from .scan import Scores
from .verify import Pair


class _Loader:
    """Stands for the Auto class of a model while it is loaded: refuses what is not complete."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def from_pretrained(self, name: str, **options: Any) -> Any:
        """The model of a checkpoint.

        Raises:
            InputError: a checkpoint whose files or weights are not what it says of them.
        """
        try:
            return load_complete(self.kind.from_pretrained, name, **options)
        except IncompleteError as error:
            raise InputError(str(error)) from error


class _Finite(LogitsProcessor):  # type: ignore[misc]
    """Stops generation at the first logits that are NaN or infinite."""

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        wrong = ~scores.amax(-1).isfinite()
        if bool(wrong.any()):
            raise _NotFiniteError(ids[int(wrong.nonzero()[0])])
        return scores


class _NotFiniteError(Exception):
    """Tokens of the row after which the logits were not finite."""

    def __init__(self, ids: Tensor) -> None:
        super().__init__("logits are not finite")
        self.ids = ids


class CheckedHF(HFLM):  # type: ignore[misc]
    """``hf`` of lm-eval that refuses incomplete checkpoints and numbers that are none."""

    AUTO_MODEL_CLASS: Any

    def _create_model(self, pretrained: str, **options: Any) -> None:
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
            # PEFT alone knows the names; it tells them where it loads
            name, revision = self._model.active_adapter, options.get("revision")
            found = self._model.load_adapter(adapter, name, revision=revision)
            names = ("missing_keys", "unexpected_keys")
            if wrong := loading_problem({name: getattr(found, name) for name in names}):
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
            TokenizerError: naming both sizes and the first such token.
        """
        check_embedded(tokens, embedded(self.model), self.tokenizer)

    def check_scores(self, scores: Scores, pairs: Sequence[Pair]) -> None:
        """Refuse scores that are no numbers.

        A score of -inf is one where the model masks parts of its vocabulary; it is none where a
        layer puts out something that is not finite.

        Args:
            pairs: tokens of the contexts and continuations that were scored.

        Raises:
            InputError: naming the module whose output is not finite first.
        """
        wrong = [i for i, (score, _) in enumerate(scores) if not math.isfinite(score)]
        if not wrong:
            return
        first = min(wrong, key=lambda i: scores[i][0] == -math.inf)  # what is meant comes last
        context, option = pairs[first]
        where = self._where([*context, *option][:-1][-self.max_length :])
        if where is not None or scores[first][0] != -math.inf:
            _refuse(where)

    def _where(self, ids: list[int]) -> str | None:
        """The first module that puts out what is not finite on these tokens, if one does."""
        call = super()._model_call
        rows = torch.tensor([ids], device=self.device)
        return first_not_finite(self.model, lambda: call(rows))


def _refuse(where: str | None) -> NoReturn:
    raise InputError(f"the model's output is not finite: {where or 'its logits hold NaN'}")
