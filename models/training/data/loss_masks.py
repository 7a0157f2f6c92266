"""Tokenized examples with loss masks: the loss is on the target and the end token.

In a conversation it is on the turns of the assistant (:mod:`.chats`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError
from ....core.text_tokens import encode, target_start
from .chats import tokenize_conversation
from .rows import Conversation, Rows


@dataclass(frozen=True)
class Example:
    """Tokenized example.

    Args:
        tokens: ``(length,)`` token ids.
        loss_mask: ``(length,)``, True for tokens with a loss; never the first one, which no token
            predicts.
    """

    tokens: NDArray[np.int64]
    loss_mask: NDArray[np.bool_]

    @property
    def start(self) -> int:
        """Index of the first token with a loss."""
        return int(self.loss_mask.argmax())


def tokenize_pairs(
    pairs: Sequence[tuple[str, str]], tokenizer: Any, delimiter: str, special: bool = True
) -> list[Example]:
    """Tokenize ``prompt + delimiter + target`` and an end token; the loss is on the target.

    Prompt and target are tokenized together, as in scoring (:mod:`growloop.core.text_tokens`).
    Spaces at the end of the prompt belong to the target. The target begins with the first token
    that differs from the tokens of the prompt alone. If that is the first token of all, a BOS token
    (or the end token) is put before it.

    Args:
        pairs: (prompt, target) pairs.
        delimiter: text between prompt and target.
        special: begin each text with the special tokens that the tokenizer puts before it.

    Raises:
        InputError: the tokenizer has no end token, or a target has no token of its own.
    """
    end, begin = tokenizer.eos_token_id, getattr(tokenizer, "bos_token_id", None)
    if end is None:
        raise InputError("the tokenizer has no end token")
    prompts = encode(tokenizer, [prompt.rstrip() for prompt, _ in pairs], special)
    full_texts = encode(tokenizer, [f"{p}{delimiter}{target}" for p, target in pairs], special)
    examples = []
    for number, (prompt, full) in enumerate(zip(prompts, full_texts, strict=True), start=1):
        start = target_start(prompt, full)
        if start == len(full):
            raise InputError(f"example {number}: the target has no token of its own")
        prefix = [end if begin is None else begin] if start == 0 else []
        tokens = np.array([*prefix, *full, end], np.int64)
        examples.append(Example(tokens, np.arange(len(tokens)) >= len(prefix) + start))
    return examples


def tokenize_conversations(examples: Rows, tokenizer: Any) -> list[Example]:
    """Tokenize conversations by the chat template, each cut after its last token with a loss.

    The template writes all special tokens itself: none are added.
    """
    tokenized = []
    for number, row in enumerate(examples.rows, start=1):
        assert isinstance(row, Conversation)
        ids, mask = tokenize_conversation(row, tokenizer, f"{examples.path}, row {number}")
        stop = int(np.flatnonzero(mask)[-1]) + 1
        if mask[0]:  # no token predicts the first one: put BOS, or else EOS, before it
            begin = getattr(tokenizer, "bos_token_id", None)
            begin = tokenizer.eos_token_id if begin is None else begin
            ids, mask, stop = [begin, *ids], np.concatenate([[False], mask]), stop + 1
        tokenized.append(Example(np.array(ids[:stop], np.int64), mask[:stop]))
    return tokenized
