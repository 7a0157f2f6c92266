"""What a step of Muon takes: ours, which runs matrices of equal shape at once, and torch's.

``pytest tests/benchmarks/test_muon.py --benchmark-only``: the matrices are those of the lessons'
model, six layers of width 64; both run in one process.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from growloop.models.training.optim.muon import Muon
from torch import nn

LAYER = [(64, 64)] * 4 + [(256, 64)] * 2 + [(64, 256)]


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has it from 2.9 on")
@pytest.mark.benchmark(group="a step of Muon")
@pytest.mark.parametrize("whose", ["growloop", "torch"])
def test_a_step(benchmark: Any, whose: str) -> None:
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape)) for shape in LAYER * 6]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    kind = {"growloop": Muon, "torch": getattr(torch.optim, "Muon", None)}[whose]
    assert kind is not None
    optimizer = kind(parameters, lr=0.02, weight_decay=0.1, momentum=0.95)
    benchmark.pedantic(optimizer.step, rounds=30, warmup_rounds=3)
