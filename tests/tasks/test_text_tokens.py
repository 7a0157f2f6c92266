"""Training and scoring see the same tokens, whatever a tokenizer puts around a text."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from growloop.core.text_tokens import encode
from growloop.models import build
from growloop.models.training.data.loss_masks import tokenize_pairs
from growloop.models.training.data.tokenization import end_token, tokenize
from growloop.tasks.evaluate import load_model
from growloop.tasks.scoring.checked_lm import CheckedLM
from growloop.tasks.scoring.encoding import encode_pairs
from growloop.tasks.scoring.scorer import TrieLM
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ..support.spelling import BOS, EOS, spelling

PAIRS = [("a=1,b=2 a?", "1"), ("a: ", "b"), ("x y z", "w, v"), ("a\nb:", "c\nd")]
TEMPLATES = ["$A", f"{BOS} $A", f"$A {EOS}", f"{BOS} $A {EOS}"]


def model_and_tokenizer(added: str, metaspace: bool) -> tuple[Any, Any]:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=spelling(added, metaspace), bos_token=BOS, eos_token=EOS, pad_token=EOS
    )
    return build("tiny", 1, vocab_size=len(tokenizer)), tokenizer


@pytest.mark.parametrize("metaspace", [False, True], ids=["characters", "metaspace"])
@pytest.mark.parametrize("added", TEMPLATES)
def test_what_is_trained_on_is_what_is_scored_and_the_end_token(
    added: str, metaspace: bool
) -> None:
    model, tokenizer = model_and_tokenizer(added, metaspace)
    trained = tokenize_pairs(PAIRS, tokenizer, " ")
    requests = [(prompt, f" {target}") for prompt, target in PAIRS]
    for kind in (TrieLM, CheckedLM):
        lm = kind(pretrained=model, tokenizer=tokenizer)
        alone = [lm._encode_pair(*pair) for pair in requests]
        together = [(context, rest) for _, context, rest in encode_pairs(lm, requests, quiet=True)]
        for example, *scored in zip(trained, alone, together, strict=True):
            for context, continuation in scored:
                tokens = example.tokens.tolist()
                assert tokens == [*context, *continuation, tokenizer.eos_token_id]
                assert example.start == len(context)
                assert tokens.count(tokenizer.eos_token_id) == 1
                assert tokens.count(tokenizer.bos_token_id) == added.count(BOS)


@pytest.mark.parametrize("added", TEMPLATES)
def test_generation_goes_on_after_the_prompt_without_an_end_token(added: str) -> None:
    model, tokenizer = model_and_tokenizer(added, False)
    lm = TrieLM(pretrained=model, tokenizer=tokenizer)
    texts = ["a=1 a?", "x"]
    ids, mask = lm.tok_batch_encode(texts)
    found = [row[seen].tolist() for row, seen in zip(ids, mask.bool(), strict=True)]
    assert found == encode(tokenizer, texts) == [lm.tok_encode(text) for text in texts]
    assert mask[1].tolist() == sorted(mask[1].tolist())  # padded on the left
    cut, _ = lm.tok_batch_encode(texts, left_truncate_len=3)
    assert cut.shape == (2, 3)


@pytest.mark.parametrize("added", TEMPLATES)
def test_documents_of_shards_begin_as_they_are_scored_and_have_one_end(
    tmp_path: Path, added: str
) -> None:
    tokenizer: Tokenizer = spelling(added)
    texts = ["ab", "c d", f"{BOS}e"]
    shards = tokenize(texts, tokenizer, tmp_path / "s", "letters")
    end = end_token(tokenizer)
    wanted = [[*tokens, end] for tokens in encode(tokenizer, texts)]
    found = np.split(shards.window(0, len(shards)), shards.ends()[:-1].astype(np.int64))
    assert [document.tolist() for document in found] == wanted
    assert list(shards.special) == shards.about["special_tokens"] == [0] * added.count(BOS)


def test_lm_eval_s_option_leaves_them_out() -> None:
    _, tokenizer = model_and_tokenizer(f"{BOS} $A {EOS}", False)
    for bos, begins in ((None, [0]), (True, [0]), (False, [])):
        lm = SimpleNamespace(tokenizer=tokenizer, add_bos_token=bos)
        [(_, context, continuation)] = encode_pairs(lm, [("ab", " c")], quiet=True)
        assert context == begins + encode(tokenizer, ["ab"], special=False)[0]
        assert EOS not in tokenizer.convert_ids_to_tokens(continuation)


@pytest.mark.parametrize(
    ("recorded", "warned"), [([0], False), ([], True), (None, True)], ids=["with", "without", "old"]
)
def test_a_checkpoint_that_was_trained_without_its_special_tokens_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recorded: list[int] | None, warned: bool
) -> None:
    model, tokenizer = model_and_tokenizer(f"{BOS} $A", False)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    state = {"run": {}} | ({} if recorded is None else {"special_tokens": recorded})
    (tmp_path / "training.json").write_text(json.dumps(state))
    given = {"pretrained": str(tmp_path), "device": "cpu", "dtype": "float32"}
    with caplog.at_level(logging.WARNING, "growloop"):
        load_model(str(tmp_path), "growloop", dict(given))
        assert ("was trained without special tokens" in caplog.text) == warned
        caplog.clear()
        load_model(str(tmp_path), "growloop", given | {"add_bos_token": False})
    assert not caplog.text or not warned
