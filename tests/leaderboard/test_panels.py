"""What may be ranked together, and what an interval is over."""

from __future__ import annotations

import pytest
from growloop.leaderboard import Cost, Model, Record, Task
from growloop.leaderboard.entries import build_entries
from growloop.leaderboard.export import entry_fields
from growloop.leaderboard.interval_basis import interval_basis, interval_basis_text, repeated_values
from growloop.leaderboard.panels import entry_scale, panels
from growloop.leaderboard.paper import paper_rows

from .making import made


@pytest.mark.parametrize(
    ("size", "parameters", "scale"),
    [
        ("1.7B", 900_000_000, "1.7B"),
        (None, 134_515_008, "100 M to 1 B parameters"),
        (None, 999_999, "100 k to 1 M parameters"),
        (None, 1_000_000, "1 M to 10 M parameters"),
        (None, None, "size not given"),
    ],
)
def test_a_scale_is_a_named_size_or_a_power_of_ten(
    size: str | None, parameters: int | None, scale: str
) -> None:
    record = made(model=Model(name="a", size=size), cost=Cost(effective_parameters=parameters))
    [entry] = build_entries([record])
    assert entry_scale(entry) == scale


def test_what_is_reported_is_never_ranked_with_what_was_measured() -> None:
    suite = next(r for r in paper_rows() if r.task.name == "reasoning_primitives")
    same = Record(model=suite.model, task=suite.task, value=0.9, n=100)
    found = panels(build_entries([*paper_rows(), same]))
    assert all(len({e.first.kind for e in panel.entries}) == 1 for panel in found)
    assert all(len({entry_scale(e) for e in panel.entries}) == 1 for panel in found)
    assert sum(len(panel.entries) for panel in found) == len(paper_rows()) + 1
    mine, *theirs = [panel for panel in found if panel.task.key == suite.task.key]
    assert mine.title.endswith(": measured here")
    assert {panel.title for panel in theirs} == {
        f"{size}: reported by arXiv:2602.16490, not measured here" for size in ("1.7B", "360M")
    }
    assert all("5 shots" in panel.comparable for panel in (mine, *theirs))
    assert all("not with rows that were measured here" in panel.comparable for panel in theirs)


def test_an_interval_says_what_it_is_over() -> None:
    task = Task(name="copying", chance=0.1)
    models = [Model(name="a", seed=seed) for seed in (0, 1, 2)]
    seeds = [made(0.5 + m.seed / 10, model=m, task=task) for m in models if m.seed is not None]
    [entry] = build_entries(seeds)
    assert (interval_basis(entry), interval_basis_text(entry), len(repeated_values(entry))) == (
        "seeds",
        "3 seeds",
        3,
    )
    assert entry_fields(entry)["interval_over"] == "seeds"
    again = [made(0.5 + seed / 10, model="a", task=task, seed=seed) for seed in (0, 1)]
    [entry] = build_entries(again)
    assert (interval_basis(entry), interval_basis_text(entry)) == ("measurements", "2 measurements")
    assert repeated_values(entry) == (0.5, 0.6)
    [entry] = build_entries([made(model="a", task=task, n=1234)])
    assert (interval_basis(entry), interval_basis_text(entry), repeated_values(entry)) == (
        "items",
        "1,234 items",
        (),
    )
    [entry] = build_entries([made(2.5, model="a", task=Task(name="t", metric="nats"), n=None)])
    assert (interval_basis(entry), interval_basis_text(entry)) == (None, "")


def test_models_whose_intervals_overlap_share_a_rank() -> None:
    records = [
        made(value, model=name, n=n)
        for name, value, n in (
            ("a", 0.90, 1000), ("b", 0.89, 1000), ("c", 0.70, 1000), ("d", 0.69, 20),
            ("e", 0.30, 1000),
        )
    ]  # fmt: skip
    [panel] = panels(build_entries(records))
    ranks = {entry.label: rank for entry, rank in zip(panel.entries, panel.ranks, strict=True)}
    assert ranks == {"a": 1, "b": 1, "c": 3, "d": 3, "e": 5}
    assert [panel.entries[i].label for i in panel.order] == ["a", "b", "c", "d", "e"]


def test_ranks_of_losses_are_from_below_and_without_an_interval_there_is_none() -> None:
    task = Task(name="held_out", metric="nats_per_token", higher_is_better=False)
    records = [
        made(value, model=name, task=task, stderr=stderr)
        for name, value, stderr in (("a", 2.0, 0.01), ("b", 3.0, 0.01), ("c", 2.5, None))
    ]
    [panel] = panels(build_entries(records))
    ranks = {entry.label: rank for entry, rank in zip(panel.entries, panel.ranks, strict=True)}
    assert ranks == {"a": 1, "b": 2, "c": None}
    assert [panel.entries[i].label for i in panel.order] == ["a", "b", "c"]
    assert all(
        rank is None for panel in panels(build_entries(paper_rows())) for rank in panel.ranks
    )
