"""Check that a wheel and an sdist are whole, and hold nothing else.

``python tests/distributions.py FILE ...``; needs git and a checkout. A wheel holds the tracked
files of the package folders, an sdist every tracked file.
"""

from __future__ import annotations

import email
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS: dict[str, str] = {  # folder of the repository -> where its files are installed
    folder: package.replace(".", "/")
    for package, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()
}
NOT_INSTALLED = {"leaderboard/reference/README.md"}
MADE = ("PKG-INFO", "setup.cfg", "growloop.egg-info/")  # by setuptools, in an sdist


def tracked(*folders: str) -> set[str]:
    """List tracked files, relative to the root of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return set(listed.splitlines())


def installed() -> set[str]:
    """List the files that a wheel must hold, by their names in it."""
    paths = map(PurePosixPath, tracked(*FOLDERS) - NOT_INSTALLED)
    return {str(PurePosixPath(FOLDERS[path.parts[0]], *path.parts[1:])) for path in paths}


def content(path: Path) -> set[str]:
    """List the files of a wheel or an sdist, but for its metadata."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(path) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    return {name for name in names if not name.startswith(MADE)}


def problems(path: Path) -> list[str]:
    """List what a wheel or an sdist lacks, and what it has too much."""
    wanted = installed() if path.suffix == ".whl" else tracked()
    found = content(path)
    lines = [f"{path.name} lacks {name}" for name in sorted(wanted - found)]
    lines += [f"{path.name} holds {name}" for name in sorted(found - wanted)]
    return lines + (metadata_problems(path) if path.suffix == ".whl" else [])


def metadata_problems(path: Path) -> list[str]:
    """List what the metadata of a wheel lacks: licence files, their names, URLs, a description."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        [place] = [name for name in names if name.endswith(".dist-info/METADATA")]
        fields: Message = email.message_from_bytes(archive.read(place))
    licences = set(fields.get_all("License-File", ()))
    there = {name for name in licences if f"{Path(place).parent}/licenses/{name}" in names}
    lines = [f"{path.name} lacks the licence {name}" for name in sorted(licences - there)]
    if licences != set(PROJECT["project"]["license-files"]):
        lines.append(f"{path.name} declares the licences {sorted(licences)}")
    for field in ("Project-URL", "Requires-Python", "License-Expression", "Summary", "Keywords"):
        if not fields.get(field):
            lines.append(f"{path.name} has no {field}")
    if fields.get("Description-Content-Type") != "text/markdown" or not fields.get_payload():
        lines.append(f"{path.name} has no description in Markdown")
    return lines


if __name__ == "__main__":
    found = [line for name in sys.argv[1:] for line in problems(Path(name))]
    print("\n".join(found) or f"{len(sys.argv) - 1} files hold what they must and nothing else")
    sys.exit(bool(found))
