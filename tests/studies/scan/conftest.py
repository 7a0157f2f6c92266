"""A model with something to find: its tokens' order is learned by copying, so repeats matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from growloop.studies.scan import scan
from growloop.studies.scan.result import ScanResult

from ...tasks import tiny

SMALL: dict[str, Any] = {
    "probes": ("copying_real_words",),
    "items": 24,
    "test_items": 16,
    "shots": 0,
    "max_block": 2,
    "allow_chance": True,
    "dtype": "float32",
    "beam": 2,
    "blocks": 2,
}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model of four layers."""
    return str(tiny.save("llama", tmp_path_factory.mktemp("scanned") / "model", layers=4))


@pytest.fixture(scope="session")
def small_scan(tiny_model: str) -> Callable[..., ScanResult]:
    """``small_scan(out, **settings)``: a scan of the random model in a few seconds."""

    def run(out: Path | None = None, **settings: Any) -> ScanResult:
        return scan(tiny_model, out=out, **{**SMALL, **settings})

    return run
