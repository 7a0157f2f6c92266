"""Scoring of math word problems by the first number of the answer.

The prompt ends in ``Answer:``, so the first number after it is the answer, as in the scripts of
chain-of-thought evaluation. Numbers are compared by value: 8, 8.0, $8 and 8.00 are equal.
"""

from __future__ import annotations

import re
from typing import Any

NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|-?\.\d+")
TOLERANCE = 1e-4  # solutions like 0.6666666666666666 are in the data


def first_number(text: str) -> float | None:
    """Return the first number in ``text``, or None.

    >>> first_number(" $1,250.50 in 3 days"), first_number("none")
    (1250.5, None)
    """
    match = NUMBER.search(text)
    return float(match[0].replace(",", "")) if match else None


def written(value: float | str) -> str:
    """Format a solution for few-shot examples.

    >>> written(8.0), written("0.5"), written(1234567.25)
    ('8', '0.5', '1234567.25')
    """
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(round(number, 4))


def is_right(answer: str, solution: float | str) -> bool:
    """Return whether the first number in the first line of ``answer`` is the solution.

    >>> is_right(" 8.0 apples", 8), is_right("the answer is 9, not 8", 8)
    (True, False)
    """
    number = first_number(answer.strip().split("\n")[0])
    return number is not None and abs(number - float(solution)) <= TOLERANCE


# called by lm-eval with a document and, for scores, the model's answer


def svamp_target(doc: dict[str, Any]) -> str:
    """Return the answer that few-shot examples of SVAMP show."""
    return written(doc["Answer"])


def mawps_target(doc: dict[str, Any]) -> str:
    """Return the answer that few-shot examples of MAWPS show."""
    return written(doc["lSolutions"][0])


def score_svamp(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score SVAMP: accuracy of the first number."""
    return {"acc": float(is_right(results[0], doc["Answer"]))}


def score_mawps(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score MAWPS: accuracy of the first number."""
    return {"acc": float(is_right(results[0], doc["lSolutions"][0]))}
