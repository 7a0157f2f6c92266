"""No input, however odd, ends in a traceback."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

from click.testing import CliRunner
from growloop.cli import main
from growloop.core.errors import InputError
from growloop.primitives import TASKS, Source, Template, export, make_task, verify
from hypothesis import given, settings
from hypothesis import strategies as st

WORD = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
) | st.sampled_from(
    ["-1", "0", "1", "2", "3", "1e9", "nan", "None", "true", "code", "real", "-", "="]
)
OPTIONS = """
--style --depth --chains --low --high --order --distractors --control --words --name-length --param
--sequence-length --segment-length --hops --alphabet --operands --digits --width --terms --items -p
--seed --split --format --template --force --quiet
"""
OPTION = st.sampled_from(OPTIONS.split())
QUIET = settings(max_examples=150)


def outcome(arguments: list[str]) -> int:
    result = CliRunner().invoke(main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 2)
    return result.exit_code


@QUIET
@given(st.sampled_from(sorted(TASKS)), st.lists(st.tuples(OPTION, WORD), max_size=4), st.booleans())
def test_generate_survives_any_options(
    task: str, options: list[tuple[str, str]], small: bool
) -> None:
    arguments = [part for option in options for part in option]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "x"
        code = outcome(["generate", task, "-n", "7" if small else "3", *arguments, "-o", str(out)])
        left = list(Path(folder).iterdir())
        assert left == ([out] if code == 0 else [])


@QUIET
@given(st.lists(WORD, max_size=5))
def test_any_words_at_all(words: list[str]) -> None:
    if words and words[0] in ("eval", "generate"):
        words = words[1:]
    with tempfile.TemporaryDirectory() as folder:
        outcome([word for word in words if word] + ["--none", folder])


@QUIET
@given(
    st.sampled_from(["eval", "tasks", "verify"]),
    st.lists(st.sampled_from(["--tasks", "--model", "-p", "--limit", "show", "--json"]) | WORD),
)
def test_other_commands_survive_any_words(command: str, words: list[str]) -> None:
    if command == "eval":
        words = ["--model", "./there is no such model", *words]
    outcome([command, *words])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@QUIET
@given(st.data(), st.sampled_from(["params", "version", "split", "seed", "index", "choices"]))
def test_verify_survives_any_field(data: st.DataObject, field: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        export([Source(make_task("preschool_math"), "test", 0)], 3, path)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        before = rows[1][field]
        if field == "params" and data.draw(st.booleans()):
            params = json.loads(before)
            name = data.draw(st.sampled_from(sorted(params)))
            rows[1][field] = json.dumps(params | {name: data.draw(JSON)})
        else:
            rows[1][field] = data.draw(JSON)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        verdict = verify([path])
        assert verdict.ok == (json.dumps(rows[1][field]) == json.dumps(before))


@QUIET
@given(st.binary(max_size=200))
def test_verify_survives_any_bytes(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(content)
        with contextlib.suppress(InputError):  # what begins like Parquet must be Parquet
            assert not verify([path]).ok


LINES = "{% for line in lines %}{{ line.name }}={{ line.value }}\n{% endfor %}"
PARTS = [LINES, "{{ query }}", "{{", "%}", "{%", "{{ lines }}", "{{ query * 3 }}", "?", "{# #}"]
PARTS += [
    "{{ lines[0].name }}",
    "{% if query %}",
    "{% endif %}",
    "{{ query.format(1) }}",
    "{{ x }}",
]
PARTS += ["{{ cycler }}", "{% set x = query %}", "{{ 2**9 }}", "{{ query.__class__ }}"]
PART = st.sampled_from(PARTS)


@QUIET
@given(st.lists(PART, max_size=6).map("".join) | st.text(max_size=40))
def test_any_template_is_rendered_or_refused(text: str) -> None:
    try:
        items = Source(make_task("variable_assignment"), "test", 0, Template("t", text)).items(0, 5)
    except InputError as error:
        if "\n" in str(error):
            raise AssertionError(error) from error
    else:
        for item in items:
            assert item.target in item.prompt
