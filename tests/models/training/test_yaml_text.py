"""Run files and mixtures are read as YAML 1.2, and whatever is doubtful is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from growloop.core.errors import InputError
from growloop.models.training import runfile
from growloop.models.training.recipes import RECIPES, recipe, recipe_text
from growloop.models.training.yaml_text import read_yaml, write_yaml
from hypothesis import given
from hypothesis import strategies as st

SMALL = "name: a\nmodel: {preset: tiny}\ndata: {sources: {web: shards}}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("020", 20), ("+7", 7), ("-0", 0), ("0o17", 15), ("0x1F", 31),
        ("1e-3", 0.001), ("1E3", 1000.0), (".5", 0.5), ("1.", 1.0), ("-.inf", -math.inf),
        ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("1:30", "1:30"), ("yes", "yes"), ("on", "on"), ("No", "No"), ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"), ("0b11", "0b11"), ("1e", "1e"), ("0o8", "0o8"), ("'020'", "020"),
    ],
)  # fmt: skip
def test_plain_values_are_those_of_the_core_schema(text: str, value: Any) -> None:
    found = read_yaml(f"a: {text}", "run")["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 20\nname: x\nsteps: 7", "f.yaml: steps is given twice, in line 1 and in line 3"),
        ("a:\n  b: {c: 1,\n    c: 2}", "f.yaml: c is given twice, in line 2 and in line 3"),
        ("- {a: 1}\n- {b: 1, 'b': 2}", "b is given twice, in line 2 and in line 2"),
        ("20: a\n020: b", "020 is given twice, in line 1 and in line 2"),
        ("a: &a [1, *a]", "f.yaml, line 1: an anchor holds itself"),
        ("a: [1,\nb", "f.yaml, line 2: not YAML: expected ',' or ']'"),
        ("a: 1\n---\nb: 1", "f.yaml, line 2: not YAML"),
        ("a: !!timestamp 2024-01-01", "!!timestamp is not a tag of YAML's core schema"),
        ("a: !function x.y", "!function is not a tag of YAML's core schema"),
        ("a: !!int x", "not YAML"),
        ("a: \x01", "not YAML: unacceptable character"),
        ("[" * 5000, "f.yaml: it is nested more than 100 levels deep"),
        ("a: " + "[" * 101 + "]" * 101, "f.yaml: it is nested more than 100 levels deep"),
        (
            "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200)),
            "f.yaml: it is nested more than 100 levels deep",
        ),
        ("a: " + "9" * 10**5, "f.yaml: a whole number of 100,000 digits: 300 are the most"),
        ("a: 0x" + "f" * 10**5, "a whole number of 100,002 digits"),
        ("a: 1e999999", "f.yaml: the number 1e999999 is too large"),
        ('a: "\\ud83d"', "f.yaml, line 1: half of a surrogate pair is not a character"),
        ('a: "\\Uffffffff"', "not YAML"),
        ("!!bool maybe", "not YAML"),
    ],
)
def test_what_is_doubtful_is_refused_with_its_lines(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_yaml(text, "f.yaml")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_anchors_may_be_used_but_not_as_a_bomb() -> None:
    used = "base: &base {lr: 1, steps: 2}\nmine: {<<: *base, steps: 3}\nagain: *base"
    assert read_yaml(used, "f")["mine"] == {"lr": 1, "steps": 3}
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
    )
    with pytest.raises(InputError, match="stand for more than 100,000 values"):
        read_yaml(bomb, "f")


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
doubtful = st.sampled_from(
    ["1e-3", "020", "0o17", "1:30", "yes", "no", "~", "null", "2024-01-01", "1_000", "<<", ".5"]
)


@given(
    st.recursive(
        plain | doubtful,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(min_size=1) | doubtful, inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_what_is_written_is_read_back_by_either_version(value: Any) -> None:
    text = write_yaml(value)
    assert read_yaml(text, "f") == value
    assert yaml.safe_load(text) == value


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_read_back_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(recipe_text(name))
    assert runfile.load(tmp_path / "run.yaml") == runfile.parse(recipe(name))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("steps: 1:30", "steps is a whole number, not '1:30'"),
        ("steps: yes", "steps is a whole number, not 'yes'"),
        ("steps: true", "steps: a number is needed, not true"),
        ("steps: 2024-01-01", "steps is a whole number, not '2024-01-01'"),
        ("steps: 20.5", "steps is a whole number, not 20.5"),
        ("optimizer: {lr: fast}", "optimizer.lr is a number, not 'fast'"),
        ("optimizer: {lr: false}", "optimizer.lr: a number is needed, not false"),
        ("compile: 7", "compile is true or false, not 7"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_field(
    more: str, message: str, tmp_path: Path
) -> None:
    steps = "" if "steps" in more else "steps: 20\n"
    (tmp_path / "run.yaml").write_text(f"{SMALL}{steps}{more}\n")
    with pytest.raises(InputError) as caught:
        runfile.load(tmp_path / "run.yaml")
    assert message in str(caught.value)


def test_a_stored_run_keeps_the_blocks_it_was_given() -> None:
    fields: dict[str, Any] = {"name": "a", "steps": 20, "data": {"sources": {"web": "w"}}}
    fields["optimizer"] = {"warmup": 1, "cooldown": 5}
    fields["model"] = {"preset": "tiny", "schedule": "2-4"}
    with pytest.raises(InputError, match=r"blocks of 2 and 4 layers \(write 6\)"):
        runfile.parse(fields)
    assert runfile.parse_stored(fields, "x").model.schedule == "6"
    assert fields["model"]["schedule"] == "2-4"


def test_numbers_are_read_as_they_look(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"{SMALL}steps: 020\noptimizer: {{lr: 1e-3, warmup: 1, cooldown: 5}}\n")
    run = runfile.load(path, ["seed=011", "optimizer.lr=2e-3", "name=on"])
    assert (run.steps, run.seed, run.optimizer.lr, run.name) == (20, 11, 0.002, "on")
    with pytest.raises(InputError, match="name is text \\(in quotes\\), not 20"):
        runfile.load(path, ["name=020"])
    with pytest.raises(InputError, match="the value of steps, line 1: not YAML"):
        runfile.load(path, ["steps=[1"])
