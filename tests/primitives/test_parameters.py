"""Parameters of tasks: what is refused, what is recorded, word lists."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.primitives import (
    TASKS,
    Copying,
    Source,
    VariableAssignment,
    make_task,
)

from .cases import GRAPH, source


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


def test_parameters_given_as_objects_are_checked_too() -> None:
    for wrong in ({"distinct_values": "false"}, {"depth": "2"}, {"style": None}):
        with pytest.raises(InputError):
            VariableAssignment(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        Copying(words=None)  # type: ignore[arg-type]


def test_recorded_parameters_make_the_task_of_a_word_file_again(tmp_path: Any) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\n".join(f"word{i}" for i in range(40)))
    task = make_task("copying", {"words": str(file)})
    again = make_task("copying", task.params)
    assert again.params == task.params
    assert Source(again, "test").items(0, 5) == Source(task, "test").items(0, 5)
    with pytest.raises(InputError, match="cannot be read"):
        make_task("copying", {"words": "sha256:0000000000000000"})


def test_a_word_file_counts_by_its_words(tmp_path: Any) -> None:
    words = [f"w{i:03}" for i in range(300)]
    (tmp_path / "a.txt").write_text("\n".join(words))
    (tmp_path / "b.txt").write_text("# other name, same words\n" + "\n".join(words) + "\n")
    a = source("copying", {"words": str(tmp_path / "a.txt")})
    b = source("copying", {"words": str(tmp_path / "b.txt")})
    assert a.items(0, 20) == b.items(0, 20)
    assert set(a[0].choices) <= set(words)


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
