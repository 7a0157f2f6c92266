"""Tokenization of conversations, with a loss mask over the turns of the assistant.

A turn is what the model would generate: it begins after the generation prompt of the chat template
and ends with the end-of-turn token. If the template marks turns (``{% generation %}``), the marks
count. Otherwise a turn is the difference of two renderings: the conversation before the turn with
the generation prompt, and the conversation up to the end of the turn. Each rendering must be a
prefix of the next and of the whole conversation; else the template is refused.
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
    """Read a chat template from a file.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or is empty.
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
    """Return the chat template of a tokenizer, the default one if it has several.

    Raises:
        InputError: the tokenizer has none.
    """
    try:
        template: str = tokenizer.get_chat_template()
    except ValueError as error:
        raise InputError(
            "messages need a chat template and the model has none: give one with --chat-template "
            "FILE (data.chat_template)"
        ) from error
    return template


def tokenize_conversation(
    conversation: Conversation, tokenizer: Any, where: str
) -> tuple[list[int], NDArray[np.bool_]]:
    """Tokenize a conversation and mask the tokens with a loss.

    Args:
        where: file and row of the conversation, for messages.

    Returns:
        Token ids, and the loss mask ``(tokens,)``: assistant turns from ``conversation.first`` on.

    Raises:
        InputError: the template rejects the conversation, or where a turn begins or ends is
            ambiguous.
    """
    rendering = _Rendering(tokenizer, where)
    messages = conversation.messages
    turns = [i for i, message in enumerate(messages) if message["role"] == ASSISTANT]
    if MARKED.search(template_of(tokenizer)):
        tokens, spans = rendering.spans_by_marks(messages)
        if len(spans) != len(turns):
            raise InputError(
                f"{where}: {TEMPLATE} marks {len(spans)} turns of the assistant "
                f"({{% generation %}}), the conversation has {len(turns)}"
            )
        for turn, (start, stop) in zip(turns, spans, strict=True):
            if _without_spaces(messages[turn]["content"]) not in _without_spaces(
                text_of(tokenizer, tokens[start:stop])
            ):
                raise InputError(
                    f"{where}: {TEMPLATE} does not mark message {turn + 1} of the assistant "
                    "({% generation %}), but something else"
                )
    else:
        tokens, spans = rendering.spans_by_rendering(messages, turns)
    mask = np.zeros(len(tokens), np.bool_)
    for turn, (start, stop) in zip(turns, spans, strict=True):
        if turn >= conversation.first:
            mask[start:stop] = True
    return tokens, mask


def _without_spaces(text: str) -> str:
    """Remove all spaces: templates trim them, and tokenizers may decode them differently."""
    return "".join(text.split())


class _Rendering:
    """Renderer of parts of one conversation by a tokenizer's chat template."""

    def __init__(self, tokenizer: Any, where: str) -> None:
        self.tokenizer, self.where = tokenizer, where
        self.added = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}

    def text(self, messages: Sequence[Message], prompt: bool = False) -> str:
        """Render messages as text, followed by the generation prompt if ``prompt``."""
        options = {"tokenize": False, "add_generation_prompt": prompt}
        return self._safe(
            lambda: self.tokenizer.apply_chat_template([*map(dict, messages)], **options)
        )

    def spans_by_marks(
        self, messages: Sequence[Message]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Return tokens, and the spans that the template marks, each with its end-of-turn token."""
        self.text(messages)  # checks the size of the output, which a second rendering repeats
        encoding: dict[str, Any] = {}

        def apply() -> str:
            encoding.update(
                self.tokenizer.apply_chat_template(
                    [*map(dict, messages)],
                    tokenize=True,
                    return_dict=True,
                    return_assistant_tokens_mask=True,
                )
            )
            return ""

        self._safe(apply)
        tokens, mask = list(encoding["input_ids"]), np.array(encoding["assistant_masks"], np.bool_)
        edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
        spans = []
        for start, stop in edges.reshape(-1, 2).tolist():
            end_inside = tokens[stop - 1] in self.added
            end_follows = stop < len(tokens) and tokens[stop] in self.added
            if not end_inside and not end_follows:
                raise self._no_end_token()
            spans.append((start, stop if end_inside else stop + 1))
        return tokens, spans

    def spans_by_rendering(
        self, messages: Sequence[Message], turns: Sequence[int]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Return tokens, and the spans of turns found by comparing renderings."""
        full = self.text(messages)
        [tokens] = encode(self.tokenizer, [full], special=False)
        spans = []
        for turn in turns:
            if turn == 0:
                raise InputError(
                    f"{self.where}: the conversation begins with the assistant, where {TEMPLATE} "
                    "does not show where the turn begins"
                )
            before = self.text(messages[:turn], prompt=True)
            after = full if turn == len(messages) - 1 else self.text(messages[: turn + 1])
            if not (after.startswith(before) and full.startswith(after)):
                raise InputError(
                    f"{self.where}: {TEMPLATE} writes message {turn + 1} differently when the "
                    "conversation goes on, so that its turn cannot be located (a template with "
                    "{% generation %} marks it)"
                )
            tail = self._tail(messages, turn, before, after)
            spans.append(self._span(tokens, before, after, tail))
        return tokens, spans

    def _tail(self, messages: Sequence[Message], turn: int, before: str, after: str) -> str:
        """Return the text that the template writes after the content of a turn."""
        content, rendered_turn = messages[turn]["content"].strip(), after[len(before) :]
        head, match, tail = rendered_turn.partition(content)
        if not match:
            raise InputError(f"{self.where}: {TEMPLATE} changes the text of message {turn + 1}")
        if head.strip() and before == self.text(messages[:turn]):
            raise InputError(
                f"{self.where}: {TEMPLATE} does not know add_generation_prompt: it begins a turn "
                f"of the assistant with {head.strip()[:80]!r}, which the model would have to write"
            )
        return tail

    def _span(self, tokens: list[int], before: str, after: str, tail: str) -> tuple[int, int]:
        """Return the token span of a turn: ``[start, stop)``, end-of-turn token included."""
        prompt, up_to_end, ending = encode(self.tokenizer, [before, after, tail], special=False)
        start = target_start(prompt, tokens)
        if len(prompt) - start > 1:  # one token may merge over the boundary
            raise InputError(f"{self.where}: the tokenizer merges tokens across two turns")
        stop = target_start(up_to_end, tokens)
        end_tokens = [i for i in range(start, stop) if tokens[i] in self.added]
        if not self.added.intersection(ending) or not end_tokens:
            raise self._no_end_token()
        turn_end = end_tokens[-1] + 1
        if text_of(self.tokenizer, tokens[turn_end:stop]).strip():
            raise self._no_end_token()
        return start, turn_end

    def _no_end_token(self) -> InputError:
        return InputError(
            f"{self.where}: {TEMPLATE} ends a turn of the assistant with no special token: the "
            "model would not learn to stop"
        )

    def _safe(self, apply: Any) -> str:
        """Run the template within the limits of time, memory and output."""
        try:
            return rendered(apply, self.where)
        except ChatTemplateError as error:
            raise InputError(str(error)) from error
