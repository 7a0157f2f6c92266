"""How fast items are made: ``pytest tests/benchmarks --benchmark-only``.

Figures and the command that made them are in docs/results/speed.md. Times are reported, never
asserted.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from growloop.primitives import Source, export, make_task

pytestmark = pytest.mark.benchmark(group="generation")


@pytest.fixture
def in_memory(benchmark: Any) -> int:
    """Number of items that are made; few where no time is taken."""
    return 1000 if benchmark.disabled else 100_000


@pytest.fixture
def to_file(benchmark: Any) -> int:
    """Number of items that are written; few where no time is taken."""
    return 1000 if benchmark.disabled else 200_000


def report_rate(benchmark: Any, count: int) -> None:
    if benchmark.stats is not None:  # None when benchmarks are disabled
        benchmark.extra_info["items_per_second"] = round(count / benchmark.stats.stats.median)


@pytest.mark.parametrize("style", ["basic", "math", "code"])
def test_rendered_variable_assignment_depth_2_in_memory(
    benchmark: Any, in_memory: int, style: str
) -> None:
    source = Source(make_task("variable_assignment", {"depth": 2, "style": style}), "train", 0)

    def render() -> int:
        return sum(len(batch.prompts()) for batch in source.batches(0, in_memory))

    assert benchmark(render) == in_memory
    report_rate(benchmark, in_memory)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("copying", {}),
        ("copying", {"words": "real"}),
        ("variable_assignment", {}),
        ("addition", {}),
        ("preschool_math", {}),
        ("symbolic_igsm", {}),
    ],
    ids=str,
)
def test_rendered_primitives_in_memory(
    benchmark: Any, in_memory: int, name: str, params: dict[str, Any]
) -> None:
    source = Source(make_task(name, params), "train", 0)

    def render() -> int:
        return sum(len(batch.prompts()) for batch in source.batches(0, in_memory))

    assert benchmark(render) == in_memory
    report_rate(benchmark, in_memory)


@pytest.mark.parametrize("style", ["basic", "code"])
def test_variable_assignment_depth_2_to_a_jsonl_file(
    benchmark: Any, to_file: int, tmp_path: Path, style: str
) -> None:
    source = Source(make_task("variable_assignment", {"depth": 2, "style": style}), "train", 0)

    def write() -> int:
        [report] = export([source], to_file, tmp_path / "va.jsonl", force=True)
        return report.count

    assert benchmark(write) == to_file
    report_rate(benchmark, to_file)


def plain_python(count: int, seed: int) -> list[str]:
    """The same task as a straightforward loop, to compare with."""
    rng = random.Random(seed)
    prompts = []
    for _ in range(count):
        names = rng.sample("abcdefghijklmnopqrstuvwxyz", 15)
        values = rng.sample(range(1, 26), 5)
        lines = [f"{name}={value}" for name, value in zip(names[:5], values, strict=True)]
        for layer in (1, 2):
            below = names[5 * (layer - 1) : 5 * layer]
            rng.shuffle(below)
            lines += [
                f"{a}={b}" for a, b in zip(names[5 * layer : 5 * layer + 5], below, strict=True)
            ]
        query = rng.choice(names[10:])
        prompts.append("Fill in blank:\n\n" + "\n".join(lines) + f"\n{query}=____. ->")
    return prompts


def test_a_plain_python_loop_for_comparison(benchmark: Any) -> None:
    assert len(benchmark(plain_python, 5000, 0)) == 5000
    report_rate(benchmark, 5000)


def test_reasoning_gym_for_comparison(benchmark: Any) -> None:
    reasoning_gym = pytest.importorskip("reasoning_gym")

    def make() -> int:
        data = reasoning_gym.create_dataset("chain_sum", size=2000, seed=0)
        return sum(1 for _ in data)

    assert benchmark(make) == 2000
    report_rate(benchmark, 2000)
