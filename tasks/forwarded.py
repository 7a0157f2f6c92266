"""Options of lm-eval that growloop forwards: parsed, checked by type and sorted by receiver.

The table of :mod:`..core.lm_eval_options` has all that are allowed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..core import identity
from ..core.errors import InputError, shown
from ..core.lm_eval_options import OPTIONS, OWN, Option
from ..core.strict_json import StrictError, loads

MODEL_ARGS = "model_args"  # lm-eval's argument for several options at once
FOLDERS = ("peft", "delta", "tokenizer")  # options that may be folders: recorded by content
DTYPES = ("float32", "bfloat16", "float16", "float64")
TRUTHS = {"true": True, "false": False}
NONE = ("none", "null")


@dataclass(frozen=True)
class Forwarded:
    """Checked options of lm-eval.

    Args:
        harness: options of ``lm_eval.simple_evaluate``.
        model: options of lm-eval's ``hf`` model, and through it of ``from_pretrained``.
    """

    harness: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)

    def decisive(self) -> dict[str, Any]:
        """Return the options that affect numbers, as JSON values; folders by name and digest."""
        given = {**self.harness, **self.model}
        return {
            name: _with_content(name, given[name])
            for name, option in OPTIONS.items()
            if name in given and option.effect != "nothing" and given[name] != option.default
        }


def forwarded(given: Mapping[str, Any], local: bool = False) -> Forwarded:
    """Check options by the table, and sort them by receiver.

    Args:
        given: name -> value, typed or as text. ``model_args`` holds further options: a mapping, or
            ``name=value,name=value``. None counts as left out.
        local: whether the model is a folder or file on this machine.

    Raises:
        InputError: an option is unknown, has a growloop option instead, has the wrong type, is
            given twice, or needs another option.
    """
    every = [(name, value) for name, value in given.items() if name != MODEL_ARGS]
    every += _object(f"--{MODEL_ARGS}", given.get(MODEL_ARGS) or {}, guess=False).items()
    values: dict[str, Any] = {}
    for name, value in every:
        if name not in OPTIONS:
            where = "" if name in given else f"--{MODEL_ARGS} "
            raise unknown_option(name, (), where)
        value = _typed(OPTIONS[name], value)
        if name in values and values[name] != value:
            raise InputError(f"--{name} is given twice: {shown(values[name])} and {shown(value)}")
        values[name] = value
    values = {name: value for name, value in values.items() if value is not None}
    _check_together(values, local)
    to_harness = {name: v for name, v in values.items() if OPTIONS[name].receiver == "harness"}
    to_model = {name: v for name, v in values.items() if OPTIONS[name].receiver != "harness"}
    return Forwarded(to_harness, to_model)


def from_command_line(arguments: Sequence[str], own: Iterable[str] = ()) -> dict[str, Any]:
    """Parse command-line arguments to name -> text, or True for flags.

    Args:
        arguments: ``--name value``, ``--name=value`` and ``--flag``.
        own: options of the command itself, such as ``--repeats``, for suggestions.

    Raises:
        InputError: an option is unknown, is given twice, or lacks its value.

    >>> from_command_line(["--write_out", "--max_length=512"])
    {'write_out': True, 'max_length': '512'}
    """
    found: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--"):
            raise InputError(f"unexpected argument {shown(argument)}")
        written, equals, value = argument.partition("=")
        name = written[2:].replace("-", "_")
        if name not in OPTIONS and name != MODEL_ARGS:
            raise unknown_option(written[2:], own)
        if name in found:
            raise InputError(f"{written} is given twice")
        kind = OPTIONS[name].kind if name in OPTIONS else "object"
        follows = rest[0] if rest and not rest[0].startswith("--") else None
        if equals:
            found[name] = value
        elif follows is not None and (kind != "flag" or follows.lower() in (*TRUTHS, *NONE)):
            found[name] = rest.pop(0)
        elif kind in ("flag", "flag or text"):
            found[name] = True
        else:
            raise InputError(f"{written} needs {_WANTED[kind]}")
    return found


def unknown_option(name: str, own: Iterable[str], where: str = "") -> InputError:
    """Build the error for an unknown option, with a suggestion.

    Args:
        name: the option.
        own: options of the command itself, which are suggested first.
        where: argument that held the option.
    """
    plain = name.replace("-", "_")
    if plain in OWN:
        wrong = f"{where}may not hold {plain}" if where else f"unknown option --{name}"
        return InputError(f"{wrong}: give {OWN[plain]} instead")
    spelled = {option.lstrip("-").replace("-", "_"): option for option in own}
    near = get_close_matches(plain, spelled, n=1, cutoff=0.6)
    hint = spelled[near[0]] if near else None
    if hint is None and (near := get_close_matches(plain, OPTIONS, n=1, cutoff=0.6)):
        hint = near[0] if where else f"--{near[0]}"
    return InputError(
        f"unknown option {where or '--'}{shown(name)[1:-1]}"
        + (f": did you mean {hint}?" if hint else "")
        + " (allowed: growloop eval --help, and the table in docs/evaluation.md)"
    )


_WANTED = {
    "flag": "true or false",
    "flag or text": "true, false or a text",
    "text": "a text",
    "text or integer": "a text or a whole number",
    "integer": "a whole number",
    "dtype": f"one of {', '.join(DTYPES)}",
    "object": 'JSON like {"name": 1}, or name=value,name=value',
}


def _typed(option: Option, value: Any) -> Any:
    """Convert a value to the option's type; None if it is None or a text for it."""
    text = isinstance(value, str)
    if value is None or (text and value.lower() in NONE and option.kind != "text"):
        return None
    found = _READ[option.kind](value)
    if found is None:
        raise InputError(f"--{option.name} takes {_WANTED[option.kind]}, not {shown(value)}")
    return found


