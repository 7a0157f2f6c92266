"""Two processes make the run that one makes, growth and retrofit included."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from growloop.models import load
from safetensors.torch import load_file

from ...support.processes import SECONDS, codes_of, free_port
from ...support.training_runs import fields, trained
from . import sharing
from .killing import server

pytestmark = pytest.mark.slow

# AdamW divides by the size of gradients, rounding errors too: a large eps leaves those small
SETTINGS = {"warmup": 4, "cooldown": 10, "eps": 1e-3}
EXACT = ("step", "layers", "tokens")


def together(run: dict[str, Any], folder: Path, until: int | None = None) -> Path:
    """Run in two gloo processes."""
    out, port = folder / "out", free_port()
    started = [
        server().Process(target=sharing.train, args=(rank, port, run, out, until))
        for rank in range(2)
    ]
    assert codes_of(started) == [0, 0], (folder / "output-0.txt").read_text()[-3000:]
    return out


def measured(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def assert_alike(last: Path, other: Path) -> None:
    """Two runs that measured and ended alike, to float tolerance."""
    for a, b in zip(measured(last.parent), measured(other.parent), strict=True):
        assert [b[name] for name in EXACT] == [a[name] for name in EXACT]
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-4)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], abs=1e-3)
    assert (other / "config.json").read_text() == (last / "config.json").read_text()
    for path in last.rglob("*.safetensors"):
        wanted, found = load_file(path), load_file(other / path.relative_to(last))
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-3)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_two_processes_make_the_run_of_one(shards: Path, tmp_path: Path, parallel: str) -> None:
    run = fields(shards, micro_batch_size=1, optimizer=SETTINGS, parallel=parallel)
    last = trained(run, tmp_path / "one")
    out = together(run, tmp_path, 20)  # stopped between, and gone on with: by two, and by one
    shutil.copytree(out, tmp_path / "alone")
    together(run, tmp_path)
    trained(run, tmp_path / "alone")
    for other in (out, tmp_path / "alone"):
        assert_alike(last, other / last.name)
    assert str(load(str(out / last.name)).schedule) == "2-2x2-2"


LOOPED = {"preset": "tiny", "options": {"vocab_size": 257}, "schedule": "1-2x3-1"}
RECURRENT = {"injection": "concat", "backward_loops": 2, "random_loops": {"mean": 2.0}}


@pytest.mark.parametrize(
    "changes",
    [
        {"model": LOOPED, "gradient_checkpointing": True},
        {"model": LOOPED | {"recurrence": RECURRENT}},
        {"regulariser": 10.0, "regulariser_block": 1, "model": LOOPED},
        {
            "events": [
                {"step": 2, "grow": "0-5,4-5"},
                {"step": 4, "recurrence": RECURRENT, "repeat": [1, 3]},
            ]
        },
    ],
    ids=["looped", "recurrent", "regulariser", "grown and retrofitted"],
)
def test_every_kind_of_run_can_be_sharded(
    shards: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    plain = {"growth": None, "events": [], "steps": 6, "validate_every": 2}
    settings = SETTINGS | {"warmup": 2, "cooldown": 2}
    run = fields(
        shards, micro_batch_size=1, optimizer=settings, parallel="fsdp2", **(plain | changes)
    )
    last = trained(run, tmp_path / "one")
    assert_alike(last, together(run, tmp_path) / last.name)


PARTS: dict[str, dict[str, Any]] = {
    "per sequence": {
        "injection": "diagonal",
        "carry": {"name": "hyper", "streams": 2},
        "conditioning": ["loop_embedding", "loop_gate", "loop_lora", "time_step"],
        "backward_loops": 2,
        "random_loops": {"mean": 3.0, "distribution": "poisson", "per": "sequence"},
    },
    "objective": {"carry": "selective_gate", "objective": "exit_gate"},
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_loop_parts_train_in_two_processes_as_in_one(
    shards: Path, tmp_path: Path, parallel: str, name: str
) -> None:
    run = fields(
        shards, growth=None, events=[], steps=4, validate_every=2, micro_batch_size=1,
        optimizer=SETTINGS | {"warmup": 1, "cooldown": 1}, parallel=parallel,
        model=LOOPED | {"recurrence": PARTS[name]},
    )  # fmt: skip
    last = trained(run, tmp_path / "one")
    assert_alike(last, together(run, tmp_path) / last.name)


def test_each_process_holds_half_of_a_sharded_model(shards: Path, tmp_path: Path) -> None:
    run = fields(shards, micro_batch_size=1, parallel="fsdp2")
    together(run, tmp_path, 6)  # grown before the last of them
    for rank in range(2):
        held = json.loads((tmp_path / f"held-{rank}.json").read_text())
        half = held["elements"] / 2
        assert held["parameters"] == pytest.approx(half, rel=0.01)
        assert held["states"] == pytest.approx(2 * half, rel=0.01)
        assert held["gradients"][-2:] == pytest.approx([half, half], rel=0.01)  # of a part, of two


def test_the_command_trains_in_several_processes(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(fields(shards, parallel="fsdp2")))
    command = [sys.executable, "-m", "growloop.cli", "train", "run.yaml", "--out", "out"]
    port = free_port()
    started = [
        subprocess.Popen(
            [*command, "--until", "2"],
            env=os.environ | sharing.environment(rank, port),
            cwd=tmp_path,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=SECONDS)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], said
    assert (tmp_path / "out" / "step-000000002" / "manifest.json").is_file()
