"""A damaged file of a study is named in one sentence, whichever of its fields was damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.core.strict_json import SEAL, sealed
from growloop.studies.study import made_of, read_record

from ..mutated import cuts, mutations

RECORD: dict[str, Any] = {
    "format": "growloop study",
    "version": 1,
    "study": "swaps",
    "cell": {"id": "a-1", "study": "swaps", "model": "a", "path": "a", "params": {"size": 1},
             "options": {"seed": 0}},
    "model": {"dtype": "float32", "layers": 4},
    "weights": {"files": [["model.safetensors", 5, 7]], "sha256": "0f"},
    "training": None,
    "data": {"texts": 3},
    "command": "growloop study swaps",
    "time": "2026-01-01T00:00:00+00:00",
    "rows": [{"task": "loss", "value": 0.5, "n": 3}, {"task": "loss", "value": 0.25, "n": 3}],
}  # fmt: skip


def test_any_change_of_a_sealed_record_is_noticed(tmp_path: Path) -> None:
    path, record = tmp_path / "a.json", sealed(RECORD)
    path.write_text(json.dumps(record, indent=1))
    assert read_record(path) == record
    for place, text in mutations(record):
        if place == (SEAL,) and SEAL not in json.loads(text):
            continue  # as records of the time before are
        path.write_text(text)
        with pytest.raises(InputError) as refused:
            read_record(path)
        said = str(refused.value)
        assert said.startswith(f"{path} is no record of a study ("), place
        assert len(said) < len(str(path)) + 200
    for text in cuts(json.dumps(record)):
        path.write_text(text)
        with pytest.raises(InputError, match="is no record of a study"):
            read_record(path)


def test_a_record_of_the_time_before_seals_is_read_and_its_damage_is_a_sentence(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(RECORD))
    assert read_record(path) == RECORD
    for _, text in mutations(RECORD):
        path.write_text(text)
        try:
            found = read_record(path)
        except InputError:
            continue
        try:
            made_of([found], lambda records: [row["value"] + 1 for row in records[0]["rows"]])
        except InputError as error:
            assert "a record of a-1 is damaged" in str(error)  # noqa: PT017


def test_damage_of_a_sealed_record_is_not_blamed_for_a_fault_of_ours() -> None:
    with pytest.raises(KeyError):
        made_of([sealed(RECORD)], lambda records: records[0]["nothing"])
