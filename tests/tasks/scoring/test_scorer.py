"""Scores are lm-eval's, whatever the model, the packs and what requests have in common."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import loop
from growloop.tasks.evaluate import evaluate, evaluate_schedules
from growloop.tasks.scoring import scan as scan_module
from growloop.tasks.scoring.checked_lm import CheckedLM
from growloop.tasks.scoring.scorer import TrieLM
from growloop.tasks.scoring.trie import build
from growloop.tasks.scoring.verify import in_full_precision
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from ...support.waiting import Waiting
from .. import tiny
from ..tiny import CONTEXT, OPTIONS, OTHER, PAIRS

Checkpoint = Callable[[str], Path]


def loaded(folder: Path, dtype: str = "float32", **options: Any) -> TrieLM:
    return TrieLM(pretrained=str(folder), device="cpu", dtype=dtype, **options)


def close(found: Any, right: Any, nats: float = 1e-4) -> None:
    assert len(found) == len(right)
    for (a, greedy), (b, expected) in zip(found, right, strict=True):
        assert a == pytest.approx(b, abs=nats)
        assert greedy == expected


def ways(lm: TrieLM, pairs: Any = PAIRS) -> list[str]:
    """The ways found to suit a model."""
    lm._score(pairs)
    assert lm._strategies is not None
    return [way.__name__ for way in lm._strategies]


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_every_architecture_gets_the_numbers_of_lm_eval(checkpoint: Checkpoint, kind: str) -> None:
    lm = loaded(checkpoint(kind))
    [right] = lm._plain(PAIRS, True)
    close(lm._score(PAIRS), right)
    close(lm._cached(PAIRS, True)[0], right)
    assert len({round(score, 5) for score, _ in right}) > len(PAIRS) - 3


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "gemma2", "mistral-window"])
def test_models_that_call_the_attention_interface_are_scanned(
    checkpoint: Checkpoint, kind: str
) -> None:
    assert ways(loaded(checkpoint(kind)))[0] == "_scan"


def test_positions_by_index_are_not_scanned(checkpoint: Checkpoint) -> None:
    assert ways(loaded(checkpoint("bloom"))) == ["_cached"]


@pytest.mark.parametrize("kind", ["llama", "gemma2", "mistral-window"])
@pytest.mark.parametrize("pack", [16, 17, 50, 1000])
def test_packs_of_every_size_give_the_same_numbers(
    checkpoint: Checkpoint, kind: str, pack: int
) -> None:
    lm = loaded(checkpoint(kind), pack=pack)
    close(lm._scan(PAIRS, True)[0], lm._plain(PAIRS, True)[0])


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral-window", "gpt_neox"])
def test_flex_attention_gives_the_same_numbers(checkpoint: Checkpoint, kind: str) -> None:
    lm = loaded(checkpoint(kind), pack=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # uncompiled, it says that it is slow
        close(lm._flex_scan(PAIRS, True)[0], lm._plain(PAIRS, True)[0])


def test_every_distinct_token_runs_once(checkpoint: Checkpoint, monkeypatch: Any) -> None:
    lm = loaded(checkpoint("llama"), pack=40)
    run, counted = lm._run, []

    def counting(ids: Any, **options: Any) -> Any:
        counted.append(ids.numel())
        return run(ids, **options)

    monkeypatch.setattr(lm, "_run", counting)
    lm._scan(PAIRS, True)
    prefixes = {tuple([*c, *o][: n + 1]) for c, o in PAIRS for n in range(len(c) + len(o) - 1)}
    assert sum(counted) == len(prefixes) == len(build(PAIRS))
    assert max(counted) <= 40


@pytest.mark.parametrize("kind", ["llama", "mistral-window"])
def test_nothing_is_read_before_the_last_pack_was_given_to_the_device(
    checkpoint: Checkpoint, kind: str
) -> None:
    lm = loaded(checkpoint(kind), pack=16)
    loop(lm.model)
    with Waiting() as waiting:
        lm.score_schedules(PAIRS, [[0, 1, 2]])  # which ways suit is seen here
        waiting.reads.clear()
        lm.score_schedules(PAIRS, [[0, 1, 2], [0, 1, 1, 2]])
    assert not waiting.reads


def test_short_memory_halves_the_packs_and_changes_nothing(
    checkpoint: Checkpoint, monkeypatch: Any
) -> None:
    lm = loaded(checkpoint("llama"), pack=64)
    [right] = lm._plain(PAIRS, True)
    run, refused = lm._run, []

    def narrow(ids: Any, **options: Any) -> Any:
        if ids.numel() > 40:
            refused.append(ids.numel())
            raise torch.OutOfMemoryError("too little")
        return run(ids, **options)

    monkeypatch.setattr(lm, "_run", narrow)
    close(lm._scan(PAIRS, True)[0], right)
    assert refused == [64]
    assert lm.pack == 32


def test_logits_of_few_tokens_are_held_at_once(checkpoint: Checkpoint, monkeypatch: Any) -> None:
    lm = loaded(checkpoint("llama"))
    text = [([1], CONTEXT), ([1], OTHER)]  # rolling windows: every token is predicted
    [right] = lm._plain(text, True)
    monkeypatch.setattr(scan_module, "LOGITS", 257 * 10)
    run, held = lm._run, []

    def measuring(ids: Any, **options: Any) -> Any:
        output = run(ids, **options)
        held.append(output.logits.shape[1])
        return output

    monkeypatch.setattr(lm, "_run", measuring)
    close(lm._scan(text, True)[0], right)
    assert max(held) <= 10


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "gpt_neox"])
def test_schedules_scored_together_get_the_numbers_each_has_alone(
    checkpoint: Checkpoint, kind: str
) -> None:
    lm = loaded(checkpoint(kind), pack=60)
    loop(lm.model)
    schedules = [[0, 1, 2], [0, 1, 1, 2], [0, 1, 1, 1, 2], [1, 0, 2], [0, 1, 1, 1]]
    lm.schedules = [type(lm.model.schedule)(tuple(schedule)) for schedule in schedules]
    assert ways(lm)[0] == "_scan"
    rights = []
    for number, schedule in enumerate(lm.schedules):
        lm.select(number)
        with lm.model.scheduled(schedule):
            rights.append(CheckedLM._loglikelihood_tokens(lm, [(None, *p) for p in PAIRS], True, 1))
        close(lm._score(PAIRS), rights[-1])
    assert len({right[0] for right in rights}) == len(schedules)
    assert lm.model.schedule.layers == (0, 1, 2)


def test_schedules_share_the_steps_they_begin_with(checkpoint: Checkpoint) -> None:
    lm = loaded(checkpoint("llama"), pack=1000)
    loop(lm.model)
    base = lm.model.schedule
    lm.schedules = [base, *(base.repeat(1, 2, times) for times in (1, 2, 3))]
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    for layer in lm.model.looped_layers._modules.values():
        layer.register_forward_hook(count)
    lm._scan(PAIRS, True)
    assert calls == 3 + 2 + 2 + 2  # not 3 + 4 + 5 + 6


def test_a_curve_over_repeats_is_that_of_single_runs(checkpoint: Checkpoint) -> None:
    folder, task = str(checkpoint("llama")), "copying_real_words"
    given: dict[str, Any] = {"limit": 3, "device": "cpu", "dtype": "float32"}
    together = evaluate_schedules(
        folder,
        [task],
        lambda model: [model.schedule, model.schedule.repeat(1, 2, 2)],
        prepare=loop,
        **given,
    )
    for schedule, results in zip(("3", "1-1x3-1"), together, strict=True):
        alone = evaluate(folder, [task], prepare=lambda m, s=schedule: loop(m, s), **given)
        assert alone is not None
        assert results is not None
        assert results["growloop"]["schedule"] == alone["growloop"]["schedule"]
        for a, b in zip(results["samples"][task], alone["samples"][task], strict=True):
            found, right = ([float(x) for x, _ in s["filtered_resps"]] for s in (a, b))
            assert found == pytest.approx(right, abs=1e-4)


def test_a_cache_that_knows_no_schedules_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    cache = {"use_cache": str(tmp_path / "cache")}
    with pytest.raises(InputError, match="use_cache does not tell schedules apart"):
        evaluate_schedules(
            str(checkpoint("llama")), ["copying_real_words"], lambda _: [[0, 1]], forwarded=cache
        )


def test_a_curve_over_shots_nests_its_examples(checkpoint: Checkpoint) -> None:
    task = "variable_assignment_code_d0"
    for backend in ("growloop", "hf"):
        results = evaluate(
            str(checkpoint("llama")),
            [task],
            shots=[4, 0, 1],
            limit=3,
            device="cpu",
            backend=backend,
            dtype="float32",
        )
        assert results is not None
        prompts = {
            count: [s["arguments"][0][0] for s in results["samples"][f"{task}@{count}"]]
            for count in (0, 1, 4)
        }
        for none, one, four in zip(prompts[0], prompts[1], prompts[4], strict=True):
            first, question = one.split("\n\nThe following", 1)
            assert four.startswith(first)
            assert four.endswith("The following" + question)
            assert none == "The following" + question
        assert prompts[1][0].split(none)[0] != prompts[1][1].split(none)[0]


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("error", [0.01, 1.0])
def test_a_way_that_disagrees_is_ruled_out(
    checkpoint: Checkpoint, monkeypatch: Any, error: float, dtype: str
) -> None:
    lm = loaded(checkpoint("llama"), dtype=dtype)
    for way in ("_scan", "_cached"):
        right = getattr(lm, way)

        def wrong(*given: Any, right: Any = right) -> Any:
            return [[(score + error, greedy) for score, greedy in part] for part in right(*given)]

        wrong.__name__ = way
        monkeypatch.setattr(lm, way, wrong)
    close(lm._score(PAIRS), lm._plain(PAIRS, True)[0])
    assert lm._strategies == []


def test_the_noise_of_half_precision_rules_no_way_out(checkpoint: Checkpoint) -> None:
    lm = loaded(checkpoint("llama"), dtype="bfloat16")
    with torch.no_grad():
        lm.model.lm_head.weight.mul_(300)  # now the last bit of a state is worth nats
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    assert ways(lm)[0] == "_scan"
    right, found = lm._plain(PAIRS, True)[0], lm._score(PAIRS)
    assert max(abs(x - y) for (x, _), (y, _) in zip(found, right, strict=True)) > 0.3
    for name, value in lm.model.state_dict().items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, before[name])


def test_weights_that_do_not_fit_in_float32_stay_as_they_are(monkeypatch: Any) -> None:
    model = torch.nn.Linear(3, 3, dtype=torch.bfloat16)
    before = model.weight.clone()

    def full(self: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch.Tensor, "float", full)
    with in_full_precision(model):
        assert model.weight.dtype == torch.bfloat16
    monkeypatch.undo()
    with in_full_precision(model):
        assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, before)


def test_a_recurrent_state_is_left_to_lm_eval(checkpoint: Checkpoint, monkeypatch: Any) -> None:
    lm = loaded(checkpoint("llama"))
    monkeypatch.setattr(lm.model.config, "layer_types", ["linear_attention"] * 3, raising=False)
    assert not lm._passes(lm._scan, PAIRS)
    assert not lm._passes(lm._cached, PAIRS)


def test_a_model_that_refuses_masks_and_caches_is_still_scored(
    checkpoint: Checkpoint, monkeypatch: Any
) -> None:
    lm = loaded(checkpoint("llama"))
    right = lm._plain(PAIRS, True)[0]

    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError("no such argument")

    monkeypatch.setattr(lm, "_run", refuse)
    close(lm._score(PAIRS), right)


def test_a_way_that_fails_later_gives_way_to_the_next(
    checkpoint: Checkpoint, monkeypatch: Any
) -> None:
    lm = loaded(checkpoint("llama"))
    assert ways(lm) == ["_scan", "_cached"]

    def fails(*_: Any) -> Any:
        raise RuntimeError("a limit of the model's own")

    monkeypatch.setattr(lm, "_strategies", [fails, lm._cached])
    close(lm._score(PAIRS), lm._plain(PAIRS, True)[0])


def test_half_precision_agrees_within_its_rounding(checkpoint: Checkpoint) -> None:
    lm = TrieLM(pretrained=str(checkpoint("llama")), device="cpu", dtype="bfloat16")
    assert lm.model.dtype == torch.bfloat16
    assert ways(lm)[0] == "_scan"
    found, [right] = lm._score(PAIRS), lm._plain(PAIRS, True)
    for (a, _), (b, _), (_, option) in zip(found, right, PAIRS, strict=True):
        assert a == pytest.approx(b, abs=0.1 * len(option))


def test_the_order_of_requests_changes_nothing(checkpoint: Checkpoint) -> None:
    lm = loaded(checkpoint("llama"), pack=100)
    mixed = [PAIRS[i] for i in np.random.default_rng(0).permutation(len(PAIRS))]
    scores = dict(zip(map(str, PAIRS), lm._score(PAIRS), strict=True))
    for pair, (score, greedy) in zip(mixed, lm._score(mixed), strict=True):
        assert score == pytest.approx(scores[str(pair)][0], abs=1e-4)
        assert greedy == scores[str(pair)][1]


@pytest.mark.parametrize("kind", [TrieLM, CheckedLM])
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


@pytest.mark.parametrize("kind", [TrieLM, CheckedLM])
def test_a_continuation_without_a_token_is_refused(
    checkpoint: Checkpoint, kind: type[CheckedLM]
) -> None:
    lm = kind(pretrained=str(checkpoint("llama")), device="cpu")
    with pytest.raises(InputError, match="nothing to score"):
        lm._loglikelihood_tokens([(("abc", ""), CONTEXT, [])], True)


@pytest.mark.parametrize("kind", [TrieLM, CheckedLM])
def test_a_context_without_a_token_is_refused(
    checkpoint: Checkpoint, kind: type[CheckedLM]
) -> None:
    lm = kind(pretrained=str(checkpoint("llama")), device="cpu")
    asked = [("abc", " d"), ("  ", "a")]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(asked)]
    with pytest.raises(InputError, match="nothing to read before 'a': '  ' is not a token"):
        lm.loglikelihood(requests, disable_tqdm=True)
