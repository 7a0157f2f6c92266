"""Whole scans of a random model: resuming, sharing a folder, budgets, results, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from growloop.core.errors import InputError
from growloop.models import load
from growloop.models.checkpoints import load_tokenizer
from growloop.studies.checkpoints import ModelLoader
from growloop.studies.publish import leaderboard_records
from growloop.studies.records import StudyRecord
from growloop.studies.scan import folder as scan_folder
from growloop.studies.scan import outputs, scan
from growloop.studies.scan import stage as scan_stage
from growloop.studies.scan.candidates import candidates
from growloop.studies.scan.chart import chart
from growloop.studies.scan.measure import Meter
from growloop.studies.scan.result import ScanResult
from growloop.tasks.questions import questions, scorer

from .conftest import SMALL

Scan = Callable[..., ScanResult]


def answer(result: ScanResult) -> dict[str, Any]:
    """What a result says, without what time decides."""
    fields = {k: v for k, v in result.fields.items() if k not in ("cost", "sha256", "options")}
    cost = result.fields["cost"]
    return {**fields, "layer_tokens": cost["layer_tokens"], "alone": cost["layer_tokens_alone"]}


@pytest.fixture(scope="module")
def finished(small_scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> tuple[ScanResult, Path]:
    out = tmp_path_factory.mktemp("finished") / "scan"
    return small_scan(out), out


class KilledError(Exception):
    """Stands for a kill: nothing of the unit is written."""


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_scan_that_was_killed_goes_on_to_the_same_answer(
    small_scan: Scan,
    finished: tuple[ScanResult, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    write, count = scan_folder.write_atomically, iter(range(10**6))

    def killed(path: Path, content: bytes, *more: Any, **options: Any) -> None:
        if "scores" in Path(path).parts and next(count) == at:
            raise KilledError
        write(path, content, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(scan_folder, "write_atomically", killed)
        with pytest.raises(KilledError):
            small_scan(tmp_path)
    again = small_scan(tmp_path)
    assert answer(again) == answer(finished[0])


def test_a_finished_scan_measures_nothing_again(
    small_scan: Scan, finished: tuple[ScanResult, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*args: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(Meter, "measure", measured)
    assert answer(small_scan(finished[1])) == answer(finished[0])


@pytest.mark.slow
def test_processes_that_share_a_folder_find_the_same(
    tiny_model: str, finished: tuple[ScanResult, Path], tmp_path: Path
) -> None:
    code = (
        "import json, sys; from growloop.studies.scan import scan;"
        "r = scan(sys.argv[1], out=sys.argv[2], **{k: tuple(v) if isinstance(v, list) else v"
        " for k, v in json.loads(sys.argv[3]).items()}); print(r.verdict)"
    )
    command = [sys.executable, "-c", code, tiny_model, str(tmp_path / "shared"), json.dumps(SMALL)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in both]
    assert all(process.returncode == 0 for process in both), said
    assert {out.decode().strip() for out, _ in said} == {finished[0].verdict}
    assert answer(ScanResult.read(tmp_path / "shared")) == answer(finished[0])


def test_a_changed_unit_is_refused_not_read(small_scan: Scan, tmp_path: Path) -> None:
    small_scan(tmp_path, beam=0)
    file = min((tmp_path / "scores").glob("validation-*.json"))
    content = json.loads(file.read_text())
    content["margins"][0][0][0] += 1.0
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is damaged: move it away"):
        small_scan(tmp_path, beam=0)


@pytest.mark.parametrize("race", ["halving", "none"])
def test_other_races_choose_by_the_same_scores(
    small_scan: Scan, finished: tuple[ScanResult, Path], tmp_path: Path, race: str
) -> None:
    """Without a race all is measured, and a candidate's rows are means over what it measured."""
    result = small_scan(tmp_path, race=race, top=2, beam=0, report=2)
    rows = {row["name"]: row for row in result.rows}
    whole = {name for name, row in rows.items() if row["items"] == SMALL["items"]}
    if race == "none":
        best = max(rows.values(), key=lambda row: row["score_gain"])
        assert result.fields["chosen"] == best["name"]
        assert whole == set(result.fields["alive"]) == set(rows)
    else:
        assert result.fields["chosen"] in result.fields["alive"]
        assert len(result.fields["alive"]) == 4
        assert whole == {*result.fields["alive"], "plain"}  # gains need the model as it is
    assert len(result.fields["test"]) == 2 - (result.fields["chosen"] == "plain")
    with pytest.raises(InputError, match="holds another scan"):
        small_scan(tmp_path, race="bets", top=2, beam=0)


