"""Rows of fine-tuning data: which columns are read, and what each row then says.

===================  =====================================  ===============================
columns              a row holds                            learned
===================  =====================================  ===============================
prompt,target        two texts (growloop's items)           the target
prompt,completion    two texts, or two lists of messages    the completion (TRL)
messages             a conversation                         every turn of the assistant
instruction,output   two texts, and perhaps an ``input``    the output (Stanford's Alpaca)
===================  =====================================  ===============================

The first row decides; all others must be like it.
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
"""What stands between prompt and target by default: nothing in data of TRL and Alpaca."""
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
    """A text, and one that goes on from it and is learned."""

    prompt: str
    target: str


@dataclass(frozen=True)
class Conversation:
    """Messages, and from which one on the turns of the assistant are learned."""

    messages: tuple[Message, ...]
    first: int = 0


@dataclass(frozen=True)
class Rows:
    """What a file of examples holds.

    Args:
        path: of the file.
        columns: that were read.
        rows: pairs, or conversations: one kind.
    """

    path: str
    columns: Columns
    rows: tuple[Pair, ...] | tuple[Conversation, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def chats(self) -> bool:
        """Whether a chat template renders them."""
        return isinstance(self.rows[0], Conversation)


def read_examples(path: str | Path, columns: str | None = None) -> Rows:
    """Examples from a JSONL or Parquet file, or a ``datasets`` folder.

    Args:
        columns: that are read, one of ``COLUMNS``; by default those that the first row has.

    Raises:
        InputError: no such file, no rows, or a row that is no example, naming it.
    """
    found: list[Any] = []
    for number, row in enumerate(rows_of(str(path)), start=1):
        where = f"{path}, row {number}"
        if not isinstance(row, dict):
            raise InputError(f"{where}: {NEEDED}")
        if columns is None:
            columns = _columns(row, where)
        example = _READ[columns](row, where)
        if found and type(example) is not type(found[0]):
            raise InputError(f"{where}: texts and messages in one file: all rows must be alike")
        found.append(example)
    if not found:
        raise InputError(f"{path} holds no examples")
    name = next(each for each in COLUMNS if each == columns)
    return Rows(str(path), name, tuple(found))


def _columns(row: Mapping[str, Any], where: str) -> str:
    """Columns that are read of a row: those of growloop's items, or the only ones that it has."""
    fits = {
        "prompt,target": _all(row, str, "prompt", "target"),
        "prompt,completion": any(_all(row, k, "prompt", "completion") for k in (str, list)),
        "messages": _all(row, list, "messages"),
        "instruction,output": _all(row, str, "instruction", "output"),
    }
    found = [name for name, fit in fits.items() if fit]
    if not found:
        raise InputError(f"{where}: {NEEDED} (columns: {', '.join(map(str, row)) or 'none'})")
    if len(found) > 1 and found[0] != "prompt,target":
        raise InputError(
            f"{where} has columns of several kinds ({' and '.join(found)}): say with --columns "
            "(data.columns) which are meant"
        )
    return found[0]


def _all(row: Mapping[str, Any], kind: type, *names: str) -> bool:
    return all(isinstance(row.get(name), kind) for name in names)


def _target(row: Mapping[str, Any], where: str) -> Pair:
    if not _all(row, str, "prompt", "target"):
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
    if not _all(row, str, "instruction", "output"):
        raise InputError(f"{where}: instruction and output are needed, as texts")
    given = row.get("input") or ""
    if not isinstance(given, str):
        raise InputError(f"{where}: the input must be a text, not {shown(given)}")
    more = {"more": MORE, "input": f"### Input:\n{given}\n\n"} if given else {}
    prompt = ALPACA.format(**{"more": "", "input": "", **more}, instruction=row["instruction"])
    return _pair(prompt, row["output"], "output", where)


def _pair(prompt: str, target: str, name: str, where: str) -> Pair:
    if not target:
        raise InputError(f"{where}: the {name} is empty")
    return Pair(prompt, target)


def _conversation(messages: list[Any], first: int, where: str) -> Conversation:
    """A conversation with turns to learn; columns that a file's table fills with None are gone."""
    found = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not _all(message, str, "role", "content"):
            raise InputError(f"{where}, message {number}: role and content are needed, as texts")
        if message["role"] == "assistant" and not message["content"].strip():
            raise InputError(f"{where}, message {number}: the assistant says nothing")
        found.append({name: value for name, value in message.items() if value is not None})
    if not any(message["role"] == "assistant" for message in found[first:]):
        raise InputError(f"{where}: no turn of the assistant, which is what is learned")
    return Conversation(tuple(found), first)


_READ: Mapping[str, Any] = {
    "prompt,target": _target,
    "prompt,completion": _completion,
    "messages": _messages,
    "instruction,output": _instruction,
}
