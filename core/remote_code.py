"""Permission to run code that comes with a model: given by a command, off by default.

A command gives it for as long as it runs; whatever loads a model, config or tokenizer meanwhile
passes it on, so that no place can forget it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OPTION = "--trust-remote-code"

_permission = ContextVar("trust_remote_code", default=False)


def trusted() -> bool:
    """Whether code that comes with a model may run now: ``trust_remote_code`` of transformers."""
    return _permission.get()


@contextmanager
def trusting(allowed: bool) -> Iterator[None]:
    """Allow such code, or forbid it, inside of a ``with`` block.

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
    """The sentence for a model that needs code of its own; None where something else is wrong.

    Args:
        name: of the model, as it was given.
        error: that transformers raised.
    """
    if "trust_remote_code" not in str(error):
        return None
    return f"{name} comes with code of its own: read it, then give {OPTION} to run it"
