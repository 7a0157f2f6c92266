"""Records: what they hold, what they refuse, and that they are read for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.leaderboard import Cost, Growth, Model, Record, Task, schema
from hypothesis import given
from hypothesis import strategies as st

from .making import made
from .payloads import MARKUP, NO_RECORDS, NUMBERS, PATHS, UNPRINTABLE

FULL = Record(
    model=Model(
        name="lidas",
        family="grown",
        size="360M",
        seed=3,
        schedule="32",
        unique_layers=32,
        effective_layers=32,
        growth=(Growth(operator="lidas", before=4, after=8, sources="4x2"),),
        training_flops=1.5e20,
        training_tokens=200_000_000_000,
        recipe="NMT 20%",
        source="a run",
        digest="0f" * 32,
        training="0123456789ab",
        step=3500,
        changes="peft adapters",
        folder=("runs", "lidas", "step-000003500"),
    ),
    task=Task(name="copying", version="1", fingerprint="ab", shots=5, split="test", chance=0.1),
    value=0.1 + 0.2,
    stderr=0.0,
    n=1000,
    cost=Cost(unique_parameters=360, effective_parameters=720, inference_flops=1e9, seq_len=2048),
    schedule="8-4x2-20",
    loops=2,
    seed=1,
    study="inference-scaling",
    conditions={"block": "8:12", "times": 1, "share": 0.5, "tied": False},
    dtype="float32",
    settings={"softmax_dtype": "float64", "tied": False, "parts": 2},
    backend="growloop",
    device="cpu",
    versions={"torch": "2.13.0"},
    command="growloop eval \\\n -m x",
    time="2026-11-22T08:00:00+02:00",
    source="results.json",
    note="two\nlines",
)


def changed(text: str) -> str:
    return made().to_json().replace('"value":0.5', f'"value":{text}')


def named(name: str) -> dict[str, Any]:
    return {**json.loads(made().to_json()), "model": {"name": name}}


def test_a_record_comes_back_as_it_was_written() -> None:
    assert Record.from_json(FULL.to_json()) == FULL
    assert Record.from_json(FULL.to_json()).id == FULL.id
    assert '"time":"2026-11-22T06:00:00+00:00"' in FULL.to_json()


CONDITIONS = st.dictionaries(st.sampled_from("abc"), st.booleans() | st.integers(-9, 9))


@given(st.floats(0, 1), st.integers(1, 10**9), CONDITIONS)
def test_every_value_comes_back_exactly(value: float, n: int, conditions: dict[str, bool]) -> None:
    record = made(value, n=n, conditions=conditions)
    assert Record.from_json(record.to_json()) == record


def test_what_is_not_given_is_not_written_and_the_id_is_that_of_what_is() -> None:
    fields = json.loads(made().to_json())
    assert set(fields) == {"version", "model", "task", "value", "n"}
    shuffled = json.dumps(dict(reversed(fields.items())), indent=1)
    assert Record.from_json(shuffled).id == made().id
    assert made(0.25).id != made().id


def test_repetitions_share_a_cell_and_seeds_do_not() -> None:
    assert made(0.1, command="a").cell == made(0.2, command="b").cell
    assert made(seed=0).cell != made(seed=1).cell
    assert made(conditions={"examples": 1}).cell != made(conditions={"examples": 2}).cell


def test_scores_with_another_version_fingerprint_shots_or_split_are_not_comparable() -> None:
    task = FULL.task
    for field, value in [
        ("version", "2"),
        ("fingerprint", "cd"),
        ("shots", 0),
        ("split", "train"),
        ("metric", "f1"),
        ("prompting", "fixed shots"),
    ]:
        assert task.model_copy(update={field: value}).key != task.key
    assert task.model_copy(update={"chance": 0.2}).key == task.key


@pytest.mark.parametrize("name", MARKUP)
def test_markup_is_kept_as_text(name: str) -> None:
    assert Record.from_fields(named(name)).model.name == name


@pytest.mark.parametrize("name", PATHS + UNPRINTABLE)
def test_names_that_are_paths_or_cannot_be_seen_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^model\.name: .") as caught:
        Record.from_fields(named(name))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", NUMBERS)
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"value|number|digits"):
        Record.from_json(changed(text))


@pytest.mark.parametrize("text", NO_RECORDS)
def test_what_is_no_record_is_refused_in_one_short_sentence(text: bytes) -> None:
    with pytest.raises(InputError) as caught:
        Record.from_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"valeu": 1}, "valeu: there is no such field"),
        ({"value": 50.0}, "value: 50.0 is out of range: acc is from 0 to 1"),
        ({"stderr": -1.0}, "stderr: .*greater than or equal to 0"),
        ({"task": {}}, "task.name: it is missing"),
        ({"n": 0}, "n: "),
        ({"n": 1.0}, "n: "),
        ({"n": 10**9 + 1}, "n: .*less than or equal to 1000000000"),
        ({"n": 10**9, "stderr": 0.01}, "stderr: 0.01 does not fit 1,000,000,000 items"),
        ({"stderr": 2.0}, "stderr: 2 does not fit 100 items"),
        ({"time": "0001-01-01T00:00:00+05:00"}, "time: a time from 1970 to 9998"),
        ({"model": {"name": "a", "digest": "abc"}}, r"model\.digest: "),
        ({"schedule": "4x<b>"}, "schedule: "),
        ({"time": "2026-11-22T08:00:00"}, "time: .*timezone"),
        ({"conditions": {"../x": 1}}, "conditions.*a name, not a path"),
        ({"conditions": {"x": [1]}}, "conditions"),
        ({"conditions": {str(i): i for i in range(51)}}, "at most 50"),
        ({"kind": "guessed"}, "kind: .*'measured' or 'reported'"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Record.from_fields({**json.loads(made().to_json()), **fields})


def test_a_small_standard_error_of_a_mean_of_tasks_fits() -> None:
    for stderr in (0.0, 0.001, 0.05, 0.4):
        assert made(0.5, stderr=stderr).stderr == stderr


def test_records_of_before_say_nothing_of_their_weights_and_keep_their_names() -> None:
    old = '{"model":{"name":"a"},"task":{"name":"t"},"value":0.5,"version":1}'
    found = Record.from_json(old)
    assert (found.model.digest, found.settings, found.backend) == (None, {}, None)
    assert found.to_json() == old


def test_records_of_a_later_version_are_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="version 7, this growloop reads up to 1: update"):
        Record.from_fields({**json.loads(made().to_json()), "version": 7})


def test_the_schema_that_is_shipped_is_that_of_the_record() -> None:
    assert json.loads(schema.PATH.read_text(encoding="utf-8")) == json.loads(schema.schema())
