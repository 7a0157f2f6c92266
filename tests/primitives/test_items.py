"""What every primitive promises, for every primitive, its controls and unusual parameters."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from growloop.primitives import (
    SPLITS,
    TASKS,
    generate,
    solve,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from .cases import CASES, CONTROLLED, source


@pytest.mark.parametrize(("name", "params"), CASES + CONTROLLED)
@pytest.mark.parametrize("split", SPLITS)
def test_items_are_what_they_promise(name: str, params: dict[str, Any], split: str) -> None:
    src = source(name, params, split)
    items = src.items(0, 60)
    for item in items:
        assert len(set(item.choices)) == len(item.choices) == src.task.options
        assert item.choices[item.answer] == item.target
        found = solve(name, item.prompt)
        if params.get("control") == "cut":
            assert found is None
            assert item.answer == item.original_answer
        else:
            assert found == item.target
    prompts = [item.prompt for item in src.uncontrolled.items(0, 60)]
    assert src.task.splits_of(prompts) == [split] * len(items)
    lines = src.batch(0, 60).lines().splitlines()
    assert [json.loads(line) for line in lines] == [item.record() for item in items]


@settings(max_examples=30)
@given(st.sampled_from(CASES), st.integers(0, 2**40), st.integers(1, 50), st.integers(0, 2**63 - 1))
def test_an_item_depends_on_its_coordinates_alone(
    case: tuple[str, dict[str, Any]], start: int, count: int, seed: int
) -> None:
    src = source(*case, seed=seed)
    run = src.items(start, start + count)
    place = seed % count
    assert src[start + place] == run[place]
    src.__dict__["chunk"] = 1 + seed % 7  # another chunking, in another order
    assert src.items(start + place, start + count) + src.items(start, start + place) == (
        run[place:] + run[:place]
    )


def test_a_source_survives_pickling_after_use() -> None:
    src = source("copying", {"words": "real"})
    first = src[3]
    assert pickle.loads(pickle.dumps(src))[3] == first


def test_generate_is_the_first_items_of_a_source() -> None:
    assert generate("p_hop", 3, "train", 7, hops=2) == source(
        "p_hop", {"hops": 2}, "train", 7
    ).items(0, 3)


def test_every_task_is_registered_with_a_solver() -> None:
    from growloop.primitives.solvers import SOLVERS

    assert set(SOLVERS) == set(TASKS)


def test_columns_hold_no_python_objects() -> None:
    content = source("variable_assignment", {"depth": 2}).batch(0, 100).content
    for column in content.slots.values():
        assert column.codes.dtype in (np.uint8, np.uint16)
