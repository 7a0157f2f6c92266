"""Studies that train: cooldowns of one checkpoint, on other mixtures and with a looped block."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from growloop.core.errors import InputError
from growloop.models import checkpoints
from growloop.models.training import runfile
from growloop.models.training.data.symbols import vocabulary
from growloop.models.training.data.tokenization import byte_tokenizer, tokenize
from growloop.models.training.engine import Engine
from growloop.models.training.recipes import recipe, recipe_text
from growloop.studies.catalog import find
from growloop.studies.checkpoints import StudyModel
from growloop.studies.measure.cooldown_branches import (
    ParentCheckpoint,
    cooldown_run,
    train_cooldown,
)
from growloop.studies.measure.cooldown_mixtures import builtin_mixtures, select_mixtures

from ...support.commands import refused, run
from ...support.selection import slow
from ..small import parsed

STEPS, DECAY, WARMUP = 12, 8, 2
TASKS = "variable_assignment_code_d0,copying_real_words"
FEW = ["--items", "10", "--shots", "0", "--tasks", TASKS, "--device", "cpu"]
RUN: dict[str, Any] = {
    "name": "tiny",
    "steps": STEPS,
    "precision": "fp32",
    "log_every": 1,
    "model": {
        "preset": "tiny",
        "options": {"vocab_size": len(vocabulary()), "hidden_size": 32, "intermediate_size": 48},
    },
    "data": {
        "curriculum": [
            {"lessons": {"repeats": 0.5, "recall": 0.5}, "until": 9.0},
            {"lessons": {"assignment-1": 0.5, "recall": 0.5}},
        ],
        "batch_size": 8,
        "seq_len": 256,
    },
    "optimizer": {"lr": 3e-3, "warmup": WARMUP, "cooldown": STEPS - DECAY},
    "events": [{"step": DECAY, "checkpoint": True}],
    "checkpoints": {"every": 4, "keep": 5},
}


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to its end, with a checkpoint where its cooldown begins."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    Engine(runfile.parse(RUN), out).train()
    return out


def at(parent: Path, step: int = DECAY) -> str:
    return str(parent / f"step-{step:09d}")


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def study(*arguments: str) -> str:
    result = run("study", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def quietly(text: str) -> None:
    del text


def records(name: str, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(study(name, *arguments, "--json"))
    return found


def test_the_usual_cooldown_is_the_end_of_the_run_itself(parent: Path, tmp_path: Path) -> None:
    found = ParentCheckpoint.read(StudyModel.read(at(parent)))
    usual = builtin_mixtures(found.run)["usual"]
    said: list[str] = []
    end = train_cooldown(found, cooldown_run(found, usual), tmp_path, said.append)
    assert weights(end) == weights(parent / f"step-{STEPS:09d}")
    assert [row["lr"] for row in metrics(end.parent)] == [
        row["lr"] for row in metrics(parent) if row["step"] > DECAY
    ]
    assert any("of 12" in text for text in said)
    other = train_cooldown(found, cooldown_run(found, usual, seed=1), tmp_path, quietly)
    assert other.parent != end.parent
    assert weights(other) != weights(end)


@pytest.mark.parametrize("steps", [2, *slow(6)])
def test_a_cooldown_of_other_steps_begins_at_the_checkpoint_without_a_jump(
    parent: Path, tmp_path: Path, steps: int
) -> None:
    found = ParentCheckpoint.read(StudyModel.read(at(parent, 4)))
    usual = builtin_mixtures(found.run)["usual"]
    end = train_cooldown(found, cooldown_run(found, usual, steps=steps), tmp_path, quietly)
    assert end.name == f"step-{4 + steps:09d}"
    rates = [row["lr"] / RUN["optimizer"]["lr"] for row in metrics(end.parent)]
    assert rates == pytest.approx([left / steps for left in range(steps, 0, -1)])


def test_a_cooldown_that_was_stopped_goes_on_to_the_same_bits(parent: Path, tmp_path: Path) -> None:
    found = ParentCheckpoint.read(StudyModel.read(at(parent)))
    change = builtin_mixtures(found.run)["assignment"]
    wanted = cooldown_run(found, change)
    whole = train_cooldown(found, wanted, tmp_path / "whole", quietly)
    Engine(wanted, tmp_path / "parts" / "cooldowns" / whole.parent.name, parent=found.folder).train(
        DECAY + 1
    )
    parts = train_cooldown(found, wanted, tmp_path / "parts", quietly)
    assert weights(parts) == weights(whole)
    assert [path.name for path in parts.parent.glob("step-*")] == [whole.name]


def test_another_mixture_changes_the_lessons_from_the_checkpoint_on(
    parent: Path, tmp_path: Path
) -> None:
    found = ParentCheckpoint.read(StudyModel.read(at(parent)))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"copies": {"copying-words": 1.0}}))
    [change] = select_mixtures([str(tmp_path / "mine.yaml")], found.run)
    end = train_cooldown(found, cooldown_run(found, change), tmp_path, quietly)
    for row in metrics(end.parent):
        assert {name for name in row if name.startswith("loss/")} == {"loss/copying-words"}
    for row in metrics(parent):
        assert "loss/copying-words" not in row


@pytest.mark.slow
def test_the_mixtures_of_the_recipes_are_those_of_their_run_files(tmp_path: Path) -> None:
    for source in ("text", "math", "nemotron"):
        texts = [f"{source} {i}. " * 60 for i in range(40)]
        tokenize(texts, byte_tokenizer(), tmp_path / source, source)
    changes = [
        "data.seq_len=32", "data.batch_size=2", "model.options.vocab_size=257",
        "model.options.hidden_size=32", "model.options.intermediate_size=48", "steps=18",
        "optimizer.warmup=2", "optimizer.cooldown=4",
    ]  # fmt: skip
    runs = {}
    for name in ("laptop-lidas", "laptop-lidas-nemotron"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(recipe_text(name))
        sources = {source: str(tmp_path / source) for source in recipe(name)["data"]["sources"]}
        events = [recipe(name)["events"][0] | {"step": 14}]
        runs[name] = runfile.load(path, [*changes, f"data.sources={sources}", f"events={events}"])
    Engine(runs["laptop-lidas"], tmp_path / "base").train()
    whole = Engine(runs["laptop-lidas-nemotron"], tmp_path / "whole").train().folder
    found = ParentCheckpoint.read(StudyModel.read(str(tmp_path / "base" / "step-000000014")))
    change = builtin_mixtures(found.run)["nemotron"]
    assert weights(
        train_cooldown(found, cooldown_run(found, change), tmp_path, quietly)
    ) == weights(whole)
    path.write_text(yaml.safe_dump(runs["laptop-lidas-nemotron"].model_dump(mode="json")))
    [of_file] = select_mixtures([str(path)], found.run)
    assert of_file.mixture == change.mixture
    with pytest.raises(InputError, match="still grows at step"):
        ParentCheckpoint.read(
            StudyModel.read(str(growing(runs["laptop-lidas"], tmp_path / "early")))
        ).check(4)


def growing(wanted: runfile.Run, out: Path) -> Path:
    return Engine(wanted, out).train(5).folder


def test_the_study_compares_mixtures_on_the_same_items(parent: Path, tmp_path: Path) -> None:
    arguments = [
        "-m", at(parent), "--mixture", "usual,copying", "--seeds", "2", *FEW,
        "--out", str(tmp_path),
    ]  # fmt: skip
    picture = tmp_path / "chart.svg"
    printed = study("cooldown", *arguments, "--picture", str(picture))
    assert "<svg" in picture.read_text()
    assert len(list((tmp_path / "cooldowns").glob("*/step-*"))) == 4
    found = records("cooldown", *arguments)
    for record in found:
        assert (Path(record["checkpoint"]) / "model.safetensors").is_file()
        assert checkpoints.load_config(record["checkpoint"]).num_hidden_layers == 4
        assert record["data"]["from_step"] == DECAY
        changes = [event["step"] for event in record["data"]["run"]["events"]]
        assert changes == ([] if record["cell"]["params"]["mixture"] == "usual" else [DECAY])
        for row in record["rows"]:
            assert (row["n"], row["shots"], row["split"]) == (10, 0, "test")
            assert row["training_seed"] == record["cell"]["params"]["seed"]
    assert study("cooldown", *arguments) == printed  # nothing is trained again
    table = find("cooldown").table(
        parsed(answered(found, usual="1000000000", copying="1100000000"))
    )
    lines = {(line["mixture"], line["task"]): line for line in table}
    gain = lines["copying", "mean"]
    assert (gain["value"], gain["gain"]) == (pytest.approx(0.2), pytest.approx(0.1))
    assert gain["gain over seeds"] == "no spread"
    assert -0.1 <= gain["low"] <= 0.1 <= gain["high"] < 0.4
    assert (gain["n"], gain["seeds"], gain["chance"]) == (20, 2, pytest.approx(0.15))
    assert lines["usual", "mean"]["gain"] is None
    found[0]["rows"][0]["answers"] = "1111000000"
    assert find("cooldown").table(parsed(found[:1]))[0]["value"] == 0.4  # a single cell


def answered(found: list[dict[str, Any]], **answers: str) -> list[dict[str, Any]]:
    changed: list[dict[str, Any]] = json.loads(json.dumps(found))
    for record in changed:
        for row in record["rows"]:
            row["answers"] = answers[record["cell"]["params"]["mixture"]]
    return changed


def test_the_interval_over_seeds_is_students(parent: Path, tmp_path: Path) -> None:
    arguments = ["-m", at(parent), "--mixture", "usual", "--seeds", "2", "--out", str(tmp_path)]
    found = records("cooldown", *arguments, *FEW)
    for record, answers in zip(found, ("1" * 5 + "0" * 5, "1" * 6 + "0" * 4), strict=True):
        record["rows"][0]["answers"] = answers
    line = find("cooldown").table(parsed(found))[0]
    assert line["value"] == pytest.approx(0.55)
    assert line["over seeds"] == "[0.000, 1.000]"  # 0.55 ± 12.706 * 0.05, as far as it can be


@pytest.fixture(scope="module")
def retrofitted(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("retrofit")
    picture = out / "chart.svg"
    found = records(
        "retrofit", "-m", at(parent), "--block", "1:3", "--repeats", "2,3", "--starts", "all",
        *FEW, "--out", str(out), "--picture", str(picture),
    )  # fmt: skip
    assert "<svg" in picture.read_text()
    return found


def test_a_retrofitted_model_loops_and_its_control_does_not(
    parent: Path, retrofitted: list[dict[str, Any]]
) -> None:
    control, looped = retrofitted
    assert (control["model"]["schedule"], looped["model"]["schedule"]) == ("4", "1-2x2-1")
    assert weights(Path(control["checkpoint"])) == weights(parent / f"step-{STEPS:09d}")
    assert weights(Path(looped["checkpoint"])) != weights(Path(control["checkpoint"]))
    both = [{(r["block"], r["times"]): r["schedule"] for r in x["rows"]} for x in retrofitted]
    assert both[0].items() <= both[1].items()
    assert set(both[1]) - set(both[0]) == {("1:3", 1)}
    assert both[1]["1:3", 1] == "1-2x2-1"
    assert both[0]["none", 0] == "4"
    assert both[0]["0:2", 3] == "2x4-2"


def test_the_gain_is_of_each_model_as_trained_and_at_every_repeat(
    retrofitted: list[dict[str, Any]],
) -> None:
    changed: list[dict[str, Any]] = json.loads(json.dumps(retrofitted))
    for record in changed:
        for row in record["rows"]:
            times, after = row["times"], record["cell"]["params"]["block"] != "none"
            right = times + 2 * after if row["block"] in ("none", "1:3") else 0
            row["answers"] = ("1" * right).ljust(10, "0")
    lines = {line["repeated"]: line for line in find("retrofit").table(parsed(changed))}
    trained = lines["as trained"]
    assert (trained["without"], trained["with"]) == (0.0, pytest.approx(0.3))
    assert (lines["none"]["without"], lines["none"]["with"]) == (0.0, pytest.approx(0.2))
    assert lines["1:3 ×3"]["with"] == pytest.approx(0.5)
    assert lines["1:3 ×3"]["gain"] == pytest.approx(0.2)
    assert lines["0:2 ×2"]["gain"] == 0
    assert trained["low"] > 0
    assert "1:3 ×1" not in lines  # its control was not asked to
    assert find("retrofit").table(parsed(changed[:1])) == []
    with pytest.raises(InputError, match="nothing to draw"):
        find("retrofit").chart(parsed(changed[:1]))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cooldown", ["--mixture", "usual,copying"]),
        pytest.param("retrofit", ["--block", "1:3"], marks=pytest.mark.slow),
    ],
)
def test_the_gain_on_questions_without_an_answer_stands_beside(
    name: str, options: list[str], parent: Path, tmp_path: Path
) -> None:
    arguments = ["-m", at(parent), *options, *FEW, "--seeds", "1", "--out", str(tmp_path)]
    plain = find(name).table(parsed(records(name, *arguments)))
    found = records(name, *arguments, "--control", "cut")
    cut = [row for record in found for row in record["rows"] if "of" in row]
    assert {(row["task"], row["of"]) for row in cut} == {
        ("variable_assignment_code_d0:control=cut", "variable_assignment_code_d0")
    }
    rows = find(name).table(parsed(found))
    gains = [row.pop("control gain") for row in rows]
    same = [row.pop("gain, controlled tasks", 0) for row in rows]
    assert None not in same
    assert rows == plain  # they are no part of the numbers they stand beside
    assert any(gain is not None for gain in gains)
    changed: list[dict[str, Any]] = json.loads(json.dumps(found))
    for row in changed[1]["rows"]:
        if "of" in row:
            row["answers"] = "1" * 10
    for row in changed[0]["rows"]:
        if "of" in row:
            row["answers"] = "1" * 5 + "0" * 5
    gains = [row["control gain"] for row in find(name).table(parsed(changed))]
    assert [gain for gain in gains if gain is not None][-1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("cooldown -m 4", "falls from step 8 on, and this is step 4: train it --until 8"),
        ("cooldown -m 12", "falls from step 8 on, and this is step 12: take an earlier"),
        ("cooldown -m 8 --mixture usal", "unknown mixture 'usal': did you mean 'usual'?"),
        ("cooldown -m 8 --mixture usual,usual.yaml", "there are two mixtures called usual"),
        ("cooldown -m 8 --mixture none.yaml", "cannot read none.yaml"),
        ("cooldown -m 8 --mixture list.yaml", "list.yaml holds no mixtures"),
        ("cooldown -m 8 --mixture half.yaml", "sum to 1"),
        ("cooldown -m 8 --mixture typo.yaml", "unknown lesson 'recal': did you mean 'recall'?"),
        ("cooldown -m 8 --mixture words.yaml", "the share of recall is a number, not 'much'"),
        ("cooldown -m 8 --mixture long.yaml", "unknown field of a mixture 'source'"),
        ("cooldown -m 8 --mixture name.yaml", "a mixture's name has letters"),
        ("cooldown -m 8 --seeds 0", "seeds"),
        ("cooldown -m 8 --control all", "unknown control 'all'"),
        ("retrofit -m 8 --block 1:3 --control shufled", "did you mean 'shuffled'?"),
        ("cooldown -m 8 --steps -1", "steps"),
        ("cooldown -m 8 --items 3", "an interval needs at least 8 items, not 3"),
        ("cooldown -m plain", "was not made by growloop train"),
        ("cooldown -m damaged", "is damaged: model.safetensors"),
        ("retrofit -m 8", "say which blocks are looped: --block START:STOP"),
        ("retrofit -m 8 --block 2", "a block is START:STOP"),
        ("retrofit -m 8 --block 2:7", "the block 2:7 is outside the steps 0:4"),
        ("retrofit -m 8 --block 1:3 --starts some", "unknown choice of starts 'some'"),
        ("retrofit -m 8 --block 1:3 --repeats 0", "repeats"),
        ("retrofit -m 8 --block 1:3 --mixture two.yaml", "two.yaml holds 2 mixtures"),
        ("retrofit -m 4 --block 1:3", "falls from step 8 on"),
    ],
)
def test_what_cannot_cool_down_is_refused_in_a_sentence(
    arguments: str, message: str, parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "usual": "usual: {}",
        "list": "[1]",
        "half": "half: {recall: 0.5}",
        "typo": "typo: {recal: 1.0}",
        "words": "words: {recall: much}",
        "long": "long: {mixture: {recall: 1}, source: {}}",
        "name": "a b: {recall: 1}",
        "two": "{a: {recall: 1}, b: {repeats: 1}}",
    }
    for name, text in files.items():
        Path(f"{name}.yaml").write_text(text)
    places = {str(step): at(parent, step) for step in (4, 8, 12)}
    for name in ("plain", "damaged"):
        places[name] = str(tmp_path / name)
        left = shutil.ignore_patterns("training*", "manifest*") if name == "plain" else None
        shutil.copytree(at(parent), name, ignore=left)
    weight = tmp_path / "damaged" / "model.safetensors"
    weight.write_bytes(weight.read_bytes()[:-1])
    before = sorted(Path().iterdir())
    assert message in refused("study", *(places.get(word, word) for word in arguments.split()))
    assert sorted(Path().iterdir()) == before


def test_a_run_that_changes_its_schedule_itself_is_not_retrofitted(tmp_path: Path) -> None:
    events = [{"step": DECAY, "checkpoint": True, "repeat": [1, 3]}]
    Engine(runfile.parse(RUN | {"events": events}), tmp_path / "tiny").train(DECAY)
    arguments = ["-m", at(tmp_path / "tiny"), "--block", "1:3"]
    assert "changes its schedule at step 8 itself" in refused("study", "retrofit", *arguments)
