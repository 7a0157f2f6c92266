"""Runs that cannot be are refused before they start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.models.training.data.tokenization import byte_tokenizer, tokenize, train_bpe
from growloop.models.training.engine import Engine
from growloop.models.training.plan import plan
from growloop.models.training.runfile import parse

from ...support.training_runs import STEPS, fields, trained


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
        ({"growth": {"operator": "lidsa"}}, "did you mean 'lidas'"),
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
        ({"growth": {"block_size": 2, "steps": 80}}, "last growth step is at step 40, .* 40 steps"),
        ({"model": {"path": "x"}}, "growth is from one block to the depth of model.preset"),
        ({"model": {"preset": "tiny", "schedule": "2x2"}}, "growth .* excludes path, schedule"),
        ({"model": {"preset": "tiny", "recurrence": {"injection": "add"}}}, "and recurrence"),
        ({"model": {"path": "x", "options": {"vocab_size": 9}}}, "options change a preset"),
        ({"model": {"preset": "tiny", "untie": True}}, "untie needs path"),
        ({"events": [{"step": 0, "checkpoint": True}]}, "not step 0"),
        ({"events": [{"step": 0, "evaluate": {"tasks": ["any"]}}]}, "not step 0"),
        ({"data": {"examples": "a", "mixture": {"a": 1}}}, "a mixture needs sources"),
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
    with pytest.raises(InputError, match="the last growth step is at step 40"):
        plan(parse(fields(shards, growth={"block_size": 2, "steps": 80})))


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
