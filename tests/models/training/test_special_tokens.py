"""Runs train on the special tokens that scoring puts before a text, or say that they do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from growloop.models import build, checkpoints
from growloop.models.training.data.loss_masks import tokenize_pairs
from growloop.models.training.data.tokenization import tokenize
from growloop.models.training.engine import Engine
from growloop.models.training.runfile import parse
from transformers import PreTrainedTokenizerFast

from ...support.changed_inputs import made_by_an_earlier_version, state_of
from ...support.spelling import BOS, EOS, spelling
from ...support.tuning_runs import written

PAIRS = [(f"{i} plus {i}:", str(2 * i)) for i in range(12)]


@pytest.fixture
def tuning(tmp_path: Path) -> dict[str, Any]:
    """A run on examples whose tokenizer puts BOS before, and EOS after, a text."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=spelling(f"{BOS} $A {EOS}"), bos_token=BOS, eos_token=EOS, pad_token=EOS
    )
    build("tiny", 2, vocab_size=len(tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return {
        "name": "sums",
        "steps": 4,
        "precision": "fp32",
        "model": {"path": str(tmp_path / "base")},
        "data": {
            "examples": written(tmp_path / "train.jsonl", PAIRS),
            "validation": written(tmp_path / "held_out.jsonl", PAIRS[:3]),
            "batch_size": 4,
            "seq_len": 64,
        },
        "optimizer": {"warmup": 1},
    }


def test_fine_tuning_trains_on_what_is_scored_and_writes_it_down(
    tuning: dict[str, Any], tmp_path: Path
) -> None:
    said: list[str] = []
    engine = Engine(parse(tuning), tmp_path / "out", said.append)
    assert said == []
    assert engine.source.special == (0,)
    last = engine.train(2).folder
    assert state_of(last)["special_tokens"] == [0]
    assert checkpoints.load_tokenizer(str(last)).bos_token == BOS
    assert Engine(parse(tuning), tmp_path / "out").source.special == (0,)


def test_a_run_of_an_earlier_version_goes_on_as_it_began_and_says_so(
    tuning: dict[str, Any], tmp_path: Path
) -> None:
    made_by_an_earlier_version(Engine(parse(tuning), tmp_path / "out").train(2).folder)
    said: list[str] = []
    engine = Engine(parse(tuning), tmp_path / "out", said.append)
    assert engine.source.special == ()
    assert [line for line in said if f"the run began without {BOS}, which the tokenizer" in line]
    assert all(0 not in batch.tokens for batch in (engine.source.batch(2), *engine.held_out))
    assert state_of(engine.train().folder)["special_tokens"] == []


def test_prompts_without_a_token_are_read_after_the_first_token_of_scoring() -> None:
    plain = PreTrainedTokenizerFast(tokenizer_object=spelling(more=("a ",)), eos_token=EOS)
    [empty, merged] = tokenize_pairs([("", "b"), ("a", "c")], plain, " ")
    assert [(e.tokens[0], e.start) for e in (empty, merged)] == [(1, 1), (1, 1)]
    plain.bos_token = BOS
    assert tokenize_pairs([("", "b")], plain, " ")[0].tokens[0] == 0


def test_shards_that_were_made_without_special_tokens_stay_usable_and_it_is_said_once(
    tmp_path: Path,
) -> None:
    texts = [f"{prompt} {target}" * 9 for prompt, target in PAIRS]
    made = tokenize(texts, spelling(f"{BOS} $A"), tmp_path / "new", "sums")
    assert made.special == (0,)
    run: dict[str, Any] = {
        "name": "tiny",
        "steps": 4,
        "precision": "fp32",
        "model": {"preset": "tiny", "options": {"num_hidden_layers": 2}},
        "data": {"sources": {"a": str(tmp_path / "new")}, "seq_len": 16, "batch_size": 2},
        "optimizer": {"warmup": 1},
    }
    said: list[str] = []
    last = Engine(parse(run), tmp_path / "one", said.append).train().folder
    assert said == []
    tokenizer = checkpoints.load_tokenizer(str(last))
    assert (tokenizer.bos_token, tokenizer.eos_token) == (BOS, EOS)
    assert tokenizer("a").input_ids[0] == 0

    index = tmp_path / "new" / "index.json"
    about = json.loads(index.read_text())
    del about["special_tokens"]  # as earlier versions wrote it
    index.write_text(json.dumps(about))
    Engine(parse(run), tmp_path / "two", said.append).train(2)
    assert said == [
        f"the shards were made without {BOS}, which the tokenizer puts before a text: evaluation "
        "does so, training does not"
    ]
    said.clear()
    Engine(parse(run), tmp_path / "two", said.append)
    assert said == ["going on after step 2 (step-000000002)"]
