"""Nested few-shot examples for in-context curves: fewer shots are the first of more shots.

lm-eval draws the examples of all questions from one stream, so another number of shots gives other
examples. Here the examples of a question depend on the question alone. Points of a curve are then
comparable, and their prompts share a prefix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from lm_eval.api.samplers import ContextSampler
from lm_eval.api.task import ConfigurableTask


class NestedSampler(ContextSampler):  # type: ignore[misc]
    """Sampler that takes the first examples of a fixed order per question.

    Attributes:
        document: the question, set by the task before sampling.
    """

    document: dict[str, Any] | None = None

    def sample(
        self, n: int, eval_doc: Any = None, df: Any = None, **rest: Any
    ) -> Sequence[dict[str, Any]]:
        question = self.document or {}
        order = _order(str(question.get("id")), len(self.df))
        examples: list[dict[str, Any]] = []
        while len(examples) < n:
            example = self.df[next(order)]
            if example["prompt"] != question.get("prompt"):
                examples.append(example)
        return examples


def _order(key: str, size: int) -> Iterator[int]:
    """Yield the numbers below ``size`` in a pseudo-random order that depends only on ``key``."""
    seen: set[int] = set()
    count = 0
    while len(seen) < size:
        digest = hashlib.sha256(f"{key}\0{count}".encode()).digest()
        count += 1
        number = int.from_bytes(digest[:8], "big") % size
        if number not in seen:
            seen.add(number)
            yield number


class NestedTask(ConfigurableTask):  # type: ignore[misc]
    """lm-eval task that tells its sampler the question."""

    def fewshot_context(self, doc: dict[str, Any], *args: Any, **options: Any) -> Any:
        self.sampler.document = doc
        return super().fewshot_context(doc, *args, **options)
