"""A damaged record of a cell is refused, and named: what was measured is not measured again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support.commands import refused
from .small import study

ODD: tuple[Any, ...] = (None, "x", 3, [], {}, [1], {"x": 1})


def with_other_values(fields: dict[str, Any], inside: str = "") -> Iterator[tuple[str, Any]]:
    """A record without each of its fields, and with each of another kind."""
    for name, value in fields.items():
        yield f"without {inside}{name}", {k: v for k, v in fields.items() if k != name}
        for odd in ODD:
            if type(odd) is not type(value):
                yield f"{inside}{name}: {odd}", fields | {name: odd}
        if isinstance(value, dict) and not inside:
            for what, changed in with_other_values(value, f"{name}."):
                yield what, fields | {name: changed}


@pytest.fixture(scope="module")
def done(
    models: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], Path]:
    """A study, and the file of its only cell."""
    out = tmp_path_factory.mktemp("study")
    asked = ["weight-similarity", "-m", models["plain"], "--apart", "1", "--out", str(out)]
    study(*asked)
    [file] = (out / "records").rglob("*.json")
    return asked, file


def test_a_record_that_is_not_what_was_written_is_refused(done: tuple[list[str], Path]) -> None:
    asked, file = done
    whole = file.read_text()
    fields = json.loads(whole)
    damaged = {what: json.dumps(changed) for what, changed in with_other_values(fields)}
    damaged |= {"cut": whole[:-9], "empty": "", "other number": whole.replace("0.", "1.", 1)}
    harmless = {"without sha256", "sha256: None"}
    for what, text in damaged.items():
        if what not in harmless:
            file.write_text(text)
            message = refused("study", *asked)
            assert str(file) in message, what
            assert "move it away" in message, what
    file.write_text(whole)
    study(*asked)


def test_a_damaged_record_of_an_earlier_version_is_a_result_or_a_sentence(
    done: tuple[list[str], Path], tmp_path: Path
) -> None:
    from ..support.commands import run

    asked, file = done
    whole = file.read_text()
    fields = json.loads(whole)
    del fields["sha256"]
    publish = ["study", "publish", "--out", str(file.parents[2]), "--leaderboard", str(tmp_path)]
    for what, changed in with_other_values(fields):
        file.write_text(json.dumps(changed))
        for command in (["study", *asked], publish):
            result = run(*command)
            assert result.exit_code in (0, 2), (what, result.exception)
            assert result.exit_code == 0 or "Error: " in result.stderr, what
    file.write_text(whole)
