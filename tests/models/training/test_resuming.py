"""A run that stopped goes on from its newest whole checkpoint, to the same bits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from growloop.core import files
from growloop.core.errors import InputError
from growloop.core.locks import LOCK, InUseError, locked
from growloop.models.training import checkpoints as snapshots
from growloop.models.training.engine import Engine
from growloop.models.training.runfile import parse

from ...support.selection import slow
from ...support.training_runs import fields, losses, trained, weights


@pytest.mark.parametrize("until", [17, *slow(1, 6, 32)])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    shards: Path, whole: Path, tmp_path: Path, until: int
) -> None:
    trained(fields(shards), tmp_path, until)
    last = trained(fields(shards), tmp_path)
    assert weights(last) == weights(whole / last.name)
    assert losses(tmp_path) == losses(whole)


@pytest.mark.parametrize(
    "changes",
    [
        *slow(
            {"model": {"preset": "tiny", "options": {"vocab_size": 257}, "schedule": "2x3"}},
            {"optimizer": {"name": "muon", "warmup": 4, "cooldown": 10}},
            {"gradient_checkpointing": True},
            {"regulariser": 10.0, "regulariser_block": 1},
        ),
        {"precision": "bf16"},
        {
            "model": {
                "preset": "tiny",
                "options": {"vocab_size": 257},
                "schedule": "1-2x3-1",
                "recurrence": {
                    "injection": "concat",
                    "backward_loops": 2,
                    "random_loops": {"mean": 2.0},
                },
            },
        },
    ],
    ids=["looped", "muon", "checkpointing", "regulariser", "bf16", "recurrent"],
)
def test_every_kind_of_run_learns_and_resumes_to_the_same_bits(
    shards: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = fields(shards, steps=16, events=[], **changes)
    if "model" in changes:
        run["growth"] = None
    first = trained(run, tmp_path / "a")
    trained(run, tmp_path / "b", 9)
    second = trained(run, tmp_path / "b")
    assert weights(first) == weights(second)
    found = losses(tmp_path / "a")
    assert losses(tmp_path / "b") == found
    assert min(loss for _, loss, _, _ in found[-3:]) < found[0][1]


def test_an_interrupt_ends_the_run_with_a_checkpoint(shards: Path, tmp_path: Path) -> None:
    import signal

    engine = Engine(parse(fields(shards)), tmp_path)

    def interrupt(step: int, values: Any) -> None:
        if step == 8:
            os.kill(os.getpid(), signal.SIGINT)

    outcome = engine.train(watch=interrupt)
    assert not outcome.finished
    assert outcome.step in (8, 9)
    assert snapshots.problem(outcome.folder) is None


def test_a_full_disk_leaves_the_last_checkpoint(
    shards: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    engine = Engine(parse(fields(shards)), tmp_path)
    engine.train(6)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", full)
        with pytest.raises(OSError, match="No space left"):
            engine.train(12)
    assert [path.name for path in tmp_path.glob("*step-*")] == ["step-000000006"]
    assert Engine(parse(fields(shards)), tmp_path).train(12).step == 12


@pytest.mark.parametrize("fails", ["metrics", "checkpoint", "lock"])
def test_a_full_disk_leaves_nothing_of_a_run_that_has_no_checkpoint(
    shards: Path, tmp_path: Path, monkeypatch: Any, fails: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.yaml").touch()
    synced: list[Path] = []

    def full(*given: Any) -> None:
        if fails == "lock" or fails in ("metrics", "checkpoint")[: 1 + len(synced) // 2]:
            raise OSError(28, "No space left on device")
        synced.extend(given)

    monkeypatch.setattr(os if fails == "lock" else files, "write" if fails == "lock" else "_sync",
                        full)  # fmt: skip
    for folder in (tmp_path / "mine", tmp_path / "new" / "run"):
        synced.clear()
        with pytest.raises(OSError, match="No space left"):
            Engine(parse(fields(shards)), folder).train(3)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["mine", "mine/run.yaml"]


def test_a_run_that_fails_keeps_the_metrics_it_has_written(shards: Path, tmp_path: Path) -> None:
    engine = Engine(parse(fields(shards)), tmp_path / "run")

    def fail(step: int, values: Any) -> None:
        if step == 2:
            raise InputError("the loss is nan")

    with pytest.raises(InputError, match="nan"):
        engine.train(watch=fail)
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_damaged_checkpoint_is_passed_over_aloud(
    shards: Path, whole: Path, tmp_path: Path
) -> None:
    trained(fields(shards), tmp_path, 20)
    path = tmp_path / "step-000000020" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-3] + b"abc")
    said: list[str] = []
    last = Engine(parse(fields(shards)), tmp_path, said.append).train().folder
    assert "step-000000020 is damaged (model.safetensors does not have its checksum)" in said[0]
    assert "going on after step 18" in said[1]
    assert weights(last) == weights(whole / last.name)


def test_a_run_without_any_whole_checkpoint_does_not_start_anew_by_itself(
    shards: Path, tmp_path: Path
) -> None:
    trained(fields(shards), tmp_path, 3)
    (tmp_path / "step-000000003" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"every checkpoint in .* is damaged"):
        Engine(parse(fields(shards)), tmp_path)


def test_another_run_file_is_refused_by_its_differences(shards: Path, tmp_path: Path) -> None:
    trained(fields(shards), tmp_path, 3)
    other = fields(shards, seed=3, optimizer={"warmup": 4, "cooldown": 10, "lr": 1e-3})
    with pytest.raises(InputError, match=r"optimizer\.lr: 0\.001 was 0\.003; seed: 3 was 0"):
        Engine(parse(other), tmp_path)
    Engine(parse(other), tmp_path, force=True)


def test_a_run_that_is_forced_on_has_the_optimizer_of_its_new_file(
    shards: Path, tmp_path: Path
) -> None:
    trained(fields(shards), tmp_path, 3)
    other = {"warmup": 2, "lr": 1e-4, "weight_decay": 0.5}
    engine = Engine(parse(fields(shards, optimizer=other)), tmp_path, force=True)
    engine.train(8)  # it grows meanwhile
    assert [rate for _, _, _, rate in losses(tmp_path)][3:] == [1e-4] * 5
    assert [g["weight_decay"] for g in engine.optimizers[0].param_groups] == [0.5, 0.0]
    lessons = {"curriculum": [{"lessons": {"repeats": 1.0}, "until": 99.0}] * 2}
    run = fields(shards, growth=None, events=[], model={"preset": "lessons"})
    run["data"] = lessons | {"seq_len": 128, "batch_size": 8}
    trained(run, tmp_path / "lessons", 2)
    run["data"]["curriculum"] = lessons["curriculum"][:1]
    with pytest.raises(InputError, match="in stage 2 of its lessons, its file has 1"):
        Engine(parse(run), tmp_path / "lessons", force=True).train()
    muon = parse(fields(shards, optimizer={"name": "muon", "warmup": 4, "cooldown": 10}))
    with pytest.raises(InputError, match="trained with another optimizer"):
        Engine(muon, tmp_path, force=True)


def test_two_processes_never_train_in_one_folder(shards: Path, tmp_path: Path) -> None:
    engine = Engine(parse(fields(shards)), tmp_path)
    with (
        locked(tmp_path / LOCK, False, "it is held"),
        pytest.raises(InUseError, match=rf"is trained by process {os.getpid()} on"),
    ):
        engine.train(until=1)
    assert engine.train(until=1).step == 1


def test_a_run_branches_off_another_ones_checkpoint_once(
    shards: Path, whole: Path, tmp_path: Path
) -> None:
    parent = whole / "step-000000036"
    branch = parse(fields(shards, name="branch", seed=3))
    engine = Engine(branch, tmp_path, parent=parent)
    assert (engine.step, engine.best["step"]) == (36, None)
    assert engine.train(38).folder.name == "step-000000038"
    assert Engine(branch, tmp_path, parent=parent).step == 38  # its own goes before the parent's
    with pytest.raises(InputError, match=r"manifest\.json cannot be read"):
        Engine(branch, tmp_path / "other", parent=tmp_path)
