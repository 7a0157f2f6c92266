"""Trade-offs: who is compared with whom, by how much, and which gap is closed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.core.statistics import share_interval
from growloop.models import Schedule, checkpoints, cost, grow, load, loop
from growloop.studies.catalog import find
from growloop.studies.checkpoints import read_models
from growloop.studies.measure.pooled_accuracy import pool_answers
from growloop.studies.runner import run_study

from ...tasks import tiny
from ..small import parsed

TASKS = ("variable_assignment_code_d0", "copying_random_words")
ITEMS = 24
ALL, NONE = "1" * ITEMS, "0" * ITEMS
HALF = "10" * (ITEMS // 2)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Of standard models of two and four layers, two layers run twice, and a grown model."""
    folder = tmp_path_factory.mktemp("models")
    for layers in (2, 4):
        tiny.save("llama", folder / f"standard-{layers}", layers=layers)
    tokenizer = checkpoints.load_tokenizer(str(folder / "standard-2"))
    looped = loop(load(str(folder / "standard-2")), "2x2")
    checkpoints.save(looped, tokenizer, folder / "looped")
    grown = grow(load(str(folder / "standard-2")), "lidas", block_size=2)
    checkpoints.save(grown, tokenizer, folder / "grown")
    told = {"run": {"name": "looped", "seed": 3, "model": {"preset": "tiny"}}, "flops": 5e9}
    (folder / "looped" / "training.json").write_text(json.dumps(told))
    study = find("trade-offs")
    options = study.options(tasks=TASKS, items=ITEMS, shots=0)
    paths = [str(folder / name) for name in ("standard-2", "standard-4", "looped", "grown")]
    cells = study.plan(read_models(paths), options)
    measured = run_study(study, cells, options, folder / "out", device="cpu")
    return [record.to_json() for record in measured]


def answered(records: list[dict[str, Any]], **answers: str) -> list[dict[str, Any]]:
    """The same with other answers, on both tasks."""
    changed: list[dict[str, Any]] = json.loads(json.dumps(records))
    for record in changed:
        name = record["cell"]["model"].replace("-", "_")
        record["rows"][0]["answers"] = answers[name]
    return changed


def lines(records: list[dict[str, Any]], model: str) -> dict[str, dict[str, Any]]:
    return {
        row["what"]: row
        for row in find("trade-offs").table(parsed(records))
        if row["model"] == model
    }


def test_costs_are_those_of_the_schedule_and_the_checkpoint(
    records: list[dict[str, Any]],
) -> None:
    found = {record["cell"]["model"]: record for record in records}
    for name, record in found.items():
        expected = cost(load(record["cell"]["path"]), seq_len=2048)
        assert record["data"]["inference_flops"] == expected.forward_flops
        assert record["model"]["unique_parameters"] == expected.unique_parameters
        assert record["data"]["training_flops"] == (5e9 if name == "looped" else None)
    families = {name: record["data"]["family"] for name, record in found.items()}
    assert families == {
        "standard-2": "standard",
        "standard-4": "standard",
        "looped": "looped",
        "grown": "grown",
    }
    assert found["looped"]["model"]["schedule"] == str(Schedule.parse("2x2"))


def test_a_model_is_compared_with_the_standards_of_its_layers_and_of_its_depth(
    records: list[dict[str, Any]],
) -> None:
    changed = answered(records, standard_2=NONE, standard_4=ALL, looped=HALF, grown=HALF)
    looped = lines(changed, "looped")
    assert looped["vs iso-param"]["against"] == "standard-2"
    assert looped["vs iso-FLOP"]["against"] == "standard-4"
    assert looped["vs iso-param"]["value"] == pytest.approx(0.5)
    assert looped["vs iso-FLOP"]["value"] == pytest.approx(-0.5)
    assert looped["vs iso-param"]["p (Holm of 3)"] < 1e-4
    assert looped["mean"]["n"] == 2 * ITEMS
    assert looped["mean"]["chance"] == pytest.approx(0.15)
    grown = lines(changed, "grown")
    assert grown["vs iso-both"]["against"] == "standard-4"
    assert list(lines(changed, "standard-2")) == ["mean"]


