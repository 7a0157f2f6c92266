"""Fine-tuning: packing, targets, adapters, early stopping."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import build, load, loop, save
from growloop.models.training.data.batches import IGNORED, Batch
from growloop.models.training.data.examples import Examples
from growloop.models.training.data.rows import read_examples
from growloop.models.training.engine import Engine
from growloop.models.training.finetuning import Settings, run_of
from growloop.models.training.optim.objective import losses
from growloop.models.training.plan import plan
from growloop.models.training.runfile import parse
from safetensors.torch import load_file, save_file

from ...support.selection import slow
from ...support.training_runs import losses as logged
from ...support.training_runs import weights
from ...support.tuning_runs import fields, sums, tokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    build("tiny", vocab_size=257).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def test_a_row_holds_several_examples_and_a_target_is_what_follows_its_prompt() -> None:
    source = Examples(sums(50), tokenizer(), 6, 32)
    batch = source.batch(3)
    assert len(batch.tokens) < 6
    assert batch.positions is not None
    assert batch.count == (batch.targets != IGNORED).sum()
    decode = tokenizer().decode
    found = []
    for tokens, targets, positions in zip(
        batch.tokens, batch.targets, batch.positions, strict=True
    ):
        starts = np.flatnonzero(positions == 0).tolist()
        for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
            scored = targets[start:stop] != IGNORED
            if scored.any():
                prompt = decode(tokens[start : start + scored.argmax() + 1])
                found.append((prompt, decode(targets[start:stop][scored])))
    wanted = [sums(50)[i] for i in source.indices_at(3)]
    assert sorted(found) == sorted((f"{p} ", f"{t}<|endoftext|>") for p, t in wanted) or sorted(
        found
    ) == sorted((p, f" {t}<|endoftext|>") for p, t in wanted)


def test_every_example_comes_once_an_epoch_and_processes_share_the_batch() -> None:
    source = Examples(sums(30), tokenizer(), 6, 32, seed=3)
    epochs = [
        [i for step in range(5 * e, 5 * e + 5) for i in source.indices_at(step)] for e in (0, 1)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(30))
    assert epochs[0] != epochs[1]
    whole = source.batch(2)
    parts = [source.batch(2, rank, 3) for rank in range(3)]
    assert len({len(p.tokens) for p in parts}) == 1
    assert {p.count for p in parts} == {whole.count}
    scored = [np.sort(b.targets[b.targets != IGNORED]) for b in (whole, *parts)]
    assert np.array_equal(np.sort(np.concatenate(scored[1:])), scored[0])


@pytest.mark.parametrize("schedule", [None, "1-1x3-1"])
def test_examples_of_a_row_do_not_see_each_other(schedule: str | None) -> None:
    model = build("tiny", vocab_size=257).eval()
    if schedule:
        loop(model, schedule)
    packed = Examples(sums(12), tokenizer(), 12, 64).all()
    alone = Examples(sums(12), tokenizer(), 12, 64, pack=False).all()
    assert len(packed.tokens) < len(alone.tokens) == 12
    with torch.no_grad():
        found = [losses(model, batch, CPU) for batch in (packed, alone)]
    torch.testing.assert_close(found[0].sort()[0], found[1].sort()[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["positions are ignored", "positions are unknown"])
def test_a_model_that_would_mix_examples_gets_one_a_row(
    base: Path, tmp_path: Path, monkeypatch: Any, kind: str
) -> None:
    from transformers import LlamaForCausalLM

    original = LlamaForCausalLM.forward

    def deaf(self: Any, input_ids: Any, position_ids: Any = None, **rest: Any) -> Any:
        return original(self, input_ids, **rest)

    def ignorant(self: Any, input_ids: Any, use_cache: bool, logits_to_keep: Any = 0) -> Any:
        return original(self, input_ids, use_cache=use_cache, logits_to_keep=logits_to_keep)

    forward = deaf if kind == "positions are ignored" else ignorant
    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)
    said: list[str] = []
    engine = Engine(parse(fields(base, tmp_path)), tmp_path / "out", said.append)
    assert "attend across packed examples" in said[0]
    assert isinstance(engine.source, Examples)
    assert len(engine.source.batch(0).tokens) == 6
    assert sum(len(batch.tokens) for batch in engine.held_out) == 20
    engine.train(2)


def test_the_head_where_there_are_targets_gives_the_same_losses() -> None:
    model = build("tiny", vocab_size=257).eval()
    tokens = np.random.default_rng(0).integers(0, 257, (3, 20))
    targets = np.full_like(tokens, IGNORED)
    targets[0, 4] = targets[1, 9] = targets[1, 12] = 7
    with torch.no_grad():
        few = losses(model, Batch(tokens, targets, 3), CPU)
        logits = model(torch.from_numpy(tokens)).logits
    wanted = torch.stack([-logits[r, c].log_softmax(0)[7] for r, c in [(0, 4), (1, 9), (1, 12)]])
    torch.testing.assert_close(few, wanted)


def test_a_part_of_a_batch_ends_with_its_last_target() -> None:
    targets = np.full((4, 9), IGNORED)
    targets[0, 2] = targets[3, 6] = 1
    parts = Batch(np.zeros((4, 9), np.int64), targets, 2).parts(2)
    assert [part.tokens.shape for part in parts] == [(2, 3), (2, 7)]


@pytest.mark.parametrize(
    "model",
    [*slow({}), {"lora": {"rank": 2}}, *slow({"schedule": "1-2x2-1"})],
    ids=["full", "lora", "looped"],
)
def test_fine_tuning_learns_and_resumes_to_the_same_bits(
    base: Path, tmp_path: Path, model: dict[str, Any]
) -> None:
    run = fields(base, tmp_path, model={"path": str(base), **model})
    first = Engine(parse(run), tmp_path / "a").train()
    for until in (7, 16, None):
        second = Engine(parse(run), tmp_path / "b").train(until)
    assert weights(first.folder) == weights(second.folder)
    found = logged(tmp_path / "a")
    assert logged(tmp_path / "b") == found
    assert found[-1][1] < found[0][1] - 0.2
    assert first.best is not None
    assert first.best.name == (second.best.name if second.best else None)
    load(str(first.best))


def test_a_plan_needs_no_weights_and_knows_what_is_trained(base: Path, tmp_path: Path) -> None:
    full, lora = (
        plan(parse(fields(base, tmp_path, model={"path": str(base), **more})))
        for more in ({}, {"lora": {"rank": 2}})
    )
    engine = Engine(parse(fields(base, tmp_path)), tmp_path / "out")
    engine.train(8)
    assert full["tokens"] == lora["tokens"] == pytest.approx(engine.tokens * 3, rel=0.05)
    trained = sum(p.numel() for p in engine.model.parameters())
    assert full["memory_bytes"] - lora["memory_bytes"] > 11.0 * trained


# peft asks by the name of before transformers 5.2x
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
def test_adapters_leave_the_base_alone_and_are_merged_in_checkpoints(
    base: Path, tmp_path: Path
) -> None:
    run = fields(base, tmp_path, model={"path": str(base), "lora": {"rank": 2}})
    engine = Engine(parse(run), tmp_path / "out")
    folder = engine.train().folder
    before, after = load(str(base)), load(str(folder))
    trained = engine.model.eval()
    ids = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(after(ids).logits, trained(ids).logits, rtol=1e-4, atol=1e-4)
    changed = {
        name.split(".")[-2]
        for (name, a), b in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert changed == {f"{x}_proj" for x in ("q", "k", "v", "o", "gate", "up", "down")}
    peft = pytest.importorskip("peft")
    adapted = peft.PeftModel.from_pretrained(load(str(base)), folder / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted(ids).logits, after(ids).logits, rtol=1e-4, atol=1e-4)
    assert adapted.peft_config["default"].base_model_name_or_path == str(base)
    run["model"]["lora"]["rank"] = 3
    with pytest.raises(InputError, match="are not those of the run"):
        Engine(parse(run), tmp_path / "out", force=True)


@pytest.mark.parametrize("model", [*slow({}), {"lora": {"rank": 2}}], ids=["full", "lora"])
def test_what_reads_every_weight_file_of_a_checkpoint_finds_the_model_alone(
    base: Path, tmp_path: Path, model: dict[str, Any]
) -> None:
    """And checkpoints of before, whose moments and adapters lay beside it, go on."""
    run = fields(base, tmp_path, model={"path": str(base), **model})
    whole = Engine(parse(run), tmp_path / "whole").train().folder
    files = [name for file in whole.glob("*.safetensors") for name in load_file(file)]
    assert files == list(load_file(base / "model.safetensors"))

    folder = Engine(parse(run), tmp_path / "old").train(7).folder
    (folder / "optimizers" / "0.safetensors").rename(folder / "optimizer-0.safetensors")
    if model:
        before = {
            name.removeprefix("base_model.model.").replace(".weight", ".default.weight"): value
            for name, value in load_file(folder / "adapter" / "adapter_model.safetensors").items()
        }
        save_file(before, folder / "adapters.safetensors")
        shutil.rmtree(folder / "adapter")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] = {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert weights(Engine(parse(run), tmp_path / "old").train().folder) == weights(whole)


def test_a_looped_model_can_be_untied_first(base: Path, tmp_path: Path) -> None:
    looped = loop(load(str(base)), "1-2x2-1")
    looped.save_pretrained(tmp_path / "looped")
    tokenizer().save_pretrained(tmp_path / "looped")
    path = str(tmp_path / "looped")
    run = fields(base, tmp_path, model={"path": path, "untie": True})
    model = load(str(Engine(parse(run), tmp_path / "out").train(3).folder))
    assert model.config.num_hidden_layers == 6
    assert not hasattr(model, "schedule")


def test_a_run_that_does_not_get_better_stops_and_keeps_its_best(
    base: Path, tmp_path: Path
) -> None:
    run = fields(base, tmp_path, steps=400, validate_every=5, patience=3)
    run["optimizer"] = {"lr": 0.01, "warmup": 0}
    outcome = Engine(parse(run), tmp_path / "out").train()
    assert outcome.finished
    assert outcome.step < 400
    assert outcome.best is not None
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    held_out = {r["step"]: r["held_out"] for r in map(json.loads, lines) if "held_out" in r}
    best = min(held_out, key=lambda step: held_out[step])
    assert outcome.best.name == f"step-{best:09d}"
    assert outcome.step == best + 15
    assert outcome.best.is_dir()
    again = Engine(parse(run), tmp_path / "out").train()  # called again, it stays as it is
    assert again == outcome


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "holds no examples"),
        ('{"prompt": "a"}\n', "row 1: prompt and target"),
        ('{"prompt": "a", "target": ""}\n', "row 1: the target is empty"),
        ('{"prompt": "a", "target": "b"}\nno\n', "line 2: not JSON"),
        ('{"prompt": "' + "a" * 60 + '", "target": "b"}\n', "example 1 has 62 tokens"),
    ],
)
def test_bad_examples_are_refused(base: Path, tmp_path: Path, lines: str, message: str) -> None:
    run = fields(base, tmp_path)
    (tmp_path / "train.jsonl").write_text(lines)
    with pytest.raises(InputError, match=message):
        Engine(parse(run), tmp_path / "out")


def test_settings_and_models_that_cannot_be_are_one_sentence(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a=1 a=", "target": "1"}')
    with pytest.raises(InputError, match="batch_size must be a whole number of 1 or more"):
        run_of(str(base), str(path), None, Settings(batch_size=0))
    with pytest.raises(InputError, match=r"there is no model folder or GGUF file .*none"):
        Engine(run_of(str(tmp_path / "none"), str(path), None, Settings()), tmp_path / "out")
    bare = save(build("tiny", 2), None, tmp_path / "bare")
    with pytest.raises(InputError, match="has no tokenizer"):
        Engine(run_of(str(bare), str(path), None, Settings()), tmp_path / "out")


def test_plain_text_holds_no_examples(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputError, match="plain text"):
        read_examples(tmp_path / "a.txt")
