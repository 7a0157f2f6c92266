"""The commands that inspect, loop, grow and export checkpoints, as a user types them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from growloop.models import load

from ..support.commands import refused, run
from ..tasks import tiny

TOKENS = torch.arange(20)[None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save("llama", tmp_path_factory.mktemp("llama"), layers=4))


def done(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_loop_then_export_computes_the_same(model: str, tmp_path: Path) -> None:
    looped, plain = tmp_path / "looped", tmp_path / "plain"
    assert "schedule 1-2x3-1, 4 unique layers, effective depth 8" in done(
        "loop", model, "--block", "1:3", "--repeats", "2", "--out", str(looped)
    )
    assert "schedule 8, 8 unique layers" in done("export", str(looped), "--out", str(plain))
    assert json.loads((plain / "config.json").read_text())["model_type"] == "llama"
    logits = [load(str(folder))(TOKENS).logits for folder in (looped, plain)]
    assert torch.equal(*logits)
    assert not torch.equal(logits[0], load(model)(TOKENS).logits)
    for folder in (looped, plain):
        assert (folder / "tokenizer.json").is_file()


def test_export_unrolls_a_plain_model_too(model: str, tmp_path: Path) -> None:
    done("export", model, "--schedule", "0:2,0:2", "--out", str(tmp_path / "e"))
    assert len(load(str(tmp_path / "e")).model.layers) == 4


def test_grow_reaches_its_target_and_tells_how(model: str, tmp_path: Path) -> None:
    out = tmp_path / "grown"
    done("grow", model, "--operator", "lidas", "--to", "8", "--block-size", "2", "--out", str(out))
    facts = json.loads(done("inspect", str(out), "--block-size", "2", "--json"))
    assert facts["unique_layers"] == facts["effective_depth"] == 8
    assert [step["to"] for step in facts["growth_history"]] == [6, 8]
    assert facts["similarity_one_block_apart"] > 0.5
    assert len(facts["similarity"]) == 8


def test_inspect_shows_both_depths_and_a_heatmap(model: str, tmp_path: Path) -> None:
    text = done("inspect", model, "--block", "1:3", "--block-size", "2")
    for line in ("unique layers", "effective depth", "forward flops per token", "╲╲"):
        assert line in text
    assert "╲╲" not in done("inspect", model, "--config-only")


@pytest.mark.parametrize("kind", ["svg", "png", "html"])
def test_inspect_draws_a_picture(model: str, tmp_path: Path, kind: str) -> None:
    picture = tmp_path / f"layers.{kind}"
    done("inspect", model, "--block-size", "2", "--picture", str(picture))
    assert picture.stat().st_size > 1000
    assert [path.name for path in tmp_path.iterdir()] == [picture.name]


def test_eval_takes_looped_checkpoints_and_loops_others(model: str, tmp_path: Path) -> None:
    looped = tmp_path / "looped"
    done("loop", model, "--block", "1:3", "--out", str(looped))
    task = ["--tasks", "variable_assignment_code_d0", "--limit", "4", "--shots", "1", "--json"]
    found = []
    for chosen in (
        [str(looped)],
        [model, "--block", "1:3"],
        [model, "--schedule", "1-2x2-1"],
        [str(looped), "--backend", "hf"],
        [model],
    ):
        done("eval", "--model", *chosen, *task, "--out", str(tmp_path / f"r{len(found)}"))
        [samples] = (tmp_path / f"r{len(found)}").rglob("samples*.jsonl")
        lines = [json.loads(line) for line in samples.read_text().splitlines()]
        found.append([[float(r[0]) for r in line["filtered_resps"]] for line in lines])
    for other in found[1:4]:
        assert torch.allclose(torch.tensor(found[0]), torch.tensor(other), atol=1e-3)
    assert not torch.allclose(torch.tensor(found[0]), torch.tensor(found[4]), atol=1e-1)
    [results] = (tmp_path / "r1").rglob("results*.json")
    assert json.loads(results.read_text())["growloop"]["schedule"] == "1-2x2-1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("loop M --block 6:9 --out O", "the block 6:9 is outside the steps 0:4"),
        ("loop M --block 3:1 --out O", "empty or backwards"),
        ("loop M --block 1:1 --out O", "empty or backwards"),
        ("loop M --block 1:3 --repeats 0 --out O", "repeats must be"),
        ("loop M --block one --out O", "a block is START:STOP"),
        ("loop M --out O", "nothing to do"),
        ("loop M --repeats 2 --schedule 4 --out O", "give both"),
        ("loop M --schedule 4- --out O", "character 3"),
        ("loop M --schedule 5 --out O", "needs 5 layers, the model has 4"),
        ("loop M --schedule 4x2 --out M", "is not empty"),
        ("loop M --schedule 4x2 --dtype float8 --out O", "unknown dtype 'float8'"),
        ("loop ./none --schedule 4x2 --out O", "there is no model folder"),
        ("export ./none --out O", "there is no model folder"),
        ("grow M --operator lidsa --out O", "did you mean 'lidas'"),
        ("grow M --operator lidas --to 10 --out O", "the nearest are 8 and 12"),
        ("grow M --operator lidas --to 3 --out O", "has 4 layers already"),
        ("grow M --operator midas --block-size 3 --out O", "not a multiple of the block size 3"),
        ("grow M --operator lidas --drop 3 --out O", "unknown option of lidas"),
        ("grow M --operator 0-4, --out O", "needs 5 layers"),
        ("grow M --operator 3 --out O", "makes 3 layers of 4, but growth removes none"),
        ("grow M --operator 1:3 --out O", "makes 2 layers of 4, but growth removes none"),
        ("grow ./none --operator 1-3 --out O", "layers 1 to 3 (write 1:4)"),
        ("loop ./none --schedule 1-3 --out O", "blocks of 1 and 3 layers (write 4) or layers 1"),
        ("loop M --schedule 3 --out O", "is of 3 layers, the model has 4: to leave layers out"),
        ("eval --model M --schedule 2-2", "layers 2 to 2 (write 2:3)"),
        ("inspect M --block-size 4", "--block-size must be from 1 to 3"),
        ("grow M --operator 0-3,0-3 --to 8 --out O", "--to goes with an operator by name"),
        ("inspect M --picture layers.gif", "unknown kind of picture '.gif'"),
        ("inspect M --picture a.svg --config-only", "leave out --config-only"),
        ("inspect M --seq-len 0", "seq_len must be"),
        ("eval --model M --schedule 4x", "character 3"),
        ("eval --model M --block 3:9 --limit 1", "outside the steps 0:4"),
    ],
)
def test_bad_input_is_one_sentence(
    model: str, tmp_path: Path, arguments: str, message: str
) -> None:
    names = {"M": model, "O": str(tmp_path / "out")}
    assert message in refused(*(names.get(word, word) for word in arguments.split()))
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_is_one_sentence(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    done("loop", model, "--block", "1:3", "--out", str(folder))
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert "cannot load model" in refused("export", str(folder), "--out", str(tmp_path / "e"))
    (folder / "config.json").write_text("{")
    assert "cannot" in refused("inspect", str(folder), "--config-only")


def test_curves_over_shots_and_repeats_are_tables(model: str, tmp_path: Path) -> None:
    task = "variable_assignment_code_d0"
    given = ["eval", "--model", model, "--tasks", task, "--limit", "2", "--out", str(tmp_path)]
    shots = done(*given, "--shots", "0,1,3")
    header = next(line for line in shots.splitlines() if line.strip().startswith("task"))
    assert header.split() == ["task", "n", "0", "1", "3", "chance"]
    row = next(line for line in shots.splitlines() if line.strip().startswith(task)).split()
    assert row[1] == "2"
    assert all(0 <= float(value) <= 1 for value in row[2:])
    found = json.loads(done(*given, "--block", "1:2", "--repeats", "0,2", "--json"))
    assert [row["schedule"] for row in found] == ["4", "1-1x3-2"]
    single = json.loads(done(*given, "--block", "1:2", "--repeats", "2", "--json"))
    assert single[0]["value"] == found[1]["value"]


def test_eval_draws_curves_and_prints_csv(model: str, tmp_path: Path) -> None:
    pytest.importorskip("altair")
    picture = tmp_path / "curve.json"
    told = done(
        "eval", "-m", model, "-t", "variable_assignment_code_d0", "-n", "4", "-k", "0,1",
        "--block", "1:2", "--repeats", "0,2", "--device", "cpu", "--csv",
        "--picture", str(picture), "-o", str(tmp_path / "r"),
    )  # fmt: skip
    rows = list(csv.DictReader(told.splitlines()))
    assert [(row["shots"], row["schedule"]) for row in rows] == [
        ("0", "4"), ("1", "4"), ("0", "1-1x3-2"), ("1", "1-1x3-2"),
    ]  # fmt: skip
    drawn = picture.read_text()
    for row in rows:
        assert f'"value": {float(row["value"])}' in drawn
    assert '"repeats": 2' in drawn
    assert '"line": "1 examples"' in drawn


def test_a_model_is_an_argument_or_an_option(model: str) -> None:
    given = done("inspect", model, "--config-only", "--json")
    assert done("inspect", "--model", model, "--config-only", "--json") == given
    [row] = csv.DictReader(done("inspect", "-m", model, "--config-only", "--csv").splitlines())
    facts = json.loads(given)
    assert row["schedule"] == facts["schedule"]
    assert int(row["unique_parameters"]) == facts["unique_parameters"]
