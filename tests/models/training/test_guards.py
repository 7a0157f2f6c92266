"""A run stops at a loss or gradient that is no number, and where memory does not suffice."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models.training import checkpoints as snapshots
from growloop.models.training import engine as engine_module
from growloop.models.training.engine import Engine
from growloop.models.training.optim.objective import Losses
from growloop.models.training.runfile import parse

from ...support.training_runs import fields


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_good_checkpoint(
    shards: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    engine = Engine(parse(fields(shards)), tmp_path)
    original = engine_module.training_losses

    def spoiled(*arguments: Any) -> Losses:
        found = original(*arguments)
        spoilt = found.last * (float("nan") if engine.step == 15 else 1)
        return Losses(spoilt, spoilt)

    monkeypatch.setattr(engine_module, "training_losses", spoiled)
    with pytest.raises(InputError, match=r"loss of step 15 .* nan: .* that of step 12"):
        engine.train()
    found = snapshots.newest(tmp_path, print)
    assert found is not None
    assert found[0] == 12


def test_a_held_out_loss_that_is_no_number_names_the_layer(shards: Path, tmp_path: Path) -> None:
    engine = Engine(parse(fields(shards, checkpoints={"every": 20})), tmp_path)

    def spoil(module: Any, args: Any, output: Any) -> Any:
        return output if module.training else output * float("nan")

    engine.model.model.norm.register_forward_hook(spoil)
    with pytest.raises(InputError, match=r"held-out loss of step 20 is nan: model\.norm gives NaN"):
        engine.train()
    assert snapshots.newest(tmp_path, print) is None


def test_a_gradient_that_is_no_number_stops_the_run_before_its_weights_are_saved(
    shards: Path, tmp_path: Path
) -> None:
    engine = Engine(parse(fields(shards, checkpoints={"every": 1})), tmp_path)
    first = next(engine.model.parameters())
    first.register_hook(lambda grad: grad * (float("nan") if engine.step == 3 else 1))
    with pytest.raises(InputError, match=r"gradient norm of step 3 .* nan: .* that of step 3"):
        engine.train()
    assert sorted(path.name for path in tmp_path.glob("step-*"))[-1] == "step-000000003"


def test_memory_that_does_not_suffice_is_a_sentence_about_what_to_lower(
    shards: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    engine = Engine(parse(fields(shards)), tmp_path)
    engine.train(2)
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ):
        failing = functools.partial(_raise, error)
        monkeypatch.setattr(engine_module, "training_losses", failing)
        with pytest.raises(InputError, match=r"memory in step 2, with 2 sequences .* lower micro"):
            engine.train()
    failing = functools.partial(_raise, RuntimeError("a bug"))
    monkeypatch.setattr(engine_module, "training_losses", failing)
    with pytest.raises(RuntimeError, match="a bug"):
        engine.train()


def _raise(error: Exception, *_: Any) -> None:
    raise error
