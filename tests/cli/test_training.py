"""``growloop tokenize`` and ``growloop train`` as a user types them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from growloop.models import load

from ..support.commands import refused, run

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
    plan = done("train", "run.yaml", "--plan")
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


@pytest.mark.slow
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


def test_a_run_file_runs_no_code_of_its_tasks_unless_that_is_trusted(folder: Path) -> None:
    (folder / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    (folder / "evil.yaml").write_text("task: evil\ndoc_to_text: !function evil.run\n")
    event = {"step": 4, "evaluate": {"tasks": ["evil.yaml"]}}
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN | {"events": [event]}))
    done("tokenize", "text.txt", "--out", "shards")
    for more in ([], ["--plan"]):
        said = refused("train", "run.yaml", *more)
        assert "evil.yaml names code (!function evil.run)" in said
        assert "--trust-task-code" in said
    assert not (folder / "runs").exists()
    done("train", "run.yaml", "--plan", "--trust-task-code")
    assert not (folder / "ran").exists()  # it would be, once the task is scored


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/tmp/x", "a\\b", "nul", "x\n", "x" * 400])
def test_a_run_cannot_be_called_what_leads_out_of_its_folder(folder: Path, name: str) -> None:
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN | {"name": name}))
    before = sorted(folder.rglob("*"))
    assert "a run cannot be called" in refused("train", "run.yaml")
    assert sorted(folder.rglob("*")) == before


def test_a_plan_can_be_read_by_machines_and_fields_overridden(folder: Path) -> None:
    done("tokenize", "text.txt", "--out", "shards")
    found = json.loads(done("train", "run.yaml", "--plan", "--json", "--set", "steps=20"))
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
        ("train run.yaml --set model.options.vocab_size=99", "they do not fit"),
        ("train run.yaml --set data.seq_len=4096", "more than the model's 2,048 positions"),
        ("train run.yaml --set data.mixture.a=0.5", "sum to 1, not 0.5"),
        ("train run.yaml --set data.validation=none", "no token shards"),
        ("train run.yaml --set trackers=[wandbb]", "did you mean 'wandb'"),
        ("train run.yaml --out text.txt", "cannot write to text.txt: "),
        ("train run.yaml --out text.txt/runs", "is a file"),
        ("train path.yaml", "cannot read 'none'"),
        ("train event.yaml", "step 6: "),
        ("train tasks.yaml", "did you mean"),
        ("train words.yaml", "none.txt"),
    ],
)
def test_bad_input_is_one_sentence(folder: Path, arguments: str, message: str) -> None:
    done("tokenize", "text.txt", "--out", "shards")
    others = {
        "path": {"model": {"path": "none"}, "growth": None},
        "event": {"events": [{"step": 6, "repeat": [3, 9]}]},
        "tasks": {"events": [{"step": 6, "evaluate": {"tasks": ["copying_real_word"]}}]},
        "words": {"events": [{"step": 6, "evaluate": {"tasks": ["copying:words=none.txt"]}}]},
    }
    for name, changes in others.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(RUN | changes))
    before = sorted(path.name for path in folder.iterdir())
    found = refused(*arguments.split())
    assert message in found
    assert sorted(path.name for path in folder.iterdir()) == before
    if arguments.startswith("train") and "--until" not in arguments:
        assert refused(*arguments.split(), "--plan") == found


def test_a_dry_run_refuses_what_the_folder_of_the_run_does_not_allow(folder: Path) -> None:
    done("tokenize", "text.txt", "--out", "shards")
    done("train", "run.yaml", "--until", "2")
    other = ["train", "run.yaml", "--set", "seed=3"]
    assert "seed: 3 was 0" in refused(*other)
    assert refused(*other, "--plan") == refused(*other)
    done(*other, "--plan", "--force")
    (folder / "text.txt").write_text("a = 1\n" * 900)
    shutil.rmtree(folder / "shards")
    done("tokenize", "text.txt", "--out", "shards")
    found = refused("train", "run.yaml")
    assert "shards/index.json (data.sources.a) changed since runs/tiny/step-000000002" in found
    assert refused("train", "run.yaml", "--plan") == found


def test_a_dry_run_without_shards_prints_the_plan_and_what_is_missing(folder: Path) -> None:
    result = run("train", "run.yaml", "--plan", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["steps"] == 12
    assert "shards holds no index.json" in result.stderr
    assert "shards holds no index.json" in refused("train", "run.yaml")


def test_a_preset_gets_the_vocabulary_of_its_shards(folder: Path) -> None:
    done("tokenize", "text.txt", "--out", "shards", "--tokenizer", "bpe:600")
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN | {"model": {"preset": "tiny"}}))
    vocabulary = json.loads((folder / "shards" / "index.json").read_text())["vocabulary"]
    plan = json.loads(done("train", "run.yaml", "--plan", "--json"))
    last = done("train", "run.yaml").strip()
    config = json.loads((folder / last / "config.json").read_text())
    assert config["vocab_size"] == vocabulary != 512
    found = load(last)
    assert plan["stages"][-1]["unique_parameters"] == sum(p.numel() for p in found.parameters())
    assert "they do not fit" in refused(
        "train", "run.yaml", "--out", "other", "--set", f"model.options.vocab_size={vocabulary - 1}"
    )
    done(
        "train", "run.yaml", "--plan", "--out", "padded",
        "--set", f"model.options.vocab_size={vocabulary + 7}",
    )  # fmt: skip


def test_tokenize_goes_on_with_what_it_began_with(folder: Path) -> None:
    rows = [{"text": f"text {i}", "other": f"more {i}"} for i in range(4)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done("tokenize", "rows.jsonl", "--out", "whole", "--documents", "2")
    shutil.copytree("whole", "out")
    about = json.loads((folder / "out" / "index.json").read_text())
    names = {"source", "tokenizer", "vocabulary", "end", "shard_documents", "special_tokens",
             "field", "split"}  # fmt: skip
    state = (folder / "rows.jsonl").stat()
    digest = hashlib.sha256((folder / "rows.jsonl").read_bytes()).hexdigest()
    identity = {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": digest}
    begun = {name: about[name] for name in names} | {"files": {"rows.jsonl": identity}}
    (folder / "out" / "job.json").write_text(json.dumps(begun))
    for name in ("index.json", "shard-00001.json"):
        (folder / "out" / name).unlink()
    assert "its field is text, not other" in refused(
        "tokenize", "rows.jsonl", "--out", "out", "--documents", "2", "--field", "other"
    )
    done("tokenize", str(folder / "rows.jsonl"), "--out", "out", "--documents", "2")
    names = {"shard-00000.bin", "shard-00001.bin", "shard-00001.ends.bin"}
    for name in names:
        assert (folder / "out" / name).read_bytes() == (folder / "whole" / name).read_bytes()
