"""The training loop: events, resuming, interruption."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core import files
from growloop.core.errors import InputError
from growloop.core.locks import LOCK, InUseError, locked
from growloop.models import load
from growloop.models.costs import Stage, training_flops
from growloop.models.training import checkpoints as snapshots
from growloop.models.training.data.shards import Shards
from growloop.models.training.data.tokenization import byte_tokenizer, tokenize, train_bpe
from growloop.models.training.engine import Engine
from growloop.models.training.optim.objective import block_cosine
from growloop.models.training.optim.optimizers import rate
from growloop.models.training.plan import plan
from growloop.models.training.runfile import Optimizer, parse

from . import killing

STEPS = 40


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    texts = [f"{i} and {i * 7 % 31} make {i + i * 7 % 31}. " * 20 for i in range(60)]
    tokenize(texts, byte_tokenizer(), folder / "a", "sums", shard_documents=16)
    tokenize(texts[::-1], byte_tokenizer(), folder / "b", "sums", shard_documents=16)
    return folder


def fields(shards: Path, **changes: Any) -> dict[str, Any]:
    """A growing run with a change of the mixture and a retrofitted block."""
    return {
        "name": "tiny",
        "steps": STEPS,
        "precision": "fp32",
        "log_every": 1,
        "micro_batch_size": 2,
        "model": {"preset": "tiny", "options": {"vocab_size": 257, "num_hidden_layers": 6}},
        "data": {
            "sources": {"a": str(shards / "a"), "b": str(shards / "b")},
            "mixture": {"a": 0.9, "b": 0.1},
            "seq_len": 32,
            "batch_size": 4,
            "validation": str(shards / "b"),
        },
        "validate_every": 20,
        "optimizer": {"warmup": 4, "cooldown": 10},
        "growth": {"operator": "lidas", "block_size": 2},
        "events": [
            {"step": 30, "mixture": {"a": 0.5, "b": 0.5}},
            {"step": 32, "repeat": [2, 4]},
        ],
        "checkpoints": {"every": 6, "keep": 2},
        **changes,
    }


def trained(run: dict[str, Any], out: Path, until: int | None = None) -> Path:
    return Engine(parse(run), out).train(until).folder


def weights(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))]


def losses(out: Path) -> list[Any]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["grad_norm"], line["lr"]) for line in lines]


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without any interruption."""
    out = tmp_path_factory.mktemp("whole")
    trained(fields(shards), out)
    return out


@pytest.mark.parametrize("until", [1, 6, 17, 32])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    shards: Path, whole: Path, tmp_path: Path, until: int
) -> None:
    trained(fields(shards), tmp_path, until)
    last = trained(fields(shards), tmp_path)
    assert weights(last) == weights(whole / last.name)
    assert losses(tmp_path) == losses(whole)


