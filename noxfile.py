"""Sessions of nox: every Python, the lowest and the newest packages, each extra, lint, types, docs.

``nox -l`` lists them; ``nox -s newest-3.13 -- tests/core`` passes arguments to pytest. A session
is skipped where its Python is absent. TORCH=2.13.0 in the environment replaces the lowest declared
version of torch.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "docs"]

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
LOWEST = PROJECT["project"]["requires-python"].removeprefix(">=")
PYTHONS = [f"3.{minor}" for minor in range(int(LOWEST.partition(".")[2]), 15)]
GENERATORS = sorted(map(str, Path("docs/generators").glob("*.py")))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Test with the versions of constraints.txt."""
    session.install("-c", "constraints.txt", "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    """Test with the newest versions that the declared ranges allow."""
    session.install("--upgrade", "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=False)
def lowest(session: nox.Session) -> None:
    """Test with the lowest declared versions, installed together."""
    folder = str(Path(session.create_tmp()) / "lowest")
    session.run("tests/lowest_versions.sh", folder, *session.posargs, external=True)


@nox.session(python=False)
def extras(session: nox.Session) -> None:
    """Install the wheel with each extra alone and run every command; extras can be named."""
    folder = str(Path(session.create_tmp()) / "extras")
    session.run("tests/each_extra.sh", folder, *session.posargs, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install("-c", "constraints.txt", "-e", ".[dev,docs]")
    session.run("mypy", "--strict", "-p", "growloop")
    session.run("mypy", "--strict", *GENERATORS)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site; a warning is an error."""
    session.install("-c", "constraints.txt", "-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", *session.posargs)
