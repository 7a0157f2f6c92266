"""What pyproject.toml declares is true: versions parse, and each extra brings what it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from growloop.cli import main
from growloop.core.extras import EXTRAS, bringing
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from .support.imports import HEAVY

sys.path.insert(0, str(Path(__file__).parent))  # scripts, run by shell scripts too
import floors

ROOT = Path(__file__).parent.parent


def commands(
    command: click.Command = main, path: tuple[str, ...] = ()
) -> dict[tuple[str, ...], click.Command]:
    """Path -> command, of all commands and subcommands."""
    found = {path: command}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            found |= commands(child, (*path, name))
    return found


def test_every_floor_parses_and_lies_in_its_range() -> None:
    for name, span in floors.requirements("test", "dev").items():
        assert Version(floors.floors("test", "dev")[name]) in SpecifierSet(span)


def test_the_tested_versions_lie_in_the_declared_ranges() -> None:
    ranges = {name.lower(): span for name, span in floors.requirements("dev").items()}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    for name, version in pinned.items():
        assert Version(version) in SpecifierSet(ranges[name.lower().replace("_", "-")]), name


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_looked_for_by_the_modules_of_all_packages_that_it_declares(extra: str) -> None:
    own = {name.lower() for name in floors.requirements()}
    declared = {name.lower().replace("_", "-") for name in floors.requirements(extra)} - own
    owners = metadata.packages_distributions()
    brought = {owners[name][0].lower().replace("_", "-") for name in EXTRAS[extra]}
    assert brought == declared


def test_the_smallest_extra_with_a_module_is_named() -> None:
    assert (bringing("rich"), bringing("lm_eval"), bringing("numpy")) == (
        "leaderboard",
        "eval",
        None,
    )


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["", "leaderboard", "plots", "train", "eval"])
def test_each_command_works_with_its_extra_alone_or_names_it(extra: str, tmp_path: Path) -> None:
    script = str(ROOT / "tests/each_extra.py")
    result = subprocess.run(
        [sys.executable, script, extra, "--hide"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


FILL = {  # what a command needs beside what it requires, so that it comes to its work
    ("loop",): ["m", "--schedule", "2"],
    **{(name,): ["m"] for name in ("scan", "inspect", "grow", "export")},
    ("study",): ["swaps", "--model", "m"],
}
LIGHT = {("generate",), ("verify",), ("tasks",), ("compare",), ("new",)}

PLAIN = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from each_extra import hidden
sys.modules.update(dict.fromkeys(hidden(set())))
from click.testing import CliRunner
from growloop.cli import main
for line in json.loads(sys.argv[2]):
    result = CliRunner().invoke(main, line)
    print(json.dumps([line, result.exit_code, result.stderr, repr(result.exception)]))
"""


def required(command: click.Command) -> list[str]:
    """An x for all that a command requires."""
    given = (param for param in command.params if param.required)
    words = [[p.opts[-1], "x"] if isinstance(p, click.Option) else ["x"] for p in given]
    return [word for some in words for word in some]


def test_a_plain_install_names_the_extra_of_every_command_that_needs_one(tmp_path: Path) -> None:
    lines = [
        [*path, *required(command), *FILL.get(path, [])]
        for path, command in commands().items()
        if not isinstance(command, click.Group) and path[:1] not in LIGHT
    ]
    assert len(lines) > 15
    script = [sys.executable, "-c", PLAIN, str(ROOT / "tests"), json.dumps(lines)]
    result = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line for line, *_ in answers] == lines
    for line, code, text, exception in answers:
        assert (code, len(text.splitlines())) == (2, 1), (line, text, exception)
        assert "pip install 'growloop[" in text, (line, text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (ModuleNotFoundError("No module named 'rich'", name="rich"), "growloop[leaderboard]'"),
        (ImportError("libfoo.so is missing", name="torch"), "libfoo.so is missing\n"),
    ],
)
def test_an_import_that_fails_in_a_command_is_one_sentence(
    error: ImportError, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(click.Group, "invoke", fail)
    result = CliRunner().invoke(main, ["tasks"])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert ending in result.stderr


def test_help_of_every_command_loads_nothing_heavy() -> None:
    lines = [[*path, "--help"] for path in commands()]
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom growloop.cli import main\n"
        f"for line in {lines}:\n"
        "    assert CliRunner().invoke(main, line).exit_code == 0, line\n"
        f"    loaded = {HEAVY} & {{name.split('.')[0] for name in sys.modules}}\n"
        "    assert not loaded, (line, loaded)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
