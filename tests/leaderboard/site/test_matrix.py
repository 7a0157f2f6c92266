"""The matrix of models and tasks: groups, columns, shades, and what is marked."""

from __future__ import annotations

from growloop.leaderboard import Model, Record, Task
from growloop.leaderboard.entries import build_entries
from growloop.leaderboard.panels import panels
from growloop.leaderboard.paper import paper_rows
from growloop.leaderboard.site.matrix import Matrix, matrices
from growloop.leaderboard.site.theme import TINTS

from ..making import made


def matrix_of(*records: Record) -> Matrix:
    [found] = matrices(panels(build_entries(records)))
    return found


def test_a_model_has_one_row_and_a_gap_where_it_was_not_evaluated() -> None:
    found = matrix_of(made(model="a"), made(model="b"), made(model="b", task="adding"))
    assert [task.name for task in found.tasks] == ["copying", "adding"]
    cells = {row.entry.label: [cell is not None for cell in row.cells] for row in found.rows}
    assert cells == {"a": [True, False], "b": [True, True]}


def test_tasks_that_are_not_comparable_are_columns_of_their_own() -> None:
    tasks = [Task(name="copying", fingerprint=data, shots=n) for data in "ab" for n in (0, 5)]
    found = matrix_of(*(made(model="a", task=task) for task in tasks))
    assert len(found.tasks) == 4


def test_measured_and_reported_models_have_tables_of_their_own() -> None:
    found = matrices(panels(build_entries([made(), *paper_rows()])))
    assert [one.reported for one in found] == [False, True, True]
    assert not any(
        cell and cell.best for one in found[1:] for row in one.rows for cell in row.cells
    )


def test_the_best_are_marked_and_wide_intervals_too() -> None:
    seeds = [made(v, model=Model(name="wide", seed=s)) for s, v in enumerate((0.1, 0.9))]
    found = matrix_of(
        made(0.9, model="best", n=5000),
        made(0.9, model="as-good", n=5000),
        made(0.5, model="worse", n=5000),
        *seeds,
    )
    marks = {r.entry.label: (c.best, c.wide) for r in found.rows for c in r.cells if c}
    assert marks == {
        "best": (True, False),
        "as-good": (True, False),
        "worse": (False, False),
        "wide": (False, True),
    }


def test_shades_go_from_chance_to_all_right_and_only_for_accuracies() -> None:
    found = matrix_of(made(0.1, model="guess"), made(1.0, model="right"), made(0.0, model="wrong"))
    tints = {r.entry.label: c.tint for r in found.rows for c in r.cells if c}
    assert tints == {"guess": 0, "right": TINTS - 1, "wrong": 0}
    loss = made(2.5, task=Task(name="held_out", metric="nats_per_token"))
    assert [c.tint for r in matrix_of(loss).rows for c in r.cells if c] == [None]
