"""Where positions depend on the length of a text, every request scores as it does alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from growloop.core.positions import fixed_rope_length, regimes, uses_token_index
from growloop.models import loop
from growloop.tasks.evaluate import evaluate
from growloop.tasks.scoring.checked_lm import CheckedLM
from growloop.tasks.scoring.scorer import TrieLM
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from ...support import architectures
from .. import tiny
from ..tiny import CONTEXT, OPTIONS, OTHER

Checkpoint = Callable[[str], Path]
LONG = (CONTEXT * 4)[:483]
CONTEXTS = (CONTEXT[:11], OTHER, CONTEXT[:146], LONG[:200], LONG)  # options cross the switch too
PAIRS = [(context, option) for context in CONTEXTS for option in OPTIONS]
TRANSFORMERS = tuple(map(int, transformers.__version__.split(".")[:2]))
GIVEN: dict[str, Any] = {"device": "cpu", "dtype": "float32", "max_length": 1024}


def alone(folder: Path, pairs: Any) -> list[tuple[float, bool]]:
    """lm-eval's own scores, of a model that has read nothing else."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = []
    for pair in pairs:
        lm = HFLM(pretrained=copy.deepcopy(model), tokenizer=tokenizer, max_length=1024)
        found += lm._loglikelihood_tokens([(None, *pair)], True)
    return found


def close(found: Any, right: Any) -> None:
    for (a, greedy), (b, expected) in zip(found, right, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
        assert greedy == expected


@pytest.fixture(scope="module", params=tiny.BY_LENGTH)
def case(request: Any, checkpoint: Checkpoint) -> tuple[Path, list[tuple[float, bool]]]:
    """A checkpoint, and the right scores."""
    folder = checkpoint(request.param)
    return folder, alone(folder, PAIRS)


def test_requests_of_all_lengths_together_score_as_each_does_alone(case: Any) -> None:
    folder, right = case
    lm = TrieLM(pretrained=str(folder), **GIVEN)
    close(lm._score(PAIRS), right)
    assert lm._strategies == [lm._scan, lm._cached]
    close(lm._score(PAIRS[:6]), right[:6])  # what was read before changes nothing
    for pack in (16, 100):
        lm.pack = pack
        close(lm._scan(PAIRS, True)[0], right)
    close(lm._cached(PAIRS, True)[0], right)


@pytest.mark.parametrize("batch", [1, 4])
def test_batches_of_lm_evals_own_backend_are_of_one_length(case: Any, batch: int) -> None:
    folder, right = case
    lm = CheckedLM(pretrained=str(folder), batch_size=batch, **GIVEN)
    requests: list[Any] = [(None, *pair) for pair in PAIRS]
    close(lm._loglikelihood_tokens(requests, True), right)
    close(lm._loglikelihood_tokens(requests[::-1], True)[::-1], right)


def test_schedules_of_a_looped_model_too(case: Any) -> None:
    folder, right = case
    lm = TrieLM(pretrained=str(folder), **GIVEN)
    loop(lm.model)
    schedules = [[0, 1, 2], [0, 1, 1, 2]]
    found = lm.score_schedules(PAIRS, [lm.model.schedule, lm.model.schedule.repeat(1, 2, 1)])
    assert len(found) == len(schedules)
    close(found[0], right)
    assert found[1] != found[0]


@pytest.mark.parametrize("kind", tiny.BY_LENGTH)
@pytest.mark.parametrize("batch", [1, 3])
def test_prompts_of_all_lengths_get_the_texts_each_gets_alone(
    checkpoint: Checkpoint, kind: str, batch: int
) -> None:
    folder = checkpoint(kind)
    examples = "Question: what comes after a? Answer: b.\n\n"
    ends = ["Question: and c?", "Question: x, y and z?", "Question: and c? Q"]
    texts = [examples * count + end for count in (2, 3, 9) for end in ends]  # within, over, long
    options = {"until": ["\n\n"], "max_gen_toks": 12, "do_sample": False}
    requests = [Instance("generate_until", {}, (t, dict(options)), i) for i, t in enumerate(texts)]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    right = []
    for request in requests:
        lm = HFLM(pretrained=copy.deepcopy(model), tokenizer=tokenizer, max_length=1024)
        right += lm.generate_until([request], True)
    assert len(set(right)) > 3
    for of in (TrieLM, CheckedLM):
        ours = of(pretrained=str(folder), batch_size=batch, **GIVEN)
        assert ours.generate_until(requests, True) == right
        assert ours.generate_until(requests[::-1], True)[::-1] == right


def test_regimes_are_read_off_the_model(checkpoint: Checkpoint) -> None:
    def of(kind: str) -> Any:
        model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint(kind))
        return regimes(model)

    assert of("llama") is None
    assert of("gpt2") is None
    long, dynamic = of("longrope"), of("dynamic")
    assert long.of(1) == long.of(tiny.SWITCH) != long.of(tiny.SWITCH + 1) == long.of(900)
    assert dynamic.of(1) == dynamic.of(tiny.SWITCH) != dynamic.of(tiny.SWITCH + 1)
    assert dynamic.of(tiny.SWITCH + 1) != dynamic.of(tiny.SWITCH + 2)
    assert long.groups([500, 11, 300, 12]) == [[1, 3], [0, 2]]
    assert long.short == dynamic.short == tiny.SWITCH


