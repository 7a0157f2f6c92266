"""Permission to run code that comes with a model (``trust_remote_code``), off by default.

A command sets it for as long as it runs. Every loading of a model, config or tokenizer reads it
here, so no call has to pass it on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OPTION = "--trust-remote-code"

_permission = ContextVar("trust_remote_code", default=False)


def trusted() -> bool:
    """Return whether remote code may run now: ``trust_remote_code`` of transformers."""
    return _permission.get()


@contextmanager
def trusting(allowed: bool) -> Iterator[None]:
    """Allow or forbid remote code inside a ``with`` block.

    >>> with trusting(True):
    ...     trusted()
    True
    >>> trusted()
    False
    """
    before = _permission.set(allowed)
    try:
        yield
    finally:
        _permission.reset(before)


def refusal(name: str, error: BaseException) -> str | None:
    """Return the message for a model that needs remote code; None for any other error.

    Args:
        name: name of the model.
        error: exception that transformers raised.
    """
    if "trust_remote_code" not in str(error):
        return None
    return f"{name} comes with code of its own: read it, then give {OPTION} to run it"
