from __future__ import annotations

from pathlib import Path

import pytest

from . import data


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data sets in the layout of ``--data-dir``."""
    return data.write(tmp_path_factory.mktemp("benchmarks"))
