"""What every primitive promises, for every primitive, its controls and unusual parameters."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from growloop.core.errors import InputError
from growloop.primitives import (
    SPLITS,
    STANDARD,
    TASKS,
    Copying,
    Source,
    VariableAssignment,
    generate,
    make_task,
    solve,
    standard_task,
)
from hypothesis import given, settings
from hypothesis import strategies as st

GRAPH = {"sampling": "graph", "order": "shuffled"}
CASES: list[tuple[str, dict[str, Any]]] = [
    *STANDARD.values(),
    ("variable_assignment", {"depth": 4}),
    ("variable_assignment", {"depth": 9, "style": "math"}),
    ("variable_assignment", {"depth": 30, "style": "code", "chains": 3}),
    ("variable_assignment", {"depth": 2, "order": "causal", "distractors": 4}),
    ("variable_assignment", {"depth": 3, "order": "shuffled", "distractors": 1}),
    ("variable_assignment", {"depth": 1, "distractors": 7}),
    ("variable_assignment", {"low": -12, "high": 12, "chains": 2}),
    ("variable_assignment", {"low": 1, "high": 5}),
    ("variable_assignment", {"distinct_values": False, "low": 1, "high": 6, "depth": 1}),
    ("variable_assignment", {"chains": 26, "low": 0, "high": 99, "name_length": 1}),
    ("copying", {"sequence_length": 40, "segment_length": 12}),
    ("copying", {"sequence_length": 2, "segment_length": 1, "word_length": 1}),
    ("copying", {"words": "real", "word_length": 5}),
    ("p_hop", {"hops": 3, "length": 60, "alphabet": 9, "adjacent_repeats": True}),
    ("p_hop", {"hops": 2, "length": 5, "sampling": "planted"}),
    ("p_hop", {"hops": 3, "length": 40, "alphabet": 9, "sampling": "planted"}),
    ("addition", {"operands": 2, "digits": 1}),
    ("symbolic_igsm", {"order": "causal"}),
    ("symbolic_igsm", {"sampling": "graph", "order": "causal"}),
    ("symbolic_igsm", {"sampling": "graph", "order": "shuffled", "edges": 30, "modulus": 23}),
    (
        "symbolic_igsm",
        {
            "sampling": "graph",
            "order": "shuffled",
            "depth": 2,
            "width": 6,
            "edges": 6,
            "max_terms": 1,
        },
    ),
    (
        "symbolic_igsm",
        {
            "sampling": "graph",
            "order": "causal",
            "depth": 13,
            "width": 2,
            "edges": 24,
            "max_terms": 8,
            "modulus": 11,
        },
    ),
    ("symbolic_igsm", {"order": "shuffled", "depth": 2, "width": 3, "max_terms": 1}),
    ("symbolic_igsm", {"depth": 30, "width": 2, "modulus": 11}),
    ("preschool_math", {"terms": 5, "low": -3, "high": 30}),
]


def spent(params: dict[str, Any]) -> bool:
    """Whether one-letter names leave too few over to bind the values to."""
    return params.get("depth") == 4 or params.get("name_length") == 1


CONTROLLED = [
    (name, {**params, "control": control})
    for name, params in CASES
    for control in ("cut", "shuffled")
    if (
        name in ("variable_assignment", "symbolic_igsm", "preschool_math")
        and params.get("sampling") != "graph"
    )
    or (name == "p_hop" and control == "shuffled")
    if not (control == "cut" and (params.get("distinct_values") is False or spent(params)))
]


def source(name: str, params: dict[str, Any], split: str = "test", seed: int = 0) -> Source:
    return Source(make_task(name, params), split, seed)


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


@settings(max_examples=30, deadline=None)
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


@pytest.mark.parametrize("name", STANDARD)
def test_answers_stand_at_every_place_equally_often(name: str) -> None:
    src = Source(standard_task(name), "train", 5)
    counts = Counter(src.batch(0, 3000).content.answer.tolist())
    expected = 3000 / src.task.options
    assert set(counts) == set(range(src.task.options))
    chi = sum((n - expected) ** 2 / expected for n in counts.values())
    assert chi < 40  # at most 9 degrees of freedom


@pytest.mark.parametrize("hops", [16, 32])
def test_planted_hops_are_all_there_and_spread_over_the_sequence(hops: int) -> None:
    """Followed by the definition of arXiv 2502.17416, written out."""
    reached = {"planted": [], "uniform": []}  # type: ignore[var-annotated]
    for sampling, ends in reached.items():
        for item in source("p_hop", {"hops": hops, "sampling": sampling}).items(0, 100):
            v = ["", *item.prompt.split("\n")[1].split(" ")[:-1]]  # counted from 1
            place = len(v) - 1
            for _ in range(hops):
                place = max([0, *(j for j in range(2, place + 1) if v[j - 1] == v[place])])
            assert place > 0 or sampling == "uniform"  # a planted hop is always there
            ends.append(place)
            assert sampling == "uniform" or v[place] == item.target
    # pairs stand anywhere: the last one is on average after a (hops + 1)th of the others
    mean = sum(reached["planted"]) / 100
    assert mean == pytest.approx((255 - hops) / (hops + 1) + 2, abs=2.5)
    assert sum(reached["uniform"]) / 100 > (170 if hops == 16 else 85)


def test_planted_fillers_are_any_letter_that_moves_no_hop() -> None:
    """All sequences of a small task occur, and none that has a hop missing or two that overlap."""
    task = make_task("p_hop", {"hops": 3, "length": 8, "alphabet": 3, "sampling": "planted"})
    drawn = {
        tuple(item.prompt.split("\n")[1].split(" ")[:-1])
        for split in SPLITS
        for item in Source(task, split, 0).items(0, 8000)
    }
    every = set()
    for v in itertools.product("abc", repeat=8):
        place, places = 7, []
        for _ in range(3):
            before = [j for j in range(1, place + 1) if v[j - 1] == v[place]]
            place = before[-1] if before else -1
            places.append(place)
            if not before:
                break
        # pairs (place - 1, place) that do not overlap each other or the last token
        apart = all(b < a - 1 for a, b in itertools.pairwise(places))
        if places[-1] > 0 and places[0] < 7 and apart:
            every.add(v)
    assert drawn == every


def test_a_graph_is_what_the_paper_describes() -> None:
    """Edges between levels, one into each entity, in a graph without circles, asked at its end."""
    forms, needed, order = Counter(), 0, 0  # type: ignore[var-annotated]
    items = source("symbolic_igsm", GRAPH).items(0, 400)
    for item in items:
        *lines, query = item.prompt.split("\n")[1].split(". ")
        uses = {}
        for line in lines:
            name, right = line.split(" := ")
            uses[name] = re.findall("[A-Z]#[A-Z]", right)
            assert len(set(uses[name])) == len(uses[name]) <= 3
            shape = re.sub("[A-Z]#[A-Z]", "x", re.sub(r"\d+", "n", right))
            forms[shape] += 1
            factor = re.match(r"(\d) \*", right)
            assert factor is None or 1 <= int(factor[1]) <= 6
        assert len(uses) == 16
        level = {name: ["ABCD", "EFGH", "IJKL", "MNOP"] for name in uses}
        for name in uses:
            above, under = (
                next(i for i, letters in enumerate(level[name]) if part in letters)
                for part in name.split("#")
            )
            assert under == above + 1
        assert {name[2] for name in uses} == set("EFGHIJKLMNOP")
        waiting, found = [query.removesuffix("?")], set()
        assert uses[waiting[0]]  # never a number alone
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += uses[name]
        needed += len(found)
        names = [line.split(" := ")[0] for line in lines]
        order += any(names.index(used) > names.index(n) for n in names for used in uses[n])
    assert set(forms) == {
        "n", "x", "n + x", "n * x", "x + x", "x - x", "n + x + x", "n + x - x", "n * (x + x)",
        "n * (x - x)", "x + x + x", "n + x + x + x", "n * (x + x + x)",
    }  # fmt: skip
    assert 12 < needed / len(items) < 13  # of 16; in the paper's example 9 of 12
    assert order == len(items)  # lines stand in any order


def test_a_parameter_that_came_later_changes_no_item_of_the_time_before() -> None:
    for name, params in (("p_hop", {}), ("symbolic_igsm", {"order": "causal"})):
        kind = TASKS[name]
        default = next(f.default for f in dataclasses.fields(kind) if f.name == "sampling")
        plain, told = make_task(name, params), make_task(name, {**params, "sampling": default})
        assert plain == told
        assert "sampling" not in told.params
        assert told.label == plain.label
    planted = make_task("p_hop", {"sampling": "planted"})
    assert planted.params["sampling"] == "planted"
    assert planted.label == "p_hop_16_planted"
    assert make_task("p_hop", {**planted.params}) == planted


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


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("copyin", {}, "did you mean 'copying'"),
        ("copying", {"segment_length": 10}, "must be below sequence_length 10"),
        ("copying", {"words": "real", "word_length": 30}, "'real' has 0 of 30 letters"),
        ("copying", {"words": "rael"}, "did you mean 'real'"),
        ("copying", {"sequence_length": 27, "word_length": 1}, "'random' has 26"),
        ("copying", {"control": "cut"}, "no chain"),
        ("variable_assignment", {"depth": -1}, "depth must be a whole number from 0"),
        ("variable_assignment", {"depth": 10**6}, "names, but there are"),
        ("variable_assignment", {"depth": 5, "name_length": 1}, "needs 30 names, but there are 26"),
        ("variable_assignment", {"high": 4}, "5 chains need at least 5 values"),
        ("variable_assignment", {"style": "Code"}, "did you mean 'code'"),
        ("variable_assignment", {"depth": 1.5}, "must be a whole number, not 1.5"),
        ("variable_assignment", {"depth": True}, "must be a whole number, not True"),
        ("variable_assignment", {"depth": "two"}, "must be a whole number, not 'two'"),
        ("variable_assignment", {"distinct_values": "maybe"}, "must be true or false"),
        ("variable_assignment", {"dept": 1}, "did you mean 'depth'"),
        ("variable_assignment", {"chains": 2, "low": 1, "high": 2}, "too small a space"),
        ("variable_assignment", {"control": "cut", "distinct_values": False}, "distinct_values"),
        ("p_hop", {"control": "cut"}, "cannot be cut"),
        ("p_hop", {"alphabet": 99}, "alphabet must be a whole number from 3 to 26"),
        ("p_hop", {"hops": 16, "length": 64}, "16 hops over an alphabet of 4 need about 120"),
        ("p_hop", {"adjacent_repeats": 1}, "adjacent_repeats must be true or false"),
        ("p_hop", {"sampling": "planned"}, "did you mean 'planted'"),
        ("p_hop", {"sampling": "planted", "length": 32}, "16 planted hops need 33 tokens"),
        ("p_hop", {"sampling": "planted", "hops": 1}, "too small a space: only 12 combinations"),
        ("p_hop", {"sampling": "planted", "adjacent_repeats": True}, "leave adjacent_repeats out"),
        ("symbolic_igsm", {"sampling": "graf"}, "did you mean 'graph'"),
        ("symbolic_igsm", {"sampling": "graph"}, "a graph has no layers to write line by line"),
        ("symbolic_igsm", {"edges": 12}, "edges are of a graph"),
        ("symbolic_igsm", {**GRAPH, "control": "cut"}, "a graph has no controls"),
        ("symbolic_igsm", {**GRAPH, "edges": 11}, "edges must be a whole number from 12 to 48"),
        ("symbolic_igsm", {**GRAPH, "width": 7}, "need 28 letters, but there are 26"),
        ("symbolic_igsm", {**GRAPH, "depth": 1}, "depth must be a whole number from 2"),
        ("symbolic_igsm", {**GRAPH, "width": 2, "edges": 6, "modulus": 2}, "too small a space"),
        ("copying", {"vocabulary": "x"}, "unknown parameter"),
        ("copying", {"sequence_length": "9" * 5000}, "a whole number"),
        ("variable_assignment", {"style": "a\nb"}, r"unknown style 'a\\nb'"),
        ("variable_assignment", {"depth": 4, "control": "cut"}, "control cut needs 30 names"),
        ("symbolic_igsm", {"depth": 300}, "names"),
        ("addition", {"operands": 1}, "operands must be a whole number from 2"),
        ("preschool_math", {"low": 5, "high": 5}, "must be above low"),
    ],
)
def test_bad_parameters_are_refused_in_one_sentence(
    name: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_task(name, params)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "1"])
def test_bad_seeds_are_refused(seed: Any) -> None:
    with pytest.raises(InputError, match="seed"):
        Source(make_task("copying"), "test", seed)


def test_parameters_may_be_strings_and_numpy_is_not_needed_to_say_them() -> None:
    given = make_task("variable_assignment", {"depth": "2", "distinct_values": "false"})
    assert given == make_task("variable_assignment", {"depth": 2, "distinct_values": False})
    json.dumps(given.params)


def test_generate_is_the_first_items_of_a_source() -> None:
    assert generate("p_hop", 3, "train", 7, hops=2) == source(
        "p_hop", {"hops": 2}, "train", 7
    ).items(0, 3)


def test_generate_gives_no_item_twice_and_refuses_more_than_there_are() -> None:
    items = generate("addition", 50, "train", operands=2, digits=2)
    assert len({item.prompt for item in items}) == 50
    with pytest.raises(InputError, match="holds 20 different items"):
        generate("addition", 100, operands=2, digits=1)
    for count in (0, -5, 1.5):
        with pytest.raises(InputError, match="count"):
            generate("addition", count)  # type: ignore[arg-type]


def test_the_options_of_numeric_tasks_do_not_give_the_answer_away() -> None:
    for name in ("addition_4", "preschool_math"):
        ranks = Counter(
            sorted(map(int, item.choices)).index(int(item.target))
            for item in Source(standard_task(name), "train", 0).items(0, 5000)
        )
        assert all(850 < ranks[rank] < 1150 for rank in range(5))


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


def test_reordering_lines_of_preschool_math_does_not_move_an_item() -> None:
    src = source("preschool_math", {"terms": 3})
    for item in src.items(0, 100):
        *lines, expression, query = item.prompt.split(", ")
        moved = ", ".join([*lines[::-1], expression, query])
        assert src.task.splits_of([moved]) == ["test"]


def test_a_word_file_counts_by_its_words(tmp_path: Any) -> None:
    words = [f"w{i:03}" for i in range(300)]
    (tmp_path / "a.txt").write_text("\n".join(words))
    (tmp_path / "b.txt").write_text("# other name, same words\n" + "\n".join(words) + "\n")
    a = source("copying", {"words": str(tmp_path / "a.txt")})
    b = source("copying", {"words": str(tmp_path / "b.txt")})
    assert a.items(0, 20) == b.items(0, 20)
    assert set(a[0].choices) <= set(words)


def test_every_task_is_registered_with_a_solver() -> None:
    from growloop.primitives.solvers import SOLVERS

    assert set(SOLVERS) == set(TASKS)


def test_all_names_of_a_length_can_be_used() -> None:
    params = {"chains": 2, "depth": 334, "name_length": 2}  # 670 names, and there are 670
    [item] = source("variable_assignment", params).items(0, 1)
    assert solve("variable_assignment", item.prompt) == item.target


def test_parameters_given_as_objects_are_checked_too() -> None:
    for wrong in ({"distinct_values": "false"}, {"depth": "2"}, {"style": None}):
        with pytest.raises(InputError):
            VariableAssignment(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        Copying(words=None)  # type: ignore[arg-type]


def test_columns_hold_no_python_objects() -> None:
    content = source("variable_assignment", {"depth": 2}).batch(0, 100).content
    for column in content.slots.values():
        assert column.codes.dtype in (np.uint8, np.uint16)


def test_recorded_parameters_make_the_task_of_a_word_file_again(tmp_path: Any) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\n".join(f"word{i}" for i in range(40)))
    task = make_task("copying", {"words": str(file)})
    again = make_task("copying", task.params)
    assert again.params == task.params
    assert Source(again, "test").items(0, 5) == Source(task, "test").items(0, 5)
    with pytest.raises(InputError, match="cannot be read"):
        make_task("copying", {"words": "sha256:0000000000000000"})


def test_words_with_joiners_are_words_and_one_word_in_two_encodings_is_one(tmp_path: Any) -> None:
    file = tmp_path / "words.txt"
    words = ["می\u200cخواهم", "क्\u200dष", "cafe\u0301", "caf\u00e9", "b", "c"]
    file.write_text("\n".join(words), encoding="utf-8")
    task: Any = make_task(
        "copying", {"words": str(file), "sequence_length": 4, "segment_length": 1}
    )
    assert task.vocabulary == ("می\u200cخواهم", "क्\u200dष", "caf\u00e9", "b", "c")
    file.write_text("\u200d\n\u200c\n", encoding="utf-8")
    with pytest.raises(InputError, match="is not one word"):
        make_task("copying", {"words": str(file)})
