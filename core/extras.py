"""Optional dependencies of the package, checked without importing them."""

from __future__ import annotations

from importlib.util import find_spec

EXTRAS = {
    "eval": ("torch", "transformers", "accelerate", "lm_eval", "datasets", "pydantic", "rich"),
    "train": ("torch", "transformers", "accelerate", "tokenizers", "datasets", "pydantic", "rich"),
    "leaderboard": ("pydantic", "rich"),
    "plots": ("altair", "vl_convert"),
}
"""extra -> modules that its commands import."""


def missing(extra: str) -> str | None:
    """Return the first module of an extra that is not installed, or None.

    Example::

        missing("leaderboard")  # "pydantic" after a plain ``pip install growloop``
    """
    return next((name for name in EXTRAS[extra] if find_spec(name) is None), None)
