"""Splits share no item, and nothing in an item but its partition gives its split away."""

from __future__ import annotations

import re
from typing import Any

import pytest
from growloop.primitives import (
    SPLITS,
    Source,
    standard_task,
)

from .cases import source


def test_neighbouring_seeds_share_no_more_than_chance() -> None:
    for name in ("variable_assignment_basic_d0", "copying_real_words", "addition_4"):
        task = standard_task(name)
        prompts = [
            {i.prompt for i in Source(task, "test", seed).items(0, 5000)} for seed in (0, 1, 2)
        ]
        assert not prompts[0] & prompts[1]
        assert not prompts[1] & prompts[2]


@pytest.mark.parametrize("name", ["addition_2", "preschool_math"])
def test_splits_of_a_small_task_are_disjoint_whatever_the_seed(name: str) -> None:
    task = standard_task(name)
    prompts = {
        split: {i.prompt for seed in (0, 1) for i in Source(task, split, seed).items(0, 20_000)}
        for split in SPLITS
    }
    for a in SPLITS:
        for b in SPLITS:
            assert a == b or not prompts[a] & prompts[b]


@pytest.mark.parametrize("order", ["layered", "causal", "shuffled"])
def test_reordering_lines_does_not_move_an_item_to_another_split(order: str) -> None:
    src = source("variable_assignment", {"depth": 2, "order": order})
    [item] = src.items(0, 1)
    head, *lines, query = item.prompt.split("\n")
    lines = [line for line in lines if line]
    for turn in range(len(lines)):
        moved = "\n".join([head, "", *lines[turn:], *lines[:turn], query])
        assert src.task.splits_of([moved]) == ["test"]


def test_reordering_lines_of_preschool_math_does_not_move_an_item() -> None:
    src = source("preschool_math", {"terms": 3})
    for item in src.items(0, 100):
        *lines, expression, query = item.prompt.split(", ")
        moved = ", ".join([*lines[::-1], expression, query])
        assert src.task.splits_of([moved]) == ["test"]


@pytest.mark.parametrize(
    ("name", "params", "pattern"),
    [
        ("preschool_math", {}, r"=(\d),"),
        ("addition", {"operands": 2, "digits": 1}, r"(\d)"),
        ("addition", {"operands": 3, "digits": 1}, r"(\d)"),
        ("symbolic_igsm", {}, r":= (\d)\."),
        ("symbolic_igsm", {"sampling": "graph", "order": "causal"}, r"^.*\n.*?:= (\d)\."),
        ("symbolic_igsm", {"sampling": "graph", "order": "causal"}, r"(.)#.\?"),
        ("symbolic_igsm", {"sampling": "graph", "order": "causal"}, r".#(.)\?"),
        ("p_hop", {"hops": 2, "length": 12, "sampling": "planted"}, r"(\w) (?=\w|-)"),
        ("variable_assignment", {"low": 1, "high": 5}, r"=(\d)"),
    ],
)
def test_no_single_value_gives_the_split_away(
    name: str, params: dict[str, Any], pattern: str
) -> None:
    values: list[set[tuple[int, str]]] = []
    for split in SPLITS:
        found = [re.findall(pattern, i.prompt) for i in source(name, params, split).items(0, 4000)]
        values.append({(place, value) for row in found for place, value in enumerate(row)})
    assert values.count(values[0]) == len(SPLITS) or name == "addition"
    whole = set().union(*values)
    assert all(len(seen) > 0.6 * len(whole) for seen in values)
