"""Optional dependencies of the package, checked without importing them."""

from __future__ import annotations

from importlib.util import find_spec

LEADERBOARD = ("pydantic", "rich")
DATA = ("pyarrow", "datasets")
TRAIN = (
    *("torch", "transformers", "accelerate", "tokenizers", "psutil", "yaml", "gguf"),
    *DATA,
    *LEADERBOARD,
)
EXTRAS = {
    "data": DATA,
    "leaderboard": LEADERBOARD,
    "plots": ("altair", "vl_convert"),
    "train": TRAIN,
    "eval": ("lm_eval", "tqdm", *TRAIN),
    "lora": ("peft", *TRAIN),
}
"""Extra -> modules of all packages that it declares, the smaller extras first."""


def missing(extra: str) -> str | None:
    """Return the first module of an extra that is not installed, or None.

    Example::

        missing("leaderboard")  # "pydantic" after a plain ``pip install growloop``
    """
    return next((name for name in EXTRAS[extra] if find_spec(name) is None), None)


def bringing(module: str) -> str | None:
    """Return the smallest extra that installs a module; None if no extra does.

    >>> bringing("rich"), bringing("lm_eval"), bringing("numpy")
    ('leaderboard', 'eval', None)
    """
    return next((extra for extra, modules in EXTRAS.items() if module in modules), None)
