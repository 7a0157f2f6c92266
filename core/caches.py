"""Name of the KV cache in the installed transformers.

Models take and return ``past_key_values`` up to transformers 5.23, and ``cache`` from 5.24 on,
where the old name warns; 5.40 drops it. Write neither name elsewhere: call :func:`cache_name`.
"""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any

NAMES = ("cache", "past_key_values")


def cache_name(*places: Any) -> str:
    """Return the name of the KV cache in the first place that has one.

    Args:
        places: callables that take a cache, such as a model's ``forward``, or outputs with one.

    Raises:
        AttributeError: no place has a cache.

    Example::

        model(ids, **{cache_name(model.forward): cache})
    """
    for place in places:
        if is_dataclass(place):
            names = {field.name for field in fields(place)}
        else:
            names = set(inspect.signature(place).parameters)
        for name in NAMES:
            if name in names:
                return name
    raise AttributeError(f"no cache by a name of transformers: {' or '.join(NAMES)}")


def cache_of(output: Any) -> Any:
    """Return the KV cache in the output of a model's ``forward`` or ``generate``."""
    return getattr(output, cache_name(output))
