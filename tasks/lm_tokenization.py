"""lm-eval's model with the tokenization of training (``core.text_tokens``).

lm-eval leaves special tokens to the tokenizer. A tokenizer that appends an end token to every text
would put it between context and continuation; here it is not appended.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from ..core.strict_json import loads
from ..core.text_tokens import PROBES, encode, special_tokens, text_of

logger = logging.getLogger("growloop")


def adds_special_tokens(lm: Any) -> bool:
    """Return whether texts begin with the tokenizer's special tokens (``add_bos_token``)."""
    return lm.add_bos_token is not False


class SameTokens(HFLM):  # type: ignore[misc]
    """``hf`` of lm-eval without end tokens after texts."""

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        if self.backend != "causal":
            return super().tok_encode(string, add_special_tokens, left_truncate_len, **kwargs)  # type: ignore[no-any-return]
        special = adds_special_tokens(self) if add_special_tokens is None else add_special_tokens
        [found] = encode(self.tokenizer, [string], special)
        return found[-left_truncate_len:] if left_truncate_len else found

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Tensor, Tensor]:
        usual = self.backend != "causal" or not adds_special_tokens(self)
        if usual or not special_tokens(self.tokenizer, [*strings[:1], *PROBES]).after:
            return super().tok_batch_encode(strings, padding_side, left_truncate_len, truncation)  # type: ignore[no-any-return]
        rows = [tokens[-(left_truncate_len or 0) :] for tokens in encode(self.tokenizer, strings)]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            here = slice(width - len(row), width) if padding_side == "left" else slice(len(row))
            ids[i, here], mask[i, here] = torch.tensor(row), 1
        return ids, mask


def warn_if_trained_otherwise(lm: Any, model: Path) -> None:
    """Warn if a checkpoint was trained with other special tokens than it is scored with.

    Args:
        lm: lm-eval model.
        model: folder of a growloop checkpoint; others are not checked.
    """
    try:
        state = loads((model / "training.json").read_text(encoding="utf-8"))
        trained = tuple(state.get("special_tokens", ()))
    except (OSError, ValueError, AttributeError, TypeError):
        return
    if lm.backend != "causal" or not adds_special_tokens(lm):
        return
    scored = special_tokens(lm.tokenizer).before
    if trained != scored:
        logger.warning(
            "%s was trained %s, and is scored with %s before every text: --add_bos_token False "
            "scores without",
            model,
            f"with {text_of(lm.tokenizer, trained)}" if trained else "without special tokens",
            text_of(lm.tokenizer, scored) or "nothing",
        )
