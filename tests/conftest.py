"""Shared fixtures. Nothing here reaches the network."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

# no time is asserted: a loaded machine is slow
hypothesis.settings.register_profile(
    "growloop", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("growloop")

pytest.register_assert_rewrite("tests.support")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:  # side by side: threads of one would wait for the other's
    os.environ.setdefault("OMP_NUM_THREADS", "1")

CHROMIUM = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests marked slow and real too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out ``slow`` and ``real`` tests by default, skip ``cuda`` where there is no device."""
    from .support.selection import LEFT_OUT, leaves_out_slow

    option = config.option
    if leaves_out_slow(option.all, option.markexpr, config.args):
        left_out = [item for item in items if any(map(item.get_closest_marker, LEFT_OUT))]
        items[:] = [item for item in items if not any(map(item.get_closest_marker, LEFT_OUT))]
        config.hook.pytest_deselected(items=left_out)
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device: torch finds none"))


class Deprecations(logging.Handler):
    """What transformers logs as deprecated; warnings of other kinds are errors anyway."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "deprecated" in (message := record.getMessage()):
            self.messages.append(message)


_deprecations = Deprecations()
logging.getLogger("transformers").addHandler(_deprecations)


@pytest.fixture(autouse=True)
def _no_deprecated_name_of_transformers() -> Iterator[None]:
    """Fail where a name is used that transformers drops in a later release."""
    _deprecations.messages.clear()
    yield
    assert not _deprecations.messages


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, started once a process: Playwright refuses a second start beside a first."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    named = os.environ.get("CHROMIUM")
    path = named or next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium found: see CONTRIBUTING.md")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
