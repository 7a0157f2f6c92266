"""Limits on chat templates, which are untrusted programs.

The sandbox of transformers denies them files and attributes. This module limits their time, memory
and output, and turns any failure into a :class:`ChatTemplateError`.
"""

from __future__ import annotations

from collections.abc import Callable

from .errors import InputError
from .limits import TimeIsUpError, bounded

SECONDS = 10.0  # time limit of a rendering
MEMORY = 2**29  # limit of additional memory, in bytes
CHARACTERS = 10_000_000  # limit of the output
TEMPLATE = "the model's chat template"


class ChatTemplateError(InputError):
    """Chat template that cannot render its input; the message says why."""


def rendered(render: Callable[[], str], what: str) -> str:
    """Render a chat template within limits and return the text.

    Args:
        render: applies the template.
        what: name of the input for messages, such as ``a question``.

    Raises:
        ChatTemplateError: the template fails, takes too long, or writes too much.

    >>> rendered(lambda: "a" * 10**8, "a question")
    Traceback (most recent call last):
    ...
    growloop.core.chat_templates.ChatTemplateError: the model's chat template writes too much for a\
 question: more than 10,000,000 characters
    """
    try:
        with bounded(SECONDS, MEMORY):
            text = render()
    except TimeIsUpError as error:
        raise ChatTemplateError(
            f"{TEMPLATE} does not finish on {what}: {SECONDS:g} seconds were not enough"
        ) from error
    except MemoryError as error:
        raise ChatTemplateError(
            f"{TEMPLATE} writes too much for {what}: more than {CHARACTERS:,} characters"
        ) from error
    except Exception as error:  # a template can raise anything
        if (line := getattr(error, "lineno", None)) is not None:  # jinja2.TemplateSyntaxError
            reason = f"cannot be read: line {line}, {_first_line(error)}"
        else:
            reason = f"refuses {what}: {_first_line(error)}"
        raise ChatTemplateError(f"{TEMPLATE} {reason}") from error
    if len(text) > CHARACTERS:
        raise ChatTemplateError(
            f"{TEMPLATE} writes too much for {what}: more than {CHARACTERS:,} characters"
        )
    return text


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
