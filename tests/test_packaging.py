"""Distributions are whole and work elsewhere; type checkers see an editable install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # a script, run by a shell script too
import distributions

ROOT = Path(__file__).parent.parent
PACKAGES = [path for path in sys.path if Path(path).name == "site-packages"]

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, **more: str) -> str:
    """Run a command; return its output."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=variables, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a copy of all tracked files, as a clone has them."""
    folder = tmp_path_factory.mktemp("source")
    for name in distributions.tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build an sdist, and from it a wheel."""
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, cwd=source)
    return sorted(out.iterdir())


def environment(folder: Path, *install: str | Path) -> Path:
    """Make an environment with growloop and our dependencies; return its Python."""
    venv.create(folder, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    place = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
    ).strip()
    # .pth files in these folders are not read, so that no other growloop is seen
    (Path(place) / "dependencies.pth").write_text("\n".join(PACKAGES))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps"]
    run(*pip, "--no-build-isolation", "--no-index", *install, cwd=folder)
    return python


def test_sdist_and_wheel_hold_what_they_must_and_nothing_else(built: list[Path]) -> None:
    assert [path.suffix for path in built] == [".whl", ".gz"]
    assert [line for path in built for line in distributions.problems(path)] == []


def test_lacking_files_are_noticed(built: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "tracked", lambda *_: {"core/no_such_file.py"})
    wheel, sdist = built
    assert f"{wheel.name} lacks growloop/core/no_such_file.py" in distributions.problems(wheel)
    assert f"{sdist.name} holds pyproject.toml" in distributions.problems(sdist)


def test_the_package_index_accepts_the_metadata(built: list[Path]) -> None:
    pytest.importorskip("twine")
    out = run(sys.executable, "-m", "twine", "check", "--strict", *built, cwd=ROOT)
    assert out.count("PASSED") == len(built)


def test_the_installed_wheel_works_in_an_empty_folder(built: list[Path], tmp_path: Path) -> None:
    python = environment(tmp_path / "env", built[0])
    work = tmp_path / "work"
    work.mkdir()

    def growloop(line: str) -> str:
        return run(python, "-m", "growloop.cli", *line.split(), cwd=work)

    where = run(python, "-c", "import growloop.core; print(growloop.core.__file__)", cwd=work)
    assert where.startswith(str(tmp_path))
    growloop("generate copying --words real --items 20 --split train --out words.jsonl")
    assert "20" in growloop("verify words.jsonl")
    assert "reasoning_primitives" in growloop("tasks")
    assert "Python program" in growloop("tasks show variable_assignment_code_d1")
    assert "reasoning_primitives" in growloop("leaderboard show")
    assert [path.name for path in work.iterdir()] == ["words.jsonl"]


def test_type_checkers_see_the_package_after_the_editable_install_of_the_readme(
    source: Path, tmp_path: Path
) -> None:
    pytest.importorskip("mypy")
    pytest.importorskip("setuptools", minversion="77")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install -c constraints.txt -e '.[dev]'" in text, "the README installs otherwise"
    python = environment(tmp_path / "env", "-e", source)
    code = (
        "from growloop.core.schedule import Schedule\n"  # growloop.models brings all of torch
        "from growloop.primitives import generate\n"
        "reveal_type(Schedule.plain(2).layers)\n"
        "reveal_type(generate('copying', 1)[0].prompt)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "-c", code]
    out = run(*command, cwd=tmp_path)
    assert 'type is "tuple[int, ...]"' in out
    assert 'type is "str"' in out
    assert "Success" in out
