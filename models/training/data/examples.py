"""Prompts and targets for fine-tuning, packed into rows without leakage between examples.

Each example has positions from 0 on; where Hugging Face's masks see that, they keep the examples
of a row apart. The loss is on the target and the end token alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError
from ....core.text_tokens import encode, special_tokens, target_start
from .batches import IGNORED, Batch, part
from .documents import rows_of
from .mixture import shuffled


@dataclass(frozen=True)
class Example:
    """A tokenized example; targets begin at ``start``."""

    tokens: NDArray[np.int64]
    start: int


def read_examples(path: str | Path) -> list[tuple[str, str]]:
    """Pairs of prompt and target from a JSONL or Parquet file, or a ``datasets`` folder.

    Raises:
        InputError: no such file, no rows, or a row without both texts, naming it.
    """
    pairs = []
    for number, row in enumerate(rows_of(str(path)), start=1):
        if not isinstance(row, dict) or not all(
            isinstance(row.get(name), str) for name in ("prompt", "target")
        ):
            raise InputError(f"{path}, row {number}: prompt and target are needed, as texts")
        if not row["target"]:
            raise InputError(f"{path}, row {number}: the target is empty")
        pairs.append((row["prompt"], row["target"]))
    if not pairs:
        raise InputError(f"{path} holds no examples")
    return pairs


class Examples:
    """Batches of examples: in an order shuffled for each epoch, packed into rows.

    Args:
        pairs: prompts and targets.
        tokenizer: a Hugging Face tokenizer.
        batch_size: examples a step, over all processes.
        seq_len: tokens a row; no example may be longer.
        seed: of the order.
        pack: several examples a row; else each has its own.
        delimiter: between prompt and target.
        special: put the special tokens before each example that the tokenizer puts before a text;
            not in a run that began without them.

    Raises:
        InputError: an example that is too long, or has no token.
    """

    kinds: tuple[str, ...] = ()

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        tokenizer: Any,
        batch_size: int,
        seq_len: int,
        seed: int = 0,
        pack: bool = True,
        delimiter: str = " ",
        special: bool = True,
    ) -> None:
        self.saved, self.seed, self.pack = tokenizer, seed, pack
        self.batch_size, self.seq_len = batch_size, seq_len
        self.state: dict[str, Any] = {}
        self.vocabulary, self.end = len(tokenizer), tokenizer.eos_token_id
        self.special = special_tokens(tokenizer).before if special else ()
        self.examples = encoded(pairs, tokenizer, delimiter, special)
        longest = max(range(len(pairs)), key=lambda i: len(self.examples[i].tokens))
        if (length := len(self.examples[longest].tokens) - 1) > seq_len:
            raise InputError(
                f"example {longest + 1} has {length} tokens, more than seq_len {seq_len}"
            )

    def __len__(self) -> int:
        return len(self.examples)

    def chosen(self, step: int) -> list[int]:
        """The examples of a step, of all processes."""
        found = []
        for number in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, index = divmod(number, len(self))
            found.append(shuffled(index, len(self), f"{self.seed}/examples/{epoch}"))
        return found

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> Batch:
        """The rows of one process at one step; all processes have equally many."""
        chosen = [self.examples[i] for i in self.chosen(step)]
        shares = [chosen[part(len(chosen), r, processes)] for r in range(processes)]
        rows = [self._rows(share) for share in shares]
        return self._batch(rows[rank], max(map(len, rows)), _targets(chosen))

    def all(self) -> Batch:
        """Every example once, for validation."""
        rows = self._rows(self.examples)
        return self._batch(rows, len(rows), _targets(self.examples))

    def pair(self) -> tuple[Batch, Batch]:
        """Two examples in one row, and in one each; their targets in the same order."""
        two = sorted(self.examples, key=lambda e: len(e.tokens))[:2]
        count = _targets(two)
        return self._batch([two], 1, count), self._batch([[e] for e in two], len(two), count)

    def _rows(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Examples by row: first fit, the longest first."""
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
        length = max(sum(len(e.tokens) - 1 for e in row) for row in rows)
        tokens = np.full((count, length), self.end or 0, np.int64)
        wanted = np.full((count, length), IGNORED, np.int64)
        # what is left over at the end of a row is an example of its own
        positions = np.zeros((count, length), np.int64)
        for i, row in enumerate(rows):
            stop = 0
            for example in row:
                start, stop = stop, stop + len(example.tokens) - 1
                tokens[i, start:stop] = example.tokens[:-1]
                wanted[i, start + example.start - 1 : stop] = example.tokens[example.start :]
                positions[i, start:stop] = np.arange(stop - start)
            positions[i, stop:] = np.arange(length - stop)
        for i in range(len(rows), count):
            positions[i] = np.arange(length)
        return Batch(tokens, wanted, targets, positions if self.pack else None)

    def learned(self, step: int, losses: dict[str, float]) -> str | None:
        """Nothing depends on what was learned."""
        del step, losses
        return None

    def tokenizer(self) -> Any:
        """The model's own tokenizer."""
        return self.saved


def encoded(
    pairs: Sequence[tuple[str, str]], tokenizer: Any, delimiter: str, special: bool = True
) -> list[Example]:
    """Tokens of ``prompt + delimiter + target`` and the end, and where the target begins.

    Prompt and target are tokenized together, as they are scored (:mod:`growloop.core.text_tokens`):
    after the special tokens that the tokenizer puts before a text, with spaces at the end of the
    prompt counted to the target. The target begins with the first token that the prompt alone has
    not; where that is the first of all, the BOS token (or the end token) is read before it. The end
    token is the only one added behind.

    Args:
        special: put the special tokens before each text that the tokenizer puts there.
    """
    end, begin = tokenizer.eos_token_id, getattr(tokenizer, "bos_token_id", None)
    if end is None:
        raise InputError("the tokenizer has no end token")
    prompts = encode(tokenizer, [prompt.rstrip() for prompt, _ in pairs], special)
    wholes = encode(tokenizer, [f"{p}{delimiter}{target}" for p, target in pairs], special)
    found = []
    for number, (prompt, whole) in enumerate(zip(prompts, wholes, strict=True), start=1):
        start = target_start(prompt, whole)
        if start == len(whole):
            raise InputError(f"example {number}: the target has no token of its own")
        first = [end if begin is None else begin] if start == 0 else []
        found.append(Example(np.array([*first, *whole, end], np.int64), len(first) + start))
    return found


def _targets(examples: Sequence[Example]) -> int:
    return sum(len(example.tokens) - example.start for example in examples)
