"""The packed scorer gives lm-eval's numbers, whatever the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.primitives import InputError
from growloop.tasks.evaluate import evaluate
from growloop.tasks.scorer import SharedContextLM

from . import tiny

Checkpoint = Callable[[str], Path]
CONTEXT = list(b"What comes after a, b, c and d, and how often? " * 3)
OPTIONS = [list(text) for text in (b"e", b"ef", b"eg", b"egh", b"xyz", b"e" * 9)]


def loaded(folder: Path, **options: Any) -> SharedContextLM:
    return SharedContextLM(pretrained=str(folder), device="cpu", dtype="float32", **options)


def close(found: Any, right: Any) -> None:
    for (a, greedy), (b, expected) in zip(found, right, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
        assert greedy == expected


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_every_way_gives_the_numbers_of_lm_eval(checkpoint: Checkpoint, kind: str) -> None:
    lm = loaded(checkpoint(kind))
    right = lm._plain(CONTEXT, OPTIONS)
    close(lm._way(CONTEXT, OPTIONS)(CONTEXT, OPTIONS), right)
    close(lm._cached(CONTEXT, OPTIONS), right)
    assert len({round(score, 3) for score, _ in right}) == len(OPTIONS)


@pytest.mark.parametrize(("kind", "way"), [("llama", "_packed"), ("gpt2", "_packed")])
def test_models_that_take_a_tree_mask_are_packed(
    checkpoint: Checkpoint, kind: str, way: str
) -> None:
    assert loaded(checkpoint(kind))._way(CONTEXT, OPTIONS).__name__ == way


def test_a_window_shorter_than_the_question_is_not_packed(checkpoint: Checkpoint) -> None:
    lm = loaded(checkpoint("mistral-window"))
    assert lm._way(CONTEXT, OPTIONS).__name__ == "_cached"
    short = CONTEXT[:20]  # packed for a short question must not stay chosen for a long one
    other = loaded(checkpoint("mistral-window"))
    other._way(short, OPTIONS)
    close(other._way(CONTEXT, OPTIONS)(CONTEXT, OPTIONS), other._plain(CONTEXT, OPTIONS))


@pytest.mark.parametrize("kind", ["llama", "mistral-window"])
@pytest.mark.parametrize("shots", [0, 3])
def test_results_equal_the_hf_backend_document_by_document(
    checkpoint: Checkpoint, kind: str, shots: int
) -> None:
    tasks = ["variable_assignment_code_d0", "copying_real_words", "addition_2"]
    both = [
        evaluate(str(checkpoint(kind)), tasks, limit=5, shots=shots, device="cpu", backend=backend)
        for backend in ("growloop", "hf")
    ]
    assert both[0] is not None
    assert both[1] is not None
    for task in tasks:
        for a, b in zip(both[0]["samples"][task], both[1]["samples"][task], strict=True):
            assert a["prompt_hash"] == b["prompt_hash"]
            assert a["acc"] == b["acc"]
            for (x, _), (y, _) in zip(a["filtered_resps"], b["filtered_resps"], strict=True):
                assert float(x) == pytest.approx(float(y), abs=1e-4)


def test_a_disagreement_falls_back_to_lm_eval(checkpoint: Checkpoint, monkeypatch: Any) -> None:
    lm = loaded(checkpoint("llama"))
    for way in ("_packed", "_cached"):
        right = getattr(lm, way)
        wrong = lambda c, o, right=right: [(score + 1, greedy) for score, greedy in right(c, o)]  # noqa: E731
        monkeypatch.setattr(lm, way, wrong)
    assert lm._choose(CONTEXT, OPTIONS) == lm._plain


def test_a_model_that_refuses_masks_and_caches_is_still_scored(
    checkpoint: Checkpoint, monkeypatch: Any
) -> None:
    lm = loaded(checkpoint("llama"))
    right = lm._plain(CONTEXT, OPTIONS)

    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError("no such argument")

    monkeypatch.setattr(lm, "_run", refuse)
    close(lm._way(CONTEXT, OPTIONS)(CONTEXT, OPTIONS), right)


def test_half_precision_agrees_within_its_rounding(checkpoint: Checkpoint) -> None:
    folder = str(checkpoint("llama"))
    lm = SharedContextLM(pretrained=folder, device="cpu", dtype="bfloat16")
    assert lm.model.dtype == torch.bfloat16
    for (a, _), (b, _) in zip(
        lm._packed(CONTEXT, OPTIONS), lm._plain(CONTEXT, OPTIONS), strict=True
    ):
        assert a == pytest.approx(b, abs=0.5)


def test_the_order_of_questions_changes_nothing(checkpoint: Checkpoint) -> None:
    lm = loaded(checkpoint("llama"))
    requests = [
        ((str(i), str(k)), CONTEXT[: 20 + i], option)
        for i in range(4)
        for k, option in enumerate(OPTIONS)
    ]
    forwards = lm._loglikelihood_tokens(requests, True)
    backwards = lm._loglikelihood_tokens(requests[::-1], True)[::-1]
    for (a, _), (b, _) in zip(forwards, backwards, strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_what_does_not_fit_is_refused_or_truncated_as_lm_eval_does(checkpoint: Checkpoint) -> None:
    requests = [(("c", "o"), CONTEXT, option) for option in OPTIONS]
    lm = loaded(checkpoint("llama"), max_length=100)
    with pytest.raises(InputError, match="does not fit into the model's context of 100"):
        lm._loglikelihood_tokens(requests, True)
    cut = loaded(checkpoint("llama"), max_length=100, truncation=True)
    close(cut._loglikelihood_tokens(requests, True), cut._plain(CONTEXT, OPTIONS))
