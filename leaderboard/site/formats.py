"""Format numbers, file names and embedded data for the pages."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from markupsafe import Markup


def file_name(text: str, key: Sequence[str]) -> str:
    """Return a file name valid on every system: letters of ``text`` and a hash of ``key``."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()[:200]).strip("-")[:48].strip("-")
    return f"{plain or 'model'}-{short_id(key)}.html"


def short_id(key: Sequence[str]) -> str:
    """Return a hash of a key, 8 hex digits, the same in every build."""
    return hashlib.sha256(json.dumps(list(key)).encode()).hexdigest()[:8]


def embedded(data: object) -> Markup:
    """Return JSON that is safe inside a ``script`` element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def breakable(text: str) -> Markup:
    """Return a name that a narrow column breaks after an underscore, not inside a word."""
    return Markup("_<wbr>").join(text.split("_"))  # join escapes the parts


def si(number: float | None, billion: str = "G") -> str:
    """Format a large number with an SI prefix.

    Args:
        billion: prefix for billions: G (FLOPs) or B (parameters, tokens).

    >>> si(418_624), si(4.59e21), si(12), si(1.711e9, "B")
    ('419 k', '4.59e21', '12', '1.71 B')
    """
    if number is None:
        return "–"
    for exponent, letter in ((12, "T"), (9, billion), (6, "M"), (3, "k")):
        if 10**exponent <= number < 10 ** (exponent + 3):
            return f"{number / 10**exponent:.3g} {letter}"
    if number >= 1e15:
        digits, _, power = f"{number:.2e}".partition("e")
        return f"{digits}e{int(power)}"
    return f"{number:.3g}"


def score(value: float | None) -> str:
    """Format a score with three decimals."""
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"
