"""Examples for fine-tuning, packed into rows without leakage between examples.

Each example has positions from 0 on; where Hugging Face's masks see that, they keep the examples
of a row apart. The loss is on the target and the end token alone; of a conversation, on the turns
of the assistant (:mod:`.chats`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError
from ....core.text_tokens import encode, special_tokens, target_start
from .batches import IGNORED, Batch, part
from .chats import learned, template_of
from .mixture import shuffled
from .rows import DELIMITERS, Conversation, Pair, Rows


@dataclass(frozen=True)
class Example:
    """A tokenized example.

    Args:
        tokens: of it; the first has nothing before it, so that it cannot be learned.
        learned: which of them are.
    """

    tokens: NDArray[np.int64]
    learned: NDArray[np.bool_]

    @property
    def start(self) -> int:
        """The first token that is learned."""
        return int(self.learned.argmax())


class Examples:
    """Batches of examples: in an order shuffled for each epoch, packed into rows.

    Args:
        examples: pairs of prompt and target, or what a file of examples holds.
        tokenizer: a Hugging Face tokenizer.
        batch_size: examples a step, over all processes.
        seq_len: tokens a row; no example may be longer.
        seed: of the order.
        pack: several examples a row; else each has its own.
        delimiter: between prompt and target; by default that of the columns.
        special: put the special tokens before each example that the tokenizer puts before a text;
            not in a run that began without them.

    Raises:
        InputError: an example that is too long, or has no token.
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
        self.about = _about(examples, tokenizer, delimiter)
        if examples.chats:
            self.examples = conversations(examples, tokenizer)
        else:
            pairs = [(pair.prompt, pair.target) for pair in examples.rows]  # type: ignore[union-attr]
            self.examples = encoded(pairs, tokenizer, self.about["delimiter"], special)
        # a tokenizer may have more tokens than its model: those of the texts count
        self.vocabulary = 1 + max(int(example.tokens.max()) for example in self.examples)
        longest = max(range(len(examples)), key=lambda i: len(self.examples[i].tokens))
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
                wanted[i, start:stop] = np.where(example.learned, example.tokens, IGNORED)[1:]
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
        tokens = np.array([*first, *whole, end], np.int64)
        found.append(Example(tokens, np.arange(len(tokens)) >= len(first) + start))
    return found


def conversations(examples: Rows, tokenizer: Any) -> list[Example]:
    """Tokens of conversations as the chat template writes them, to the last that is learned.

    The template writes all special tokens itself: none are added.
    """
    found = []
    for number, row in enumerate(examples.rows, start=1):
        assert isinstance(row, Conversation)
        ids, mask = learned(row, tokenizer, f"{examples.path}, row {number}")
        stop = int(np.flatnonzero(mask)[-1]) + 1
        if mask[0]:  # nothing stands before it: read the token that begins a text, or ends one
            begin = getattr(tokenizer, "bos_token_id", None)
            begin = tokenizer.eos_token_id if begin is None else begin
            ids, mask, stop = [begin, *ids], np.concatenate([[False], mask]), stop + 1
        found.append(Example(np.array(ids[:stop], np.int64), mask[:stop]))
    return found


def _about(examples: Rows, tokenizer: Any, delimiter: str | None) -> dict[str, Any]:
    """What is read, as checkpoints record it.

    Raises:
        InputError: messages without a chat template, or with a delimiter.
    """
    if not examples.chats:
        between = DELIMITERS.get(examples.columns, "") if delimiter is None else delimiter
        return {"columns": examples.columns, "delimiter": between}
    if delimiter is not None:
        raise InputError(
            f"a delimiter stands between texts: {examples.path} holds messages, which the chat "
            "template joins"
        )
    template = template_of(tokenizer)
    digest = hashlib.sha256(template.encode(errors="surrogatepass")).hexdigest()
    return {"columns": examples.columns, "chat_template_sha256": digest}


def _targets(examples: Sequence[Example]) -> int:
    return sum(int(example.learned.sum()) for example in examples)
