"""Models, swaps and controls compared on the same items or texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from growloop.core.significance import paired
from growloop.models import checkpoints, load, loop
from growloop.studies.catalog import find
from growloop.studies.compare import compare_models
from growloop.studies.publish import leaderboard_records

from .small import FEW, SMALL, TASK, TEXTS, parsed, study


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # tasks, then what is compared of each
        ("trade-offs", 2), ("in-context-scaling", 2), ("loops-against-depth", 2 * 2),
        ("swaps", 2 * (1 + 2)),
        pytest.param("sample-efficiency", 2 * 2, marks=pytest.mark.slow),
        pytest.param("inference-scaling", 3, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_models_are_compared_on_the_same_items(
    name: str, count: int, models: dict[str, str], tmp_path: Path
) -> None:
    options = ["--model", models["plain"], "--model", models["looped"], "--out", str(tmp_path)]
    options += SMALL[name]
    found = json.loads(study(name, *options, "--json").stdout)
    study(name, *options, "--against", "plain")
    rows = compare_models(find(name), parsed(found), "plain")
    assert len(rows) == count
    assert {(row["model"], row["against"], row["n"]) for row in rows} == {("looped", "plain", 8)}
    assert all(row["low"] - 1e-9 <= row["difference"] <= row["high"] + 1e-9 for row in rows)
    assert all(0 < row[f"p (Holm of {count})"] <= 1 for row in rows)
    back = compare_models(find(name), parsed(found), "looped")
    assert [row["difference"] for row in back] == pytest.approx([-r["difference"] for r in rows])


def test_a_comparison_is_the_paired_one(models: dict[str, str], tmp_path: Path) -> None:
    options = ["--model", models["plain"], "--model", models["looped"], "--out", str(tmp_path)]
    options += ["--tasks", TASK, "--items", "40", "--shots", "0", "--json"]
    found = json.loads(study("trade-offs", *options).stdout)
    [row] = compare_models(find("trade-offs"), parsed(found), "plain")
    plain, looped = ([a == "1" for a in record["rows"][0]["answers"]] for record in found)
    wanted = paired(looped, plain)
    values = [row[name] for name in ("difference", "low", "high", "p (Holm of 1)")]
    assert values == pytest.approx([wanted.difference, wanted.low, wanted.high, wanted.p])


def test_beside_a_difference_is_the_one_on_questions_without_an_answer(
    models: dict[str, str], tmp_path: Path
) -> None:
    options = ["--model", models["plain"], "--model", models["looped"], "--shots", "0", "--json"]
    options += ["--tasks", f"{TASK},copying_real_words", "--items", "30"]
    plain = json.loads(study("trade-offs", *options, "--out", str(tmp_path / "a")).stdout)
    options += ["--control", "cut", "--out", str(tmp_path / "b")]
    found = json.loads(study("trade-offs", *options).stdout)
    before, rows = (
        compare_models(find("trade-offs"), parsed(some), "plain") for some in (plain, found)
    )
    values = {record["cell"]["model"]: record["rows"][-1] for record in found if "of" in
              record["rows"][-1]}  # fmt: skip
    difference = values["looped"]["value"] - values["plain"]["value"]
    assert [row.pop("control difference") for row in rows] == [pytest.approx(difference), None]
    assert rows == before
    assert len(leaderboard_records(parsed(found))) == len(leaderboard_records(parsed(plain)))
    # in the study's own table: as if the looped model were compared with a standard one
    for record in found:
        record["data"]["shape"] = []
        same = record["cell"]["model"] == "plain"
        record["data"]["family"] = "standard" if same else "looped"
        record["model"] |= {"unique_layers": 4, "effective_depth": 6 if same else 8}
    mean, _, versus = find("trade-offs").table(parsed(found))
    assert mean["control difference"] is None
    assert versus["what"] == "vs iso-param"
    assert versus["control difference"] == pytest.approx(difference)
    assert versus["difference, controlled tasks"] == pytest.approx(rows[0]["difference"])


def test_examples_are_shown_to_questions_without_an_answer_too(
    models: dict[str, str], tmp_path: Path
) -> None:
    options = ["-m", models["plain"], "--tasks", f"{TASK},copying_real_words", "--shots", "0,2"]
    options += ["--items", "8", "--out", str(tmp_path), "--json"]
    plain = json.loads(study("in-context-scaling", *options).stdout)
    found = json.loads(study("in-context-scaling", *options, "--control", "shuffled").stdout)
    for record, other in zip(plain, found, strict=True):
        assert other["rows"][:2] == record["rows"]
    rows = find("in-context-scaling").table(parsed(found))
    beside = found[0]["rows"][2:]
    assert [row["shots"] for row in beside] == [0, 2]
    assert [row["control gain"] for row in rows] == [0.0, beside[1]["difference"], None, None]
    assert beside[1]["difference"] == pytest.approx(beside[1]["value"] - beside[0]["value"])


def test_loops_are_run_on_questions_without_an_answer_too(
    models: dict[str, str], tmp_path: Path
) -> None:
    options = ["-m", models["looped"], *FEW, "--depths", "0,1", "--loops", "1,2", "--json"]
    options += ["--control", "cut", "--out", str(tmp_path)]
    found = json.loads(study("loops-against-depth", *options).stdout)
    rows = find("loops-against-depth").table(parsed(found))
    cut = [[row["value"] for row in record["rows"] if "of" in row] for record in found]
    assert [row["control gain"] for row in rows] == [0.0, cut[0][1] - cut[0][0], 0.0,
                                                     cut[1][1] - cut[1][0]]  # fmt: skip
    assert len(leaderboard_records(parsed(found))) == len(rows) == 4


def test_diagnostics_are_compared_on_the_same_texts(models: dict[str, str], tmp_path: Path) -> None:
    both = ["-m", models["plain"], "-m", models["looped"], "--out", str(tmp_path), *TEXTS]
    wanted = {"depth": 1 + 3 * 5, "contributions": 7 * 4, "local-effects": 3, "swaps": 1 + 2}
    more = {"depth": ["--parts", "score,overlap", "--cuts", "2"],
            "swaps": ["--tasks", "loss", "--sizes", "1,2"]}  # fmt: skip
    for name, count in wanted.items():
        asked = [name, *both, *more.get(name, [])]
        found = json.loads(study(*asked, "--json").stdout)
        rows = compare_models(find(name), parsed(found), "plain")
        assert len(rows) == count, name
        for row in rows:
            if row["low"] is not None:  # else all texts differ by the same
                assert row["low"] - 1e-9 <= row["difference"] <= row["high"] + 1e-9
            assert 0 < row[f"p (Holm of {count})"] <= 1
        assert any(row["low"] is not None for row in rows), name
        assert "looped" in study(*asked, "--against", "plain").stdout.split("against")[1]
        kept = [row["each"] for record in found for row in record["rows"] if "each" in row]
        assert kept
        assert all(len(each) == 8 for each in kept)
    found = json.loads(study("depth", *both, *more["depth"], "--json").stdout)
    [score] = [
        row
        for row in compare_models(find("depth"), parsed(found), "plain")
        if "score" in row["task"]
    ]
    each = [r["rows"][0]["each"] for r in found if r["cell"]["params"]["part"] == "score"]
    assert score["difference"] == pytest.approx(sum(b - a for a, b in zip(*each, strict=True)) / 8)


def test_swaps_that_change_nothing_are_not_counted(models: dict[str, str], tmp_path: Path) -> None:
    asked = ["swaps", "-m", models["looped"], *FEW, "--tasks", TASK, "--out", str(tmp_path)]
    [record] = json.loads(study(*asked, "--sizes", "2", "--json").stdout)
    same = [row for row in record["rows"] if not row.get("changes", True)]
    assert [(row["first"], row["second"]) for row in same] == [(1, 3)]
    rows = find("swaps").table(parsed([record]))
    assert rows[-1]["swaps"] == len(record["rows"]) - 2 == 2
    others = [row["value"] for row in record["rows"][1:] if row["changes"]]
    assert rows[-1]["value"] == pytest.approx(sum(others) / 2)
    model = loop(load(models["plain"]), "4x2")
    path = tmp_path / "twice"
    checkpoints.save(model, checkpoints.load_tokenizer(models["plain"]), path)
    shown = study("swaps", "-m", str(path), *FEW, "--tasks", TASK, "--sizes", "4",
                  "--out", str(tmp_path)).stdout  # fmt: skip
    assert "harmful" not in shown
    assert "mean of swaps" in shown
