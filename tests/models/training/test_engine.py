"""The training loop: growth, events, checkpoints that stay, what a run costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import load
from growloop.models.costs import Stage, training_flops
from growloop.models.training import checkpoints as snapshots
from growloop.models.training.data.shards import Shards
from growloop.models.training.engine import Engine
from growloop.models.training.plan import plan
from growloop.models.training.runfile import parse

from ...support.selection import slow
from ...support.training_runs import STEPS, fields, losses, trained, weights


def test_old_checkpoints_go_and_milestones_stay(shards: Path, tmp_path: Path) -> None:
    events = [{"step": 8, "checkpoint": True}]
    trained(fields(shards, events=events), tmp_path)
    names = sorted(path.name for path in tmp_path.glob("step-*"))
    assert names == [f"step-{n:09d}" for n in (8, 30, 36, 40)]


def test_the_growing_run_is_the_one_it_was_asked_for(whole: Path) -> None:
    model = load(str(whole / f"step-{STEPS:09d}"))
    assert model.config.num_unique_layers == 6
    assert str(model.schedule) == "2-2x2-2"
    assert [step["to"] for step in model.config.growth_history] == [4, 6]
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [row["layers"] for row in rows] == [2] * 5 + [4] * 10 + [6] * 25
    assert [row["step"] for row in rows if "held_out" in row] == [20, 40]
    assert rows[-1]["tokens"] == STEPS * 4 * 32
    assert rows[-1]["loss"] < rows[3]["loss"]


def test_parts_of_a_batch_add_up_to_the_batch(shards: Path, tmp_path: Path) -> None:
    found = []
    for size in (1, 3, 4):
        run = fields(shards, micro_batch_size=size, steps=16, events=[])
        trained(run, tmp_path / str(size))
        found.append(torch.tensor(losses(tmp_path / str(size)))[:, 1])
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], found[2], rtol=1e-4, atol=1e-4)


def test_the_best_checkpoint_is_named_only_where_it_is_kept(shards: Path, tmp_path: Path) -> None:
    run = fields(shards, steps=12, growth=None, events=[], validate_every=2)
    run["optimizer"] = {"warmup": 0, "lr": 3.0}  # gets worse
    outcome = Engine(parse(run), tmp_path / "a").train()
    assert outcome.best is None
    run["checkpoints"] = {"every": 100, "best": True}
    outcome = Engine(parse(run), tmp_path / "b").train()
    assert outcome.best is not None
    assert outcome.best != outcome.folder
    assert outcome.best.is_dir()


def test_random_loops_cost_what_was_drawn(shards: Path, tmp_path: Path) -> None:
    model = {"preset": "tiny", "options": {"vocab_size": 257}, "schedule": "1-2x2-1"}
    model["recurrence"] = {"random_loops": {"mean": 5.0}, "backward_loops": 3}
    run = parse(fields(shards, steps=16, growth=None, events=[], model=model))
    engine = Engine(run, tmp_path)
    drawn = [engine.model.recurrence.random_loops.at(step) for step in range(16)]
    assert len(set(drawn)) > 3
    stages = [Stage(f"1-2x{loops}-1", 4 * 32) for loops in drawn]
    wanted = training_flops(engine.model, stages, 32)
    engine.train()
    assert engine.flops == pytest.approx(wanted)
    assert plan(run)["flops"] == pytest.approx(wanted)


@pytest.mark.parametrize("after", [*slow({}), {"injection": "concat", "damping": 0.5}])
def test_what_a_recurrence_learned_stays_as_long_as_it_is_there(
    shards: Path, tmp_path: Path, after: dict[str, Any]
) -> None:
    model = {"preset": "tiny", "options": {"vocab_size": 257}, "schedule": "1-2x2-1"}
    model["recurrence"] = {"injection": "concat"}
    events = [{"step": 4, "recurrence": after}]
    optimizer = {"warmup": 0, "lr": 1e-2}
    run = fields(shards, steps=8, growth=None, events=events, model=model, optimizer=optimizer)
    runner = getattr(load(str(trained(run, tmp_path / "a", 5))), "runner", None)
    if after:
        assert runner is not None
        learned = runner.adapter.weight - torch.eye(64, 128)
        assert learned.abs().max() > 0.03  # a step is 0.01 at most
    else:
        assert runner is None
    first = trained(run, tmp_path / "a")
    assert weights(first) == weights(trained(run, tmp_path / "b"))


def test_events_may_grow_regularise_and_evaluate(shards: Path, tmp_path: Path) -> None:
    events = [
        {"step": 4, "grow": "0,1,1,2,3"},
        {"step": 6, "regulariser": 5.0},
        {"step": 9, "regulariser": 0.0},
        {"step": 8, "evaluate": {"tasks": ["any"], "limit": 3}},
        {"step": 16, "evaluate": {"tasks": ["any", "other"]}},
    ]
    model = {"preset": "tiny", "options": {"vocab_size": 257}}
    run = parse(
        fields(shards, events=events, steps=16, growth=None, model=model, regulariser_block=1)
    )
    seen: list[tuple[str, int | None]] = []

    def evaluate(folder: Path, wanted: Any) -> dict[str, float]:
        torch.manual_seed(1)
        seen.append((",".join(wanted.tasks), load(str(folder)).config.num_hidden_layers))
        return dict.fromkeys(wanted.tasks, 0.5)

    with pytest.raises(InputError, match="evaluate="):
        Engine(run, tmp_path / "a")
    first = Engine(run, tmp_path / "a", evaluate=evaluate).train()
    for until in (5, 8, 11, None):
        second = Engine(run, tmp_path / "b", evaluate=evaluate).train(until)
    assert weights(first.folder) == weights(second.folder)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert seen == [("any", 5), ("any,other", 5)] * 2
    assert [run.regulariser_at(step) for step in (5, 6, 8, 9)] == [0.0, 5.0, 5.0, 0.0]
    rows = [json.loads(x) for x in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if "accuracy/any" in r] == [8, 16]
    assert [r["layers"] for r in rows] == [4] * 4 + [5] * 12
    assert rows[6]["loss"] < rows[5]["loss"] + 1


def test_trackers_get_what_the_metrics_hold(shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run = fields(shards, trackers=["tensorboard"], steps=16, events=[], log_every=4)
    trained(run, tmp_path)
    content = b"".join(path.read_bytes() for path in (tmp_path / "tiny").rglob("*tfevents*"))
    assert all(name in content for name in (b"loss", b"grad_norm", b"tokens_per_second"))
    for name, message in [("tensorbaord", "did you mean 'tensorboard'"), ("wandb", "pip install")]:
        with pytest.raises(InputError, match=message):
            Engine(parse(fields(shards, trackers=[name])), tmp_path / "other")


def test_a_tokenizer_may_have_several_chat_templates(shards: Path, tmp_path: Path) -> None:
    engine = Engine(parse(fields(shards)), tmp_path)
    engine.tokenizer.chat_template = {"default": "{{ messages }}", "tools": "{{ tools }}"}
    folder = engine.train(1).folder
    [extra] = folder.glob("*/*.jinja")
    assert snapshots.problem(folder) is None
    extra.write_text("another")
    assert snapshots.problem(folder) == f"{extra.relative_to(folder)} does not have its checksum"


def test_shards_of_a_run_are_read_not_copied(shards: Path) -> None:
    import numpy as np

    assert isinstance(Shards(shards / "a")._maps[0], np.memmap)
