"""A run on a GPU: growth, bfloat16, checkpoints, compiling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import load
from growloop.models.training import checkpoint_contents as contents
from growloop.models.training.data.tokenization import byte_tokenizer, tokenize
from growloop.models.training.engine import Engine
from growloop.models.training.metrics import matrix_peak
from growloop.models.training.optim.loss import cross_entropy
from growloop.models.training.runfile import parse

pytestmark = [pytest.mark.cuda, pytest.mark.filterwarnings("default")]
STEPS = 30


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    texts = [f"{i} and {i * 7 % 31} make {i + i * 7 % 31}. " * 20 for i in range(60)]
    tokenize(texts, byte_tokenizer(), folder / "a", "sums", shard_documents=16)
    return folder / "a"


def fields(shards: Path, **changes: Any) -> dict[str, Any]:
    """A growing run that ends with a repeated block."""
    return {
        "name": "tiny",
        "steps": STEPS,
        "precision": "bf16",
        "log_every": 1,
        "micro_batch_size": 2,
        "model": {"preset": "tiny", "options": {"vocab_size": 257, "num_hidden_layers": 6}},
        "data": {
            "sources": {"a": str(shards)},
            "seq_len": 64,
            "batch_size": 4,
            "validation": str(shards),
        },
        "validate_every": 10,
        "optimizer": {"warmup": 4, "cooldown": 10},
        "growth": {"operator": "lidas", "block_size": 2},
        "events": [{"step": 24, "repeat": [2, 4]}],
        "checkpoints": {"every": 6, "keep": 9},
        **changes,
    }


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in lines(out)]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_growing_run_that_was_stopped_goes_on_as_it_would_have(
    shards: Path, tmp_path: Path, precision: str
) -> None:
    run = parse(fields(shards, precision=precision))
    Engine(run, tmp_path / "whole").train()
    Engine(run, tmp_path / "parts").train(until=8)  # before growth
    Engine(run, tmp_path / "parts").train(until=26)  # after growth, looping
    outcome = Engine(run, tmp_path / "parts").train()
    found, wanted = losses(tmp_path / "parts"), losses(tmp_path / "whole")
    assert len(wanted) == STEPS
    assert wanted[-1] < wanted[0] - 0.5
    # kernels for attention's gradients add in any order: not to the bit
    assert found == pytest.approx(wanted, rel=2e-2 if precision == "bf16" else 1e-3)
    assert str(load(outcome.folder).schedule) == "2-2x2-2"
    last = lines(tmp_path / "whole")[-1]
    assert 0 <= last["mfu"] < 1
    assert last["memory"] > 0


def test_losses_on_the_gpu_are_those_on_the_processor(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = parse(fields(shards, precision="fp32"))
    Engine(run, tmp_path / "here").train(until=16)
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    try:
        Engine(run, tmp_path / "there").train(until=16)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert losses(tmp_path / "here") == pytest.approx(losses(tmp_path / "there"), rel=1e-2)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_lessons_train_with_each_optimizer(tmp_path: Path, optimizer: str) -> None:
    run = {
        "name": "lessons",
        "steps": 12,
        "precision": "bf16",
        "log_every": 1,
        "model": {"preset": "tiny", "options": {"vocab_size": 1024, "num_hidden_layers": 2}},
        "data": {
            "curriculum": [
                {"lessons": {"repeats": 1.0}, "until": 8.0},
                {"lessons": {"recall": 0.5, "assignment-1": 0.5}},
            ],
            "seq_len": 512,
            "batch_size": 16,
        },
        "optimizer": {"name": optimizer, "warmup": 2, "cooldown": 2},
        "checkpoints": {"every": 6, "keep": 1},
    }
    Engine(parse(run), tmp_path / "run").train(until=7)
    Engine(parse(run), tmp_path / "run").train()
    assert len(losses(tmp_path / "run")) == 12
    assert any("loss/recall" in line for line in lines(tmp_path / "run"))


def test_a_compiled_run_has_the_losses_of_an_ordinary_one(shards: Path, tmp_path: Path) -> None:
    torch._dynamo.reset()
    changes = {"precision": "fp32", "growth": None, "events": [], "validate_every": 100}
    for name, compiled in (("plain", False), ("compiled", True)):
        Engine(parse(fields(shards, **changes, compile=compiled)), tmp_path / name).train(until=8)
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-2)


def test_dropout_goes_on_where_it_stopped(tmp_path: Path) -> None:
    torch.manual_seed(3)
    torch.cuda.manual_seed(4)
    torch.rand(5, device="cuda")
    contents.write_state(tmp_path, [], {})
    wanted = torch.rand(5, device="cuda")
    contents.restore(tmp_path, contents.read_state(tmp_path), torch.nn.Linear(1, 1), [])
    assert torch.equal(torch.rand(5, device="cuda"), wanted)


def test_out_of_memory_says_what_to_lower(shards: Path, tmp_path: Path) -> None:
    data = {"sources": {"a": str(shards)}, "seq_len": 256, "batch_size": 512}
    run = fields(shards, data=data, micro_batch_size=512, precision="fp32")
    engine = Engine(parse(run), tmp_path)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    limit = torch.cuda.memory_reserved() + 400 * 2**20
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        with pytest.raises(InputError, match="lower micro_batch_size"):
            engine.train()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cross_entropy_of_many_logits_is_that_of_torch(dtype: torch.dtype) -> None:
    random = torch.Generator("cuda").manual_seed(0)
    states = torch.randn(300, 32, generator=random, device="cuda", dtype=dtype)
    targets = torch.randint(0, 5000, (300,), generator=random, device="cuda")
    targets[::7] = -100
    gradients = []
    for loss in (cross_entropy, torch.nn.functional.cross_entropy):
        head = torch.full((5000, 32), 0.1, device="cuda", dtype=dtype, requires_grad=True)
        logits = states @ head.T
        if loss is cross_entropy:
            found = loss(logits, targets)
        else:
            found = loss(logits.float(), targets, reduction="none")
        found.sum().backward()
        gradients.append((found.detach(), head.grad))
    within = 1e-4 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(*gradients, rtol=within, atol=within)


def test_the_speed_of_products_is_that_of_a_gpu() -> None:
    device = torch.device("cuda")
    half, single = matrix_peak(device, torch.bfloat16), matrix_peak(device, torch.float32)
    assert half > 2e13
    assert half > 2 * single  # tensor cores, and none for float32: TF32 is off
