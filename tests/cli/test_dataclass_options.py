"""Options of dataclasses on the command line: types come from the annotations."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

import click
import pytest
from click.testing import CliRunner
from growloop.cli.dataclass_options import flag_name, options_to_click
from growloop.cli.study import command
from growloop.studies.catalog import STUDIES, find

from ..support.commands import refused, run

OUT = Path("out")


def about(default: Any, text: str = "help") -> Any:
    return field(default=default, metadata={"about": text})


@dataclass(frozen=True)
class Every:
    """Each annotation that options can have."""

    count: int = about(3)
    rate: float = about(0.5)
    keep: bool = about(False)
    style: str = about("code")
    place: Path = field(default=OUT, metadata={"about": "help"})
    kind: Literal["a", "b"] = about("a")
    most: int | None = about(None)
    text: str | None = about(None)
    sizes: tuple[int, ...] = about(())
    rates: tuple[float, ...] = about((0.1, 0.2))
    names: tuple[str, ...] = about(("x",))


def parse(options: type[Any], *arguments: str) -> Any:
    values: dict[str, Any] = {}
    parser = click.Command("c", params=[*options_to_click(options)], callback=values.update)
    result = CliRunner().invoke(parser, list(arguments), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return options(**values)


def test_without_arguments_the_options_are_the_defaults() -> None:
    assert parse(Every) == Every()
    for name in STUDIES:
        assert parse(find(name).options) == find(name).options()


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--count=5", "count", 5),
        ("--rate=2", "rate", 2.0),
        ("--keep", "keep", True),
        ("--keep=true", "keep", True),
        ("--keep=false", "keep", False),
        ("--style=basic", "style", "basic"),
        ("--place=a/b", "place", Path("a/b")),
        ("--kind=b", "kind", "b"),
        ("--most=5", "most", 5),
        ("--text=5", "text", "5"),
        ("--sizes=1,2, 2", "sizes", (1, 2)),
        ("--rates=1", "rates", (1.0,)),
        ("--names=5,y", "names", ("5", "y")),
    ],
)
def test_values_have_the_type_of_the_annotation(argument: str, name: str, value: Any) -> None:
    read = getattr(parse(Every, argument), name)
    assert read == value
    assert type(read) is type(value) or isinstance(value, Path)
    if isinstance(value, tuple):
        assert [type(item) for item in read] == [type(item) for item in value]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--count=many", "'many' is not a valid integer"),
        ("--most=many", "'many' is not a valid integer"),
        ("--sizes=1,b", "'b' is not a valid integer"),
        ("--sizes=,", "needs at least one value"),
        ("--kind=c", "'c' is not one of 'a', 'b'"),
        ("--keep=maybe", "'maybe' is not a valid boolean"),
    ],
)
def test_values_of_another_type_are_refused(argument: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        parse(Every, argument)


def test_a_type_without_an_option_is_an_error_of_the_programmer() -> None:
    @dataclass
    class Other:
        table: dict[str, int] | None = None

    with pytest.raises(TypeError, match="no command-line option"):
        options_to_click(Other)


SAMPLES = {"int": "7", "float": "0.25", "str": "word", "bool": "true"}


@pytest.mark.parametrize("name", STUDIES)
def test_every_option_of_every_study_reads_a_value_of_its_type(name: str) -> None:
    options = find(name).options
    shared = {flag for param in command.params for flag in param.opts}
    for known in fields(options):
        assert flag_name(known.name) not in shared
        assert known.default is not MISSING
        hint = str(get_type_hints(options)[known.name]).removeprefix("<class '")
        kind = next(kind for kind in SAMPLES if kind in hint)
        read = getattr(parse(options, f"{flag_name(known.name)}={SAMPLES[kind]}"), known.name)
        [item] = read if isinstance(read, tuple) else [read]
        assert type(item).__name__ == kind


def test_help_lists_type_and_default() -> None:
    shown = run("study", "inference-scaling", "--help").stdout
    words = " ".join(shown.split())
    assert "-n, --items INTEGER questions a task, of each split [default: 200]" in words
    assert "--repeats INTEGER,... extra passes of the block [default: 1, 2, 3]" in words
    assert "--fixed-shots BOOLEAN" in words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("swaps --item 5", "no such option '--item': did you mean '--items'?"),
        ("swaps --picturr a.svg", "did you mean '--picture'?"),
        ("swaps --items 5 --items 6", "--items is given twice"),
        ("swaps --items", "'--items' requires an argument"),
        ("swaps word", "unexpected argument 'word'"),
        ("--outt x swaps", "no such option '--outt': did you mean '--out'?"),
    ],
)
def test_a_wrong_option_of_a_study_is_refused_in_a_sentence(arguments: str, message: str) -> None:
    assert message in refused("study", *arguments.split())
