"""Plug-ins: names of other distributions and files, and what happens where they are wrong."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import pytest
from growloop.core import plugins
from growloop.core.errors import InputError
from growloop.core.plugins import PluginError
from growloop.core.registry import Registry

from ..support.plugins import (
    COIN,
    OPERATOR,
    REGISTERED,
    SOLVER,
    growloop,
    install,
    plugin_file,
    python,
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed distributions: one good, one broken, two that clash, one of a name."""
    site = tmp_path / "site"
    coin = {"coin": "coin_package:Coin"}
    install(
        site, "growloop-coin", {"primitives": coin}, coin_package=COIN.replace("@name@", "coin")
    )
    install(site, "broken", {"primitives": {"broken": "broken_package:Task"}},
            broken_package="import numpy\nnumpy.no_such_name\n")  # fmt: skip
    install(site, "first", {"primitives": {"twin": "first_package:A"}}, first_package="A = 1")
    install(site, "second", {"primitives": {"twin": "second_package:A"}}, second_package="A = 1")
    install(site, "greedy", {"primitives": {"copying": "greedy_package:A", "copying_real_words":
            "greedy_package:A"}}, greedy_package="raise SystemExit('never imported')")  # fmt: skip
    return site


WARNINGS = [
    "two tasks are named 'copying': of growloop and of greedy 1.2; rename or remove one of them",
    "two tasks are named 'copying_real_words': of growloop and of greedy 1.2; rename or remove one "
    "of them",
    "two tasks are named 'twin': of first 1.2 and of second 1.2; rename or remove one of them",
]
BROKEN = (
    "the task 'broken' of broken 1.2 cannot be used: AttributeError: module 'numpy' has no "
    "attribute 'no_such_name' (broken_package.py, line 2)"
)


def test_a_list_has_all_that_work_and_names_each_of_the_others_once(site: Path) -> None:
    listed = growloop("tasks", "--json", site=site)
    assert listed.returncode == 0
    entries = {entry["name"]: entry for entry in json.loads(listed.stdout)}
    assert entries["coin"]["origin"] == "growloop-coin 1.2"
    assert entries["coin"]["chance"] == 0.5
    assert entries["copying_real_words"]["origin"] == "growloop"
    assert not entries.keys() & {"broken", "twin", "copying"}
    warnings = [line.removeprefix("Warning: ") for line in listed.stderr.splitlines()]
    assert sorted(warnings) == sorted([*WARNINGS, BROKEN])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", BROKEN),
        ("twin", WARNINGS[2]),
        ("coins", "did you mean 'coin'?"),
        ("coins", "of plug-ins: broken (broken 1.2), coin (growloop-coin 1.2), twin (first 1.2)"),
    ],
)
def test_a_name_that_cannot_be_used_is_one_sentence(site: Path, name: str, message: str) -> None:
    done = growloop("generate", name, "--items", "3", "--out", "-", site=site)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_is_imported_or_said_before_it_is_needed(site: Path) -> None:
    done = growloop("generate", "copying", "--items", "3", "--out", "-", "-q", site=site)
    assert (done.returncode, done.stderr) == (0, "")
    code = (
        "import json, sys; from growloop.primitives import TASKS; names = list(TASKS); "
        "before = 'coin_package' in sys.modules; TASKS['coin']; "
        "print(json.dumps(['coin' in names, before, 'coin_package' in sys.modules]))"
    )
    assert python(code, site) == [True, False, True]


def test_a_package_that_a_script_imports_first_has_the_same_origin(site: Path) -> None:
    code = (
        "import json; from growloop.primitives import TASKS, register_primitive; "
        "from growloop.core.plugins import used; import coin_package; "
        "register_primitive(coin_package.Coin); TASKS['coin']; print(json.dumps(used()))"
    )
    digest = hashlib.sha256((site / "coin_package.py").read_bytes()).hexdigest()[:12]
    assert python(code, site) == {"growloop-coin": f"1.2 sha256:{digest}"}


