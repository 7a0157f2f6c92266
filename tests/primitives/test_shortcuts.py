"""Answers cannot be told without the steps: controls, options, places of answers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from growloop.primitives import (
    STANDARD,
    Source,
    standard_task,
)

from .cases import CONTROLLED, source


@pytest.mark.parametrize(("name", "params"), CONTROLLED)
def test_a_control_alters_the_same_item(name: str, params: dict[str, Any]) -> None:
    plain = source(name, {**params, "control": "none"}).items(0, 50)
    altered = source(name, params).items(0, 50)
    changed = 0
    for before, after in zip(plain, altered, strict=True):
        assert before.prompt != after.prompt or params["control"] == "shuffled"
        assert len(before.prompt.split()) == len(after.prompt.split())
        assert after.original_answer is not None
        assert before.target == after.choices[after.original_answer]
        changed += before.target != after.target
    if params["control"] == "cut":
        assert changed == 0
    else:
        assert changed > 10  # a sum may come out the same
        answers = [item.answer != item.original_answer for item in altered]
        assert sum(answers) == changed


def test_a_cut_item_cannot_be_solved_by_elimination() -> None:
    # the names that are bound but used nowhere: all of them, so none stands out
    for depth in (0, 1, 2, 3):
        for item in source("variable_assignment", {"depth": depth, "control": "cut"}).items(0, 50):
            bound = dict(line.split("=") for line in item.prompt.split("\n")[2:-1])
            values = {name for name, value in bound.items() if value.isdigit()}
            used = {value for value in bound.values() if value.isalpha()}
            assert len(values) == 5
            assert not values & used
            assert item.prompt.split("\n")[-1].split("=")[0] not in values


def test_shuffling_distinct_values_always_changes_the_answer() -> None:
    for item in source("variable_assignment", {"depth": 2, "control": "shuffled"}).items(0, 500):
        assert item.answer != item.original_answer


@pytest.mark.parametrize("name", STANDARD)
def test_answers_stand_at_every_place_equally_often(name: str) -> None:
    src = Source(standard_task(name), "train", 5)
    counts = Counter(src.batch(0, 3000).content.answer.tolist())
    expected = 3000 / src.task.options
    assert set(counts) == set(range(src.task.options))
    chi = sum((n - expected) ** 2 / expected for n in counts.values())
    assert chi < 40  # at most 9 degrees of freedom


def test_the_options_of_numeric_tasks_do_not_give_the_answer_away() -> None:
    for name in ("addition_4", "preschool_math"):
        ranks = Counter(
            sorted(map(int, item.choices)).index(int(item.target))
            for item in Source(standard_task(name), "train", 0).items(0, 5000)
        )
        assert all(850 < ranks[rank] < 1150 for rank in range(5))
