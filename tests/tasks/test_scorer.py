"""The packed scorer gives lm-eval's numbers, whatever the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.primitives import InputError
from growloop.tasks.evaluate import evaluate
from growloop.tasks.scorer import CheckedLM, SharedContextLM
from lm_eval.models.huggingface import HFLM

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


def ways(lm: SharedContextLM, context: list[int] = CONTEXT) -> list[str]:
    """The ways found to suit a model."""
    lm._score(context, OPTIONS)
    return [way.__name__ for way in lm._ways]


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_every_architecture_gets_the_numbers_of_lm_eval(checkpoint: Checkpoint, kind: str) -> None:
    lm = loaded(checkpoint(kind))
    right = lm._plain(CONTEXT, OPTIONS)
    close(lm._score(CONTEXT, OPTIONS), right)
    close(lm._cached(CONTEXT, OPTIONS), right)
    assert len({round(score, 3) for score, _ in right}) == len(OPTIONS)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_models_that_take_a_tree_mask_are_packed(checkpoint: Checkpoint, kind: str) -> None:
    assert ways(loaded(checkpoint(kind)))[0] == "_packed"


def test_positions_by_index_are_not_packed(checkpoint: Checkpoint) -> None:
    assert ways(loaded(checkpoint("bloom"))) == ["_cached"]


def test_a_window_shorter_than_the_question_is_not_packed(checkpoint: Checkpoint) -> None:
    lm = loaded(checkpoint("mistral-window"))
    short = CONTEXT[:20]
    assert ways(lm, short)[0] == "_packed"
    close(lm._score(short, OPTIONS), lm._plain(short, OPTIONS))
    packed = lm._packed(CONTEXT, OPTIONS)  # what it would give where it does not suit
    right = lm._plain(CONTEXT, OPTIONS)
    assert any(abs(a - b) > 1e-2 for (a, _), (b, _) in zip(packed, right, strict=True))
    close(lm._score(CONTEXT, OPTIONS), lm._plain(CONTEXT, OPTIONS))


def test_single_token_options_come_first_without_deciding_for_the_rest(
    checkpoint: Checkpoint,
) -> None:
    lm = loaded(checkpoint("bloom"))  # cannot be packed, which branchless options do not show
    single = [[ord(letter)] for letter in "abc"]
    close(lm._score(CONTEXT, single), lm._plain(CONTEXT, single))
    close(lm._score(CONTEXT, OPTIONS), lm._plain(CONTEXT, OPTIONS))


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


@pytest.mark.parametrize("error", [0.01, 1.0])
def test_a_way_that_disagrees_is_ruled_out(
    checkpoint: Checkpoint, monkeypatch: Any, error: float
) -> None:
    lm = loaded(checkpoint("llama"))
    for way in ("_packed", "_cached"):
        right = getattr(lm, way)

        def wrong(context: Any, options: Any, right: Any = right) -> Any:
            return [(score + error, greedy) for score, greedy in right(context, options)]

        wrong.__name__ = way
        monkeypatch.setattr(lm, way, wrong)
    close(lm._score(CONTEXT, OPTIONS), lm._plain(CONTEXT, OPTIONS))
    assert lm._ways == []


def test_a_recurrent_state_is_left_to_lm_eval(checkpoint: Checkpoint, monkeypatch: Any) -> None:
    lm = loaded(checkpoint("llama"))
    monkeypatch.setattr(lm.model.config, "layer_types", ["linear_attention"] * 3, raising=False)
    assert not lm._suits(lm._packed, CONTEXT)
    assert not lm._suits(lm._cached, CONTEXT)


def test_a_model_that_refuses_masks_and_caches_is_still_scored(
    checkpoint: Checkpoint, monkeypatch: Any
) -> None:
    lm = loaded(checkpoint("llama"))
    right = lm._plain(CONTEXT, OPTIONS)

    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError("no such argument")

    monkeypatch.setattr(lm, "_run", refuse)
    close(lm._score(CONTEXT, OPTIONS), right)


def test_a_way_that_fails_on_one_question_gives_way_to_the_next(
    checkpoint: Checkpoint, monkeypatch: Any
) -> None:
    lm = loaded(checkpoint("llama"))
    assert ways(lm) == ["_packed", "_cached"]

    def out_of_memory(*_: Any) -> Any:
        raise torch.OutOfMemoryError("too little")

    monkeypatch.setattr(lm, "_ways", [out_of_memory, lm._cached])
    monkeypatch.setattr(out_of_memory, "__name__", "_packed")
    close(lm._score(CONTEXT, OPTIONS), lm._plain(CONTEXT, OPTIONS))


def test_half_precision_agrees_within_its_rounding(checkpoint: Checkpoint) -> None:
    folder = str(checkpoint("llama"))
    lm = SharedContextLM(pretrained=folder, device="cpu", dtype="bfloat16")
    assert lm.model.dtype == torch.bfloat16
    assert ways(lm)[0] == "_packed"
    for (a, _), (b, _) in zip(
        lm._packed(CONTEXT, OPTIONS), lm._plain(CONTEXT, OPTIONS), strict=True
    ):
        assert a == pytest.approx(b, abs=0.5)


def test_the_order_of_questions_changes_nothing(checkpoint: Checkpoint) -> None:
    lm = loaded(checkpoint("llama"))
    requests: list[Any] = [
        ((str(i), str(k)), CONTEXT[: 20 + i], option)
        for i in range(4)
        for k, option in enumerate(OPTIONS)
    ]
    requests.append((("alone", "o"), CONTEXT[:9], OPTIONS[0]))
    requests.append((None, CONTEXT[:1], CONTEXT[1:30]))  # a rolling window
    forwards = lm._loglikelihood_tokens(requests, True)
    backwards = lm._loglikelihood_tokens(requests[::-1], True)[::-1]
    for (a, _), (b, _), (_, context, option) in zip(forwards, backwards, requests, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
        assert a == pytest.approx(lm._plain(context, [option])[0][0], abs=1e-4)


@pytest.mark.parametrize("kind", [SharedContextLM, CheckedLM])
def test_what_does_not_fit_is_refused_or_truncated_as_lm_eval_does(
    checkpoint: Checkpoint, kind: type[CheckedLM]
) -> None:
    requests: list[Any] = [(("c", "o"), CONTEXT, option) for option in OPTIONS]
    given: dict[str, Any] = {"pretrained": str(checkpoint("llama")), "device": "cpu"}
    lm = kind(**given, max_length=100)
    with pytest.raises(InputError, match="does not fit into the model's context of 100"):
        lm._loglikelihood_tokens(requests, True)
    cut = kind(**given, max_length=100, truncation=True)
    close(
        cut._loglikelihood_tokens(requests, True),
        HFLM(**given, max_length=100)._loglikelihood_tokens(requests, True),
    )
