"""Models from scratch, by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import PRESETS, build, preset


def test_a_seed_makes_the_weights_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    a, b, c = build("tiny", seed=1), build("tiny", seed=1), build("tiny", seed=2)
    assert torch.equal(torch.rand(2), expected)
    first = [next(iter(model.parameters())) for model in (a, b, c)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


def test_a_looped_model_has_the_unique_layers_of_its_schedule() -> None:
    model = build("tiny", "4-4x4-4")
    assert model.config.num_unique_layers == 12
    assert model.config.effective_depth == 24
    assert {name.split(".")[2] for name in model.state_dict() if "layers." in name} == {
        str(i) for i in range(12)
    }


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_together(name: str) -> None:
    with torch.device("meta"):
        model = build(name, 2)
    assert model.config.tie_word_embeddings
    assert model.config.head_dim * model.config.num_attention_heads == model.config.hidden_size


def test_any_field_can_be_changed() -> None:
    config = preset("smollm-135m", hidden_size=192, num_attention_heads=3, rope_theta=5000.0)
    assert (config.hidden_size, config.head_dim) == (192, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10**15}, "num_hidden_layers must be a whole number from 1 to 10000"),
        ({"hidden_size": -64}, "hidden_size must be a whole number of 1 or more, not -64"),
        ({"hidden_size": "wide"}, "hidden_size must be a whole number"),
        ({"num_key_value_heads": 3}, "4 heads do not divide among 3 key-value heads"),
        ({"hidden_act": "sliu"}, "did you mean 'silu'"),
        ({"rms_norm_eps": "1e-5"}, "'rms_norm_eps' expected float, got str"),
    ],
)
def test_what_a_field_cannot_be_is_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        preset("tiny", **changes)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'smollm-360m'"):
        preset("smollm-360")
    with pytest.raises(InputError, match="did you mean 'hidden_size'"):
        preset("tiny", hiden_size=3)
    with pytest.raises(InputError, match="not both"):
        build("tiny", "4x2", num_hidden_layers=4)
    with pytest.raises(InputError, match="character 3"):
        build("tiny", "4x")
