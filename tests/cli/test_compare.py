"""``growloop compare`` prints the same numbers as a table, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from growloop.cli import main
from growloop.leaderboard import Store

from ..leaderboard.making import made
from ..tasks.test_compare_results import ONE, OTHER, write


def ran(line: str, code: int = 0) -> str:
    found = CliRunner().invoke(main, shlex.split(line))
    assert found.exit_code == code, found.output
    return found.stdout if code == 0 else found.stderr


def test_table_json_and_csv_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a"), {"t": ONE}, "A")
    write(Path("b"), {"t": OTHER}, "B")
    found = json.loads(ran("compare a b --json"))
    [row] = found["rows"]
    assert (found["first"], found["second"]) == ("A", "B")
    assert row["difference"] == pytest.approx((sum(ONE) - sum(OTHER)) / 12)
    [line] = csv.DictReader(io.StringIO(ran("compare a b --csv")))
    assert float(line["difference"]) == row["difference"]
    assert float(line["p_holm"]) == row["p"]
    table = ran("compare a b")
    assert "A (first) minus B (second)" in table
    assert f"{row['difference']:+.3f}" in table
    assert "no task" in ran("compare a nothing", 2) or "does not exist" in ran("compare a no", 2)


def test_models_of_a_store_are_compared_without_pairing(tmp_path: Path) -> None:
    store = Store(tmp_path / "records")
    store.add([made(0.9, model="A"), made(0.4, model="B")])
    found = json.loads(ran(f"compare A B --leaderboard {tmp_path / 'records'} --json"))
    [row] = found["rows"]
    assert row["difference"] == pytest.approx(0.5)
    assert -1 <= row["low"] < 0.5 < row["high"] <= 1
    assert "not paired" in found["notes"][0]
    message = ran(f"compare A C --leaderboard {tmp_path / 'records'}", 2)
    assert "unknown model 'C'" in message


def test_the_picture_has_a_row_for_each_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a"), {"t": ONE, "u": OTHER}, "A")
    write(Path("b"), {"t": OTHER, "u": ONE}, "B")
    rows = json.loads(ran("compare a b --json --picture p.json"))["rows"]
    chart = json.loads(Path("p.json").read_text(encoding="utf-8"))
    assert chart["title"]["text"] == "A minus B"
    drawn = (
        [row for data in chart["datasets"].values() for row in data if "label" in row]
        if ("datasets" in chart)
        else chart["vconcat"][0]["layer"][1]["data"]["values"]
    )
    for row in rows:
        [found] = [one for one in drawn if one["label"] == row["task"]]
        assert (found["value"], found["low"], found["high"]) == (
            row["difference"], row["low"], row["high"],
        )  # fmt: skip
    assert "kind of picture" in ran("compare a b --picture p.doc", 2)
    assert not Path("p.doc").exists()