def check_alone_and_among_longer(model: Any, tokenizer: Any, longest: int) -> None:
    """Each request scores in a call of all as lm-eval scores it alone."""
    text = architectures.tokens(2, longest).tolist()
    pairs = [(row[:n], row[n : n + k]) for row in text for n in (3, 9, longest - 5) for k in (1, 4)]
    given = {"tokenizer": tokenizer, "max_length": longest}
    right = []
    for pair in pairs:
        lm = HFLM(pretrained=copy.deepcopy(model), **given)
        right += lm._loglikelihood_tokens([(None, *pair)], True)
    close(TrieLM(pretrained=copy.deepcopy(model), **given)._score(pairs), right)


@pytest.mark.parametrize("kind", architectures.installed(architectures.ARCHITECTURES))
def test_every_architecture_scores_a_request_among_longer_ones_as_alone(
    checkpoint: Checkpoint, kind: str
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint("llama"))
    check_alone_and_among_longer(architectures.plain(kind), tokenizer, 40)


@pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
@pytest.mark.parametrize("kind", architectures.installed(architectures.SCALED))
def test_architectures_scaled_by_length_score_as_alone(
    checkpoint: Checkpoint, kind: str, rope_type: str
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint("llama"))
    if (kind, rope_type) == ("gemma3, text", "longrope") and TRANSFORMERS < (5, 21):
        pytest.skip("transformers before 5.21 fails on LongRoPE by kind of layer")
    model = architectures.scaled(kind, rope_type)
    assert regimes(model) is not None
    fresh = copy.deepcopy(model)  # transformers before 5.13 remembers the longest text it read
    ids = torch.tensor([architectures.tokens(1, 30)[0].tolist()])
    with torch.inference_mode():
        whole = model(ids).logits[0, :9]
        short = fresh(ids[:, :9]).logits[0]
        assert not torch.allclose(whole, short, atol=1e-3)
        with fixed_rope_length(model, 30):
            pinned = model(ids[:, :9]).logits[0]
    assert torch.allclose(whole, pinned, atol=1e-4)
    check_alone_and_among_longer(architectures.scaled(kind, rope_type), tokenizer, 30)


