"""No study measures a model that computes no numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import Schedule, load
from growloop.studies.measure.schedule_sweep import ScheduleSweep

from ..support.commands import run
from ..support.damage import LOST, changed, put
from .small import SMALL


@pytest.fixture(scope="module")
def nan(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("nan") / "model"
    change = put("model.layers.1.mlp.up_proj.weight", math.nan)
    return str(changed(Path(models["plain"]), out, change))


@pytest.mark.parametrize("name", SMALL)
def test_every_study_refuses_it(name: str, nan: str, tmp_path: Path) -> None:
    result = run("study", name, "--model", nan, "--out", str(tmp_path), *SMALL[name])
    assert result.exit_code == 2, result.output
    told = result.output.splitlines()[-1]
    assert "layers.1.mlp.up_proj" in told or "of layer 1 holds NaN" in told or "is nan" in told
    assert not list(tmp_path.glob("*/*.json")), "a record was written"


@pytest.mark.parametrize("lost", ["a layer", "one layer more"])
def test_a_study_refuses_a_model_that_is_not_all_there(
    models: dict[str, str], tmp_path: Path, lost: str
) -> None:
    change, message = LOST[lost]
    model = changed(Path(models["plain"]), tmp_path / "m", change)
    out = ["--out", str(tmp_path / "out")]
    result = run("study", "weight-similarity", "--model", str(model), *out, "--apart", "1")
    assert result.exit_code == 2
    assert message in result.output


def test_a_schedule_that_overflows_is_named(models: dict[str, str]) -> None:
    model = load(models["plain"])
    ids = torch.arange(9)[None]
    first = model.get_input_embeddings()(ids)

    def overflow(module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        states = args[0] if args else kwargs["hidden_states"]
        return output if torch.equal(states, first) else output * math.inf

    model.model.layers[0].register_forward_hook(overflow, with_kwargs=True)
    sweep = ScheduleSweep(model, [Schedule.parse("0,1,2"), Schedule.parse("1,0,2")])
    with pytest.raises(InputError, match=r"under the schedule 1,0,2 the output of layer 0 \(step"):
        sweep.losses(ids)
    assert math.isfinite(float(ScheduleSweep(model, [Schedule.parse("0,2,1")]).losses(ids)))
