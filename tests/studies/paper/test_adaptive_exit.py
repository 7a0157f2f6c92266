"""Leaving early: recorded once, judged offline, counted as what would really run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from growloop.models import EarlyExit, Recurrence, Schedule, checkpoints, load, loop
from growloop.studies.checkpoints import ModelLoader
from growloop.studies.measure.accuracy import item_correctness, load_scorer
from growloop.studies.paper.adaptive_exit import STUDY
from growloop.studies.paper.adaptive_exit_costs import (
    CRITERIA,
    FIXED,
    ExitAnswers,
    ExitCosts,
    choose_threshold,
    curve,
)
from growloop.tasks.questions import questions, scorer

from ...support.commands import refused, run
from ...tasks import tiny
from ..small import parsed

TASK = "variable_assignment_code_d0"
FEW = ["--tasks", TASK, "--items", "8", "--shots", "1", "--json"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    plain = tiny.save("llama", tmp_path_factory.mktemp("models") / "plain", layers=4)
    found = {"plain": str(plain)}
    for name, schedule in (
        ("looped", "1-2x4-1"),
        ("twice", "1-2x2-1"),
        ("two", "2x3-2x3"),
        ("block", "2x3-2"),
    ):
        path = plain.parent / name
        checkpoints.save(loop(load(str(plain)), schedule), checkpoints.load_tokenizer(plain), path)
        found[name] = str(path)
    return found


def measured(model: str, out: Path, *more: str) -> dict[str, Any]:
    result = run("study", "adaptive-exit", "-m", model, "--out", str(out), *FEW, *more)
    assert result.exit_code == 0, result.output
    [record] = json.loads(result.stdout)
    return dict(record)


def test_offline_exits_are_those_of_a_model_that_really_leaves(
    models: dict[str, str], tmp_path: Path
) -> None:
    record = measured(models["looped"], tmp_path, "--exits", "loop", "--judged", "all")
    exits = ExitAnswers.read(parsed([record])[0], "test")
    assert exits.steps.tolist() == [4, 6, 8, 10]
    tokenizer = checkpoints.load_tokenizer(models["looped"])
    asked = questions(scorer(load(models["looped"]), tokenizer), TASK, 8, shots=1).questions
    for criterion in CRITERIA:
        seen = exits.scores[criterion][1:-1]
        threshold = 2.0 if criterion == "argmax" else float(np.median(seen))
        early = EarlyExit(criterion, threshold)
        model = loop(load(models["looped"]), recurrence=Recurrence(early_exit=early)).eval()
        leaves = exits.exits_taken(criterion, threshold)
        for question, place in zip(asked, leaves, strict=True):
            with torch.no_grad():
                model(torch.tensor([question.context]), use_cache=False)
            assert model.runner.executed == exits.steps[place], criterion
            assert int(model.runner.loops[0]) == place + 1


def test_the_published_rule_is_that_of_a_model_that_really_leaves(
    models: dict[str, str], tmp_path: Path
) -> None:
    record = measured(models["looped"], tmp_path, "--exits", "loop", "--rule", "geiping")
    exits = ExitAnswers.read(parsed([record])[0], "test")
    tokenizer = checkpoints.load_tokenizer(models["looped"])
    asked = questions(scorer(load(models["looped"]), tokenizer), TASK, 8, shots=1).questions
    for criterion in CRITERIA:
        seen = exits.scores[criterion]
        assert seen.shape == (4, 8)  # the first loop is compared, too
        threshold = 1.0 if criterion == "argmax" else float(np.median(seen[1:-1]))
        early = EarlyExit.geiping(criterion, threshold)
        model = loop(load(models["looped"]), recurrence=Recurrence(early_exit=early)).eval()
        leaves = exits.exits_taken(criterion, threshold)
        for question, place in zip(asked, leaves, strict=True):
            with torch.no_grad():
                model(torch.tensor([question.context]), use_cache=False)
            assert int(model.runner.loops[0]) == place + 1, criterion
    assert (exits.scores["argmax"][0] == 0).all()
    assert (exits.scores["kl"][0] > 0).all()
    # a look runs the layers after the block: twice the layers of the one before it here
    plain = measured(models["looped"], tmp_path, "--exits", "loop")
    assert plain["data"]["prices"]["coda"] == 0
    layers = record["data"]["prices"]["layers"]
    assert record["data"]["prices"]["coda"] == pytest.approx((layers[1] - layers[0]) / 2)
    assert plain["rows"][0]["answers"] == record["rows"][0]["answers"]
    assert "rule" not in plain["cell"]["options"]  # records of the time before it are still found


def test_each_exit_answers_as_the_model_cut_there(models: dict[str, str], tmp_path: Path) -> None:
    record = measured(models["plain"], tmp_path)
    loaded = ModelLoader("float32", "cpu")
    loaded.load(models["plain"])
    for split in ("validation", "test"):
        asked = questions(load_scorer(loaded), TASK, 8, split=split, shots=1)
        wanted = item_correctness(loaded, asked, [Schedule(tuple(range(n))) for n in (1, 2, 3, 4)])
        found = ExitAnswers.read(parsed([record])[0], split)
        assert found.steps.tolist() == [1, 2, 3, 4]
        assert found.right.tolist() == wanted.tolist()


def test_more_loops_than_the_model_has_are_exits_too(
    models: dict[str, str], tmp_path: Path
) -> None:
    own = measured(models["looped"], tmp_path / "a", "--exits", "loop")
    more = measured(models["twice"], tmp_path / "b", "--exits", "loop", "--loops", "4")
    for mine, theirs in zip(own["rows"], more["rows"], strict=True):
        assert mine["answers"] == theirs["answers"]
    for name, scores in own["data"]["scores"]["test"].items():
        np.testing.assert_allclose(scores, more["data"]["scores"]["test"][name], rtol=1e-2)


def test_a_tuned_lens_reads_the_exits(models: dict[str, str], tmp_path: Path) -> None:
    record = measured(models["plain"], tmp_path, "--lens-updates", "2")
    assert record["data"]["lens"] == "tuned lens"
    assert len(list((tmp_path / "lenses").glob("*.safetensors"))) == 1
    plain = measured(models["plain"], tmp_path)
    ends = [[row["answers"] for row in r["rows"] if row["exit"] == 3] for r in (record, plain)]
    assert ends[0] == ends[1]  # the last is the model itself
    assert record["data"]["prices"]["head"] == plain["data"]["prices"]["head"] + 2 * 64 * 64


PRICES = ExitCosts([10.0, 20.0, 30.0], 4.0, 4.0, 7.0, 2.0, 1.0, True)


def example(right: list[list[int]], entropy: list[list[float]]) -> ExitAnswers:
    """Three exits of one step each."""
    scores = {"entropy": np.asarray([[np.inf] * len(right[0]), *entropy])}
    return ExitAnswers(np.asarray(right, dtype=bool), scores, np.asarray([1, 2, 3]), PRICES)


def test_what_runs_and_looks_is_paid() -> None:
    leaves = np.asarray([0, 1, 2])
    # of a question: seven tokens, two places to read, a look at one token for each exit passed
    assert PRICES.question(leaves, "entropy").tolist() == [82, 156, 226]
    assert PRICES.question(leaves, "latent").tolist() == [78, 148, 218]
    assert PRICES.question(leaves, FIXED).tolist() == [78, 148, 218]
    # of a token: the last look is the prediction, and after all steps the head reads it
    assert PRICES.token(leaves, "entropy").tolist() == [14, 28, 42]
    assert PRICES.token(leaves, "latent").tolist() == [14, 24, 34]
    # looking twice and leaving nowhere costs more than not to look
    assert PRICES.token(np.asarray([2]), "entropy") > PRICES.token(np.asarray([2]), FIXED)
    assert PRICES.check_in_steps("entropy", 3) == pytest.approx(0.4)


def test_a_look_through_the_coda_is_paid() -> None:
    prices = dataclasses.replace(PRICES, coda=3.0, reused=False)
    leaves = np.asarray([0, 1, 2])
    # seven tokens run through the coda for each look; latent looks at states
    assert prices.question(leaves, "kl").tolist() == [82 + 21, 156 + 42, 226 + 42]
    assert prices.question(leaves, "latent").tolist() == [78, 148, 218]
    assert prices.token(leaves, "kl").tolist() == [10 + 7 + 4, 20 + 14 + 4, 30 + 14 + 4]
    assert prices.check_in_steps("kl", 3) == pytest.approx(0.7)


def test_the_cheapest_threshold_within_a_point_is_chosen_on_validation() -> None:
    right = [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    validation = example(right, [[0.1, 0.2, 0.5, 0.6], [0.0] * 4])
    threshold = choose_threshold(validation, "entropy")
    assert threshold is not None
    assert 0.2 < threshold <= 0.5  # the first two leave at the second exit, both right
    assert validation.steps[validation.exits_taken("entropy", threshold)].tolist() == [2, 2, 3, 3]
    assert choose_threshold(validation, FIXED) is None  # no fixed exit is as good as all steps
    hopeless = example(right, [[0.6, 0.5, 0.2, 0.1], [0.0] * 4])
    assert choose_threshold(hopeless, "entropy") is None
    assert hopeless.exits_taken("entropy", None).tolist() == [2, 2, 2, 2]


def test_the_curve_goes_from_all_steps_to_the_fewest() -> None:
    right = [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    both = example(right, [[0.1, 0.2, 0.5, 0.6], [0.0] * 4])
    points = curve(both, both, "entropy")
    assert [(p["steps"], p["value"]) for p in points] == [
        (3.0, 1.0), (2.75, 1.0), (2.5, 1.0), (2.25, 0.75), (2.0, 0.5),
    ]  # fmt: skip
    assert all(p["low"] <= p["value"] <= p["high"] for p in points)


def test_the_test_items_choose_nothing(models: dict[str, str], tmp_path: Path) -> None:
    record = measured(models["plain"], tmp_path)
    before = [line["threshold"] for line in STUDY.table(parsed([record]))]
    for row in record["rows"]:
        if row["split"] == "test":
            row["answers"] = "10" * 4
    lines = STUDY.table(parsed([record]))
    assert [line["threshold"] for line in lines] == before
    assert {line["accuracy"] for line in lines} == {0.5}
    for line in lines:
        if line["threshold"] is None:  # nothing left out, nothing looked at
            assert line["steps"] == 4
            assert (line["saved"], line["FLOPs saved"], line["decoding"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("plain", "--exits block", "unknown kind of exits 'block'"),
        ("plain", "--judged some", "unknown choice of judged tokens 'some'"),
        ("plain", "--exits loop", "has 0 looped blocks: leaving after a loop needs one"),
        ("plain", "--loops 3", "the schedule 4 has no looped block"),
        ("two", "--exits loop", "has 2 looped blocks"),
        ("twice", "--exits loop", "runs its block 2 times"),
        ("twice", "--loops 3 --lens-updates 5", "a lens is for the model's own steps"),
        ("plain", "--lens-updates 5 --lens-recipe x", "unknown lens recipe 'x'"),
        ("plain", "--lens-updates 5 --lens-text none.txt", "there is no text file none.txt"),
        ("plain", "--rule theirs", "unknown rule 'theirs'"),
        ("looped", "--rule geiping", "judges the last token after each loop: give --exits loop"),
        ("looped", "--rule geiping --exits loop --judged all", "leave --judged out"),
        ("block", "--rule geiping --exits loop", "begins with its looped block"),
        ("plain", "--items 5", "an interval needs at least 8 items"),
    ],
)
def test_what_cannot_be_left_is_said_in_a_sentence(
    model: str, arguments: str, message: str, models: dict[str, str], tmp_path: Path,
    monkeypatch: Any,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert message in refused("study", "adaptive-exit", "-m", models[model], *arguments.split())
    assert list(tmp_path.iterdir()) == []
