"""Tokens and generated texts are those of lm-eval, however they are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from growloop.core.caches import NAMES
from growloop.tasks.scoring.encoding import encode_pairs
from growloop.tasks.scoring.scorer import TrieLM
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.huggingface import HFLM

from .. import tiny

Checkpoint = Callable[[str], Path]
TEXTS = [
    ("What is the value of n?\nAnswer:", " 23"),
    ("What is the value of n?\nAnswer:", " 7"),
    ("Spaces at the end   ", "word"),
    ("No space", "between"),
    ("Ünïcode → ", "日本"),
    ("<eos>begins with it", " x"),
    ("x", " <eos>"),
]


def both(folder: Path, **options: Any) -> list[Any]:
    given = {"pretrained": str(folder), "device": "cpu", "dtype": "float32", **options}
    return [TrieLM(**given), HFLM(**given)]


@pytest.mark.parametrize("bos", [None, True, False])
def test_texts_together_get_the_tokens_they_get_alone(
    checkpoint: Checkpoint, bos: bool | None, monkeypatch: Any
) -> None:
    lm, _ = both(checkpoint("llama"), add_bos_token=bos)
    found = encode_pairs(lm, TEXTS, quiet=True)
    for (texts, context, continuation), pair in zip(found, TEXTS, strict=True):
        assert texts == pair
        assert (context, continuation) == TemplateLM._encode_pair(lm, *pair)
    assert found[0][1] is found[1][1]


def test_an_empty_context_is_scored_as_lm_eval_does(checkpoint: Checkpoint) -> None:
    ours, theirs = both(checkpoint("llama"))
    requests = [
        Instance("loglikelihood", {}, args, i) for i, args in enumerate([("", "abc"), *TEXTS])
    ]
    found, right = ours.loglikelihood(requests, True), theirs.loglikelihood(requests, True)
    for (a, x), (b, y) in zip(found, right, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
        assert x == y


def test_rolling_log_likelihoods_are_those_of_lm_eval(checkpoint: Checkpoint) -> None:
    ours, theirs = both(checkpoint("llama"), max_length=40)
    texts = ["A text that is longer than the forty tokens of a window, by far.", "short", "A text"]
    requests = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]
    found, right = (lm.loglikelihood_rolling(requests, True) for lm in (ours, theirs))
    assert found == pytest.approx(right, abs=1e-3)


@pytest.mark.parametrize("kind", tiny.CONFIGS)
@pytest.mark.parametrize("batch", [1, 3])
def test_generated_texts_are_those_of_lm_eval(
    checkpoint: Checkpoint, kind: str, batch: int
) -> None:
    ours, theirs = both(checkpoint(kind), batch_size=batch)
    examples = "Question: what comes after a? Answer: b.\n\n" * 4
    ends = ["Question: and c?", "Question: what of x, y and z? Answer:", "Question: and c? Q"]
    texts = [examples + end for end in ends] + ["Another beginning " + end for end in ends]
    options = {"until": ["\n\n"], "max_gen_toks": 6, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (text, dict(options)), i) for i, text in enumerate(texts)
    ]
    shared: list[int] = []
    generate = ours.model.generate

    def noting(*args: Any, **given: Any) -> Any:
        shared.append(any(name in given for name in NAMES))
        return generate(*args, **given)

    ours.model.generate = noting
    found, right = (lm.generate_until(requests, True) for lm in (ours, theirs))
    assert found == right
    assert len(set(right)) > 1
    assert any(shared) == (kind not in ("mistral-window", "gemma2"))


def test_texts_that_share_nothing_are_generated_in_batches(checkpoint: Checkpoint) -> None:
    ours, theirs = both(checkpoint("llama"), batch_size=4)
    options = {"until": ["\n\n"], "max_gen_toks": 4, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (f"{i} is a beginning of its own", dict(options)), i)
        for i in range(8)
    ]
    sizes: list[int] = []
    generate = ours.model.generate

    def noting(*args: Any, **given: Any) -> Any:
        sizes.append(len(given["input_ids"]))
        return generate(*args, **given)

    ours.model.generate = noting
    assert ours.generate_until(requests, True) == theirs.generate_until(requests, True)
    assert sizes == [4, 4]