def test_a_file_is_a_plug_in_of_commands_and_of_the_processes_they_start(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, "coins.py", REGISTERED + SOLVER)
    out = tmp_path / "coin.jsonl"
    write = ("generate", "coin", "--items", "50", "--jobs", "2", "--out", str(out))
    done = growloop("--plugin", str(file), *write)
    assert done.returncode == 0, done.stderr
    assert growloop("verify", str(out), files=str(file)).stdout.endswith("50 items: all right\n")
    assert "unknown task 'coin'" in growloop("verify", str(out)).stderr
    listed = growloop("--plugin", str(file), "tasks", "--json").stdout
    assert [e["origin"] for e in json.loads(listed) if e["name"] == "coin"] == ["coins.py"]
    script = tmp_path / "spawning.py"
    script.write_text(
        "from growloop.primitives import Source, export, make_task\n"
        "if __name__ == '__main__':\n"
        "    source = Source(make_task('coin', {'digits': 6}), 'train', 0)\n"
        f"    export([source], 40000, {str(tmp_path / 'many.jsonl')!r}, 'jsonl', workers=2,\n"
        "           start_method='spawn')\n"
        "    print(len(list(open(%r))))\n" % str(tmp_path / "many.jsonl")
    )
    assert python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')",
                  files=str(file)) == 40000  # fmt: skip


