from __future__ import annotations

import time
from pathlib import Path

import pytest
from growloop.core.errors import InputError
from growloop.primitives import Source, Template, make_task

VA = make_task("variable_assignment", {"depth": 1})
LINES = "{% for line in lines %}{{ line.name }} is {{ line.value }}; {% endfor %}"


def source(text: str) -> Source:
    return Source(VA, "test", 0, Template("mine", text))


def test_an_own_template_words_the_same_items() -> None:
    own, packaged = source(LINES + "{{ query }}?"), Source(VA, "test", 0)
    assert own.pieces is not None  # compiled
    for mine, theirs in zip(own.items(0, 50), packaged.items(0, 50), strict=True):
        assert mine.choices == theirs.choices
        assert mine.answer == theirs.answer
        assert mine.prompt.count(" is ") == 10
        assert mine.params["template"].startswith("sha256:")


@pytest.mark.parametrize(
    "text",
    [
        LINES + "{{ query | upper }}?",
        LINES + "{{ query }}{% if query > 'm' %}!{% endif %}?",
        "{% for x in lines | sort(attribute='name') %}{{ x.name }}={{ x.value }} {% endfor %}"
        "{{ query }}",
        LINES + "{{ query }} {{ query | length }}",
        LINES + "{{ query }}{% if query == 'q' %} RARE{% endif %}",
        LINES + "{{ query }}{% if lines[0].value | int > 24 %} RARE{% endif %}",
    ],
)
def test_a_template_that_computes_with_values_is_rendered_by_jinja(text: str) -> None:
    src = source(text)
    for item in src.items(0, 30):
        compiled = src.template._compiled
        values = {
            n: c.strings()[0] for n, c in src.task.content(*_drawn(src, item.index)).slots.items()
        }
        assert item.prompt == compiled.render(src.task.context(lambda s, v=values: v[s]))


def _drawn(src: Source, index: int):  # type: ignore[no-untyped-def]
    from growloop.primitives.bits import draw

    return draw(src.key, index, 1, src.task.ranges(src.split)), src.split


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINES, "loses 'query'"),
        ("{{ query }}?", "loses 'name 0'"),
        ("{% for line in lines %}{{ line.name }} {% endfor %}{{ query }}", "loses 'value 0'"),
        ("{{ qeury }}", "'qeury' is undefined"),
        ("{% for line in lines %}", "line 1"),
        (LINES + "{{ query.__class__.__mro__ }}", "unsafe|undefined|access"),
        (LINES + "{{ query }}{{ 1 / 0 }}", "division"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}spam{% endfor %}{% endfor %}",
            "more than",
        ),
        (LINES + "{{ query }}\x01", "control characters"),
        (LINES + "{{ query }}{{ '\\ud800' }}", "surrogates"),
        (LINES + "{{ query }}{{ [1, 2] | random }}", "random"),
        (LINES + "{{ query }}{{ lipsum() }}", "lipsum"),
        ("{% include 'x' %}", "loader"),
    ],
)
def test_broken_templates_are_refused_in_one_sentence(text: str, message: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InputError, match=message) as caught:
        source(text).items(0, 3)
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 60


def test_a_template_that_loses_the_query_only_sometimes_is_refused() -> None:
    with pytest.raises(InputError, match="loses 'query'"):
        source(LINES + "{% if query > 'm' %}{{ query }}{% else %}#{% endif %}").items(0, 200)


def test_numbers_that_the_question_needs_cannot_be_left_out() -> None:
    for name, template, lost in (
        ("p_hop", "{{ tokens | join(' ') }} ->", "hops"),
        ("symbolic_igsm", LINES + "{{ query }}", "modulus"),
    ):
        with pytest.raises(InputError, match=f"loses '{lost}'"):
            Source(make_task(name), "test", 0, Template("mine", template)).items(0, 1)


def test_prompts_that_read_the_same_are_one_item_whatever_their_slots() -> None:
    task = make_task("variable_assignment", {"chains": 2, "high": 112})
    text = (
        "{% for x in lines %}{{ x.name }}{% endfor %} "
        "{% for x in lines %}{{ x.value }}{% endfor %} {{ query }}"
    )
    batch = Source(task, "test", 0, Template("mine", text)).batch(0, 20_000)
    assert len(set(batch.hashes().tolist())) == len(set(batch.prompts()))


def test_unreadable_template_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        Template.from_file(tmp_path / "none.j2")
    (tmp_path / "binary.j2").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        Template.from_file(tmp_path / "binary.j2")
