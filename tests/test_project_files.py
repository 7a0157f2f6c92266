"""Files for GitHub, nox and citation are valid, and name only what exists."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SCHEMAS = {  # schema that check-jsonschema has -> files
    "vendor.github-workflows": WORKFLOWS,
    "vendor.dependabot": [ROOT / ".github" / "dependabot.yml"],
    "vendor.citation-file-format": [ROOT / "CITATION.cff"],
}


def commands(workflow: Path) -> list[str]:
    """List the commands of a workflow's steps."""
    jobs: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def sessions() -> dict[str, bool]:
    """Return session of the noxfile -> whether it has one for each Python."""
    found = {}
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            found[node.name] = "PYTHONS" in ast.unparse(node.decorator_list[0])
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_sessions_and_files_that_exist(path: Path) -> None:
    known = sessions()
    assert commands(path)
    for command in commands(path):
        plain = re.sub(r"\$\{\{.*?\}\}", "3.11", command)  # any version of the matrix
        for group in re.findall(r"nox -s ([^&|\n]+)", plain):
            for name in group.split():
                session, _, python = name.partition("-")
                assert known[session] == bool(python), name
        for file in re.findall(r"(?:^|\s)((?:\.ci|tests|docs)/[\w./]+)", command):
            assert (ROOT / file).is_file(), file


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_no_more_rights_than_they_need(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 180
        assert set(job.get("permissions", ())) <= {"pages", "id-token"}


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == VERSION
    assert citation["references"][0]["url"] == "https://arxiv.org/abs/2602.16490"


def test_sessions_are_those_of_the_versions_that_are_declared() -> None:
    pytest.importorskip("nox")
    out = subprocess.run(["nox", "-l"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"^[*-] ([\w.-]+)", out, flags=re.MULTILINE))
    assert {"tests-3.11", "newest-3.13", "lowest", "extras", "lint", "types", "docs"} <= named
    assert "tests-3.10" not in named


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_follow_their_published_schemas(schema: str) -> None:
    checker = shutil.which("check-jsonschema")
    if checker is None:
        pytest.skip("pip install check-jsonschema brings the schemas")
    files = [str(path) for path in SCHEMAS[schema]]
    result = subprocess.run(
        [checker, "--builtin-schema", schema, *files], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