def test_without_a_solver_items_are_compared_with_the_generator_alone(tmp_path: Path) -> None:
    file = str(plugin_file(tmp_path, "coins.py"))
    out = tmp_path / "coin.jsonl"
    growloop("--plugin", file, "generate", "coin", "--items", "20", "--out", str(out))
    done = growloop("--plugin", file, "verify", str(out))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "20 items: all right")
    assert done.stderr == (
        "coin has no solver: its items equal the generator's, but nothing derived their answers "
        "from the prompts\n"
    )
    assert json.loads(growloop("--plugin", file, "verify", "--json", str(out)).stdout)[
        "unsolved"
    ] == ["coin"]
    out.write_text(out.read_text().replace('"target": "odd"', '"target": "even"', 1))
    assert growloop("--plugin", file, "verify", str(out)).returncode == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module", "No module named 'no_such_module' (bad.py, line 1)"),
        ("x = (", "SyntaxError: '(' was never closed (bad.py, line 1)"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (REGISTERED.replace("summary:", "title:"), "Coin needs summary: ClassVar[str]"),
        (REGISTERED.replace("def splits_of", "def other"), "Coin does not define splits_of"),
        (REGISTERED.replace("@name@", "copying"), "two tasks are named 'copying': of growloop and "
         "of bad.py"),
        (REGISTERED.replace("@name@", "Coin 1"), "a primitive is named in a-z, 0-9 and _"),
        (REGISTERED + "\nfail()", "NameError: name 'fail' is not defined (bad.py, line"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_by_name_and_leaves_nothing(
    tmp_path: Path, code: str, message: str
) -> None:
    file = plugin_file(tmp_path, "bad.py", code)
    done = growloop("--plugin", str(file), "tasks")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: plug-in bad.py cannot be used: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    listed = growloop("tasks", "--json", files=str(file))  # others go on without it
    assert listed.returncode == 0
    assert listed.stderr.startswith("Warning: plug-in bad.py cannot be used: ")
    assert "coin" not in [entry["name"] for entry in json.loads(listed.stdout)]


def test_a_file_that_registers_nothing_is_named_in_a_warning(tmp_path: Path) -> None:
    undecorated = REGISTERED.replace("@register_primitive\n", "")
    file = plugin_file(tmp_path, "forgot.py", undecorated)
    done = growloop("--plugin", str(file), "tasks", "--json")
    assert done.returncode == 0
    assert "coin" not in [entry["name"] for entry in json.loads(done.stdout)]
    assert done.stderr.startswith("Warning: plug-in forgot.py registers nothing: put @register_")
    assert len(done.stderr.splitlines()) == 1


def test_files_that_import_the_same_plug_in_are_not_warned_about(tmp_path: Path) -> None:
    plugin_file(tmp_path, "shared_coin.py", REGISTERED)
    code = f"import sys\n\nsys.path.insert(0, {str(tmp_path)!r})\n"
    module = plugin_file(tmp_path, "one.py", code + "import shared_coin\n")
    names = plugin_file(tmp_path, "two.py", code + "from shared_coin import *\n")
    done = growloop("--plugin", str(module), "--plugin", str(names), "tasks", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "coin" in [entry["name"] for entry in json.loads(done.stdout)]


def test_files_that_are_missing_or_clash_are_refused(tmp_path: Path) -> None:
    done = growloop("--plugin", "nowhere.py", "tasks", cwd=tmp_path)
    assert done.stderr == f"Error: there is no plug-in file {tmp_path / 'nowhere.py'}\n"
    one, two = (str(plugin_file(tmp_path, file)) for file in ("one.py", "two.py"))
    done = growloop("--plugin", one, "--plugin", two, "tasks")
    assert "two tasks are named 'coin': of one.py and of two.py" in done.stderr
    assert growloop("--plugin", one, "--plugin", one, "tasks").returncode == 0


@pytest.fixture
def registry() -> Registry[str]:
    """A registry without entry points."""

    def check(name: str, value: object) -> str:
        if not isinstance(value, str):
            raise InputError(f"{name} is not text")
        return value

    return Registry("word", None, check)


def test_an_object_is_replaced_within_a_block(registry: Registry[str]) -> None:
    registry.register("a", "1", "growloop.words")
    with registry.replace("a", "2") as value:
        assert (value, registry["a"], registry.own()) == ("2", "2", ["a"])
    assert registry["a"] == "1"
    with contextlib.suppress(RuntimeError), registry.replace("a", "2"):
        raise RuntimeError
    assert registry["a"] == "1"
    with registry.replace("a", "2"):
        registry.register("a", "3", "growloop.words")  # the later one wins
    assert registry["a"] == "3"
    with pytest.raises(KeyError), registry.replace("unknown", "2"):
        pass


def test_a_module_may_replace_its_own_and_no_other_object(registry: Registry[str]) -> None:
    registry.register("a", "1", "growloop.words")
    registry.register("b", "2", "notebook")
    registry.register("b", "3", "notebook")
    assert (registry["b"], list(registry), registry.own()) == ("3", ["a", "b"], ["a"])
    assert str(registry.origin("b")) == "module notebook"
    with pytest.raises(PluginError, match="'a': of growloop and of module notebook"):
        registry.register("a", "4", "notebook")
    with pytest.raises(PluginError, match="'b': of module notebook and of module other"):
        registry.register("b", "4", "other")
    with pytest.raises(InputError, match="c is not text"):
        registry.register("c", 5, "notebook")  # type: ignore[arg-type]
    assert "c" not in registry
    with pytest.raises(KeyError):
        registry["c"]
    assert "unknown word 'aa': did you mean 'a'?" in str(registry.unknown("aa"))


def test_what_growloop_keeps_for_itself_is_refused(registry: Registry[str]) -> None:
    registry.register("early", "1", "notebook")
    registry.reserve(["early", "late"])
    with pytest.raises(PluginError, match="'late': of growloop and of module notebook"):
        registry.register("late", "1", "notebook")
    with pytest.raises(PluginError, match="'early': of growloop and of module notebook"):
        registry["early"]


def test_operators_of_files_grow_and_are_named_in_the_history(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, "maps.py", OPERATOR, name="stretch")
    code = (
        "import json; from growloop.models import build, grow; "
        "model = grow(build('tiny', num_hidden_layers=4), 'stretch', block_size=3); "
        "print(json.dumps(model.config.growth_history))"
    )
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    assert python(code, files=str(file)) == [
        {"operator": "stretch", "from": 4, "to": 7, "sources": "3x2-1",
         "plugin": f"maps.py sha256:{digest}"}
    ]  # fmt: skip


def test_a_digest_follows_every_file_of_a_package(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.py").write_text("1")
    before = plugins._folders_digest([tmp_path])
    (tmp_path / "inner" / "prompt.j2").write_text("2")
    after = plugins._folders_digest([tmp_path])
    assert before != after
    (tmp_path / "inner" / "a.pyc").write_text("3")
    assert plugins._folders_digest([tmp_path]) == after
