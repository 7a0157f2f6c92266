"""Architectures that loop by themselves are recognised, and not looped again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from growloop.cli import main
from growloop.core.errors import InputError
from growloop.models import cost, layer_similarity, loop
from growloop.models.diagnostics import trace
from growloop.models.looping.config import current_schedule
from growloop.models.looping.native import native_loops, set_native_loops
from torch.utils.flop_counter import FlopCounterMode

from ...support.unrolling import close, tokens

transformers = pytest.importorskip("transformers")
if not hasattr(transformers, "HrmTextConfig"):
    pytest.skip("transformers has no HRM-Text", allow_module_level=True)


def hrm(cycles: int = 2) -> Any:
    torch.manual_seed(0)
    config = transformers.HrmTextConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, H_cycles=cycles, L_cycles=3, max_position_embeddings=64,
    )  # fmt: skip
    model = transformers.HrmTextForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model


def test_the_schedule_names_the_layers_that_run() -> None:
    model, ran = hrm(), []
    native = native_loops(model)
    assert native is not None
    for number, layer in enumerate(native.unique):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    model(tokens())
    assert tuple(ran) == native.schedule.layers == (0, 1, 0, 1, 0, 1, 2, 3) * 2
    assert current_schedule(model) == native.schedule
    assert native.schedule.coordinates[-1] == (3, 1)
    assert layer_similarity(model).shape == (4, 4)


def test_its_costs_are_those_of_torch() -> None:
    model, ids = hrm(), torch.zeros(1, 16, dtype=torch.long)
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids, use_cache=False)
    counted = cost(model, seq_len=16)
    assert counted.forward_flops == pytest.approx(counter.get_total_flops() / 16, rel=0.01)
    assert counted.unique_parameters == sum(p.numel() for p in model.parameters())
    assert counted.schedule.effective_depth == 16
    assert cost(model.config, seq_len=16) == counted


@pytest.mark.parametrize("cycles", [1, 3])
def test_its_number_of_loops_can_be_set(cycles: int) -> None:
    model, ids = hrm(), tokens()
    set_native_loops(model, cycles)
    fresh = hrm(cycles)
    fresh.load_state_dict(model.state_dict())
    close(model(ids).logits, fresh(ids).logits)
    assert current_schedule(model) == current_schedule(fresh)
    out = model.generate(ids, max_new_tokens=3, do_sample=False)
    assert torch.equal(out, fresh.generate(ids, max_new_tokens=3, do_sample=False))


def test_it_is_not_looped_again() -> None:
    model = hrm()
    for act in (lambda: loop(model, "2x2"), lambda: trace(model, tokens())):
        with pytest.raises(InputError, match="hrm_text loops by itself"):
            act()


def test_inspect_shows_its_loops(tmp_path: Path) -> None:
    hrm().save_pretrained(tmp_path / "hrm")
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "hrm"), "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["loops_by_itself"] == "H_cycles 2"
    assert (facts["unique_layers"], facts["effective_depth"]) == (4, 16)