@pytest.mark.parametrize(("setting", "value"), [("race", "fastest"), ("top", 0)])
def test_unknown_races_are_refused(small_scan: Scan, setting: str, value: Any) -> None:
    with pytest.raises(InputError, match=setting):
        small_scan(**{setting: value})


def test_a_folder_of_another_scan_is_refused(
    small_scan: Scan, finished: tuple[ScanResult, Path]
) -> None:
    with pytest.raises(InputError, match=r"holds another scan \(options differ\)"):
        small_scan(finished[1], seed=1)


def test_a_budget_stops_with_the_best_so_far_and_says_so(small_scan: Scan, tmp_path: Path) -> None:
    whole = small_scan(tmp_path / "whole", beam=0, items=64)
    limit = whole.fields["cost"]["flops"] * 0.6
    part = small_scan(tmp_path / "part", beam=0, items=64, budget=f"{limit:.0f}flops")
    assert part.fields["complete"] is False
    assert 0 < part.fields["validation_items"] < 64
    left = sum(name != "plain" for name in part.fields["alive"])
    items = part.fields["validation_items"]
    assert f"budget spent after {items} items a probe with {left} of them left" in part.verdict
    units = [json.loads(f.read_text()) for f in (tmp_path / "part" / "scores").glob("val*.json")]
    assert sum(unit["flops"] for unit in units) <= limit
    again = small_scan(tmp_path / "part", beam=0, items=64, budget=f"{limit:.0f}flops")
    assert answer(again) == answer(part)
    on = small_scan(tmp_path / "part", beam=0, items=64)
    assert answer(on) == answer(whole)


def test_a_budget_that_is_too_small_says_what_a_first_answer_needs(
    small_scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_stage, "SLICE", 2)  # 16 items of 8 candidates
    settings: dict[str, Any] = {"beam": 0, "items": 64, "race": "none"}
    whole = small_scan(tmp_path / "whole", **settings)
    units = [json.loads(f.read_text()) for f in (tmp_path / "whole" / "scores").glob("val*.json")]
    plain = sum(unit["flops"] for unit in units if unit["candidates"] == ["plain"])
    with pytest.raises(InputError, match=r"a first answer needs \S+flops") as refusal:
        small_scan(tmp_path / "part", **settings, budget=f"{1.01 * plain:.0f}flops")
    budget = str(refusal.value).rpartition(" ")[2]
    part = small_scan(tmp_path / "part", **settings, budget=budget)
    assert part.fields["complete"] is False
    assert {row["items"] for row in part.rows} == {part.fields["validation_items"]} == {16}
    on = small_scan(tmp_path / "part", **settings)
    assert answer(on) == answer(whole)
    with pytest.raises(InputError, match="a first answer needs about"):
        small_scan(tmp_path / "late", **settings, budget="0.001s")


def test_the_control_is_measured_on_items_of_its_own(small_scan: Scan, tmp_path: Path) -> None:
    result = small_scan(tmp_path, probes=("variable_assignment_math_d0",), beam=0, items=20)
    [name] = result.fields["control"]["answers"]
    assert name.endswith("control=cut")
    texts = {}
    for kind in ("test", "control"):
        files = sorted((tmp_path / "scores").glob(f"{kind}-*.json"))
        units = [json.loads(file.read_text()) for file in files]
        texts[kind] = [unit["margins"] for unit in units]
    assert texts["test"]
    assert texts["control"]
    assert texts["test"] != texts["control"]


def test_the_choice_is_made_on_validation_and_reported_on_test(
    finished: tuple[ScanResult, Path],
) -> None:
    result, out = finished
    units = sorted(path.name.split("-")[0] for path in (out / "scores").glob("*.json"))
    assert set(units) <= {"validation", "test"}
    alive = [row for row in result.rows if row["alive"]]
    best = max(alive, key=lambda row: row["score_gain"])
    assert result.fields["chosen"] == best["name"]
    if best["name"] != "plain":
        gain = result.fields["test"][0]
        assert gain["name"] == best["name"]
        assert gain["low"] <= gain["difference"] <= gain["high"]
        assert gain["items"] == SMALL["test_items"]
        assert f"{gain['difference']:+.3f}" in result.verdict


