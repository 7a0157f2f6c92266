"""Examples for fine-tuning, packed into rows without leakage between examples.

Position ids restart at 0 in each example. From that, the masks of Hugging Face models keep the
examples of a row apart. :mod:`.loss_masks` says which tokens have a loss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....core.errors import InputError
from ....core.text_tokens import special_tokens
from .batches import IGNORED, Batch, process_rows
from .chats import template_of
from .loss_masks import Example, tokenize_conversations, tokenize_pairs
from .mixture import shuffled
from .rows import DELIMITERS, Pair, Rows


class Examples:
    """Source of batches of examples, shuffled anew each epoch and packed into rows.

    Args:
        examples: (prompt, target) pairs, or the rows of a file.
        tokenizer: a Hugging Face tokenizer.
        batch_size: examples a step, over all processes.
        seq_len: tokens a row; no example may be longer.
        seed: seed of the order.
        pack: put several examples into a row; else one.
        delimiter: text between prompt and target; by default that of the columns.
        special: begin each example with the special tokens that the tokenizer puts before a text;
            False only to resume a run that began without them.

    Raises:
        InputError: an example is too long, or its target has no token.
    """

    kinds: tuple[str, ...] = ()

    def __init__(
        self,
        examples: Rows | Sequence[tuple[str, str]],
        tokenizer: Any,
        batch_size: int,
        seq_len: int,
        seed: int = 0,
        pack: bool = True,
        delimiter: str | None = None,
        special: bool = True,
    ) -> None:
        if not isinstance(examples, Rows):
            examples = Rows("examples", "prompt,target", tuple(Pair(*pair) for pair in examples))
        self.saved, self.seed, self.pack = tokenizer, seed, pack
        self.batch_size, self.seq_len = batch_size, seq_len
        self.state: dict[str, Any] = {}
        self.end = tokenizer.eos_token_id
        self.special = special_tokens(tokenizer).before if special else ()
        self.about = _describe(examples, tokenizer, delimiter)
        if examples.chats:
            self.examples = tokenize_conversations(examples, tokenizer)
        else:
            pairs = [(pair.prompt, pair.target) for pair in examples.rows]  # type: ignore[union-attr]
            self.examples = tokenize_pairs(pairs, tokenizer, self.about["delimiter"], special)
        # a tokenizer may have more tokens than its model: count only tokens that occur
        self.vocabulary = 1 + max(int(example.tokens.max()) for example in self.examples)
        longest = max(range(len(examples)), key=lambda i: len(self.examples[i].tokens))
        if (length := len(self.examples[longest].tokens) - 1) > seq_len:
            raise InputError(
                f"example {longest + 1} has {length} tokens, more than seq_len {seq_len}"
            )

    def __len__(self) -> int:
        return len(self.examples)

    def indices_at(self, step: int) -> list[int]:
        """Return the indices of the examples of a step, for all processes."""
        indices = []
        for number in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, index = divmod(number, len(self))
            indices.append(shuffled(index, len(self), f"{self.seed}/examples/{epoch}"))
        return indices

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> Batch:
        """Make the batch of one process at one step; all processes get equally many rows."""
        chosen = [self.examples[i] for i in self.indices_at(step)]
        shares = [chosen[process_rows(len(chosen), r, processes)] for r in range(processes)]
        rows = [self._pack(share) for share in shares]
        return self._batch(rows[rank], max(map(len, rows)), _count_targets(chosen))

    def all(self) -> Batch:
        """Make one batch of every example, for validation."""
        rows = self._pack(self.examples)
        return self._batch(rows, len(rows), _count_targets(self.examples))

    def pair(self) -> tuple[Batch, Batch]:
        """Make two batches of the same two examples: packed into one row, and one per row.

        Targets come in the same order in both.
        """
        shortest = sorted(self.examples, key=lambda e: len(e.tokens))[:2]
        count = _count_targets(shortest)
        separate = [[e] for e in shortest]
        return self._batch([shortest], 1, count), self._batch(separate, len(shortest), count)

    def _pack(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Pack examples into rows: first fit decreasing."""
        rows: list[list[Example]] = []
        room: list[int] = []
        for example in sorted(examples, key=lambda e: -len(e.tokens)):
            length = len(example.tokens) - 1
            place = next((i for i, r in enumerate(room) if r >= length), None)
            if place is None or not self.pack:
                place = len(rows)
                rows.append([])
                room.append(self.seq_len)
            rows[place].append(example)
            room[place] -= length
        return rows

    def _batch(self, rows: list[list[Example]], count: int, targets: int) -> Batch:
        """Make a batch of ``count`` rows: ``rows``, then rows of padding."""
        length = max(sum(len(e.tokens) - 1 for e in row) for row in rows)
        tokens = np.full((count, length), self.end or 0, np.int64)
        target_ids = np.full((count, length), IGNORED, np.int64)
        # padding at the end of a row has positions from 0 on, like one more example
        positions = np.zeros((count, length), np.int64)
        for i, row in enumerate(rows):
            stop = 0
            for example in row:
                start, stop = stop, stop + len(example.tokens) - 1
                tokens[i, start:stop] = example.tokens[:-1]
                target_ids[i, start:stop] = np.where(example.loss_mask, example.tokens, IGNORED)[1:]
                positions[i, start:stop] = np.arange(stop - start)
            positions[i, stop:] = np.arange(length - stop)
        for i in range(len(rows), count):
            positions[i] = np.arange(length)
        return Batch(tokens, target_ids, targets, positions if self.pack else None)

    def observe_losses(self, step: int, losses: dict[str, float]) -> str | None:
        """Return None: batches do not depend on the losses."""
        del step, losses
        return None

    def tokenizer(self) -> Any:
        """Return the model's own tokenizer."""
        return self.saved


def _describe(examples: Rows, tokenizer: Any, delimiter: str | None) -> dict[str, Any]:
    """Describe how examples are read, for checkpoints: columns, and delimiter or template hash.

    Raises:
        InputError: messages come without a chat template, or with a delimiter.
    """
    if not examples.chats:
        used = DELIMITERS.get(examples.columns, "") if delimiter is None else delimiter
        return {"columns": examples.columns, "delimiter": used}
    if delimiter is not None:
        raise InputError(
            f"a delimiter stands between texts: {examples.path} holds messages, which the chat "
            "template joins"
        )
    template = template_of(tokenizer)
    digest = hashlib.sha256(template.encode(errors="surrogatepass")).hexdigest()
    return {"columns": examples.columns, "chat_template_sha256": digest}


def _count_targets(examples: Sequence[Example]) -> int:
    return sum(int(example.loss_mask.sum()) for example in examples)
