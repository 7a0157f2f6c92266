"""A record that is accepted can be stored, read back and shown; others are refused at the door."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from growloop.cli import main
from growloop.core.errors import InputError
from growloop.leaderboard import Record, Store
from growloop.leaderboard.site import page

BASE: dict[str, Any] = {
    "version": 1,
    "model": {
        "name": "m", "family": "grown", "size": "10M", "seed": 0, "unique_layers": 4,
        "effective_layers": 4, "training_flops": 1e18, "training_tokens": 10**9, "step": 5,
        "growth": [{"operator": "lidas", "before": 2, "after": 4}], "recipe": "r", "source": "s",
    },
    "task": {"name": "t", "metric": "acc", "chance": 0.25, "shots": 5, "split": "test"},
    "value": 0.5, "stderr": 0.0158, "n": 1000, "seed": 0, "loops": 1, "dtype": "float32",
    "cost": {"unique_parameters": 10**6, "effective_parameters": 10**6, "inference_flops": 1e6,
             "seq_len": 512},
    "time": "2026-01-01T00:00:00+00:00", "study": "swaps", "command": "c", "note": "n",
}  # fmt: skip
EXTREMES: list[Any] = [
    0, 1, -1, 0.5, 1e-320, 5e-324, 1e100, 1.7e308, -1.7e308, 10**6, 10**15, 10**18, 10**19, True,
    float("nan"), float("inf"), "", ".", "..", "/", "x" * 200, "x" * 250, "x" * 10**5, "\u202e",
    "\ud83d", "<script>", [], {}, None,
    "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-12:00", "9998-12-31T23:59:59-12:00",
    "9998-12-31T23:59:59+00:00", "1970-01-01T00:00:00+05:00", "1969-12-31T23:59:59-05:00",
]  # fmt: skip
METRICS = ("acc", "perplexity", "depth_score")


def paths(fields: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in nested fields."""
    pairs = fields.items() if isinstance(fields, dict) else enumerate(fields)
    found = []
    for name, value in pairs:
        found.append((*before, name))
        if isinstance(value, (dict, list)):
            found += paths(value, (*before, name))
    return found


def put(place: tuple[Any, ...], value: Any, metric: str) -> dict[str, Any]:
    fields = copy.deepcopy(BASE)
    fields["task"]["metric"] = metric
    *outer, last = place
    inner: Any = fields
    for name in outer:
        inner = inner[name]
    inner[last] = value
    return fields


@pytest.fixture(scope="module")
def accepted() -> list[Record]:
    found: list[Record] = []
    said: list[str] = []
    for place in paths(BASE):
        for value in EXTREMES:
            for metric in METRICS:
                try:
                    found.append(Record.from_fields(put(place, value, metric)))
                except InputError as error:  # nothing else may be raised
                    said.append(str(error))
    assert max(map(len, said)) < 1200
    assert not any("\n" in sentence for sentence in said)
    return found


def test_whatever_is_accepted_is_read_back_the_same(accepted: list[Record], tmp_path: Path) -> None:
    assert len(accepted) > 100
    Store(tmp_path / "r").add(accepted)
    assert {record.id for record in Store(tmp_path / "r").read()} == {r.id for r in accepted}


@pytest.mark.parametrize(
    "command",
    [
        ["leaderboard", "show", "r", "--study", "all"],
        ["leaderboard", "show", "r", "--study", "all", "--json"],
        ["leaderboard", "show", "r", "--study", "all", "--csv"],
        ["leaderboard", "build", "r", "--out", "site"],
        ["leaderboard", "check", "r"],
        ["claims", "r"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_whatever_is_accepted_breaks_no_table_page_or_claim(
    accepted: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Store("r").add(accepted)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output[-500:]


@pytest.mark.parametrize(
    ("place", "value", "metric", "reason"),
    [
        (("time",), "1970-01-01T00:00:00+05:00", "acc", "a time from 1970 to 9998"),
        (("time",), "9998-12-31T23:59:59-12:00", "acc", "a time from 1970 to 9998"),
        (("time",), 0, "acc", "a date and time as text"),
        (("value",), 1.7e308, "perplexity", "value"),
        (("value",), 1.5, "depth_score", "from 0 to 1"),
        (("stderr",), 5e-324, "acc", "does not fit"),
        (("stderr",), -1.0, "perplexity", "stderr"),
        (("model", "growth", 0, "before"), 0, "acc", "before"),
        (("model", "growth", 0, "after"), 10**15, "acc", "after"),
    ],
)
def test_what_would_break_a_store_is_refused_at_the_door(
    place: tuple[Any, ...], value: Any, metric: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        Record.from_fields(put(place, value, metric))


def test_a_site_is_written_through_a_link_which_stays(tmp_path: Path) -> None:
    record = Record.from_fields(BASE)
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real")
    for _ in range(2):
        assert page.build([record], link) == link / "index.html"
        assert link.is_symlink()
        assert (tmp_path / "real" / "index.html").is_file()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    other = tmp_path / "other"
    other.symlink_to("full")
    with pytest.raises(InputError, match="holds files that do not belong to a site"):
        page.build([record], other)
    assert (tmp_path / "full" / "thesis.tex").is_file()
