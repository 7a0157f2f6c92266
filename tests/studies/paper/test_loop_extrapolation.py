"""Loop extrapolation: grids of loops, losses under each, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from growloop.core.schedule import Schedule
from growloop.models import Recurrence, load, loop
from growloop.studies.measure.losses import LOSS, schedule_losses
from growloop.studies.paper.loop_extrapolation import loop_numbers, shape
from growloop.studies.records import Row

from ..small import FEW, TASK, TEXTS, study


def rows(differences: dict[int, float], p: float, task: str = "copying", half: float = 0.01):
    """Rows of a task: loops to difference from the trained number."""
    return [
        Row.make(
            metric="acc",
            task=task,
            value=0.5 + difference,
            n=100,
            difference=difference,
            p=1.0 if loops == 2 else p,
            columns={},
        ).replace(loops=loops, difference_low=difference - half, difference_high=difference + half)
        for loops, difference in differences.items()
    ]


@pytest.mark.parametrize(
    ("differences", "p", "said"),
    [
        ({1: -0.2, 2: 0.0, 3: 0.1, 4: 0.1}, 1e-4, "better with 3 to 4 loops"),
        ({1: -0.2, 2: 0.0, 3: 0.1, 4: -0.1}, 1e-4, "better with 3 loops, worse with 4"),
        ({1: -0.2, 2: 0.0, 3: -0.1, 4: -0.1}, 1e-4, "worse from 3 loops on"),
        ({1: -0.2, 2: 0.0, 3: 0.0, 4: 0.005}, 0.5, "plateau: within ±0.02"),
        ({1: -0.2, 2: 0.0, 3: 0.0, 4: -0.05}, 0.5, "undecided"),
        ({1: -0.2, 2: 0.0}, 1e-4, "no more loops than trained were run"),
    ],
)
def test_the_shape_is_said_in_words(differences: dict[int, float], p: float, said: str) -> None:
    assert shape(rows(differences, p), trained=2) == said


def test_a_larger_loss_is_worse() -> None:
    assert shape(rows({2: 0.0, 3: 0.2, 4: 0.4}, 1e-4, LOSS), trained=2) == "worse from 3 loops on"


def test_several_numbers_of_loops_are_corrected_for() -> None:
    many = rows(dict.fromkeys(range(2, 9), 0.05), 0.02, half=0.06)
    assert shape(many, trained=2) == "undecided"
    assert shape(many[:2], trained=2) == "better with 3 loops"


def test_the_grid_holds_one_the_trained_number_and_its_multiples() -> None:
    for trained in (1, 2, 3, 8, 16):
        numbers = loop_numbers(trained, 4)
        assert numbers[0] == 1
        assert numbers == sorted(set(numbers))
        assert {trained, 2 * trained, 4 * trained} <= set(numbers)


@pytest.mark.parametrize("recurrence", [None, Recurrence(injection="add"), Recurrence(damping=0.5)])
def test_losses_are_those_of_a_model_with_as_many_loops(
    models: dict[str, str], recurrence: Recurrence | None
) -> None:
    ids = torch.arange(3, 40)[None]
    model = loop(load(models["plain"]), "1-2x2-1", recurrence=recurrence).eval()
    found = schedule_losses(model, [Schedule.parse("1-2x2-1"), Schedule.parse("1-2x4-1")], ids)
    assert str(model.schedule) == "1-2x2-1"
    again = loop(load(models["plain"]), "1-2x4-1", recurrence=recurrence).eval()
    with torch.no_grad():
        expected = float(again(input_ids=ids, labels=ids).loss)
    assert found[1] == pytest.approx(expected, rel=1e-5)
    assert found[0] != found[1]


def test_the_trained_number_is_the_reference(models: dict[str, str], tmp_path: Path) -> None:
    options = [*FEW, *TEXTS, "--tasks", f"{TASK},loss", "--upto", "2", "--out", str(tmp_path)]
    found = json.loads(
        study("loop-extrapolation", "-m", models["looped"], *options, "--json").stdout
    )
    for record in found:
        assert record["data"]["trained"] == 2
        by_loops = {row["loops"]: row for row in record["rows"]}
        assert list(by_loops) == [1, 2, 3, 4]
        assert by_loops[2]["difference"] == 0
        assert by_loops[4]["schedule"] == "1-2x4-1"
        gained = by_loops[4]["value"] - by_loops[2]["value"]
        assert by_loops[4]["difference"] == pytest.approx(gained, abs=1e-6)
