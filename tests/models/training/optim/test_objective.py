"""The regulariser of layers a block apart."""

from __future__ import annotations

import pytest
from growloop.core.errors import InputError
from growloop.models.training.optim.objective import block_cosine


def test_the_regulariser_is_the_mean_cosine_of_layers_a_block_apart() -> None:
    from growloop.models import build, grow

    model = grow(build("tiny", 2), "g_stack")
    assert block_cosine(model, 2).item() == pytest.approx(1)
    assert abs(block_cosine(model, 1).item()) < 0.2
    with pytest.raises(InputError, match="no two blocks"):
        block_cosine(model, 4)
