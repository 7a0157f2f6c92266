"""Parts beside the authors' own code, where a checkout of it is at hand.

``GROWLOOP_PARCAE`` and ``GROWLOOP_LOOPUS`` name checkouts of sandyresearch/parcae and
Thrillcrazyer/LoopUS (the package parcae-lm 0.1.0 on PyPI holds no code).
"""

from __future__ import annotations

import ast
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest
import torch
from growloop.models.looping.parts import BlockShape, Loop, PartSettings, build_part
from torch import nn

from ...support.unrolling import close

WIDTH = 32


def classes(variable: str, file: str, *names: str) -> list[Any]:
    """Some classes of a file of a checkout, without its other imports."""
    if not (folder := os.environ.get(variable)):
        pytest.skip(f"{variable} names no checkout")
    tree = ast.parse((Path(folder) / file).read_text())
    kept = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in names]
    known: dict[str, Any] = {"torch": torch, "nn": nn, "Tensor": torch.Tensor}
    known |= {"F": nn.functional, "math": math, "Optional": Optional}
    future = ast.ImportFrom("__future__", [ast.alias("annotations")], 0)
    module = ast.fix_missing_locations(ast.Module([future, *kept], []))
    exec(compile(module, file, "exec"), known)
    return [known[name] for name in names]


def states() -> tuple[torch.Tensor, torch.Tensor]:
    h, e = torch.randn(2, 3, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    return h, e


def test_the_diagonal_update_is_parcaes() -> None:
    [theirs_of] = classes("GROWLOOP_PARCAE", "parcae_lm/modules/injection.py", "DiagonalInjection")
    init = SimpleNamespace(fn=lambda name, layer: lambda tensor: nn.init.normal_(tensor, std=0.3))
    theirs = theirs_of(
        SimpleNamespace(recurrent_embedding_dimension=WIDTH, n_embd=WIDTH, init=init)
    )
    settings = PartSettings.read("injection", {"name": "diagonal", "norm": False})
    ours = build_part("injection", settings, BlockShape(WIDTH))
    ours.load_state_dict(theirs.state_dict())
    h, e = states()
    for number in range(3):
        close(ours.combine(h, e, Loop(number, 3)), theirs(h, e))


def test_the_selective_gate_is_that_of_loopus() -> None:
    [theirs_of] = classes("GROWLOOP_LOOPUS", "models/modeling_lds.py", "SelectiveGate")
    theirs = theirs_of(WIDTH)
    ours = build_part("carry", PartSettings("selective_gate"), BlockShape(WIDTH))
    close(ours.A_log, theirs.A_log)  # the same start
    names = {"A_log": "A_log", "down.weight": "dt_input_proj.weight"}
    names |= {f"up.{name}": f"delta_proj.{name}" for name in ("weight", "bias")}
    held = theirs.state_dict()
    ours.load_state_dict({name: held[other] for name, other in names.items()})
    before, after = states()
    close(ours.write(before, after, Loop(1, 2)), theirs(after, before))


def test_the_initial_share_of_the_state_is_the_one_given() -> None:
    part = build_part("injection", PartSettings("diagonal", (("decay", 0.3),)), BlockShape(WIDTH))
    share = torch.exp(-nn.functional.softplus(part.dt_bias) * part.A_log.exp())
    close(share, torch.full((WIDTH,), 0.3))
