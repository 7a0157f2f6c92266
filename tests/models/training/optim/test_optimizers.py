"""The learning rate over a run."""

from __future__ import annotations

from growloop.models.training.optim.optimizers import rate
from growloop.models.training.runfile import Optimizer


def test_the_learning_rate_warms_up_stays_and_cools_down() -> None:
    settings = Optimizer(warmup=10, cooldown=20)
    found = [rate(step, 100, settings) for step in range(100)]
    assert found[:10] == [(i + 1) / 10 for i in range(10)]
    assert set(found[10:80]) == {1.0}
    assert found[80:] == [(100 - i) / 20 for i in range(80, 100)]
