"""A small checkpoint, plain and looped, and what is written beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from growloop.models import checkpoints, load, loop

from ..tasks import tiny


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of four layers."""
    return tiny.save("llama", tmp_path_factory.mktemp("api") / "plain", layers=4)


@pytest.fixture(scope="session")
def looped(plain: Path) -> Path:
    """The same weights under the schedule 1-2x2-1."""
    model = loop(load(str(plain)), "1-2x2-1")
    return checkpoints.save(model, checkpoints.load_tokenizer(str(plain)), plain.parent / "looped")
