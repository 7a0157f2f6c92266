"""``import growloop``: the public names, and where they come from."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import growloop
import pytest

from ..support.imports import ROOT

FUNCTIONS = {
    "build", "compare", "cost", "evaluate", "generate", "grow", "load", "loop", "save", "scan",
    "sft", "study", "train", "untie",
}  # fmt: skip


def test_every_public_name_is_there() -> None:
    assert set(dir(growloop)) > FUNCTIONS
    for name in dir(growloop):
        assert getattr(growloop, name) is not None
    assert growloop.__version__ == version("growloop")


def test_the_example_of_the_package_is_true() -> None:
    assert doctest.testmod(growloop).failed == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = growloop.evaluat


def test_every_function_has_a_docstring_with_an_example() -> None:
    for name in (
        "compare",
        "evaluate",
        "generate",
        "loop",
        "grow",
        "scan",
        "sft",
        "study",
        "train",
    ):
        text = getattr(growloop, name).__doc__
        assert "Example::" in text or ">>> " in text, name
        assert "Raises:" in text, name


def test_python_in_the_repository_imports_the_installed_package() -> None:
    code = "import growloop; print(growloop.__file__)"
    places = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
        ).stdout
        for folder in (ROOT, Path("/"))
    }
    assert len(places) == 1
    assert not (ROOT / "growloop").exists()
