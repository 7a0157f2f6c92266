"""Prompt templates: Jinja2 files, compiled once into literal pieces and slots.

A template is rendered with private markers in place of its values; where the markers come out
are its slots. A template that computes with its values cannot be compiled that way: this is
noticed, and it is then rendered by Jinja2 item by item, which is slower and just as right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .errors import InputError
from .text import FORBIDDEN, Piece, Slot

Context = Callable[[Callable[[str], str]], dict[str, Any]]
"""Builds a template's variables, given what to put in each slot."""

FOLDER = Path(__file__).parent / "templates"
MAX_LENGTH = 1_000_000  # characters; a template that writes more is refused
_MARK = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True)
class Template:
    """A template's text and the name errors call it by."""

    name: str
    source: str

    @classmethod
    def packaged(cls, name: str) -> Template:
        return cls(name, (FOLDER / f"{name}.j2").read_text(encoding="utf-8"))

    @classmethod
    def from_file(cls, path: str | Path) -> Template:
        try:
            source = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise InputError(f"cannot read template {path}: {reason}") from error
        return cls(str(path), source)

    def __reduce__(self) -> tuple[type[Template], tuple[str, str]]:
        return Template, (self.name, self.source)  # a compiled template cannot be pickled

    @cached_property
    def _compiled(self) -> jinja2.Template:
        # a user's template is untrusted text: it gets the sandbox and no loader
        environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateSyntaxError as error:
            raise InputError(
                f"template {self.name}, line {error.lineno}: {error.message}"
            ) from error
        except (RecursionError, MemoryError, OverflowError) as error:
            raise InputError(f"template {self.name}: {type(error).__name__}") from error

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text for one item.

        Raises:
            InputError: the template uses an unknown variable, an unsafe operation, or fails.
        """
        text = ""
        try:
            for part in self._compiled.generate(variables):
                text += part
                if len(text) > MAX_LENGTH:
                    raise InputError(
                        f"template {self.name}: writes more than {MAX_LENGTH:,} characters an item"
                    )
        except InputError:
            raise
        except Exception as error:  # a template can raise anything
            raise InputError(f"template {self.name}: {error or type(error).__name__}") from error
        if any(character in text for character in FORBIDDEN):
            raise InputError(f"template {self.name}: a prompt may not hold control characters")
        return text

    def pieces(self, context: Context) -> list[Piece] | None:
        """Literal pieces and slots; None where the text depends on the values themselves.

        Raises:
            InputError: a slot is missing: the prompt would lose a part of the question.
        """
        slots: list[str] = []

        def mark(slot: str) -> str:
            if slot not in slots:
                slots.append(slot)
            return f"\ue000{slots.index(slot)}\ue001"

        text = self.render(context(mark))
        # other values, of another length, must come out at the same places
        other = self.render(context(lambda slot: f"Q\ue000{slots.index(slot)}\ue001q"))
        if _MARK.sub(r"Q\g<0>q", text) != other:
            return None
        parts = _MARK.split(text)
        if "\ue000" in "".join(parts[::2]):
            return None
        found = [int(index) for index in parts[1::2]]
        for index, slot in enumerate(slots):
            if index not in found:
                raise InputError(f"template {self.name}: it loses '{slot}'")
        pieces: list[Piece] = []
        for i, part in enumerate(parts):
            if i % 2:
                pieces.append(Slot(slots[int(part)]))
            elif part:
                pieces.append(part.encode())
        return pieces
