"""Results as frames and as HTML, and the drawing of a schedule."""

from __future__ import annotations

import sys
from typing import Any
from xml.etree import ElementTree

import pytest
from growloop.core.drawing import ACROSS, MOST
from growloop.core.errors import InputError
from growloop.core.schedule import Schedule
from growloop.core.tabular import MOST_SHOWN, Tabular, html_table


class Table(Tabular):
    title = "a <title>"
    notes = ("a <note>",)

    def to_rows(self) -> list[dict[str, Any]]:
        return [{"<name>": "<script>alert(1)</script>", "n": 1000, "value": 0.123456, "none": None}]


def test_html_is_escaped_and_numbers_are_readable() -> None:
    html = Table()._repr_html_()
    ElementTree.fromstring(f"<div>{html}</div>")
    for text in ("<script>", "<name>", "<title>", "<note>"):
        assert text not in html
    assert ">1,000<" in html
    assert ">0.1235<" in html
    assert "None" not in html


def test_rows_of_different_columns_have_all_of_them() -> None:
    html = html_table([{"a": 1}, {"b": True}])
    assert html.count("<th>") == 2
    assert html.count("<td") == 4


def test_a_long_table_is_cut_and_says_so() -> None:
    html = html_table([{"a": number} for number in range(MOST_SHOWN + 5)])
    assert html.count("<tr>") == MOST_SHOWN + 1
    assert f"{MOST_SHOWN} of {MOST_SHOWN + 5} rows" in html


def test_without_pandas_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="to_pandas needs pandas: pip install pandas"):
        Table().to_pandas()


@pytest.mark.parametrize("text", ["6", "4-4x4-4", "1x9", "23-0,", "2x40", "0:30,0:30,0:300"])
def test_a_drawing_has_a_box_a_step_and_a_bracket_a_loop(text: str) -> None:
    schedule = Schedule.parse(text)
    html = schedule._repr_html_()
    drawing = ElementTree.fromstring(html.replace("<br>", "<br/>"))
    names = [element.tag.rpartition("}")[2] for element in drawing.iter()]
    assert names.count("rect") == min(len(schedule), MOST)
    looped = sum(section.times for section in schedule.sections if section.times > 1)
    if len(schedule) <= ACROSS:
        assert names.count("path") == looped
    assert ("more</text>" in html) == (len(schedule) > MOST)
    width = float(next(e for e in drawing.iter() if e.tag.endswith("svg")).attrib["width"])
    for element in drawing.iter():
        if element.tag.endswith("rect"):
            assert float(element.attrib["x"]) + float(element.attrib["width"]) <= width


def test_plain_repr_of_a_schedule_is_unchanged() -> None:
    assert repr(Schedule.parse("2x2")) == "Schedule(layers=(0, 1, 0, 1))"
