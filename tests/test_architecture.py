"""Who may import whom, and what the light entry points may load."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
import time

import pytest
from growloop.cli.main import COMMANDS
from growloop.studies import STUDIES

from .support.imports import FLOORS, HEAVY, PACKAGE, ROOT, import_graph, imports, modules

PRIMITIVES_MAY_IMPORT = {"numpy", "jinja2", "growloop"}


def test_no_module_imports_itself_through_others() -> None:
    graph = import_graph()
    assert len(graph) > 200
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_every_code_folder_has_a_floor() -> None:
    folders = {p.parent.name for p in ROOT.glob("*/__init__.py")} - {"tests"}
    assert folders == {*FLOORS, PACKAGE}


def test_the_package_itself_holds_public_names_alone() -> None:
    assert [path.name for path in modules(PACKAGE)] == ["__init__.py"]
    lazily = ast.parse((ROOT / PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
    now = [node.module for node in lazily if isinstance(node, ast.ImportFrom)]
    assert now == ["__future__", "typing", "core.lazy_exports"]


@pytest.mark.parametrize("folder", FLOORS)
def test_imports_go_down_only(folder: str) -> None:
    for path in modules(folder):
        depth = len(path.relative_to(ROOT / folder).parts)
        for level, module in imports(path):
            target = None
            if level > depth:  # out of the folder
                target = module.split(".")[0]
            elif level == 0 and module.split(".")[0] == "growloop":
                target = module.split(".")[1]
            if target and target != folder:
                assert target in FLOORS[folder], f"{path.name} imports {target}"


OPTIONAL_IN_CORE = {"tabular.py": ["pandas"], "published_code.py": ["torch", "transformers"]}


def test_primitives_need_numpy_and_jinja2_alone() -> None:
    for path in modules("primitives"):
        for level, module in imports(path):
            top = module.split(".")[0]
            if level == 0 and top not in sys.stdlib_module_names:
                optional = path.name == "writing.py" and top == "pyarrow"
                assert top in PRIMITIVES_MAY_IMPORT or optional, f"{path.name} imports {top}"


def test_core_needs_the_standard_library_and_numpy_alone() -> None:
    for path in modules("core"):
        for level, module in imports(path):
            top = module.split(".")[0]
            optional = OPTIONAL_IN_CORE.get(path.name, ())  # imported inside of functions
            known = top in sys.stdlib_module_names | {"numpy", *optional}
            assert level > 0 or known, f"{path.name}: {top}"


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


LOADED = "import sys; print(sorted({name.split('.')[0] for name in sys.modules}))"


@pytest.mark.parametrize(
    "code",
    [
        "import growloop; growloop.generate('copying', 2)[0].prompt",
        "import growloop; growloop.evaluate, growloop.study, growloop.compare, growloop.train",
        "import growloop; growloop.sft, growloop.scan, growloop.leaderboard.load",
        "import growloop.primitives",
        "import growloop.tasks",
        "import growloop.tasks.benchmarks",
        "import growloop.leaderboard",
        "from growloop.cli import main; main(['leaderboard', '--help'], standalone_mode=False)",
        "from growloop.cli import main; main(['--help'], standalone_mode=False)",
        "from growloop.cli import main; main(['generate', '--help'], standalone_mode=False)",
        "from growloop.cli import main; main(['generate', 'copying', '-n', '9', '-o', '-'], "
        "standalone_mode=False)",
        "from growloop.cli import main; main(['eval', '--help'], standalone_mode=False)",
        "from growloop.cli import main; main(['tasks'], standalone_mode=False)",
    ],
)
def test_light_entry_points_load_nothing_heavy(code: str) -> None:
    loaded = set(ast.literal_eval(run(f"{code}\n{LOADED}").splitlines()[-1]))
    assert not loaded & HEAVY


HELP = f"""
import contextlib, io, sys
import click
from growloop.cli.main import COMMANDS, main
from growloop.studies import STUDIES

def names(group, *path):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield *path, name
        if isinstance(command, click.Group):
            yield from names(command, *path, name)

calls = [*names(main), *(("study", study) for study in STUDIES)]
for call in calls:
    for more in (["--help"], ["--no-such-option"], ["--no-such-option", "--help"]):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(click.ClickException):
            main([*call, *more], standalone_mode=False)
        loaded = {{name.split(".")[0] for name in sys.modules}} & {HEAVY | {"pydantic", "altair"}}
        assert not loaded, (call, more, loaded)
print(len(calls))
"""


def test_help_and_usage_errors_of_every_command_and_study_load_nothing_heavy() -> None:
    calls = int(run(HELP).splitlines()[-1])
    assert calls > len(COMMANDS) + len(STUDIES)


@pytest.mark.parametrize(
    "code",
    [
        "from growloop.cli import main; main(['--help'], standalone_mode=False)",
        "import growloop; growloop.__version__; dir(growloop); growloop.leaderboard",
    ],
)
def test_help_and_the_package_do_not_even_load_numpy(code: str) -> None:
    loaded = set(ast.literal_eval(run(f"{code}\n{LOADED}").splitlines()[-1]))
    assert not loaded & (HEAVY | {"numpy"})


def test_help_answers_within_three_times_the_bare_imports() -> None:
    def seconds(*command: str) -> float:
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start

    # pairs, taken in turn: the machine's load falls on both sides alike
    bare = (sys.executable, "-c", "import click, numpy")
    ours = (sys.executable, "-m", "growloop.cli", "--help")
    ratios = [seconds(*ours) / seconds(*bare) for _ in range(7)]
    assert min(ratios) < 3
