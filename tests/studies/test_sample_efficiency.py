"""The sample-efficiency protocol, on a model small enough to fine-tune in a test."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from growloop.cli import main
from growloop.models import build, loop
from growloop.models.training.finetuning import Settings
from growloop.models.training.symbols import END, symbol_tokenizer, vocabulary
from growloop.primitives import InputError, make_task
from growloop.studies import sample_efficiency as study
from transformers import PreTrainedTokenizerFast

SETTINGS = Settings(epochs=1, min_steps=4, batch_size=8, seq_len=256, lr=1e-3, precision="fp32")
PROTOCOL = study.Protocol(
    sizes=(0, 16), seeds=2, depths=(0, 2), items=20, held_out=8, settings=SETTINGS
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=symbol_tokenizer(), eos_token=END, pad_token=END
    )
    for name in ("plain", "looped"):
        model = build("tiny", vocab_size=len(vocabulary()))
        if name == "looped":
            loop(model, "1-1x3-1")
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("plain", "looped")}


def test_examples_are_of_equal_depths_and_no_split_shares_an_item() -> None:
    protocol = replace(PROTOCOL, train_depths=(1, 2))
    train = protocol.examples("train", 64, 0)
    held_out = protocol.examples("validation", 64, 0)
    lines = [row["prompt"].count(" = ") for row in train]
    assert lines == [10, 15] * 32
    for depth in (1, 2):
        prompts = [row["prompt"] for row in train if row["prompt"].count(" = ") == 5 * depth + 5]
        others = [r["prompt"] for r in held_out if r["prompt"].count(" = ") == 5 * depth + 5]
        task = make_task("variable_assignment", {"style": "code", "depth": depth})
        assert set(task.splits_of(prompts)) == {"train"}
        assert set(task.splits_of(others)) == {"validation"}
    assert protocol.examples("train", 32, 0) == train[:32]  # smaller sets are parts of larger ones
    assert protocol.examples("train", 32, 1) != train[:32]


def test_a_cell_is_measured_once_and_a_killed_one_goes_on(
    models: dict[str, str], tmp_path: Path
) -> None:
    cell = study.Cell("plain", models["plain"], 16, 1)

    def die(step: int, values: Any) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run_cell(cell, PROTOCOL, tmp_path, watch=die)
    assert not (tmp_path / "records").exists()
    record = study.run_cell(cell, PROTOCOL, tmp_path)
    assert set(record["accuracy"]) == {"0", "2"}
    assert all(a["n"] == 20 and a["chance"] == 0.2 for a in record["accuracy"].values())
    assert not list((tmp_path / "runs" / cell.id).glob("step-*"))
    assert study.run_cell(cell, PROTOCOL, tmp_path) == record
    with pytest.raises(InputError, match="measured otherwise"):
        study.run_cell(cell, replace(PROTOCOL, items=30), tmp_path)
    for text in ("{", "[]", "{}"):
        (tmp_path / "records" / f"{cell.id}.json").write_text(text)
        with pytest.raises(InputError, match="is no record of fine-tuning: move it away"):
            study.run_cell(cell, PROTOCOL, tmp_path)


def test_records_tell_what_was_tuned_how_apart(models: dict[str, str], tmp_path: Path) -> None:
    """An untied model is no tied one, whatever looped it; with other settings it is another."""
    retrofit = Path(shutil.copytree(models["looped"], tmp_path / "retrofit"))
    events = [{"step": 5, "mixture": {"text": 0.8, "nemotron": 0.2}, "repeat": [1, 2], "times": 2}]
    run = {"name": "r", "seed": 0, "steps": 6, "data": {"mixture": {"text": 1.0}}}
    run |= {"model": {"preset": "tiny"}, "events": events}
    (retrofit / "training.json").write_text(json.dumps({"run": run}))
    accuracy = {"1": {"value": 0.5, "n": 20.0, "chance": 0.2, "stderr": 0.1}}

    def record(path: str, **changes: Any) -> Any:
        protocol = asdict(replace(PROTOCOL, settings=replace(SETTINGS, **changes)))
        cell = {"model": "m", "path": path, "size": 16, "seed": 0}
        [found] = study.records_of({"cell": cell, "protocol": protocol, "accuracy": accuracy})
        return found

    tied, untied = (record(str(retrofit), untie=untie) for untie in (False, True))
    assert (tied.model.family, tied.model.recipe) == ("retrofitted", "cooldown NMT 20%")
    assert (untied.model.family, untied.model.recipe) == ("untied", "cooldown NMT 20%, untied")
    assert record(models["looped"], untie=True).model.recipe == "untied"
    changes: tuple[dict[str, Any], ...] = ({}, {"min_steps": 60}, {"batch_size": 16})
    cells = [record(models["plain"], **told).cell for told in (*changes, {"precision": "bf16"})]
    assert len(set(cells)) == 3  # of another precision it is a repetition


def test_the_command_measures_all_cells_and_prints_a_table(
    models: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    arguments = ["sft", "-m", models["plain"], "-m", models["looped"], "--sizes", "0,16"]
    arguments += ["--seeds", "2", "--depths", "0,1", "--items", "20", "--min-steps", "3"]
    arguments += ["--epochs", "1", "--seq-len", "256", "--out", str(tmp_path / "out"), "--json"]
    assert main(arguments, standalone_mode=False) in (0, None)
    lines = json.loads(capsys.readouterr().out)
    found = {(x["model"], x["size"], x["depth"], x["seeds"], x["items"]) for x in lines}
    assert found == {
        (model, size, depth, 2 if size else 1, 20)
        for model in models
        for size in (0, 16)
        for depth in (0, 1)
    }
    assert all(0 <= x["low"] <= x["mean"] <= x["high"] <= 1 for x in lines)
    assert len(list((tmp_path / "out" / "records").iterdir())) == 6


def test_fine_tuning_on_a_file_gives_a_checkpoint_a_seed(
    models: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    rows = PROTOCOL.examples("train", 16, 0)
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["sft", "-m", models["looped"], "--data", str(file), "--validation", str(file)]
    arguments += ["--seeds", "2", "--min-steps", "3", "--epochs", "1", "--seq-len", "256"]
    arguments += ["--untie", "--lora", "2", "--precision", "fp32", "--out", str(tmp_path / "out")]
    main(arguments, standalone_mode=False)
    folders = capsys.readouterr().out.split()
    assert [Path(folder).parent.name for folder in folders] == ["seed-0", "seed-1"]
    config = json.loads((Path(folders[0]) / "config.json").read_text())
    assert config["num_hidden_layers"] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": (3,)}, "size 3 does not divide"),
        ({"seeds": 0}, "seeds"),
        ({"depths": ()}, "at least one value"),
        ({"items": 10**9}, "items"),
        ({"depths": (10**7,)}, "depth"),
        ({"shots": -1}, "shots"),
        ({"shots": 10**6}, "shots"),
        ({"dtype": "float31"}, "unknown dtype 'float31'"),
    ],
)
def test_bad_protocols_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(PROTOCOL, **changes).check()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "x", "--sizes", "1"], "one of them"),
        ([], "one of them"),
        (["--sizes", "1,b"], "whole numbers"),
        (["--data", "nowhere.jsonl"], "no file or folder"),
        (["--sizes", "0", "--validation", "x"], "belongs to --data"),
        (["--sizes", "0", "--seeds", "0"], "seeds"),
    ],
)
def test_bad_commands_are_refused(
    models: dict[str, str], tmp_path: Path, capsys: Any, arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["sft", "-m", models["plain"], "--out", str(tmp_path / "o"), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_intervals() -> None:
    records = [
        {"cell": {"model": "m", "size": 8, "seed": s}, "accuracy": {"1": a}}
        for s, value in enumerate([0.5, 0.6, 0.7])
        for a in [{"value": value, "n": 100.0, "chance": 0.2, "stderr": 0.05}]
    ]
    [line] = study.table(records)
    assert (line.mean, line.seeds) == (pytest.approx(0.6), 3)
    assert line.low == pytest.approx(0.352, abs=1e-3)  # t with 2 degrees of freedom: 4.303
    assert study.wilson(0.0, 10) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.278, abs=1e-3))
