"""A run that is killed goes on to the same bits, wherever it was killed."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from ...support.training_runs import STEPS, fields, losses, weights
from . import killing
from .killing import server

pytestmark = pytest.mark.slow


def test_a_run_killed_at_random_moments_ends_with_the_same_bits(
    shards: Path, whole: Path, tmp_path: Path
) -> None:
    chance = random.Random(0)
    for kills in range(60):
        process = server().Process(target=killing.train, args=(fields(shards), str(tmp_path)))
        process.start()
        if kills < 12:
            deadline = time.monotonic() + chance.uniform(0.05, 0.6)
            while process.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
            process.kill()
        process.join()
        if process.exitcode == 0:
            break
    assert process.exitcode == 0
    assert kills >= 10
    last = tmp_path / f"step-{STEPS:09d}"
    assert weights(last) == weights(whole / last.name)
    assert losses(tmp_path) == losses(whole)
    assert not list(tmp_path.glob(".step-*"))


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("filling a checkpoint", 3),
        ("before the manifest", 9),
        ("before the rename", 11),
        ("before the rename", 14),
        ("dropping old ones", 3),
        ("before a growth step", 1),
        ("before a growth step", 2),
        ("after a growth step", 2),
        ("after a growth step", 3),
        ("in a step", 9),
        ("in a step", 33),
    ],
)
def test_a_run_killed_at_the_worst_moments_ends_with_the_same_bits(
    shards: Path, whole: Path, tmp_path: Path, point: str, nth: int
) -> None:
    for how in ((point, nth), (None, 1)):
        process = server().Process(target=killing.train, args=(fields(shards), str(tmp_path), *how))
        process.start()
        process.join()
        assert process.exitcode == (-9 if how[0] else 0)
    last = tmp_path / f"step-{STEPS:09d}"
    assert weights(last) == weights(whole / last.name)
    assert losses(tmp_path) == losses(whole)
