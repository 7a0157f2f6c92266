"""Conversations as tokens, and which of them are learned: those of the assistant's turns.

A turn is what the model would generate there: it begins behind what the chat template writes to
prompt it, and ends with its end-of-turn token. A template that marks the turns itself
(``{% generation %}``) is believed. Of any other, a turn is the difference of two renderings: of the
conversation before the turn, with the prompt to answer, and of the conversation up to its end. Both
must be how the whole conversation begins; a template for which that is not so is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.chat_templates import TEMPLATE, ChatTemplateError, rendered
from ....core.errors import InputError
from ....core.text_tokens import encode, target_start, text_of
from .rows import Conversation, Message

MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")
ASSISTANT = "assistant"


def read_template(path: str | Path) -> str:
    """A chat template from a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the chat template {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the chat template {path} is not UTF-8 text") from error
    if not text.strip():
        raise InputError(f"the chat template {path} is empty")
    return text


def template_of(tokenizer: Any) -> str:
    """The chat template of a tokenizer, the default one of several.

    Raises:
        InputError: it has none.
    """
    try:
        found: str = tokenizer.get_chat_template()
    except ValueError as error:
        raise InputError(
            "messages need a chat template and the model has none: give one with --chat-template "
            "FILE (data.chat_template)"
        ) from error
    return found


def learned(
    conversation: Conversation, tokenizer: Any, where: str
) -> tuple[list[int], NDArray[np.bool_]]:
    """Tokens of a conversation, and which of them are learned.

    Args:
        where: the conversation stands, in messages.

    Raises:
        InputError: the template refuses it, or does not show where turns begin and end.
    """
    made = _Rendering(tokenizer, where)
    messages = conversation.messages
    turns = [i for i, message in enumerate(messages) if message["role"] == ASSISTANT]
    if MARKED.search(template_of(tokenizer)):
        tokens, spans = made.marked(messages)
        if len(spans) != len(turns):
            raise InputError(
                f"{where}: {TEMPLATE} marks {len(spans)} turns of the assistant "
                f"({{% generation %}}), the conversation has {len(turns)}"
            )
        for turn, (start, stop) in zip(turns, spans, strict=True):
            if _dense(messages[turn]["content"]) not in _dense(
                text_of(tokenizer, tokens[start:stop])
            ):
                raise InputError(
                    f"{where}: {TEMPLATE} does not mark message {turn + 1} of the assistant "
                    "({% generation %}), but something else"
                )
    else:
        tokens, spans = made.compared(messages, turns)
    mask = np.zeros(len(tokens), np.bool_)
    for turn, (start, stop) in zip(turns, spans, strict=True):
        if turn >= conversation.first:
            mask[start:stop] = True
    return tokens, mask


def _dense(text: str) -> str:
    """A text without its spaces, which templates trim and tokenizers write in ways of their own."""
    return "".join(text.split())


class _Rendering:
    """Applies a tokenizer's chat template to parts of one conversation."""

    def __init__(self, tokenizer: Any, where: str) -> None:
        self.tokenizer, self.where = tokenizer, where
        self.added = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}

    def text(self, messages: Sequence[Message], prompt: bool = False) -> str:
        """Messages as the template writes them, with the prompt to answer if asked for."""
        given = {"tokenize": False, "add_generation_prompt": prompt}
        return self._safe(
            lambda: self.tokenizer.apply_chat_template([*map(dict, messages)], **given)
        )

    def marked(self, messages: Sequence[Message]) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens, and the spans that the template marks, each to its end-of-turn token."""
        self.text(messages)  # within its bounds; so is the same again
        found: dict[str, Any] = {}

        def apply() -> str:
            found.update(
                self.tokenizer.apply_chat_template(
                    [*map(dict, messages)],
                    tokenize=True,
                    return_dict=True,
                    return_assistant_tokens_mask=True,
                )
            )
            return ""

        self._safe(apply)
        tokens, mask = list(found["input_ids"]), np.array(found["assistant_masks"], np.bool_)
        edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
        spans = []
        for start, stop in edges.reshape(-1, 2).tolist():
            ends = tokens[stop - 1] in self.added
            follows = stop < len(tokens) and tokens[stop] in self.added
            if not ends and not follows:
                raise self._endless()
            spans.append((start, stop if ends else stop + 1))
        return tokens, spans

    def compared(
        self, messages: Sequence[Message], turns: Sequence[int]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens, and the spans of turns by the difference of renderings."""
        whole = self.text(messages)
        [tokens] = encode(self.tokenizer, [whole], special=False)
        spans = []
        for turn in turns:
            if turn == 0:
                raise InputError(
                    f"{self.where}: the conversation begins with the assistant, where {TEMPLATE} "
                    "does not show where the turn begins"
                )
            before = self.text(messages[:turn], prompt=True)
            after = whole if turn == len(messages) - 1 else self.text(messages[: turn + 1])
            if not (after.startswith(before) and whole.startswith(after)):
                raise InputError(
                    f"{self.where}: {TEMPLATE} writes message {turn + 1} otherwise when the "
                    "conversation goes on, so that its turn cannot be told apart (a template with "
                    "{% generation %} says it itself)"
                )
            tail = self._tail(messages, turn, before, after)
            spans.append(self._span(tokens, before, after, tail))
        return tokens, spans

    def _tail(self, messages: Sequence[Message], turn: int, before: str, after: str) -> str:
        """What the template writes behind the content of a turn."""
        content, written = messages[turn]["content"].strip(), after[len(before) :]
        head, found, tail = written.partition(content)
        if not found:
            raise InputError(f"{self.where}: {TEMPLATE} changes the text of message {turn + 1}")
        if head.strip() and before == self.text(messages[:turn]):
            raise InputError(
                f"{self.where}: {TEMPLATE} does not know add_generation_prompt: it begins a turn "
                f"of the assistant with {head.strip()[:80]!r}, which the model would have to write"
            )
        return tail

    def _span(self, tokens: list[int], before: str, after: str, tail: str) -> tuple[int, int]:
        """First token of a turn, and the one behind its end-of-turn token."""
        prompt, upto, ending = encode(self.tokenizer, [before, after, tail], special=False)
        start = target_start(prompt, tokens)
        if len(prompt) - start > 1:  # one may go over the boundary
            raise InputError(f"{self.where}: the tokenizer does not keep turns apart")
        stop = target_start(upto, tokens)
        ends = [i for i in range(start, stop) if tokens[i] in self.added]
        if not self.added.intersection(ending) or not ends:
            raise self._endless()
        stop_at = ends[-1] + 1
        if text_of(self.tokenizer, tokens[stop_at:stop]).strip():
            raise self._endless()
        return start, stop_at

    def _endless(self) -> InputError:
        return InputError(
            f"{self.where}: {TEMPLATE} ends a turn of the assistant with no special token: the "
            "model would not learn to stop"
        )

    def _safe(self, apply: Any) -> str:
        try:
            return rendered(apply, self.where)
        except ChatTemplateError as error:
            raise InputError(str(error)) from error
