from __future__ import annotations

import json

import numpy as np
from growloop.primitives.text import Column, Decimals, Slot, Table, fill, squeeze, texts
from hypothesis import given
from hypothesis import strategies as st

# any text but what is used for padding and cutting
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\x01"), max_size=12)


@given(st.lists(TEXT, min_size=1, max_size=5), st.lists(TEXT, min_size=1, max_size=5), TEXT)
def test_texts_equal_plain_string_joins(first: list[str], second: list[str], middle: str) -> None:
    count = 7
    a = Column(np.arange(count, dtype=np.uint8) % len(first), Table(first))
    b = Column(np.arange(count, dtype=np.uint16) % len(second), Table(second))
    pieces = [Slot("a"), middle.encode(), Slot("b"), b"."]
    expected = [x + middle + y + "." for x, y in zip(a.strings(), b.strings(), strict=True)]
    assert texts(pieces, {"a": a, "b": b}, count) == expected
    assert squeeze(fill(pieces, {"a": a, "b": b}, count)).decode() == "".join(expected)


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_escaped_slots_are_json_strings(strings: list[str]) -> None:
    column = Column(np.arange(len(strings), dtype=np.uint8), Table(strings))
    pieces = [b'"', Slot("a", escape=True), b'"']
    found = texts(pieces, {"a": column}, len(strings))
    assert [json.loads(text) for text in found] == strings


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=20))
def test_decimals_are_written_as_python_writes_them(values: list[int]) -> None:
    column = Decimals(np.array(values, np.uint64))
    assert texts([Slot("n")], {"n": column}, len(values)) == [str(value) for value in values]
