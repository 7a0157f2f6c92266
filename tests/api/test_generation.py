"""``growloop.generate``: items in memory and in files."""

from __future__ import annotations

from pathlib import Path

import growloop
import pytest
from growloop import InputError
from growloop.primitives import Item, solve

from ..support.commands import run


def test_items_are_a_sequence_and_a_table() -> None:
    pandas = pytest.importorskip("pandas")
    items = growloop.generate("variable_assignment", 12, style="code", depth=1)
    assert len(items) == 12
    assert isinstance(items[0], Item)
    assert [solve(item.task, item.prompt) for item in items] == [item.target for item in items]
    assert items[:2] == list(growloop.generate("variable_assignment", 2, style="code", depth=1))
    assert isinstance(items.to_pandas(), pandas.DataFrame)
    assert "the first 3 of 12" in items._repr_html_()
    assert repr(items) == "<12 items of variable_assignment, test>"


def test_a_file_is_that_of_the_command(tmp_path: Path) -> None:
    made = growloop.generate(
        "copying", 20, split="train", words="real", out=tmp_path / "here.jsonl"
    )
    command = run(
        "generate", "copying", "--words", "real", "--items", "20", "--split", "train",
        "--out", str(tmp_path / "there.jsonl"),
    )  # fmt: skip
    assert command.exit_code == 0
    assert (tmp_path / "here.jsonl").read_bytes() == (tmp_path / "there.jsonl").read_bytes()
    assert made.reports[0].fingerprint[:16] in command.output
    assert [item.split for item in made] == ["train"] * 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "copyin"}, "did you mean 'copying'"),
        ({"task": "copying", "split": "tests"}, "unknown split 'tests'"),
        ({"task": "copying", "items": 0}, "items must be a whole number"),
        ({"task": "copying", "depth": 2}, "depth"),
        ({"task": "copying", "format": "jsonl"}, "format is about a file"),
        ({"task": "copying", "split": []}, "no split"),
    ],
)
def test_bad_input_is_one_sentence(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        growloop.generate(**arguments)  # type: ignore[arg-type]
