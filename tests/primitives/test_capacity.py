"""How many items a task has, and that none comes twice."""

from __future__ import annotations

import pytest
from growloop.core.errors import InputError
from growloop.primitives import (
    SPLITS,
    Source,
    generate,
    make_task,
)


def test_the_capacity_of_a_tiny_task_is_exact() -> None:
    task = make_task("addition", {"operands": 2, "digits": 1})
    assert [task.capacity(split) for split in SPLITS] == [50, 20, 20, 10]
    for split in SPLITS:
        drawn = {i.prompt for i in Source(task, split, 0).items(0, 2000)}
        assert len(drawn) == task.capacity(split)


def test_the_capacity_counts_every_prompt_of_a_small_variable_assignment() -> None:
    # 2 chains, names from 26, values 1..5: 26·25 names, 5·4 values, 2 queries
    task = make_task("variable_assignment", {"chains": 2, "low": 1, "high": 5})
    assert task.combinations == 26 * 25 * 5 * 4 * 2
    for split in ("test", "fewshot"):
        drawn = {i.prompt for i in Source(task, split, 0).items(0, 60_000)}
        assert len(drawn) == task.capacity(split)


def test_generate_gives_no_item_twice_and_refuses_more_than_there_are() -> None:
    items = generate("addition", 50, "train", operands=2, digits=2)
    assert len({item.prompt for item in items}) == 50
    with pytest.raises(InputError, match="holds 20 different items"):
        generate("addition", 100, operands=2, digits=1)
    for count in (0, -5, 1.5):
        with pytest.raises(InputError, match="count"):
            generate("addition", count)  # type: ignore[arg-type]