def test_the_gap_closed_is_a_share_with_an_interval(records: list[dict[str, Any]]) -> None:
    changed = answered(records, standard_2=NONE, standard_4=ALL, looped=HALF, grown=HALF)
    gap = lines(changed, "looped")["gap closed"]
    assert gap["value"] == pytest.approx(0.5)
    assert 0.2 < gap["low"] < 0.5 < gap["high"] < 0.8
    assert "gap closed" not in lines(changed, "grown")


def test_a_gap_within_noise_is_not_divided_by(records: list[dict[str, Any]]) -> None:
    one_more = "1" + HALF[1:-1] + "1"
    changed = answered(records, standard_2=HALF, standard_4=one_more, looped=ALL, grown=HALF)
    found = lines(changed, "looped")
    assert "gap closed" not in found
    assert found["gap is within noise"]["value"] is None


def test_models_of_another_width_or_other_questions_are_no_partners(
    records: list[dict[str, Any]],
) -> None:
    changed = answered(records, standard_2=NONE, standard_4=ALL, looped=HALF, grown=HALF)
    for record in changed:
        if record["cell"]["model"] == "standard-2":
            record["data"]["shape"][1] *= 2
        if record["cell"]["model"] == "standard-4":
            record["rows"][0]["fingerprint"] = "another"
    assert list(lines(changed, "looped")) == ["mean"]
    assert lines(records[:1], "standard-2")["mean"]["n"] == ITEMS


def test_models_of_another_mixture_in_the_cooldown_are_no_partners(
    records: list[dict[str, Any]],
) -> None:
    changed = answered(records, standard_2=NONE, standard_4=ALL, looped=HALF, grown=HALF)
    for record in changed:
        if record["cell"]["model"] in ("grown", "standard-2"):
            record["data"]["recipe"] = "cooldown math 60%"
    assert list(lines(changed, "looped")) == ["mean", "vs iso-FLOP"]
    assert list(lines(changed, "grown")) == ["mean"]


def test_the_chart_has_a_panel_for_each_cost_that_is_known(records: list[dict[str, Any]]) -> None:
    axes = [
        panel["layer"][0]["encoding"]["x"]["title"]
        for panel in find("trade-offs").chart(parsed(records)).to_dict()["hconcat"]
    ]
    assert axes == [
        "unique parameters",
        "inference FLOPs a token",
        "training FLOPs (known of 1 of 4 models)",
    ]
    untrained = [record for record in records if record["cell"]["model"] != "looped"]
    assert len(find("trade-offs").chart(parsed(untrained)).to_dict()["hconcat"]) == 2


def test_the_front_is_of_models_that_none_beats_for_less(records: list[dict[str, Any]]) -> None:
    changed = answered(records, standard_2=HALF, standard_4=ALL, looped=NONE, grown=HALF)
    panel = find("trade-offs").chart(parsed(changed)).to_dict()["hconcat"][1]
    front = panel["layer"][0]["data"]["values"]
    assert [point["value"] for point in front] == [0.5, 1.0, 1.0]


def test_intervals_of_a_pool_are_of_items_within_tasks() -> None:
    mixed = pool_answers({"a": [ALL, NONE], "b": [HALF, HALF]})
    assert [mixed.share(name) for name in "ab"] == [0.5, 0.5]
    difference, p = mixed.difference("a", "b")
    assert (difference.value, p) == (0.0, 1.0)
    low, high = mixed.mean("b").low, mixed.mean("b").high
    assert low is not None
    assert high is not None
    assert high - low == pytest.approx(4 * (0.25 / (2 * ITEMS)) ** 0.5, rel=0.15)
    # no spread within tasks: as of so many questions
    assert (mixed.mean("a").low, mixed.mean("a").high) == pytest.approx(
        share_interval(0.5, 2 * ITEMS)
    )
    with pytest.raises(InputError, match="the same items"):
        pool_answers({"a": [ALL], "b": [ALL[1:]]})
