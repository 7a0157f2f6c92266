"""``growloop tokenize`` and ``growloop train`` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from .test_commands import refused, run

RUN: dict[str, Any] = {
    "name": "tiny",
    "steps": 12,
    "precision": "fp32",
    "model": {"preset": "tiny", "options": {"vocab_size": 257}},
    "data": {"sources": {"a": "shards"}, "seq_len": 32, "batch_size": 4},
    "optimizer": {"warmup": 2, "cooldown": 4},
    "growth": {"operator": "lidas", "block_size": 2},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("a = 1\nb = 2\na + b = 3\n" * 200)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(RUN))
    return tmp_path


def done(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_text_becomes_shards_a_model_and_a_score(folder: Path) -> None:
    assert "4,401 tokens, 1 documents" in done("tokenize", "text.txt", "--out", "shards")
    assert "all right" in done("tokenize", "text.txt", "--out", "shards", "--verify")
    plan = done("train", "run.yaml", "--dry-run")
    assert "schedule 2, " in plan
    assert "schedule 4, " in plan
    assert "of full depth" in plan
    assert not (folder / "runs").exists()
    assert "stopped after step 5" in done("train", "run.yaml", "--until", "5")
    last = done("train", "run.yaml").strip()
    assert last == "runs/tiny/step-000000012"
    assert done("train", "run.yaml").strip() == last  # finished: nothing to do
    task = ["--tasks", "variable_assignment_code_d0", "--limit", "2", "--shots", "0", "--json"]
    assert json.loads(done("eval", "--model", last, *task, "--out", "results"))[0]["n"] == 2
    assert "lidas 2→4" in done("inspect", last, "--config-only")


def test_a_run_on_lessons_evaluates_itself(folder: Path) -> None:
    lessons = {"repeats": 0.5, "assignment-1": 0.5}
    changes = {
        "model": {"preset": "lessons"},
        "data": {"curriculum": [{"lessons": lessons}], "seq_len": 256, "batch_size": 8},
        "growth": None,
        "steps": 6,
        "optimizer": {},
        "events": [{"step": 4, "evaluate": {"tasks": ["va"], "shots": 0, "limit": 3}}],
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN | changes))
    assert "unknown task 'va'" in refused("train", "run.yaml", "--set", "optimizer.warmup=0")
    assert not (folder / "runs").exists()  # before the first step
    text = (folder / "run.yaml").read_text().replace("- va", "- variable_assignment_code_d0")
    (folder / "run.yaml").write_text(text)
    done("train", "run.yaml", "--set", "optimizer.warmup=0")
    lines = (folder / "runs" / "tiny" / "metrics.jsonl").read_text().splitlines()
    [row] = [row for row in map(json.loads, lines) if "accuracy/variable_assignment_code_d0" in row]
    assert row["step"] == 4


def test_a_plan_can_be_read_by_machines_and_fields_overridden(folder: Path) -> None:
    done("tokenize", "text.txt", "--out", "shards")
    found = json.loads(done("train", "run.yaml", "--dry-run", "--json", "--set", "steps=20"))
    assert found["steps"] == 20
    assert sum(stage["tokens"] for stage in found["stages"]) == found["tokens"] == 20 * 4 * 32
    assert found["flops"] == pytest.approx(sum(stage["flops"] for stage in found["stages"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tokenize none.txt --out s", "there is no file or folder none.txt"),
        ("tokenize text.txt --out shards", "finished shards already"),
        ("tokenize text.txt --out s --tokenizer bpe:7", "bpe:N with N from 512"),
        ("tokenize text.txt --out s --tokenizer ./none", "holds no tokenizer.json"),
        ("tokenize text.txt --out none --verify", "no token shards"),
        ("train none.yaml", "cannot read none.yaml"),
        ("train run.yaml --until 0", "--until must be a whole number of 1 or more"),
        ("train text.txt", "must map names to values"),
        ("train run.yaml --set optimizer.lrr=1", "did you mean lr?"),
        ("train run.yaml --set steps", "an override is name=value"),
        ("train run.yaml --set steps.x=1", "has no fields of its own"),
        ("train run.yaml --set data.sources.a=none", "no token shards"),
        ("train run.yaml --set growth.block_size=3", "does not reach 4 layers from 3"),
        ("train run.yaml --set model.options.vocab_size=99", "were not made for each other"),
    ],
)
def test_bad_input_is_one_sentence(folder: Path, arguments: str, message: str) -> None:
    done("tokenize", "text.txt", "--out", "shards")
    before = sorted(path.name for path in folder.iterdir())
    assert message in refused(*arguments.split())
    assert sorted(path.name for path in folder.iterdir()) == before