def test_margins_and_accuracy_are_those_of_the_scorer(tiny_model: str, small_scan: Scan) -> None:
    result = small_scan(beam=0)
    lm = scorer(load(tiny_model), load_tokenizer(tiny_model))
    asked = questions(lm, SMALL["probes"][0], SMALL["items"], split="validation", shots=0).questions
    from growloop.models import loop

    loop(lm.model)
    some = candidates(lm.model.schedule, max_block=2)
    pairs = [(q.context, option) for q in asked for option in q.options]
    for candidate, scores in zip(
        some, lm.score_schedules(pairs, [c.schedule for c in some]), strict=True
    ):
        totals = iter([total for total, _ in scores])
        margins, right = [], []
        for question in asked:
            values = np.array([next(totals) for _ in question.options])
            right.append(int(values.argmax()) == question.answer)
            wrong = np.delete(values, question.answer)
            margins.append(values[question.answer] - wrong.max())
        row = next(row for row in result.rows if row["name"] == candidate.name)
        count = row["items"]
        assert row["accuracy"] == pytest.approx(np.mean(right[:count]))
        assert row["margin"] == pytest.approx(np.mean(margins[:count]), abs=1e-3)


def test_normalised_options_are_compared_as_lm_evals_acc_norm(
    small_scan: Scan, tiny_model: str
) -> None:
    from growloop.tasks.evaluate import evaluate

    name = "variable_assignment_math_d0"
    settings: dict[str, Any] = {"probes": (name,), "beam": 0, "items": 20, "test_items": 40}
    found = evaluate(
        tiny_model, [name], count=40, shots=0, seed=0, dtype="float32", device="cpu"
    )  # fmt: skip
    assert found is not None
    values = []
    for normalise in (False, True):
        result = small_scan(normalise=normalise, **settings)
        [about] = result.fields["test_probes"]
        metric = "acc_norm" if normalise else "acc"
        assert about.get("metric", "acc") == metric
        if result.chosen.edit != "none":
            values.append(result.fields["test"][0]["plain"])
            assert values[-1] == found["results"][name][f"{metric},none"]
    assert values


def test_what_lm_eval_would_run_is_counted_by_rows(finished: tuple[ScanResult, Path]) -> None:
    cost = finished[0].fields["cost"]
    assert cost["layer_tokens_alone"] > 2 * cost["layer_tokens"] > 0


def test_the_winner_is_saved_as_a_checkpoint_that_scores_alike(
    small_scan: Scan, tmp_path: Path
) -> None:
    result = small_scan(tmp_path / "scan", beam=0, applied=("substeps",))
    assert result.chosen.applied == "substeps"
    saved = load(str(outputs.save_best(result, str(tmp_path / "best"))))
    assert saved.schedule == result.chosen.schedule
    assert saved.recurrence.substeps
    assert "rys" not in outputs.notations(result)


def test_records_of_the_winner_reach_the_leaderboard(
    finished: tuple[ScanResult, Path], tiny_model: str, tmp_path: Path
) -> None:
    result, _ = finished
    record = outputs.write_record(result, ModelLoader("float32", "cpu"), tmp_path)
    assert record is not None
    [file] = (tmp_path / "records" / "scan").glob("*.json")
    again = StudyRecord.read(file)
    assert [row["edited"] for row in again.rows] == [False, True]
    [published] = leaderboard_records([again])
    assert published.value == result.fields["test"][0]["accuracy"]
    assert published.conditions["chosen"] == f"{result.chosen.name} of {len(result.rows) - 1}"


def test_a_result_becomes_a_data_frame_and_a_chart(finished: tuple[ScanResult, Path]) -> None:
    pytest.importorskip("pandas")
    result, out = finished
    frame = result.to_pandas()
    assert len(frame) == len(result.rows)
    assert frame.score_gain.is_monotonic_decreasing
    assert ScanResult.read(out).rows == result.rows
    pytest.importorskip("altair")
    drawn = json.dumps(chart(result).to_dict())
    assert "end of the block" in drawn
    assert "extra FLOPs" in drawn


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_block": 9}, "larger than the model"),
        ({"items": 8, "alpha": 0.001}, "validation items are too few for a race"),
        ({"probes": ("no_such_task",)}, "unknown task"),
        ({"probes": ("missing.jsonl",)}, "no file"),
        ({"budget": "soon"}, "a budget is a time or FLOPs"),
        ({"edits": ("duplicate",)}, "unknown edit"),
        ({"applied": ("damped",)}, "damped:SHARE"),
        ({"measure": "loss"}, "unknown measure"),
        ({"clip": 0.0}, "--clip"),
        ({"allow_chance": False, "items": 40}, "the model as it is guesses"),
        ({"budget": "1flops"}, "before the model as it is was measured"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(
    small_scan: Scan, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        small_scan(**settings)


def test_a_model_of_one_layer_is_refused(tmp_path: Path) -> None:
    from ...tasks import tiny

    path = str(tiny.save("llama", tmp_path / "one", layers=1))
    with pytest.raises(InputError, match="this model runs one layer"):
        scan(path, **{**SMALL, "max_block": 1})
