"""Prompt templates: Jinja2 files, compiled once into literal pieces and slots.

A template is rendered with private markers as values; the positions of the markers in the output
are its slots. A template that computes with its values cannot be compiled this way. That is
detected, and Jinja2 then renders it item by item, which is slower but gives the same text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..core.errors import InputError
from .text import FORBIDDEN, Piece, Slot

Context = Callable[[Callable[[str], str]], dict[str, Any]]
"""Function that builds a template's variables from slot name -> text."""

FOLDER = Path(__file__).parent / "templates"  # of growloop's own tasks
MAX_LENGTH = 1_000_000  # characters; a template that writes more is refused
_MARK = re.compile("\ue000(\\d+)\ue001")


class _Watched(str):
    """Marker that records when a template inspects a value instead of printing it."""

    touched = False

    @staticmethod
    def _noticing(method: Any) -> Any:
        def noticing(self: str, *args: Any) -> Any:
            _Watched.touched = True
            return method(self, *args)

        return noticing


_LOOKS = "eq ne lt le gt ge hash len contains getitem iter add mul mod"
for _name in _LOOKS.split():
    setattr(_Watched, f"__{_name}__", _Watched._noticing(getattr(str, f"__{_name}__")))
for _name in ("__int__", "__float__"):  # the filters int and float
    setattr(_Watched, _name, _Watched._noticing(lambda self: int(str(self))))


@dataclass(frozen=True)
class Template:
    """Template text, and its name in error messages."""

    name: str
    source: str

    @classmethod
    def packaged(cls, name: str, task: type) -> Template:
        """Read the template of a task: ``templates/NAME.j2`` beside its module, or its base's.

        Raises:
            InputError: there is no such file.
        """
        modules = (sys.modules.get(base.__module__) for base in task.__mro__)
        files = (getattr(module, "__file__", None) for module in modules)
        folders = (Path(file).parent / "templates" for file in files if file is not None)
        for path in (folder / f"{name}.j2" for folder in folders):
            if path.is_file():
                return cls(name, path.read_text(encoding="utf-8"))
        raise InputError(f"{task.__name__} has no template templates/{name}.j2 beside its module")

    @classmethod
    def from_file(cls, path: str | Path) -> Template:
        try:
            source = Path(path).read_text(encoding="utf-8-sig")
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
        del environment.filters["random"], environment.globals["lipsum"]  # prompts are fixed
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateSyntaxError as error:
            raise InputError(
                f"template {self.name}, line {error.lineno}: {error.message}"
            ) from error
        except (RecursionError, MemoryError, OverflowError) as error:
            raise InputError(f"template {self.name}: {type(error).__name__}") from error

    def render(self, variables: Mapping[str, Any]) -> str:
        """Render the text of one item.

        Raises:
            InputError: an unknown variable, an unsafe operation, forbidden characters, a text of
                more than 1,000,000 characters, or any other failure.
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
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InputError(f"template {self.name}: a prompt may not hold lone surrogates")
        return text

    def pieces(self, context: Context) -> list[Piece] | None:
        """Compile to literal pieces and slots; None if the text depends on the values themselves.

        Raises:
            InputError: a slot is missing, so the prompt would lose a part of the question.
        """
        slots: dict[str, int] = {}
        _Watched.touched = False
        text = self.render(
            context(lambda slot: _Watched(f"\ue000{slots.setdefault(slot, len(slots))}\ue001"))
        )
        # other values, of another length, must appear at the same positions
        other = self.render(context(lambda slot: f"Q\ue000{slots[slot]}\ue001q"))
        if _Watched.touched or _MARK.sub(r"Q\g<0>q", text) != other:
            return None
        parts = _MARK.split(text)
        if "\ue000" in "".join(parts[::2]):
            return None
        names = list(slots)
        used_slots = {int(index) for index in parts[1::2]}
        for index, slot in enumerate(names):
            if index not in used_slots:
                raise InputError(f"template {self.name}: it loses '{slot}'")
        pieces: list[Piece] = []
        for i, part in enumerate(parts):
            if i % 2:
                pieces.append(Slot(names[int(part)]))
            elif part:
                pieces.append(part.encode())
        return pieces
