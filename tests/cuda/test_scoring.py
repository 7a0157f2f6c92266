"""On a GPU scores and texts are lm-eval's too, in every way and with little memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from growloop.models import loop
from growloop.tasks.evaluate import best_device, evaluate
from growloop.tasks.scoring import self_check
from growloop.tasks.scoring.scorer import TrieLM
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch._dynamo.utils import counters

from ..tasks.tiny import OPTIONS, PAIRS

pytestmark = [pytest.mark.cuda, pytest.mark.filterwarnings("default")]

Checkpoint = Callable[[str], Path]
KINDS = ["llama", "gpt2", "gemma2", "mistral-window", "gpt_neox"]
WITHIN = 3e-4  # nats of a request; with TF32 it would be some hundred times that


def loaded(folder: Path, dtype: str = "float32", **options: Any) -> TrieLM:
    return TrieLM(pretrained=str(folder), device="cuda", dtype=dtype, **options)


def close(found: Any, right: Any, within: float = WITHIN) -> None:
    assert [x for x, _ in found] == pytest.approx([x for x, _ in right], abs=within)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in right]


@pytest.mark.parametrize("pack", [50, 16_384])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_in_float32_are_those_of_lm_eval(
    checkpoint: Checkpoint, kind: str, pack: int
) -> None:
    lm = loaded(checkpoint(kind), pack=pack)
    [right] = lm._plain(PAIRS, True)
    close(lm._scan(PAIRS, True)[0], right)
    close(lm._cached(PAIRS, True)[0], right)
    close(lm._score(PAIRS), right)
    assert lm._strategies == [lm._scan, lm._cached]


def test_scores_on_the_gpu_are_those_on_the_processor(checkpoint: Checkpoint) -> None:
    there = TrieLM(pretrained=str(checkpoint("llama")), device="cpu", dtype="float32")
    close(loaded(checkpoint("llama"))._score(PAIRS), there._score(PAIRS))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_in_bfloat16_agree_within_its_rounding(checkpoint: Checkpoint, kind: str) -> None:
    lm = loaded(checkpoint(kind), "bfloat16")
    found, [right] = lm._score(PAIRS), lm._plain(PAIRS, True)
    assert lm._strategies == [lm._scan, lm._cached]
    apart = [
        abs(a - b) / len(option)
        for (a, _), (b, _), (_, option) in zip(found, right, PAIRS, strict=True)
    ]
    assert max(apart) < 0.3
    assert np.mean(apart) < 0.1


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral-window"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_flex_attention_gives_the_same_and_compiles_once_for_all_packs(
    checkpoint: Checkpoint, kind: str, dtype: str
) -> None:
    torch._dynamo.reset()
    counters.clear()
    lm = loaded(checkpoint(kind), dtype)
    [right] = lm._plain(PAIRS, True)
    within = WITHIN if dtype == "float32" else 0.3
    for pack in (40, 70, 130, 200, 300, 1000):
        lm.pack = pack
        found = lm._flex_scan(PAIRS, True)[0]
        for (a, _), (b, _), (_, option) in zip(found, right, PAIRS, strict=True):
            assert a == pytest.approx(b, abs=within * (1 if dtype == "float32" else len(option)))
    assert counters["stats"]["unique_graphs"] <= 6  # and not one for each of the packs


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_flex_attention_is_first_where_it_pays(
    checkpoint: Checkpoint, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(self_check, "COMPILED", 1)
    lm = loaded(checkpoint("llama"), dtype)
    ran: list[bool] = []
    scan = lm._scan

    def noting(pairs: Any, quiet: bool, flex: bool = False) -> Any:
        ran.append(flex)
        return scan(pairs, quiet, flex)

    noting.__name__ = "_scan"
    monkeypatch.setattr(lm, "_scan", noting)
    found, [right] = lm._score(PAIRS), lm._plain(PAIRS, True)
    for (a, _), (b, _), (_, option) in zip(found, right, PAIRS, strict=True):
        assert a == pytest.approx(b, abs=0.3 * len(option))
    assert ran[-1] == (dtype == "bfloat16")  # its kernels are slow in full precision


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_schedules_scored_together_get_the_numbers_each_has_alone(
    checkpoint: Checkpoint, dtype: str
) -> None:
    lm = loaded(checkpoint("llama"), dtype, pack=100)
    loop(lm.model)
    schedules = [[0, 1, 2], [0, 1, 1, 2], [0, 1, 1, 1, 2], [0, 2]]
    found = lm.score_schedules(PAIRS, schedules)
    for schedule, scores in zip(schedules, found, strict=True):
        with lm.model.scheduled(lm.model.schedule.__class__(tuple(schedule))):
            [right] = lm._plain(PAIRS, True)
        if dtype == "float32":
            close(scores, right)
        for (a, _), (b, _), (_, option) in zip(scores, right, PAIRS, strict=True):
            assert a == pytest.approx(b, abs=0.4 * len(option))


@contextmanager
def room(megabytes: int) -> Iterator[None]:
    """So much more memory than what is used now."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    limit = torch.cuda.memory_reserved() + megabytes * 2**20
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def test_short_memory_halves_the_packs_and_changes_nothing(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    lm = loaded(checkpoint("llama"), pack=16_384)
    random = np.random.default_rng(0)
    contexts = [random.integers(0, 256, 1500).tolist() for _ in range(10)]
    pairs = [(context, option) for context in contexts for option in OPTIONS]
    [right] = lm._plain(pairs, True)
    lm._score(PAIRS)  # what a first run allocates is there
    with room(96), caplog.at_level(logging.WARNING, "growloop"):
        found = lm._scan(pairs, True)[0]
    close(found, right)
    assert lm.pack < 16_384
    assert "out of memory" in caplog.text


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
def test_generated_texts_are_those_of_lm_eval(
    checkpoint: Checkpoint, kind: str, batch: int
) -> None:
    given = {"pretrained": str(checkpoint(kind)), "device": "cuda", "dtype": "float32"}
    both = [made(**given, batch_size=batch) for made in (TrieLM, HFLM)]
    examples = "Question: what comes after a? Answer: b.\n\n" * 4
    ends = ["Question: and c?", "Question: what of x, y and z? Answer:", "Question: and c? Q"]
    texts = [examples + end for end in ends] + ["Another beginning " + end for end in ends]
    options = {"until": ["\n\n"], "max_gen_toks": 6, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (text, dict(options)), i) for i, text in enumerate(texts)
    ]
    ours, theirs = (lm.generate_until(requests, True) for lm in both)
    assert ours == theirs
    assert len(set(ours)) > 1


def test_the_evaluation_takes_the_gpu_by_itself(checkpoint: Checkpoint) -> None:
    assert best_device() == "cuda"
    tasks = ["copying_random_words"]
    ours, theirs = (
        evaluate(str(checkpoint("llama")), tasks, limit=4, shots=1, backend=backend)
        for backend in ("growloop", "hf")
    )
    assert ours is not None
    assert theirs is not None
    [task] = ours["results"]
    for a, b in zip(ours["samples"][task], theirs["samples"][task], strict=True):
        assert a["prompt_hash"] == b["prompt_hash"]
        for (x, _), (y, _) in zip(a["filtered_resps"], b["filtered_resps"], strict=True):
            assert float(x) == pytest.approx(float(y), abs=WITHIN)
