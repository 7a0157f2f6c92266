"""JSON in which a name comes twice, or that is out of bounds, is refused wherever it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from growloop.core.strict_json import (
    FileError,
    RepeatedNameError,
    StrictError,
    fields_problem,
    loads,
    read_object,
    seal_problem,
    sealed,
)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"a": 1, "a": 1}}]'])
def test_a_name_given_twice_is_refused_at_every_level(text: str) -> None:
    with pytest.raises(RepeatedNameError, match="the field 'a' comes twice"):
        loads(text)


def test_the_same_name_in_two_objects_is_fine() -> None:
    assert loads(b'{"a": {"a": 1}, "b": {"a": 2}}') == {"a": {"a": 1}, "b": {"a": 2}}
    with pytest.raises(ValueError, match="Expecting"):
        loads("{")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 50_000, "nested more than 100 levels"),
        ("[" * 101 + "]" * 101, "nested more than 100 levels"),
        ('{"a":' * 101 + "1" + "}" * 101, "nested more than 100 levels"),
        ("1e999999", "the number 1e999999 is too large"),
        ("-" + "1" * 400 + ".0", "is too large"),
        ("9" * 10**5, "a whole number of 100,000 digits: 300 are the most"),
        ("9" * 301, "a whole number of 301 digits"),
    ],
)
def test_numbers_and_nesting_out_of_bounds_are_refused_in_a_few_words(
    text: str, reason: str
) -> None:
    with pytest.raises(StrictError, match=reason) as refused:
        loads(text)
    assert len(str(refused.value)) < 120


def test_what_is_within_bounds_is_read_as_python_reads_it() -> None:
    text = json.dumps({"a": [10**299, -1.5e308, 5e-324, 0.1], "b": None, "c": [[[]]] * 200})
    assert loads(text) == json.loads(text)
    assert loads("[" * 100 + "]" * 100)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff", "byte 1 is not UTF-8"),
        (b"", "not JSON"),
        (b'{"step": 1', "not JSON"),
        (b"[]", "holds no object"),
        (b"{}", "step is missing"),
        (b'{"step": true, "names": []}', "step is not a whole number"),
        (b'{"step": 1.0, "names": []}', "step is not a whole number"),
        (b'{"step": 1, "names": {}}', "names is not a list"),
        (b'{"step": 1, "names": [], "loss": "x"}', "loss is not a number"),
        (b'{"step": 1, "names": [], "loss": NaN}', "loss is nan"),
    ],
)
def test_a_damaged_file_is_named_with_its_field(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(FileError) as refused:
        read_object(path, step=int, names=list, loss=(float, type(None)))
    assert str(refused.value).startswith(f"{path} is damaged: ")
    assert reason in str(refused.value)


def test_fields_of_the_right_types_pass() -> None:
    assert (
        fields_problem({"a": 1, "b": None}, a=float, b=(str, type(None)), c=(int, type(None)))
        is None
    )


def test_a_sealed_record_shows_any_change_and_one_without_a_seal_is_read() -> None:
    record = sealed({"rows": [{"value": 0.1}, (1, 2)], "n": {3: 4}})
    assert seal_problem(json.loads(json.dumps(record, indent=1))) is None
    assert seal_problem({"rows": []}) is None
    record["rows"][0]["value"] = 0.2
    assert "it was changed" in str(seal_problem(record))
