"""Check that a wheel and an sdist hold the tracked files of the package, and nothing else.

``python tests/distributions.py FILE ...``; needs git and a checkout.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "setuptools"
]["package-dir"].values()
NOT_INSTALLED = {"leaderboard/reference/README.md"}
BESIDE = {
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "pyproject.toml",
}  # in the sdist, beside the package


def tracked() -> set[str]:
    """Tracked files that are installed, relative to the root of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", *FOLDERS], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return set(listed.splitlines()) - NOT_INSTALLED


def content(path: Path) -> set[str]:
    """Files of a wheel or an sdist but for its metadata, as they are called in the repository."""
    if path.suffix == ".whl":
        names = zipfile.ZipFile(path).namelist()
        return {name.removeprefix("growloop/") for name in names if ".dist-info/" not in name}
    with tarfile.open(path) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    made = ("PKG-INFO", "setup.cfg", "growloop.egg-info/")
    return {name for name in names if not name.startswith(made)}


def problems(path: Path) -> list[str]:
    """What a wheel or an sdist lacks, and what it has too much."""
    wanted = tracked() | (set() if path.suffix == ".whl" else BESIDE)
    found = content(path)
    lacking = [f"{path.name} lacks {name}" for name in sorted(wanted - found)]
    lines = lacking + [f"{path.name} holds {name}" for name in sorted(found - wanted)]
    if path.suffix == ".whl" and not any(
        name.endswith("/LICENSE") for name in zipfile.ZipFile(path).namelist()
    ):
        lines.append(f"{path.name} holds no LICENSE")
    return lines


if __name__ == "__main__":
    lines = [line for name in sys.argv[1:] for line in problems(Path(name))]
    print("\n".join(lines) or f"{len(sys.argv) - 1} files hold the package and nothing else")
    sys.exit(bool(lines))
