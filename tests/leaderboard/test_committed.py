"""The records that are kept in the repository."""

from __future__ import annotations

from pathlib import Path

from growloop.leaderboard import Store
from growloop.leaderboard.entries import build_entries

RECORDS = Path(__file__).parents[2] / "records"


def test_they_are_whole_and_tell_how_they_were_made() -> None:
    store = Store(RECORDS).scan()
    assert not store.problems
    assert len(store.records) > 600
    for record in store.records:
        assert record.kind == "measured"
        assert record.n
        assert record.command is not None
        assert record.command.startswith("growloop ")
        assert "/" not in record.command.replace("package:", "")  # no path of a machine


def test_a_repeated_block_counts_among_the_layers_that_run() -> None:
    found = {
        entry.label: (entry.model.unique_layers, entry.layers_run)
        for entry in build_entries(Store(RECORDS).read())
        if entry.task.name == "reasoning_primitives" and entry.first.study is None
    }
    assert found["SmolLM2-135M-Instruct"] == (30, 30)
    assert found["SmolLM2-135M-Instruct, run as 6-4x2-20"] == (30, 34)
    assert found["lessons-loop-3x2"] == (3, 6)
