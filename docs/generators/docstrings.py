"""Docstrings as Markdown: doctests and literal blocks as code, roles of Sphinx as code spans.

Griffe loads this file as an extension (``mkdocs.yml``); ``fields.py`` uses its functions.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

DOCTEST = re.compile(
    r"^(?P<indent> *)>>> .*\n(?:(?P=indent)\S.*\n|(?P=indent) +\S.*\n)*", re.MULTILINE
)
LITERAL = re.compile(
    r"^(?P<indent> *)(?P<title>\S.*)::\n\s*\n(?P<code>(?:(?P=indent) {4}.*\n|\s*\n)+)", re.MULTILINE
)
ROLE = re.compile(r":\w+:`([^`]+)`")
SEVERAL = re.compile(
    r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+): (?P<text>.*\n(?:(?P=indent) +\S.*\n)*)", re.MULTILINE
)


def to_markdown(text: str) -> str:
    """Return a docstring (Google style) as Markdown.

    >>> to_markdown("Layers of a :class:`~growloop.Schedule`.")
    'Layers of a `Schedule`.\\n'
    """
    text = ROLE.sub(lambda role: f"`{role[1].lstrip('~.').rpartition('.')[2]}`", text + "\n")
    text = DOCTEST.sub(_doctest, text)
    text = LITERAL.sub(_literal, text)
    return SEVERAL.sub(_one_each, text)


def _fenced(code: str, indent: str, language: str) -> str:
    lines = [f"```{language}", *textwrap.dedent(code).strip("\n").splitlines(), "```"]
    return "".join(f"{indent}{line}".rstrip() + "\n" for line in lines)


def _doctest(block: re.Match[str]) -> str:
    return _fenced(block[0], block["indent"], "pycon")


def _literal(block: re.Match[str]) -> str:
    code = _fenced(block["code"], block["indent"], "python")
    return f"{block['indent']}{block['title']}:\n\n{code}\n"


def _one_each(arguments: re.Match[str]) -> str:
    """Give each of several arguments with one description an entry of its own."""
    names = arguments["names"].split(", ")
    return "".join(f"{arguments['indent']}{name}: {arguments['text']}" for name in names)


def parsed(text: str) -> tuple[str, dict[str, str]]:
    """Return (text without its sections, argument -> description) of a docstring."""
    body = ""
    arguments: dict[str, str] = {}
    for section in griffe.Docstring(to_markdown(text)).parse("google", warnings=False):
        if section.kind is griffe.DocstringSectionKind.text:
            body += f"{section.value}\n\n"
        elif section.kind is griffe.DocstringSectionKind.parameters:
            arguments |= {item.name: item.description for item in section.value}
    return body.strip(), arguments


class DocstringsAsMarkdown(griffe.Extension):
    """Griffe extension that rewrites docstrings before they are parsed.

    A class that gets its ``__init__`` from pydantic or ``NamedTuple`` gets one here too, so that
    its fields are shown with types and defaults.
    """

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value).rstrip()

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Add an ``__init__`` to a class that has fields alone."""
        has_init = "__init__" in cls.members or "dataclass" in cls.labels
        if has_init or cls.docstring is None or "Args:" not in cls.docstring.value:
            return
        fields = [
            griffe.Parameter(
                name,
                annotation=attribute.annotation,
                default=_default(attribute.value),
                kind=griffe.ParameterKind.keyword_only,
            )
            for name, attribute in cls.attributes.items()
            if attribute.annotation is not None and not name.startswith("_")
        ]
        init = griffe.Function("__init__", parameters=griffe.Parameters(*fields), parent=cls)
        cls.set_member("__init__", init)


def _default(value: Any) -> Any:
    """Return the default of a field: of pydantic's ``Field`` its first argument."""
    if isinstance(value, griffe.ExprCall) and str(value.function) == "Field":
        positional = [item for item in value.arguments if not isinstance(item, griffe.ExprKeyword)]
        named = {i.name: i.value for i in value.arguments if isinstance(i, griffe.ExprKeyword)}
        factory = f"{named['default_factory']}()" if "default_factory" in named else None
        return positional[0] if positional else named.get("default", factory)
    return value
