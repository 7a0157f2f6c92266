"""Keys and values of earlier tokens, by the name that the installed transformers gives them.

Models took and returned ``past_key_values`` until transformers 5.23 and take and return ``cache``
from 5.24 on, where the old name warns; 5.40 drops it. Ask here, and write neither name elsewhere.
"""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any

NAMES = ("cache", "past_key_values")


def cache_name(*places: Any) -> str:
    """Name of the cache in the first of these places that has one.

    Args:
        places: calls that take a cache, such as a model's ``forward``, and outputs that hold one.

    Raises:
        AttributeError: none of them has one.
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
    """Cache in what a model's forward, or generate, returned."""
    return getattr(output, cache_name(output))
