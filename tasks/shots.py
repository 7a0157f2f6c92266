"""In-context curves: the examples of fewer shots are the first of those of more.

lm-eval draws the examples of one question after those of another, from one stream: other counts
give other examples. Here the examples of a question depend on the question alone, so that curves
compare like with like, and share their prompts' beginnings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from lm_eval.api.samplers import ContextSampler
from lm_eval.api.task import ConfigurableTask


class NestedSampler(ContextSampler):  # type: ignore[misc]
    """The first examples of an order that each question has for itself.

    Args (set by the task):
        document: the question.
    """

    document: dict[str, Any] | None = None

    def sample(
        self, n: int, eval_doc: Any = None, df: Any = None, **rest: Any
    ) -> Sequence[dict[str, Any]]:
        question = self.document or {}
        drawn = _order(str(question.get("id")), len(self.df))
        found: list[dict[str, Any]] = []
        while len(found) < n:
            example = self.df[next(drawn)]
            if example["prompt"] != question.get("prompt"):
                found.append(example)
        return found


def _order(key: str, size: int) -> Iterator[int]:
    """The numbers below ``size`` in an order that ``key`` decides, for ever."""
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
    """A task whose sampler knows which question it draws for."""

    def fewshot_context(self, doc: dict[str, Any], *args: Any, **options: Any) -> Any:
        self.sampler.document = doc
        return super().fewshot_context(doc, *args, **options)
