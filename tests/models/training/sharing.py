"""One of several gloo processes that share a run; imported by a fork server."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from growloop.models.training.engine import Engine
from growloop.models.training.runfile import parse
from torch import Tensor
from torch.distributed.tensor import DTensor

from ...support.processes import environment


def train(rank: int, port: int, fields: dict[str, Any], out: Path, until: int | None) -> None:
    """Train, and leave what the process held of the model in ``held-<rank>.json``."""
    from transformers.utils import logging

    os.environ.update(environment(rank, port))
    with open(out.parent / f"output-{rank}.txt", "a") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    engine = Engine(parse(fields), out)
    gradients = watched(engine)
    engine.train(until)
    parameters = list(engine.model.parameters())
    states = [
        value
        for state in engine.optimizers[0].state.values()
        for name, value in state.items()
        if name != "step"
    ]
    held = {
        "elements": sum(parameter.numel() for parameter in parameters),
        "parameters": elements(parameters),
        "states": elements(states),
        "gradients": gradients,
    }
    (out.parent / f"held-{rank}.json").write_text(json.dumps(held))


def watched(engine: Engine) -> list[int]:
    """Notes what the gradients of the process hold after each backward pass."""
    original, found = engine.accelerator.backward, []

    def backward(loss: Tensor) -> None:
        original(loss)
        found.append(elements([p.grad for p in engine.model.parameters() if p.grad is not None]))

    engine.accelerator.backward = backward
    return found


def elements(tensors: list[Any]) -> int:
    """Elements in the memory of this process; all are float32."""
    local = [t.to_local() if isinstance(t, DTensor) else t for t in tensors]
    memory = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in local}
    return sum(memory.values()) // 4
