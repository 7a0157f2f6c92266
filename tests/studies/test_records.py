"""Records of studies: files of earlier versions load, and are written back as they were."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.studies.catalog import STUDIES, find
from growloop.studies.publish import SELECTORS
from growloop.studies.records import Row, StudyRecord

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
"""Files of earlier versions, one or more for each study."""


def test_every_study_has_a_file_of_an_earlier_version() -> None:
    assert {json.loads(path.read_text())["study"] for path in GOLDEN} == set(STUDIES)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_file_of_an_earlier_version_is_read_and_written_back_unchanged(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    record = StudyRecord.read(path)
    assert json.dumps(record.to_json(), indent=1) == text
    names = {row["model"] for row in find(record.study).table([record])}
    assert names <= {record.model_name, "all"}
    assert isinstance(SELECTORS[record.study]([record]), list)


def test_parts_that_the_first_records_lack_are_none() -> None:
    content = json.loads(GOLDEN[0].read_text())
    for name in ("weights", "training", "leaderboard", "versions", "time", "seconds", "growloop"):
        del content[name]
    record = StudyRecord.from_json(content)
    assert (record.weights, record.run, record.leaderboard) == (None, None, None)
    assert record.versions == {}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("cell",), None, "cell is missing"),
        (("cell", "params"), [], "cell.params is []"),
        (("cell", "id"), None, "cell.id is missing"),
        (("model", "dtype"), 4, "model.dtype is 4"),
        (("model", "layers"), None, "model.layers is missing"),
        (("rows",), {}, "rows is {}"),
        (("rows", 1, "value"), "high", "rows[1].value is 'high'"),
        (("rows", 1, "value"), None, "rows[1].value is missing"),
        (("rows", 0), 1, "rows[0] is 1, not a row"),
        (("data",), 1, "data is 1"),
        (("training",), {"kind": "a"}, "training.seed is missing"),
        (("format",), "another", "its format is not 'growloop study'"),
    ],
)
def test_a_damaged_file_is_refused_with_file_and_field(
    place: tuple[Any, ...], value: Any, message: str, tmp_path: Path
) -> None:
    path = next(path for path in GOLDEN if path.stem == "swaps-accuracy")
    content = json.loads(path.read_text())
    part = content
    for name in place[:-1]:
        part = part[name]
    if value is None:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    damaged = tmp_path / "damaged.json"
    damaged.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        StudyRecord.read(damaged)
    assert str(error.value) == f"{damaged} is not a study record ({message}): move it away"


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '"text"', "\xff"])
def test_a_file_that_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"file\.json is not a study record"):
        StudyRecord.read(path)


def test_a_row_has_shared_and_own_columns_in_the_order_of_its_file() -> None:
    row = Row.make(loops=2, metric="acc", value=0.5, n=2, answers="10", chance=None)
    assert list(row.to_json()) == ["loops", "metric", "value", "n", "answers", "chance"]
    assert (row["loops"], row["value"], row.get("start"), row.stderr) == (2, 0.5, None, None)
    assert ("chance" in row, "stderr" in row) == (True, False)
    assert row.correct == [True, False]
    assert row.replace(p=0.1, loops=3).to_json() == row.to_json() | {"p": 0.1, "loops": 3}
    with pytest.raises(KeyError):
        row["stderr"]
    assert Row("acc", 0.5, 2, chance=0.1, columns={"loops": 2}).to_json() == {
        "metric": "acc", "value": 0.5, "n": 2, "chance": 0.1, "loops": 2,
    }  # fmt: skip


def test_the_public_names_are_found_and_importing_them_is_light() -> None:
    import growloop.studies as studies

    for name in studies.__all__:
        assert getattr(studies, name).__doc__ or name == "STUDIES"
    assert dir(studies) == list(studies.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        studies.nothing  # noqa: B018
    code = "import sys, growloop.studies; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
