"""A damaged file of a study is named in one sentence, whichever of its fields was damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.core.strict_json import SEAL, sealed
from growloop.studies.records import StudyRecord, apply_to_records

from ..support.damaged_json import cuts, mutations

RECORD: dict[str, Any] = {
    "format": "growloop study",
    "version": 1,
    "study": "swaps",
    "cell": {"id": "a-1", "study": "swaps", "model": "a", "path": "a", "params": {"size": 1},
             "options": {"seed": 0}},
    "model": {"architecture": "A", "schedule": "2", "layers": [0, 1], "unique_layers": 2,
              "effective_depth": 2, "unique_parameters": 9, "dtype": "float32"},
    "weights": {"files": [["model.safetensors", 5, 7]], "sha256": "0f"},
    "training": None,
    "data": {"texts": 3},
    "command": "growloop study swaps",
    "time": "2026-01-01T00:00:00+00:00",
    "rows": [{"task": "loss", "metric": "loss", "value": 0.5, "n": 3},
             {"task": "loss", "metric": "loss", "value": 0.25, "n": 3}],
}  # fmt: skip


def test_any_change_of_a_sealed_record_is_noticed(tmp_path: Path) -> None:
    path, record = tmp_path / "a.json", sealed(RECORD)
    path.write_text(json.dumps(record, indent=1))
    assert StudyRecord.read(path).sealed
    for place, text in mutations(record):
        if place == (SEAL,) and SEAL not in json.loads(text):
            continue  # as records of the time before are
        path.write_text(text)
        with pytest.raises(InputError) as refused:
            StudyRecord.read(path)
        said = str(refused.value)
        assert said.startswith(f"{path} is not a study record ("), place
        assert len(said) < len(str(path)) + 200
    for text in cuts(json.dumps(record)):
        path.write_text(text)
        with pytest.raises(InputError, match="is not a study record"):
            StudyRecord.read(path)


def test_a_record_of_the_time_before_seals_is_read_and_its_damage_is_a_sentence(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(RECORD))
    assert not StudyRecord.read(path).sealed
    for _, text in mutations(RECORD):
        path.write_text(text)
        try:
            found = StudyRecord.read(path)
        except InputError:
            continue
        try:
            apply_to_records(lambda records: [row.value + 1 for row in records[0].rows], [found])
        except InputError as error:
            assert "a record of a-1 is damaged" in str(error)  # noqa: PT017


def test_damage_of_a_sealed_record_is_not_blamed_for_a_fault_of_ours() -> None:
    record = StudyRecord.from_json(sealed(RECORD))
    with pytest.raises(KeyError):
        apply_to_records(lambda records: records[0].params["nothing"], [record])
