"""Checkpoints that studies are tried on."""

from __future__ import annotations

import pytest
from growloop.models import checkpoints, load, loop

from ..tasks import tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A plain and a looped checkpoint."""
    plain = tiny.save("llama", tmp_path_factory.mktemp("models") / "plain", layers=4)
    looped = plain.parent / "looped"
    model = loop(load(str(plain)), "1-2x2-1")
    checkpoints.save(model, checkpoints.load_tokenizer(str(plain)), looped)
    return {"plain": str(plain), "looped": str(looped)}
