from __future__ import annotations

import pytest
from growloop.core.errors import InputError
from growloop.primitives import STANDARD
from growloop.tasks import GROUPS, PATH, entries, resolve


def test_a_name_with_parameters_stands_for_a_task() -> None:
    task = resolve("variable_assignment:style=code:depth=5")
    assert task is not None
    assert task.label == "variable_assignment_code_d5"
    assert resolve("hellaswag") is None


@pytest.mark.parametrize("name", STANDARD)
def test_the_label_of_a_standard_task_is_its_name(name: str) -> None:
    task = resolve(name)
    assert task is not None
    assert task.label == name
    again = resolve(task.label)
    assert again == task


@pytest.mark.parametrize(
    "spec",
    [
        "variable_assignment_code_d3:order=causal:distractors=2",
        "copying_real_words:word_length=5",
        "addition_4:digits=2",
        "variable_assignment_basic_d7",
    ],
)
def test_labels_tell_what_differs_from_the_defaults(spec: str) -> None:
    stem = spec.split(":")[0]
    name = stem if stem in STANDARD else f"variable_assignment:depth={stem[-1]}"
    if stem == "variable_assignment_code_d3":
        name = "variable_assignment:style=code:depth=3"
    task = resolve(":".join([name, *spec.split(":")[1:]]))
    assert task is not None
    assert task.label == spec


def test_parameters_for_all_reach_only_the_tasks_that_have_them() -> None:
    copying = resolve("copying_random_words", {"depth": 3})
    assert copying is not None
    assert copying.label == "copying_random_words"
    deep = resolve("variable_assignment_math_d0", {"depth": 3})
    assert deep is not None
    assert deep.label == "variable_assignment_math_d3"


def test_what_is_written_after_the_name_wins() -> None:
    task = resolve("variable_assignment:depth=2", {"depth": 9})
    assert task is not None
    assert task.params["depth"] == 2


@pytest.mark.parametrize("spec", ["addition:digts=2", "addition:digits", "addition:digits=x"])
def test_bad_parameters_are_refused(spec: str) -> None:
    with pytest.raises(InputError):
        resolve(spec)


def test_every_entry_and_group_has_its_yaml_file() -> None:
    stems = {path.stem for path in PATH.glob("*.yaml")}
    assert stems == set(STANDARD) | set(GROUPS)
    assert {entry.name for entry in entries()} == set(STANDARD)
