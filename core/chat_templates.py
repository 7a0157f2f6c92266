"""Chat templates as what they are: programs of strangers, run in transformers' sandbox.

The sandbox keeps them from files and attributes; here they get a bound on time, memory and output,
and whatever goes wrong in them becomes one sentence.
"""

from __future__ import annotations

from collections.abc import Callable

from .errors import InputError
from .limits import TimeIsUpError, bounded

SECONDS = 10.0
MEMORY = 2**29
CHARACTERS = 10_000_000
TEMPLATE = "the model's chat template"


class ChatTemplateError(InputError):
    """A chat template that does not render something; the message says why."""


def rendered(render: Callable[[], str], what: str) -> str:
    """The text that a chat template makes.

    Args:
        render: applies it.
        what: is rendered, in messages: ``a question``.

    Raises:
        ChatTemplateError: it fails, takes too long, or writes too much.

    >>> rendered(lambda: "a" * 10**8, "a question")
    Traceback (most recent call last):
    ...
    growloop.core.chat_templates.ChatTemplateError: the model's chat template writes too much of a\
 question: more than 10,000,000 characters
    """
    try:
        with bounded(SECONDS, MEMORY):
            text = render()
    except TimeIsUpError as error:
        raise ChatTemplateError(
            f"{TEMPLATE} comes to no end on {what}: {SECONDS:g} seconds were not enough"
        ) from error
    except MemoryError as error:
        raise ChatTemplateError(
            f"{TEMPLATE} writes too much of {what}: more than {CHARACTERS:,} characters"
        ) from error
    except Exception as error:  # it can fail in every way there is
        if (line := getattr(error, "lineno", None)) is not None:  # jinja2.TemplateSyntaxError
            wrong = f"cannot be read: line {line}, {_first_line(error)}"
        else:
            wrong = f"refuses {what}: {_first_line(error)}"
        raise ChatTemplateError(f"{TEMPLATE} {wrong}") from error
    if len(text) > CHARACTERS:
        raise ChatTemplateError(
            f"{TEMPLATE} writes too much of {what}: more than {CHARACTERS:,} characters"
        )
    return text


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