def _flag(value: Any) -> bool | None:
    found = TRUTHS.get(value.lower()) if isinstance(value, str) else value
    return found if isinstance(found, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        digits = value.removeprefix("-")
        return int(value) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _dtype(value: Any) -> str | None:
    name = str(value).removeprefix("torch.")
    return name if name in DTYPES else None


def _either(one: Callable[[Any], Any], other: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        found = one(value)
        return other(value) if found is None else found

    return read


def _mapping(value: Any) -> dict[str, Any] | None:
    return _object("", value) if isinstance(value, (str, Mapping)) else None


_READ: dict[str, Callable[[Any], Any]] = {
    "flag": _flag,
    "flag or text": _either(_flag, _text),
    "text": _text,
    "text or integer": _either(_whole, _text),
    "integer": _whole,
    "dtype": _dtype,
    "object": _mapping,
}


def _object(option: str, value: Any, guess: bool = True) -> dict[str, Any]:
    """Parse a mapping, JSON, or ``name=value,name=value``.

    Args:
        option: option that holds the value, for messages.
        guess: convert unquoted values to numbers and booleans, as lm-eval does.
    """
    if isinstance(value, Mapping):
        return dict(value)
    text, option = str(value).strip(), option or "it"
    if text.startswith("{"):
        try:
            found: dict[str, Any] = loads(text)
        except StrictError as error:
            raise InputError(f"{shown(text)}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{shown(text)} is not JSON") from error
        return found
    pairs: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, right = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            raise InputError(f"{option} takes {_WANTED['object']}, not {shown(text)}")
        if name in pairs:
            raise InputError(f"{option} names {name} twice")
        pairs[name] = _guessed(right) if guess else right
    return pairs


def _guessed(text: str) -> Any:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text.lower() in NONE:
        return None
    if text.lower() in TRUTHS:
        return TRUTHS[text.lower()]
    if (number := _whole(text)) is not None:
        return number
    try:
        return float(text)
    except ValueError:
        return text


def _check_together(values: Mapping[str, Any], local: bool) -> None:
    """Refuse options that need another one, or are for models of the hub."""
    if "fewshot_as_multiturn" in values and not values.get("apply_chat_template"):
        raise InputError("--fewshot_as_multiturn is about a chat: give --apply_chat_template too")
    for name in ("revision", "subfolder"):
        if local and values.get(name, OPTIONS[name].default) != OPTIONS[name].default:
            raise InputError(f"--{name} is for models of the hub: give --model the folder itself")


def _with_content(name: str, value: Any) -> Any:
    """Return the value of an option; for a folder, its name and a digest of its files."""
    if name not in FOLDERS or not isinstance(value, str) or not Path(value).is_dir():
        return value
    folder = Path(value).resolve()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    every = [[str(path.relative_to(folder)), identity.sha256(path)] for path in files]
    return f"{folder.name}@{hashlib.sha256(json.dumps(every).encode()).hexdigest()[:12]}"
