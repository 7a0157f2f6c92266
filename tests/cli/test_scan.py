"""``growloop scan`` and the notations of other tools, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from growloop.models import load

from ..tasks import tiny
from .test_commands import refused
from .test_models import done

SMALL = ["--probe", "copying_real_words", "--items", "24", "--test-items", "16", "--shots", "0",
         "--max-block", "2", "--allow-chance", "--dtype", "float32", "--beam", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save("llama", tmp_path_factory.mktemp("scan") / "model", layers=4))


def test_one_command_gives_table_verdict_map_notations_records_and_the_saved_model(
    model: str, tmp_path: Path
) -> None:
    out, records = tmp_path / "scan", tmp_path / "records"
    places = ["--out", str(out), "--leaderboard", str(records), "--picture", str(out / "map.json")]
    text = done("scan", model, *SMALL, *places, "--save", "best")
    result = json.loads((out / "result.json").read_text())
    assert result["verdict"] in text
    assert "chosen among 7" in text
    best = json.loads((out / "best.json").read_text())
    assert f"schedule: {best['schedule']}" in text
    saved = load(str(out / "best"))
    assert str(saved.schedule) == best["schedule"] == result["chosen_schedule"]
    assert (out / "best-mergekit.yml").read_text() == best["mergekit"]
    assert len((out / "table.csv").read_text().splitlines()) == 9
    assert any(records.rglob("*.json*"))
    again = done("scan", model, *SMALL, "--out", str(out), "--json")
    assert json.loads(again)["rows"] == result["rows"]
    for notation in (["--mergekit", str(out / "best-mergekit.yml")], ["--schedule", best["rys"]]):
        looped = tmp_path / notation[0].strip("-")
        done("loop", model, *notation, "--out", str(looped))
        assert load(str(looped)).schedule == saved.schedule


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--save", "all"], "--save takes best"),
        (["--save-to", "x"], "give both"),
        (["--dtype", "int4"], "unknown dtype"),
        (["--max-block", "5"], "larger than the model"),
        (["--edits", ""], "nothing to search"),
        (["--apply", "halved"], "unknown way to apply a repeat"),
        (["--repeats", "one"], "--repeats takes whole numbers"),
        (["--picture", "map.gif"], "kind of picture"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(
    model: str, tmp_path: Path, arguments: list[str], message: str
) -> None:
    sentence = refused("scan", model, *SMALL, "--out", str(tmp_path / "out"), *arguments)
    assert message in sentence


def test_two_schedules_at_once_are_refused(model: str, tmp_path: Path) -> None:
    file = tmp_path / "merge.yml"
    file.write_text("merge_method: passthrough\nslices:\n- sources:\n  - model: m\n"
                    "    layer_range: [0, 9]\n")  # fmt: skip
    out = ["--out", str(tmp_path / "out")]
    both = refused("loop", model, "--mergekit", str(file), "--schedule", "4", *out)
    assert "give one of them" in both
    assert "needs 9 layers" in refused("loop", model, "--mergekit", str(file), *out)
    assert "outside a model of 4" in refused("loop", model, "--schedule", "(2,9)", *out)
