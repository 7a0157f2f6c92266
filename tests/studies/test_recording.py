"""What records say about models: read from checkpoints, plain, looped, grown, trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.leaderboard import Record
from growloop.models import build, checkpoints, grow, loop, untie
from growloop.models.training import runfile
from growloop.models.training.recipes import recipe
from growloop.studies.describe import Recorder, cost_of, model_of
from growloop.studies.publish_suite import suite_records
from growloop.tasks.benchmarks import TaskResult, summarise


def test_kinds_of_models_are_told_apart() -> None:
    models = {
        "standard": build("tiny", 4),
        "looped": loop(build("tiny", 4), "1-2x2-1"),
        "grown": grow(build("tiny", 4), "lidas", block_size=2),
        "grown-looped": loop(grow(build("tiny", 4), "midas", block_size=2), "2-2x2-2"),
    }
    for family, model in models.items():
        assert model_of(model, "any/model").family == family
    grown = model_of(models["grown"], "any/model")
    assert [(step.operator, step.before, step.after) for step in grown.growth] == [("lidas", 4, 6)]
    looped = model_of(models["looped"], "any/model")
    assert (looped.schedule, looped.unique_layers, looped.effective_layers) == ("1-2x2-1", 4, 6)
    assert (looped.name, looped.source) == ("any/model", "any/model")


@pytest.mark.parametrize(
    ("run", "family", "flops"),
    [
        ({"model": {"preset": "tiny"}}, "looped", 1e9),
        ({"model": {"preset": "tiny"}, "events": [{"step": 0, "repeat": "1:2"}]}, "looped", 1e9),
        (
            {"model": {"preset": "tiny"}, "events": [{"step": 9, "repeat": "1:2"}]},
            "retrofitted",
            1e9,
        ),
        ({"model": {"path": "before", "preset": None}}, "looped", None),
    ],
)
def test_a_run_tells_seed_flops_and_retrofits(
    run: dict[str, Any], family: str, flops: float | None, tmp_path: Path
) -> None:
    folder = tmp_path / "step-000000009"
    checkpoints.save(loop(build("tiny", 4), "1-2x2-1"), None, folder)
    told = {"run": {"name": "ours", "seed": 3, "events": [], **run}, "flops": 1e9, "tokens": 7}
    (folder / "training.json").write_text(json.dumps(told))
    found = model_of(checkpoints.load_config(str(folder)), str(folder))
    assert (found.name, found.seed, found.family) == ("ours", 3, family)
    assert (found.training_flops, found.size) == (flops, run["model"]["preset"])


def told(folder: Path, run: dict[str, Any]) -> str:
    """A checkpoint with a run beside it."""
    checkpoints.save(build("tiny", 4), None, folder)
    fields = {"run": {"name": "ours", "seed": 0, "steps": 100, "events": [], **run}}
    (folder / "training.json").write_text(json.dumps(fields))
    return str(folder)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("1.7b-lidas", None),
        ("1.7b-lidas-nemotron", "cooldown NMT 20%"),
        ("1.7b-baseline-retrofit-8-11", "cooldown NMT 20%"),
        ("360m-midas-finemath", "cooldown FMT 20%"),
        ("laptop-lidas-nemotron", "cooldown NMT 20%"),
        ("lessons-midas", None),
    ],
)
def test_recipes_of_the_paper_are_called_as_the_claims_do(
    name: str, wanted: str | None, tmp_path: Path
) -> None:
    path = told(tmp_path / "x", runfile.parse(recipe(name)).model_dump(mode="json"))
    assert model_of(checkpoints.load_config(path), path).recipe == wanted


TWO = {"sources": {"text": "a", "math": "b"}}


@pytest.mark.parametrize(
    ("run", "wanted"),
    [
        ({"data": TWO, "events": [{"step": 80, "mixture": {"math": 0.8, "text": 0.2}}]},
         "cooldown math 80%"),
        ({"data": TWO, "events": [{"step": 80, "mixture": {"math": 5, "code": 3, "text": 2}}]},
         "cooldown code 30%"),
        ({"data": TWO, "events": [{"step": 20, "mixture": {"math": 0.8, "text": 0.2}}]}, None),
        ({"data": TWO, "events": [{"step": 80, "mixture": {"math": 1, "text": 1}}]}, None),
        ({"data": {"curriculum": [{"lessons": {"recall": 1.0}}, {"lessons": {"copying": 1.0}}]},
          "events": [{"step": 50, "mixture": {"recall": 0.4, "copying": 0.6}}]},
         "cooldown recall 40%"),
        ({"data": {"examples": "rows.jsonl"}}, "fine-tuned"),
        ({}, None),
    ],
)  # fmt: skip
def test_a_cooldown_is_called_after_the_sources_that_grew(
    run: dict[str, Any], wanted: str | None, tmp_path: Path
) -> None:
    path = told(tmp_path / "x", run)
    assert model_of(checkpoints.load_config(path), path).recipe == wanted


def test_a_run_that_goes_on_from_a_checkpoint_is_told_from_both(tmp_path: Path) -> None:
    first = told(tmp_path / "first", {"model": {"preset": "tiny"}, "data": TWO})
    data = {**TWO, "mixture": {"math": 0.6, "text": 0.4}}
    then = told(tmp_path / "then", {"model": {"path": first}, "data": data})
    found = model_of(checkpoints.load_config(then), then)
    assert (found.recipe, found.size) == ("cooldown math 60%", "tiny")
    last = tmp_path / "last"
    event = {"step": 0, "repeat": [1, 3]}
    told(last, {"model": {"path": then}, "data": data, "events": [event]})
    again = loop(build("tiny", 4), "1-2x2-1")
    assert model_of(again, str(last)).family == "retrofitted"
    assert model_of(again, str(last)).recipe == "cooldown math 60%"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"model": "tiny"}, "run: model is not an object"),
        ({"model": ["tiny"]}, "run: model is not an object"),
        ({"data": "shards"}, "run: data is not an object"),
        ({"events": {"step": 2}}, "run: events is not a list"),
        ({"events": ["grow"]}, "run: events holds more than objects"),
        ({"seed": "0"}, "run: seed is not a whole number"),
    ],
)
def test_a_run_that_is_none_of_a_run_file_is_refused(
    tmp_path: Path, damage: dict[str, Any], message: str
) -> None:
    path = told(tmp_path / "x", {"model": {"preset": "tiny"}, **damage})
    with pytest.raises(InputError) as refused:
        model_of(checkpoints.load_config(path), path)
    assert str(refused.value) == f"{tmp_path / 'x' / 'training.json'} is damaged: {message}"


@pytest.mark.parametrize("run", ["wandb/17", 17, ["a"], {"id": 17}])
def test_what_another_program_says_of_its_run_is_left_alone(tmp_path: Path, run: object) -> None:
    path = told(tmp_path / "x", {})
    (tmp_path / "x" / "training.json").write_text(json.dumps({"run": run}))
    found = model_of(checkpoints.load_config(path), path)
    assert (found.family, found.seed, found.source) == ("standard", None, None)


def test_fine_tuned_models_are_called_after_what_was_tuned_and_on_what(tmp_path: Path) -> None:
    def trained(name: str, run: dict[str, Any]) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "training.json").write_text(json.dumps({"run": run}))
        return str(tmp_path / name)

    base = trained("base", {"name": "lidas", "seed": 1, "model": {"preset": "tiny"}})
    found = []
    for path, examples in ((base, "sums.jsonl"), (base, "a/words.jsonl"), ("hub/small", "x.jsonl")):
        run = {"name": "sft", "seed": 0, "model": {"path": path}, "data": {"examples": examples}}
        tuned = trained(f"tuned-{len(found)}", run)
        found.append(model_of(build("tiny", 2), tuned).name)
    assert found == ["lidas-s1-sft-sums", "lidas-s1-sft-words", "small-sft-x"]


def test_an_untied_model_is_no_standard_one(tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    checkpoints.save(untie(loop(build("tiny", 4), "1-2x2-1")), None, folder)
    told = {"run": {"name": "u", "seed": 0, "model": {"path": "x", "untie": True}}}
    (folder / "training.json").write_text(json.dumps(told))
    assert model_of(checkpoints.load_config(str(folder)), str(folder)).family == "untied"


def test_costs_are_those_of_the_schedule_that_runs() -> None:
    model = build("tiny", 4)
    _, plain = cost_of(model)
    recorder = Recorder("any/model", lambda found: loop(found, repeat=(1, 3)), "named")
    recorder(model)
    results: dict[str, Any] = {}
    recorder.note(results)
    told = results["growloop"]
    assert (told["model"]["name"], told["model"]["schedule"]) == ("named", "4")
    assert told["schedule"] == "1-2x2-1"
    assert told["cost"]["unique_parameters"] == plain.unique_parameters
    assert told["cost"]["inference_flops"] > plain.inference_flops
    assert told["versions"]["torch"]


def suite_record(dtype: str = "auto", options: Any = None, told: Any = None) -> Record:
    """The record of a suite with a single task."""
    task = TaskResult("paper_hellaswag", "acc", 0.5, 0.05, 100, 0, "hub", "ab", told=told or {})
    settings = {"dtype": dtype, "limit": None, "backend": "growloop", "options": options or {}}
    result = summarise("m", settings, {task.task: task}, None, {})
    (found,) = suite_records(result, {"name": "m"}, {}, "growloop eval --suite paper")
    return found


def test_a_suite_says_in_what_precision_and_how_it_was_asked() -> None:
    plain = suite_record()
    assert (plain.dtype, plain.task.prompting) == (None, None)  # auto is no precision
    assert suite_record("bfloat16").dtype == "bfloat16"
    told = {
        "config": {"dtype": "torch.bfloat16", "device": "cpu"},
        "chat_template_sha": "ab" * 32,
        "growloop": {"options": {"softmax_dtype": "float32", "peft": "lora@0123"}},
    }
    found = suite_record(told=told)
    assert (found.dtype, found.device, found.backend) == ("bfloat16", "cpu", "growloop")
    assert found.task.prompting == "chat template abababababab"
    assert found.settings == {"softmax_dtype": "float32"}
    assert found.model.changes == "peft lora@0123"
    old = suite_record(options={"apply_chat_template": "True"})
    assert old.task.key != plain.task.key


def test_a_model_is_known_by_its_content_and_its_training(tmp_path: Path) -> None:
    for name, seed, lr in (("a", 0, 1.0), ("b", 1, 1.0), ("c", 0, 2.0)):
        folder = tmp_path / name / "step-000000100"
        model = build("tiny", 2, seed=seed)
        checkpoints.save(model, None, folder)
        run = {"name": "r", "seed": seed, "lr": lr, "model": {"preset": "tiny"}}
        (folder / "training.json").write_text(json.dumps({"run": run, "step": 100}))
    a, b, c = (
        model_of(build("tiny", 2), str(tmp_path / name / "step-000000100")) for name in "abc"
    )
    assert a.digest != b.digest
    assert a.digest == c.digest  # the same weights, whatever its run says
    assert a.training == b.training != c.training
    assert (a.step, a.folder[-2:]) == (100, ("a", "step-000000100"))
    assert model_of(build("tiny", 2), "somebody/model").digest is None
