"""What cannot be done ends in one sentence, and leaves what was there and nothing else."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from growloop.models.training.data.shards import Shards

from ..support.commands import refused, run
from ..tasks import tiny


def on_a_full_disk(limit: int, *arguments: str) -> str:
    """The sentence of a command on a disk that is full once a file has so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        return refused(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("llama", tmp_path_factory.mktemp("models") / "model", layers=2)


@pytest.fixture(scope="module")
def wordy(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A model whose tokenizer has a token, ``==``, that it has no embedding for."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("models") / "wordy"
    tiny.save("llama", folder, layers=2)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["=="])
    assert tokenizer.convert_tokens_to_ids("==") == 257
    tokenizer.save_pretrained(folder)
    return folder


def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some words, again and again. " * 200)
    assert run("tokenize", str(tmp_path / "a.txt"), "-o", str(tmp_path / "s")).exit_code == 0
    fields = {
        "name": "tiny",
        "steps": 4,
        "precision": "fp32",
        "model": {"preset": "tiny", "options": {"num_hidden_layers": 2}},
        "data": {"sources": {"a": str(tmp_path / "s")}, "seq_len": 32, "batch_size": 2},
        "optimizer": {"warmup": 1, "cooldown": 2},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(fields))
    train = ["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run")]
    assert run(*train, "--until", "2").exit_code == 0
    before = names(tmp_path / "run")
    said = on_a_full_disk(20_000, *train)
    assert said == f"Error: {tmp_path / 'run' / 'step-000000004'}: File too large"
    assert names(tmp_path / "run") == before
    done = run(*train)
    assert done.exit_code == 0
    assert "going on after step 2" in done.stderr


def test_a_full_disk_leaves_no_half_checkpoint_of_a_looped_model(
    model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x" / "looped"
    said = on_a_full_disk(20_000, "loop", str(model), "--schedule", "1x2-1", "--out", str(out))
    assert said == f"Error: {out}: File too large"
    assert not names(tmp_path)


def test_a_full_disk_leaves_a_job_that_goes_on(tmp_path: Path) -> None:
    text = "".join(json.dumps({"text": "x" * 300 * (1 + i)}) + "\n" for i in range(6))
    (tmp_path / "a.jsonl").write_text(text)
    command = ["tokenize", str(tmp_path / "a.jsonl"), "--documents", "1", "-o", str(tmp_path / "s")]
    (tmp_path / "s").mkdir()
    said = on_a_full_disk(3000, *command)
    assert said == f"Error: {tmp_path / 's' / 'tokenizer.json'}: File too large"
    assert names(tmp_path / "s") == {"job.json"}
    assert run(*command).exit_code == 0
    assert Shards(tmp_path / "s").about["documents"] == 6


def test_a_record_that_cannot_be_written_is_named(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    said = on_a_full_disk(400, "study", "weight-similarity", "-m", str(model), "--out", str(out))
    assert said.startswith(f"Error: {out / 'records' / 'weight-similarity' / 'model'}")
    assert said.endswith(".json: File too large")
    assert not names(tmp_path)


@pytest.mark.parametrize("kind", ["file", "read-only"])
def test_a_folder_that_cannot_be_made_is_named(model: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "out" if kind == "file" else Path("/proc/out")
    for command in (
        ["tokenize", str(tmp_path / "file"), "--out", str(place)],
        ["loop", str(model), "--schedule", "1x2-1", "--out", str(place)],
        ["generate", "copying", "-n", "3", "--out", str(place / "a.jsonl")],
        ["study", "weight-similarity", "-m", str(model), "--out", str(place)],
    ):
        refused(*command)


def test_a_refused_tokenize_leaves_nothing(tmp_path: Path) -> None:
    rows = [{"text": "a"}] * 5 + [{"texts": "b"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["tokenize", str(tmp_path / "a.jsonl"), "--documents", "2", "-o"]
    for out in ("s", "made"):
        if out == "made":
            (tmp_path / out).mkdir()
        before = names(tmp_path)
        assert "row 6: no text in 'text'" in refused(*command, str(tmp_path / out))
        assert names(tmp_path) == before


def test_a_refused_tokenize_leaves_a_job_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "job.json").write_text("{")
    said = refused("tokenize", str(tmp_path / "a.jsonl"), "-o", str(tmp_path / "s"))
    assert "job.json is damaged" in said
    assert names(tmp_path) == {"a.jsonl", "s", "s/job.json"}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["jsonl", "datasets"])
def test_four_writers_of_one_file_leave_it_whole(tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "growloop.cli", "generate", "copying", "-f", form]
    command += ["-o", str(out), "--quiet", "-n"]
    counts = (300, 301, 302, 303)
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, str(count)], **given) for count in counts]  # type: ignore[call-overload]
    ended = [(writer.communicate()[1], writer.returncode) for writer in writers]
    assert sorted(code for _, code in ended)[0] == 0
    for said, code in ended:
        assert code == 0 or (code == 2 and "exists: choose another name" in said), said
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    file = out if form == "jsonl" else out / "data" / "test.jsonl"
    assert len(file.read_text().splitlines()) in counts
    assert run("verify", str(out)).exit_code == 0


def test_tokens_without_an_embedding_are_refused_with_both_sizes(
    wordy: Path, tmp_path: Path
) -> None:
    sizes = "the tokenizer has 258 tokens, the model embeddings for 257: token 257 ('==')"
    texts = [{"prompt": f"{i} == {'?' * 9}", "target": str(i)} for i in range(9)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    data, model = str(tmp_path / "a.jsonl"), str(wordy)
    assert sizes in refused("sft", "-m", model, "-d", data, "-o", str(tmp_path / "o"))
    few = ["--items", "4", "-k", "0", "--limit", "2"]
    words = tmp_path / "w.txt"
    words.write_text("\n".join(f"=={i}" for i in range(60)))
    task = f"copying:words={words}"
    for backend in ("growloop", "hf"):
        said = refused("eval", "--model", model, "-t", task, *few, "--backend", backend)
        assert sizes in said
    told = ["--text", data, "--texts", "8", "--tokens", "20", "--out", str(tmp_path / "s")]
    assert sizes in refused("study", "contributions", "-m", model, *told)
    assert names(tmp_path) <= {"a.jsonl", "w.txt", "s", "s/records"}


def test_a_tokenizer_with_tokens_to_spare_is_no_fault(wordy: Path, tmp_path: Path) -> None:
    texts = [{"prompt": f"{i} + {i} =", "target": str(2 * i)} for i in range(9)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    tune = ["--min-steps", "1", "--epochs", "1", "--precision", "fp32", "--validations", "1"]
    data, out = str(tmp_path / "a.jsonl"), str(tmp_path / "o")
    done = run("sft", "-m", str(wordy), "-d", data, "-o", out, *tune)
    assert done.exit_code == 0, done.output
