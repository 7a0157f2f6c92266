"""Example packages: what `growloop new` writes installs, passes its tests and works everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.core.new_package import KINDS, check_name, write_package

from ..support.commands import refused
from ..support.plugins import growloop, python
from ..tasks import tiny

NAMES = {"primitive": "parity", "operator": "repeat_first", "loop": "channel_scale",
         "study": "drop-last"}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_complete(kind: str, tmp_path: Path) -> None:
    files = write_package(kind, NAMES[kind], tmp_path / "package")
    module = NAMES[kind].replace("-", "_")
    names = {path.relative_to(tmp_path / "package").as_posix() for path in files}
    assert {"pyproject.toml", "README.md", f"growloop_{module}/__init__.py",
            f"tests/test_{module}.py"} <= names  # fmt: skip
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "@name@" not in text
        assert "@package@" not in text
        if path.suffix == ".py":
            compile(text, str(path), "exec")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("primitive", "a-b"), ("study", "a_b"), ("operator", "Upper"), ("operator", "class"),
     ("primitive", ""), ("primitive", "1a"), ("study", "a--b"), ("study", "../x"),
     ("primitive", "a" * 61), ("task", "a")],
)  # fmt: skip
def test_a_name_that_cannot_be_used_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        check_name(kind, name)
    with pytest.raises(InputError):
        write_package(kind, name, tmp_path / "package")
    assert list(tmp_path.iterdir()) == []


def test_names_and_folders_that_are_taken_are_refused(tmp_path: Path) -> None:
    taken = (("primitive", "copying"), ("primitive", "reasoning_primitives"),
             ("operator", "lidas"), ("loop", "loop_gate"), ("study", "swaps"))  # fmt: skip
    for kind, name in taken:
        message = refused("new", kind, name, "--out", str(tmp_path / "new"))
        assert message == (
            f"Error: there is a {kind} {name} already, of growloop: choose another name"
        )
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    message = refused("new", "study", "drop-last", "--out", str(folder))
    assert message == f"Error: {folder} exists: give another --out, or --force to replace it"
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three packages, built and installed outside the repository."""
    root = tmp_path_factory.mktemp("packages")
    folders = []
    for kind, name in NAMES.items():
        folders.append(str(root / name))
        done = growloop("new", kind, name, "--out", folders[-1], cwd=root)
        assert done.returncode == 0, done.stderr
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation",
         "--target", str(root / "site"), *folders],
        check=True, capture_output=True,
    )  # fmt: skip
    return root / "site"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_installed_package_passes_its_own_tests(kind: str, site: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(site), "GROWLOOP_PLUGINS": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "."],
        env=environment, cwd=site.parent / NAMES[kind], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


RUN = """
name: tiny
steps: 6
precision: fp32
model: {preset: tiny, options: {num_hidden_layers: 6}}
data: {curriculum: [{lessons: {recall: 1.0}}], batch_size: 8}
optimizer: {warmup: 1, cooldown: 1}
growth: {operator: repeat_first, block_size: 2}
"""


@pytest.mark.slow
def test_installed_packages_work_in_every_command(site: Path, tmp_path: Path) -> None:
    def call(*arguments: str) -> str:
        done = growloop(*arguments, site=site, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    model = str(tiny.save("llama", tmp_path / "model", layers=4))
    assert "growloop-parity 0.1.0" in call("tasks", "--json")
    call("generate", "parity", "--items", "50", "--out", "parity.jsonl")
    assert "50 items: all right" in call("verify", "parity.jsonl")

    call("eval", "-m", model, "--tasks", "parity", "-n", "20", "--shots", "1", "--out", "results",
         "--leaderboard", "records")  # fmt: skip
    [file] = (tmp_path / "results").rglob("results*.json")
    results: dict[str, Any] = json.loads(file.read_text())
    assert results["growloop"]["versions"]["growloop-parity"].startswith("0.1.0 sha256:")
    assert results["configs"]["parity"]["metadata"]["growloop"]["plugin"].startswith(
        "growloop-parity 0.1.0 sha256:"
    )
    theirs = python(
        "import json; from lm_eval import simple_evaluate; from lm_eval.tasks import TaskManager; "
        "from growloop_parity import TASKS; "
        f"found = simple_evaluate('hf', model_args=dict(pretrained={model!r}, dtype='float32'), "
        "tasks=['parity'], num_fewshot=1, limit=20, device='cpu', task_manager="
        "TaskManager(include_path=str(TASKS), include_defaults=False)); "
        "print(); print(json.dumps(found['results']['parity']['acc,none']))",
        site,
    )
    assert theirs == results["results"]["parity"]["acc,none"]

    call("grow", model, "--operator", "repeat_first", "--block-size", "2", "--out", "grown")
    history = json.loads((tmp_path / "grown" / "config.json").read_text())["growth_history"]
    assert history[0]["plugin"].startswith("growloop-repeat-first 0.1.0 sha256:")

    (tmp_path / "run.yaml").write_text(RUN)
    assert "schedule 4" in call("train", "run.yaml", "--plan")
    call("train", "run.yaml", "--out", "run")
    state = json.loads((tmp_path / "run" / "step-000000006" / "training.json").read_text())
    assert state["versions"]["growloop-repeat-first"].startswith("0.1.0 sha256:")
    assert list(state["inputs"]["code of plug-ins"]) == ["growloop-repeat-first 0.1.0"]

    assert "drop-last" in call("study", "list", "--csv")
    study = ("study", "drop-last", "-m", model, "--items", "8", "--shots", "0", "--tasks", "parity",
             "--leaderboard", "records")  # fmt: skip
    call(*study)
    assert "parity" in call("leaderboard", "show", "records", "--json", "--no-paper")
    shown = call("leaderboard", "show", "records", "--study", "drop-last", "--json", "--no-paper")
    assert "parity" in shown

    (site / "growloop_drop_last" / "more.py").write_text("")
    done = growloop(*study, site=site, cwd=tmp_path)
    assert done.returncode == 2
    assert "was measured by other code than growloop-drop-last 0.1.0 has now" in done.stderr
    (site / "growloop_repeat_first" / "more.py").write_text("")
    done = growloop("train", "run.yaml", "--out", "run", site=site, cwd=tmp_path)
    assert done.returncode == 2
    assert "growloop-repeat-first 0.1.0 (code of plug-ins) changed since" in done.stderr