def server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([killing.__name__])
    return context


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
    with pytest.raises(InputError, match=r"no checkpoint .* is whole"):
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


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"preset": "tiny", "options": {"vocab_size": 257}, "schedule": "2x3"}},
        {"optimizer": {"name": "muon", "warmup": 4, "cooldown": 10}},
        {"precision": "bf16"},
        {"gradient_checkpointing": True},
        {"regulariser": 10.0, "regulariser_block": 1},
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
    ids=["looped", "muon", "bf16", "checkpointing", "regulariser", "recurrent"],
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


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_good_checkpoint(
    shards: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    engine = Engine(parse(fields(shards)), tmp_path)
    original = Engine._losses

    def losses(self: Engine, batch: Any) -> Any:
        return original(self, batch) * (float("nan") if self.step == 15 else 1)

    monkeypatch.setattr(Engine, "_losses", losses)
    with pytest.raises(InputError, match=r"loss of step 15 .* nan: .* that of step 12"):
        engine.train()
    found = snapshots.newest(tmp_path, print)
    assert found is not None
    assert found[0] == 12


def test_a_held_out_loss_that_is_no_number_names_the_layer(shards: Path, tmp_path: Path) -> None:
    engine = Engine(parse(fields(shards, checkpoints={"every": 20})), tmp_path)

    def spoil(module: Any, args: Any, output: Any) -> Any:
        return output if module.training else output * float("nan")

    engine.model.model.norm.register_forward_hook(spoil)
    with pytest.raises(InputError, match=r"held-out loss of step 20 is nan: model\.norm gives NaN"):
        engine.train()
    assert snapshots.newest(tmp_path, print) is None


def test_a_gradient_that_is_no_number_stops_the_run_before_its_weights_are_saved(
    shards: Path, tmp_path: Path
) -> None:
    engine = Engine(parse(fields(shards, checkpoints={"every": 1})), tmp_path)
    first = next(engine.model.parameters())
    first.register_hook(lambda grad: grad * (float("nan") if engine.step == 3 else 1))
    with pytest.raises(InputError, match=r"gradient norm of step 3 .* nan: .* that of step 3"):
        engine.train()
    assert sorted(path.name for path in tmp_path.glob("step-*"))[-1] == "step-000000003"


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


@pytest.mark.parametrize("after", [{}, {"injection": "concat", "damping": 0.5}])
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


def test_two_processes_never_train_in_one_folder(shards: Path, tmp_path: Path) -> None:
    engine = Engine(parse(fields(shards)), tmp_path)
    with (
        locked(tmp_path / LOCK, False, "it is held"),
        pytest.raises(InUseError, match=rf"is trained by process {os.getpid()} on"),
    ):
        engine.train(until=1)
    assert engine.train(until=1).step == 1


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stpes": 3}, "unknown field stpes, did you mean steps"),
        ({"optimizer": {"learning_rate": 1}}, r"unknown field optimizer\.learning_rate"),
        ({"steps": 0}, "steps: Input should be greater"),
        ({"optimizer": {"warmup": 30, "cooldown": 30}}, "take more than the 40 steps"),
        ({"parallel": "fsdp2", "optimizer": {"name": "muon"}, "steps": 99999}, "whole matrices"),
        ({"events": [{"step": 99, "checkpoint": True}]}, "never comes"),
        ({"events": [{"step": STEPS, "regulariser": 1.0}]}, "never comes"),
        ({"events": [{"step": 2, "evaluate": {"tasks": []}}]}, "at least 1 item"),
        ({"growth": {"operator": "lidsa"}}, "did you mean lidas"),
        ({"growth": {"block_size": 4}}, "does not reach 6 layers from 4"),
        ({"events": [{"step": 32, "repeat": [2, 9]}]}, r"step 32: the block 2:9 is outside .* 0:6"),
        ({"events": [{"step": 9, "schedule": "4x"}]}, "step 9: schedule '4x', character 3"),
        (
            {
                "events": [{"step": 9, "schedule": "4x2"}],
                "growth": None,
                "steps": 40,
                "model": {"preset": "tiny", "options": {"vocab_size": 257, "num_hidden_layers": 2}},
            },
            "needs 4",
        ),
        ({"events": [{"step": 32, "grow": "lidsa"}]}, "step 32: .* did you mean 'lidas'"),
        ({"events": [{"step": 3, "repeat": [0, 2]}]}, "step 5: a looped model cannot grow"),
        ({"events": [{"step": 39, "regulariser": 1.0}], "regulariser_block": 6}, "no two blocks"),
        ({"growth": {"block_size": 2, "steps": 80}}, "last layers come at step 40: .* 40 steps"),
        ({"model": {"path": "x"}}, "growth is from one block to the depth of model.preset"),
        ({"model": {"preset": "tiny", "schedule": "2x2"}}, "growth .* no path, schedule"),
        ({"model": {"preset": "tiny", "recurrence": {"injection": "add"}}}, "or recurrence"),
        ({"model": {"path": "x", "options": {"vocab_size": 9}}}, "options change a preset"),
        ({"model": {"preset": "tiny", "untie": True}}, "untie is for the looped model"),
        ({"events": [{"step": 0, "checkpoint": True}]}, "not at step 0"),
        ({"events": [{"step": 0, "evaluate": {"tasks": ["any"]}}]}, "not at step 0"),
        ({"data": {"examples": "a", "mixture": {"a": 1}}}, "a mixture is of sources"),
        ({"data": {"curriculum": [{"lessons": {"repeats": float("nan")}}]}}, "finite number"),
        ({"optimizer": {"betas": [0.9, 1.5]}, "steps": 9999}, r"betas\.1: .* less than 1"),
        ({"optimizer": {"lr": float("inf")}, "steps": 9999}, "lr: .* finite number"),
        ({"model": {"preset": "tiny", "path": "x"}}, "preset or path"),
        ({"model": {"preset": "tny"}}, "did you mean 'tiny'"),
        ({"model": {"preset": "tiny", "schedule": "4x"}}, "character 3"),
        ({"model": {"preset": "tiny"}, "data": {}}, "sources, a curriculum or examples"),
        ({"patience": 3, "data": {"sources": {"a": "a"}}}, "need data.validation"),
        ({"model": {"preset": "tiny", "options": {"vocab_size": 100}}}, "vocabulary of 257"),
    ],
)
def test_bad_runs_are_refused_before_they_start(
    shards: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Engine(parse(fields(shards, **changes)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_examples_have_no_mixture_to_change() -> None:
    run = {"name": "x", "steps": 9, "model": {"path": "x"}, "data": {"examples": "x"}}
    run |= {"optimizer": {"warmup": 0}, "events": [{"step": 4, "mixture": {"a": 1.0}}]}
    with pytest.raises(InputError, match="examples have none"):
        parse(run)


def test_a_plan_ends_where_its_run_does(shards: Path) -> None:
    with pytest.raises(InputError, match="the last layers come at step 40"):
        plan(parse(fields(shards, growth={"block_size": 2, "steps": 80})))


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


def test_memory_that_does_not_suffice_is_a_sentence_about_what_to_lower(
    shards: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    engine = Engine(parse(fields(shards)), tmp_path)
    engine.train(2)
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ):
        failing = functools.partial(_raise, error)
        monkeypatch.setattr(Engine, "_losses", failing)
        with pytest.raises(InputError, match=r"memory in step 2, with 2 sequences .* lower micro"):
            engine.train()
    monkeypatch.setattr(Engine, "_losses", functools.partial(_raise, RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        engine.train()


def _raise(error: Exception, *_: Any) -> None:
    raise error


def test_trackers_get_what_the_metrics_hold(shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run = fields(shards, trackers=["tensorboard"], steps=16, events=[], log_every=4)
    trained(run, tmp_path)
    content = b"".join(path.read_bytes() for path in (tmp_path / "tiny").rglob("*tfevents*"))
    assert all(name in content for name in (b"loss", b"grad_norm", b"tokens_per_second"))
    for name, message in [("tensorbaord", "did you mean 'tensorboard'"), ("wandb", "pip install")]:
        with pytest.raises(InputError, match=message):
            Engine(parse(fields(shards, trackers=[name])), tmp_path / "other")


def test_a_checkpoint_with_another_tokenizer_is_refused(shards: Path, tmp_path: Path) -> None:
    folder = trained(fields(shards), tmp_path / "a", 2)
    run = fields(shards, model={"path": str(folder)}, growth=None, events=[])
    Engine(parse(run), tmp_path / "b").train(1)
    found = json.loads((tmp_path / "b" / "step-000000001" / "training.json").read_text())
    assert {"growloop", "torch", "transformers"} <= set(found["versions"])
    train_bpe(["a b c"] * 9, 300).save(str(folder / "tokenizer.json"))
    with pytest.raises(InputError, match="not the one the data was made with"):
        Engine(parse(run), tmp_path / "c")


def test_validation_shards_of_another_tokenizer_are_refused(shards: Path, tmp_path: Path) -> None:
    from tokenizers.normalizers import Lowercase

    other = byte_tokenizer()  # as many tokens
    other.normalizer = Lowercase()
    tokenize(["A B a b"] * 9, other, tmp_path / "other", "x")
    data = {**fields(shards)["data"], "validation": str(tmp_path / "other")}
    with pytest.raises(InputError, match="made with another tokenizer"):
        Engine(parse(fields(shards, data=data)), tmp_path / "run")


def test_a_tokenizer_may_have_several_chat_templates(shards: Path, tmp_path: Path) -> None:
    engine = Engine(parse(fields(shards)), tmp_path)
    engine.tokenizer.chat_template = {"default": "{{ messages }}", "tools": "{{ tools }}"}
    folder = engine.train(1).folder
    [extra] = folder.glob("*/*.jinja")
    assert snapshots.problem(folder) is None
    extra.write_text("another")
    assert snapshots.problem(folder) == f"{extra.relative_to(folder)} does not have its checksum"


def test_the_learning_rate_warms_up_stays_and_cools_down() -> None:
    settings = Optimizer(warmup=10, cooldown=20)
    found = [rate(step, 100, settings) for step in range(100)]
    assert found[:10] == [(i + 1) / 10 for i in range(10)]
    assert set(found[10:80]) == {1.0}
    assert found[80:] == [(100 - i) / 20 for i in range(80, 100)]


def test_the_regulariser_is_the_mean_cosine_of_layers_a_block_apart() -> None:
    from growloop.models import build, grow

    model = grow(build("tiny", 2), "g_stack")
    assert block_cosine(model, 2).item() == pytest.approx(1)
    assert abs(block_cosine(model, 1).item()) < 0.2
    with pytest.raises(InputError, match="no two blocks"):
        block_cosine(model, 4)


def test_shards_of_a_run_are_read_not_copied(shards: Path) -> None:
    import numpy as np

    assert isinstance(Shards(shards / "a")._maps[0], np.memmap)


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
