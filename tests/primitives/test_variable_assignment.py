"""Variable assignment: order of lines, depth, values."""

from __future__ import annotations

from growloop.primitives import (
    solve,
)

from .cases import source


def test_causal_lines_bind_every_name_before_its_use() -> None:
    for params in ({"depth": 3, "distractors": 5}, {"depth": 0, "distractors": 9}):
        code = source("variable_assignment", {**params, "order": "causal", "style": "code"})
        for item in code.items(0, 200):
            program = item.prompt.split("Program:\n")[1].split("\n\n")[0]
            scope: dict[str, int] = {}
            exec(program, {}, scope)
            query = item.prompt.rsplit("value of ", 1)[1].split("?")[0]
            assert str(scope[query]) == item.target


def test_a_code_prompt_of_any_depth_is_a_program_with_the_right_result() -> None:
    for depth in (0, 1, 2, 5, 40):
        for item in source("variable_assignment", {"depth": depth, "style": "code"}).items(0, 20):
            program = item.prompt.split("Program:\n")[1].split("\n\n")[0]
            scope: dict[str, int] = {}
            exec(program, {}, scope)
            query = item.prompt.rsplit("value of ", 1)[1].split("?")[0]
            assert str(scope[query]) == item.target


def test_depth_0_takes_no_and_depth_2_takes_two_steps() -> None:
    for depth in (0, 1, 2, 6):
        for item in source("variable_assignment", {"depth": depth}).items(0, 100):
            bindings = dict(line.split("=") for line in item.prompt.split("\n")[2:-1])
            assert len(bindings) == 5 * (depth + 1)
            name = item.prompt.split("\n")[-1].split("=")[0]
            steps = 0
            while bindings[name].isalpha():
                name, steps = bindings[name], steps + 1
            assert steps == depth


def test_repeated_values_occur_when_allowed() -> None:
    src = source("variable_assignment", {"distinct_values": False})
    repeated = 0
    for item in src.items(0, 500):
        values = [line.split("=")[1] for line in item.prompt.split("\n")[2:-1]]
        assert set(values) <= set(item.choices)
        repeated += len(set(values)) < 5
    assert 100 < repeated < 250  # 1 - 25·24·23·22·21 / 25**5 = 0.347


def test_all_names_of_a_length_can_be_used() -> None:
    params = {"chains": 2, "depth": 334, "name_length": 2}  # 670 names, and there are 670
    [item] = source("variable_assignment", params).items(0, 1)
    assert solve("variable_assignment", item.prompt) == item.target
