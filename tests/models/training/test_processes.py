"""Two processes make the run that one makes, growth and retrofit included."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from growloop.models import load

from .test_engine import fields, shards, trained

__all__ = ["shards"]
SECONDS = 150


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def together(run: dict[str, Any], folder: Path, *more: str) -> Path:
    """Run in two gloo processes, as ``accelerate launch`` starts them."""
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(run))
    out = folder / "out"
    port = free_port()
    started = []
    for rank in range(2):
        known = {"LOCAL_RANK": rank, "RANK": rank, "WORLD_SIZE": 2, "OMP_NUM_THREADS": 1}
        known |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
        environment = os.environ | {k: str(v) for k, v in known.items()}
        command = [sys.executable, "-m", "growloop.cli", "train", str(file), "--out", str(out)]
        with open(folder / f"output-{rank}.txt", "a") as output:
            started.append(
                subprocess.Popen([*command, *more], env=environment, stdout=output, stderr=output)
            )
    try:
        codes = [process.wait(timeout=SECONDS) for process in started]
    finally:
        for process in started:
            process.kill()
    assert codes == [0, 0], (folder / "output-0.txt").read_text()[-3000:]
    return out


def measured(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_make_the_run_of_one(shards: Path, tmp_path: Path) -> None:
    # AdamW divides by the size of gradients, rounding errors too: a large eps leaves those small
    settings = {"warmup": 4, "cooldown": 10, "eps": 1e-3}
    run = fields(shards, micro_batch_size=1, optimizer=settings)
    last = trained(run, tmp_path / "one")
    together(run, tmp_path, "--until", "20")  # stopped between, and gone on with
    out = together(run, tmp_path)
    one, two = measured(tmp_path / "one"), measured(out)
    assert [row["step"] for row in two] == [row["step"] for row in one]
    assert [row["layers"] for row in two] == [row["layers"] for row in one]
    for a, b in zip(one, two, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-4)
        assert b["tokens"] == a["tokens"]
    models = [load(str(last)), load(str(out / last.name))]
    assert str(models[1].schedule) == "2-2x2-2"
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3)
