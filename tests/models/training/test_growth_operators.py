"""Growth operators of run files: names, functions and lists of source layers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from growloop.core import plugins
from growloop.core.errors import InputError
from growloop.models import build, grow, growth_map
from growloop.models.growing.grow import identity_of
from growloop.models.growing.registry import OPERATORS, register_operator
from growloop.models.training import checks
from growloop.models.training.inputs import PLUGIN_CODE, read_inputs
from growloop.models.training.runfile import Run, parse

from ...support.training_runs import fields


def run(**growth: Any) -> Run:
    return parse(fields(Path("shards"), growth=growth))


def maps(**growth: Any) -> list[str]:
    return [str(step) for _, step in run(**growth).growth_steps(6)]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """An importable module with operators."""
    module = ModuleType("own_maps")
    code = (
        "def first(depth, block_size=2): return [*range(block_size), *range(depth)]\n"
        "def one(depth): return [*range(depth), depth - 1]\n"
        "def scaled(depth, by): return list(range(depth)) * by\n"
        "def fewer(depth): return [0]\n"
        "def beyond(depth): return [*range(depth + 1)]\n"
        "def strings(depth): return 'abc'\n"
        "def failing(depth): return depth / 0\n"
        "def refusing(depth): raise ValueError('only 7 layers')\n"
        "text = 'no function'\n"
    )
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "own_maps", module)
    yield module
    plugins.forget("own_maps")


def test_operators_of_every_form_grow_a_run(module: ModuleType) -> None:
    assert maps(operator="own_maps:first", block_size=2) == ["2x2", "2x2-2"]
    assert maps(operator="own_maps:one", block_size=4) == ["3-1x2", "4-1x2"]
    assert maps(operator="own_maps:scaled", block_size=3, options={"by": 2}) == ["3x2"]
    assert maps(operator=[0, 1, 2, 3, 2, 3], block_size=4) == ["2-2x2"]
    assert maps(operator="0-3,2-3", block_size=4) == ["2-2x2"]
    register_operator("first")(module.first)
    assert maps(operator="first", block_size=2) == ["2x2", "2x2-2"]
    assert "first" in OPERATORS


@pytest.mark.parametrize(
    ("growth", "message"),
    [
        ({"operator": [0, 1, 0, 1]}, "makes 4 layers of 4, not 6"),
        ({"operator": [0, 1, 2, 3, 4, 5]}, "needs 6 layers, the model has 4"),
        ({"operator": [0, 1, 0, 1, 0, 1], "order": "inserted"}, "takes no order"),
        ({"operator": [0, 1, 0, 1, 0, 1], "options": {"by": 2}}, "takes no by"),
        ({"operator": "own_maps:first", "options": {"by": 2}}, "unknown option of own_maps:first"),
        ({"operator": "own_maps:scaled"}, "needs its option by"),
        ({"operator": "own_maps:fewer"}, "makes 1 layers of 4, but growth removes none"),
        ({"operator": "own_maps:beyond"}, "needs 5 layers, the model has 4"),
        ({"operator": "own_maps:strings"}, "returns a GrowthMap or a list .* not 'abc'"),
        ({"operator": "own_maps:failing"}, "failed for 4 layers: ZeroDivisionError"),
        ({"operator": "own_maps:refusing"}, "refuses 4 layers: only 7 layers"),
        ({"operator": "own_maps:text"}, "is a function of the number of layers, not 'no function'"),
        ({"operator": "own_maps:none"}, "cannot be imported: AttributeError"),
        ({"operator": "no_such_maps:none"}, "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(
    module: ModuleType, growth: dict[str, Any], message: str
) -> None:
    parsed = run(block_size=4, **growth)
    with pytest.raises(InputError, match=message):
        parsed.growth_steps(6)


@pytest.mark.parametrize(
    ("growth", "message"),
    [
        ({"operator": "nosuch"}, "unknown growth operator 'nosuch'"),
        ({"operator": "4x"}, "character 3"),
        ({"operator": 3}, "an operator is a name, module:function, or a list"),
        ({"operator": []}, r"such as \[0, 1, 0, 1\], not \[\]"),
        ({"operator": [0, True]}, r"not \[0, True\]"),
        ({"operator": [0, -1]}, r"not \[0, -1\]"),
        ({"operator": [[0, 1]]}, r"not \[\[0, 1\]\]"),
        ({"options": {"block_size": 3}}, "block_size has a field of its own"),
        ({"options": {"by": 1.5}}, "by"),
    ],
)
def test_what_is_no_operator_is_refused_when_the_file_is_read(
    growth: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(**growth)


def test_a_run_without_options_is_written_as_before_they_existed() -> None:
    assert "options" not in run(operator="midas").model_dump(mode="json")["growth"]
    stored = run(operator="own_maps:scaled", options={"by": 2}).model_dump(mode="json")
    assert parse(stored).model_dump(mode="json") == stored
    listed = run(operator=[0, 1, 0, 1]).model_dump(mode="json")
    assert parse(listed).growth == run(operator=[0, 1, 0, 1]).growth


def test_functions_grow_models_in_python_and_are_named(module: ModuleType) -> None:
    assert growth_map(module.first, 4).name == "own_maps:first"
    model = grow(build("tiny", num_hidden_layers=4), module.first, block_size=1)
    [step] = model.config.growth_history
    assert (step["operator"], step["to"]) == ("own_maps:first", 5)
    assert step["plugin"] == identity_of("own_maps:first")
    assert step["plugin"].startswith("module own_maps")
    grow(model, [0, 1, 2, 3, 4, 4])
    assert model.config.growth_history[1] == {
        "operator": "map", "from": 5, "to": 6, "sources": "4-1x2"
    }  # fmt: skip


def test_events_take_every_form_and_their_code_is_an_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file_maps.py").write_text("def one(depth):\n    return [*range(depth), 0]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    events = [
        {"step": 1, "grow": [0, 1, 1]},
        {"step": 2, "grow": "file_maps:one"},
        {"step": 3, "grow": "0-3,3"},
        {"step": 4, "grow": "g_stack"},
    ]
    lesson = {"curriculum": [{"lessons": {"recall": 1.0}}], "batch_size": 8}
    parsed = parse({
        "name": "a", "steps": 6, "model": {"preset": "tiny", "options": {"num_hidden_layers": 2}},
        "data": lesson, "optimizer": {"warmup": 1}, "events": events,
    })  # fmt: skip
    start = checks.check(parsed, tmp_path / "run")
    [identity] = start.inputs[PLUGIN_CODE].values()
    (tmp_path / "file_maps.py").write_text("def one(depth):\n    return [*range(depth), 1]\n")
    assert read_inputs(parsed)[PLUGIN_CODE]["module file_maps"] != identity
    assert PLUGIN_CODE not in read_inputs(parsed.model_copy(update={"events": ()}))
