"""Rows of fine-tuning data: the supported columns, and the example that each row becomes.

===================  =====================================  ===============================
columns              a row holds                            tokens with a loss
===================  =====================================  ===============================
prompt,target        two texts (growloop's items)           the target
prompt,completion    two texts, or two lists of messages    the completion (TRL)
messages             a conversation                         every turn of the assistant
instruction,output   two texts, and perhaps an ``input``    the output (Stanford's Alpaca)
===================  =====================================  ===============================

The first row decides the columns; all rows must have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ....core.errors import InputError, shown
from .documents import rows_of

Columns = Literal["prompt,target", "prompt,completion", "messages", "instruction,output"]
COLUMNS: tuple[Columns, ...] = get_args(Columns)
DELIMITERS: Mapping[str, str] = {"prompt,target": " "}
"""Default text between prompt and target by columns; nothing for TRL's and Alpaca's columns."""
ALPACA = (
    "Below is an instruction that describes a task{more}. Write a response that appropriately "
    "completes the request.\n\n### Instruction:\n{instruction}\n\n{input}### Response:"
)
MORE = ", paired with an input that provides further context"
NEEDED = (
    "prompt and target are needed, as texts, or prompt and completion, messages, or instruction "
    "and output"
)

Message = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """Prompt, and the target after it, which alone has a loss."""

    prompt: str
    target: str


@dataclass(frozen=True)
class Conversation:
    """Conversation to fine-tune on.

    Args:
        messages: messages in order, each with ``role`` and ``content``.
        first: index of the first message whose assistant turn has a loss.
    """

    messages: tuple[Message, ...]
    first: int = 0


@dataclass(frozen=True)
class Rows:
    """Examples of a file.

    Args:
        path: path of the file.
        columns: columns read.
        rows: all pairs, or all conversations.
    """

    path: str
    columns: Columns
    rows: tuple[Pair, ...] | tuple[Conversation, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def chats(self) -> bool:
        """Return whether the rows are conversations, which a chat template renders."""
        return isinstance(self.rows[0], Conversation)


def read_examples(path: str | Path, columns: str | None = None) -> Rows:
    """Read examples from a JSONL or Parquet file, or a ``datasets`` folder.

    Args:
        columns: columns to read, one of ``COLUMNS``; by default decided by the first row.

    Raises:
        InputError: there is no such file, it holds no rows, or a row is not an example (the message
            names the row).
    """
    examples: list[Any] = []
    for number, row in enumerate(rows_of(str(path)), start=1):
        where = f"{path}, row {number}"
        if not isinstance(row, dict):
            raise InputError(f"{where}: {NEEDED}")
        if columns is None:
            columns = _detect_columns(row, where)
        example = _READ[columns](row, where)
        if examples and type(example) is not type(examples[0]):
            raise InputError(f"{where}: texts and messages in one file: all rows must be alike")
        examples.append(example)
    if not examples:
        raise InputError(f"{path} holds no examples")
    name = next(each for each in COLUMNS if each == columns)
    return Rows(str(path), name, tuple(examples))


def _detect_columns(row: Mapping[str, Any], where: str) -> str:
    """Return the columns that a row fits; ``prompt,target`` wins over others.

    Raises:
        InputError: the row fits none, or several.
    """
    fits = {
        "prompt,target": _has(row, str, "prompt", "target"),
        "prompt,completion": any(_has(row, k, "prompt", "completion") for k in (str, list)),
        "messages": _has(row, list, "messages"),
        "instruction,output": _has(row, str, "instruction", "output"),
    }
    matches = [name for name, fit in fits.items() if fit]
    if not matches:
        raise InputError(f"{where}: {NEEDED} (columns: {', '.join(map(str, row)) or 'none'})")
    if len(matches) > 1 and matches[0] != "prompt,target":
        raise InputError(
            f"{where} has columns of several kinds ({' and '.join(matches)}): say with --columns "
            "(data.columns) which are meant"
        )
    return matches[0]


def _has(row: Mapping[str, Any], kind: type, *names: str) -> bool:
    return all(isinstance(row.get(name), kind) for name in names)


def _target(row: Mapping[str, Any], where: str) -> Pair:
    if not _has(row, str, "prompt", "target"):
        raise InputError(f"{where}: prompt and target are needed, as texts")
    return _pair(row["prompt"], row["target"], "target", where)


def _completion(row: Mapping[str, Any], where: str) -> Pair | Conversation:
    prompt, completion = row.get("prompt"), row.get("completion")
    if isinstance(prompt, str) and isinstance(completion, str):
        return _pair(prompt, completion, "completion", where)
    if not (isinstance(prompt, list) and isinstance(completion, list)):
        raise InputError(
            f"{where}: prompt and completion are needed, both as texts or both as messages"
        )
    return _conversation([*prompt, *completion], len(prompt), where)


def _messages(row: Mapping[str, Any], where: str) -> Conversation:
    if not isinstance(row.get("messages"), list):
        raise InputError(f"{where}: messages are needed, as a list")
    return _conversation(row["messages"], 0, where)


def _instruction(row: Mapping[str, Any], where: str) -> Pair:
    if not _has(row, str, "instruction", "output"):
        raise InputError(f"{where}: instruction and output are needed, as texts")
    context = row.get("input") or ""
    if not isinstance(context, str):
        raise InputError(f"{where}: the input must be a text, not {shown(context)}")
    more = {"more": MORE, "input": f"### Input:\n{context}\n\n"} if context else {}
    prompt = ALPACA.format(**{"more": "", "input": "", **more}, instruction=row["instruction"])
    return _pair(prompt, row["output"], "output", where)


def _pair(prompt: str, target: str, name: str, where: str) -> Pair:
    if not target:
        raise InputError(f"{where}: the {name} is empty")
    return Pair(prompt, target)


def _conversation(messages: list[Any], first: int, where: str) -> Conversation:
    """Check messages and build a conversation, without the None that Parquet fills in."""
    checked = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not _has(message, str, "role", "content"):
            raise InputError(f"{where}, message {number}: role and content are needed, as texts")
        if message["role"] == "assistant" and not message["content"].strip():
            raise InputError(f"{where}, message {number}: the assistant says nothing")
        checked.append({name: value for name, value in message.items() if value is not None})
    if not any(message["role"] == "assistant" for message in checked[first:]):
        raise InputError(f"{where}: no turn of the assistant: nothing has a loss")
    return Conversation(tuple(checked), first)


_READ: Mapping[str, Any] = {
    "prompt,target": _target,
    "prompt,completion": _completion,
    "messages": _messages,
    "instruction,output": _instruction,
}
