"""Runs with each loop part: they learn, and resume to the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.models import load
from growloop.models.looping.random_loops import RandomLoops
from growloop.models.training.plan import plan
from growloop.models.training.random_loops import loops_of_step
from growloop.models.training.runfile import parse

from ...support.training_runs import fields, losses, trained, weights

PER_SEQUENCE = {"mean": 3.0, "distribution": "poisson", "per": "sequence", "seed": 1}
RECURRENCES: dict[str, dict[str, Any]] = {
    "diagonal": {"injection": "diagonal"},
    "hyper": {"carry": {"name": "hyper", "streams": 2}},
    "selective_gate": {"carry": "selective_gate"},
    "conditioning": {"conditioning": ["loop_embedding", "loop_gate", "loop_lora", "time_step"]},
    "per sequence": {
        "injection": "diagonal",
        "random_loops": PER_SEQUENCE,
        "backward_loops": 2,
        "conditioning": ["loop_embedding"],
    },
    "budgets": {
        "conditioning": [{"name": "time_step", "frequencies": 8}],
        "random_loops": {"choices": [1, 2, 3]},
        "objective": "shortcut",
    },
    "exit_gate": {"objective": "exit_gate", "early_exit": {"criterion": "gate"}},
    "deep_supervision": {"objective": {"name": "deep_supervision", "count": 1}},
    "fixed_point": {"objective": "fixed_point"},
    "confidence": {"carry": "selective_gate", "objective": "confidence"},
}


def run_of(shards: Path, recurrence: dict[str, Any], **more: Any) -> dict[str, Any]:
    model = {"preset": "tiny", "options": {"vocab_size": 257}, "schedule": "1-1x3-1"}
    changes = {"growth": None, "events": [], "steps": 8, "validate_every": 4}
    changes["optimizer"] = {"warmup": 2, "cooldown": 2}
    return fields(shards, **(changes | {"model": model | {"recurrence": recurrence}} | more))


@pytest.mark.parametrize("name", RECURRENCES)
def test_a_run_with_a_part_learns_and_resumes_to_the_same_bits(
    shards: Path, tmp_path: Path, name: str
) -> None:
    run = run_of(shards, RECURRENCES[name])
    first = trained(run, tmp_path / "a")
    trained(run, tmp_path / "b", 5)
    second = trained(run, tmp_path / "b")
    assert weights(first) == weights(second)
    found = losses(tmp_path / "a")
    assert losses(tmp_path / "b") == found
    assert min(loss for _, loss, _, _ in found[-2:]) < found[0][1]
    model: Any = load(str(first))
    assert set(model.recurrence.to_dict()) == set(RECURRENCES[name])
    planned = plan(parse(run))
    last = json.loads((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()[-1])
    assert planned["flops"] == pytest.approx(last["flops"], rel=1e-6)


def test_micro_batches_change_nothing_of_loops_per_sequence(shards: Path, tmp_path: Path) -> None:
    found = []
    for micro in (1, 4):
        run = run_of(shards, RECURRENCES["per sequence"], micro_batch_size=micro)
        trained(run, tmp_path / str(micro))
        found.append(losses(tmp_path / str(micro)))
    for one, other in zip(*found, strict=True):
        assert one[1:3] == pytest.approx(other[1:3], rel=1e-3)


def test_a_part_can_join_a_run_at_an_event(shards: Path, tmp_path: Path) -> None:
    event = {"step": 4, "recurrence": {"injection": "diagonal", "carry": "hyper"}}
    run = run_of(shards, {}, events=[event])
    first = trained(run, tmp_path / "a")
    trained(run, tmp_path / "b", 6)
    assert weights(trained(run, tmp_path / "b")) == weights(first)
    state = json.loads((first / "training.json").read_text())
    decay = {
        n: g["weight_decay"] for g in state["optimizers"][0]["groups"] for n in g["param_names"]
    }
    assert decay["runner.injection.B"] == 0.0
    assert decay["runner.carry.weight"] == 0.0


@pytest.mark.parametrize(
    ("recurrence", "message"),
    [
        ({"injection": {"name": "diagonal", "decai": 1}}, "did you mean 'decay'"),
        ({"carry": "hyper", "damping": 0.5}, "give damping or carry hyper"),
        ({"conditioning": ["loop_lora"], "wrong": 1}, "wrong"),
        ({"conditioning": [{"name": "loop_lora", "layers": [9]}]}, "names layer 9"),
    ],
)
def test_a_run_file_with_a_wrong_part_is_refused(
    shards: Path, tmp_path: Path, recurrence: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        trained(run_of(shards, recurrence), tmp_path / "out")
    assert not list((tmp_path / "out").glob("step-*"))


@pytest.mark.parametrize(
    ("recurrence", "message"),
    [
        ({"start": "random", "injection": "diagonal"}, "start random"),
        ({"objective": "exit_gate"}, "objective exit_gate"),
        ({"random_loops": PER_SEQUENCE}, "random_loops per sequence"),
    ],
)
def test_parts_that_are_not_compiled_are_refused(
    shards: Path, recurrence: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"compile does not work with {message}"):
        parse(run_of(shards, recurrence, compile=True))
    parse(run_of(shards, {"injection": "concat", "damping": 0.5}, compile=True))
    parse(run_of(shards, {"carry": "hyper", "conditioning": ["loop_lora"]}, compile=True))


def test_flops_of_loops_per_sequence_are_those_of_the_longest_in_a_micro_batch() -> None:
    draws = RandomLoops(**PER_SEQUENCE)
    rows = draws.of_rows(3, 0, 8).tolist()
    shares = loops_of_step(draws, 3, rows=4, micro=2, processes=2)
    wanted: dict[int, float] = {}
    for start in range(0, 8, 2):
        most = max(rows[start : start + 2])
        wanted[most] = wanted.get(most, 0) + 0.25
    assert shares == wanted
    assert sum(loops_of_step(draws, 3, 4, 2, 2, together=True).values()) == 1