def test_an_unknown_dependence_on_length_is_left_to_lm_eval_one_by_one(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    def by_length(module: Any, args: Any, output: Any) -> Any:
        return output * (1 + output.shape[1] / 1000)

    folder = checkpoint("llama")
    lm = TrieLM(pretrained=str(folder), batch_size=8, **GIVEN)
    lm.model.get_input_embeddings().register_forward_hook(by_length)
    found = lm._score(PAIRS)
    assert "depends on how long the text is" in caplog.text
    right = [CheckedLM._loglikelihood_tokens(lm, [(None, *pair)], True, 1)[0] for pair in PAIRS]
    close(found, right)


def test_longer_requests_than_those_tried_are_tried_again(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = TrieLM(pretrained=str(checkpoint("llama")), **GIVEN)
    tried, suiting = [], lm._passing
    monkeypatch.setattr(lm, "_passing", lambda w, p: tried.append(len(p)) or suiting(w, p))
    for context in (CONTEXT[:50], CONTEXT[:40], LONG, CONTEXT):
        lm._score([(context, option) for option in OPTIONS])
    assert len(tried) == 2


def test_layers_that_count_places_in_the_pass_are_not_scanned(checkpoint: Checkpoint) -> None:
    config = transformers.Llama4TextConfig(
        vocab_size=257,
        hidden_size=32,
        intermediate_size=48,
        intermediate_size_mlp=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=2,
        layer_types=["full_attention"] * 2,
        no_rope_layers=[1, 0],
        attn_temperature_tuning=True,
        floor_scale=200,  # longer than any text here, shorter than all of them together
        attn_scale=3.0,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = transformers.Llama4ForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.3)
    assert uses_token_index(model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint("llama"))
    given: dict[str, Any] = {"tokenizer": tokenizer, "max_length": 1024}
    lm = TrieLM(pretrained=model, **given)
    pairs = tiny.PAIRS
    right = HFLM(pretrained=model, **given)._loglikelihood_tokens([(None, *p) for p in pairs], True)
    close(lm._score(pairs), right)
    assert lm._strategies == [lm._cached]
    scanned = lm._scan(pairs, True)[0]
    assert max(abs(x - y) for (x, _), (y, _) in zip(scanned, right, strict=True)) > 0.01


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_contexts_of_one_token_are_scanned(checkpoint: Checkpoint, kind: str) -> None:
    lm = TrieLM(pretrained=str(checkpoint(kind)), **GIVEN)
    pairs = [([256], CONTEXT), ([256], OTHER)]
    found = lm._score(pairs)
    assert lm._strategies == [lm._scan, lm._cached]
    close(found, alone(checkpoint(kind), pairs))


def test_lm_evals_cache_of_logits_takes_no_request_for_another(checkpoint: Checkpoint) -> None:
    pairs = [(CONTEXT[:20], CONTEXT[20:24]), (CONTEXT[:22], CONTEXT[22:24]), (CONTEXT[:20], [1])]
    lm = CheckedLM(pretrained=str(checkpoint("llama")), **GIVEN)
    found = lm._loglikelihood_tokens([(None, *pair) for pair in pairs], True)
    close(found, alone(checkpoint("llama"), pairs))


@pytest.mark.parametrize("kind", tiny.BY_LENGTH)
def test_a_curve_over_shots_is_that_of_lm_evals_own_backend(
    checkpoint: Checkpoint, kind: str
) -> None:
    task = "variable_assignment_basic_d0"
    options = {"device": "cpu", "dtype": "float32", "forwarded": {"max_length": 4096}}
    both = [
        evaluate(
            str(checkpoint(kind)), [task], shots=[0, 1, 3], limit=3, backend=backend, **options
        )
        for backend in ("growloop", "hf")
    ]
    assert both[0] is not None
    assert both[1] is not None
    for name in (f"{task}@{count}" for count in (0, 1, 3)):
        assert both[0]["results"][name]["acc,none"] == both[1]["results"][name]["acc,none"]
        for a, b in zip(both[0]["samples"][name], both[1]["samples"][name], strict=True):
            found, right = ([float(x) for x, _ in s["filtered_resps"]] for s in (a, b))
            assert found == pytest.approx(right, abs=1e-4)
