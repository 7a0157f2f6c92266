"""Extras of the package, looked for without importing what they bring."""

from __future__ import annotations

from importlib.util import find_spec

EXTRAS = {
    "eval": ("torch", "transformers", "accelerate", "lm_eval", "datasets", "pydantic", "rich"),
    "train": ("torch", "transformers", "accelerate", "tokenizers", "datasets", "pydantic", "rich"),
    "leaderboard": ("pydantic", "rich"),
    "plots": ("altair", "vl_convert"),
}
"""Extra -> modules that its commands import."""


def missing(extra: str) -> str | None:
    """First module of an extra that is not installed; None where all are.

    Example::

        missing("leaderboard")  # "pydantic" after a plain ``pip install growloop``
    """
    return next((name for name in EXTRAS[extra] if find_spec(name) is None), None)
