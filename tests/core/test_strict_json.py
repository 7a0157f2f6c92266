"""JSON in which a name comes twice is refused, wherever the object stands."""

from __future__ import annotations

import pytest
from growloop.core.strict_json import RepeatedNameError, loads


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"a": 1, "a": 1}}]'])
def test_a_name_given_twice_is_refused_at_every_level(text: str) -> None:
    with pytest.raises(RepeatedNameError, match="the field 'a' comes twice"):
        loads(text)


def test_the_same_name_in_two_objects_is_fine() -> None:
    assert loads(b'{"a": {"a": 1}, "b": {"a": 2}}') == {"a": {"a": 1}, "b": {"a": 2}}
    with pytest.raises(ValueError, match="Expecting"):
        loads("{")
