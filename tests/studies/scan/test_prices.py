"""Prices of an edit: held-out loss and guard tasks are those of the looped model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from growloop.models import Schedule, load, loop
from growloop.models.checkpoints import load_tokenizer
from growloop.studies.measure.schedule_sweep import ScheduleSweep
from growloop.studies.scan.candidates import own, repeat
from growloop.studies.scan.measure import Meter
from growloop.studies.scan.prices import guard_scores, held_out
from growloop.studies.scan.result import ScanResult
from growloop.tasks.evaluate import evaluate
from growloop.tasks.questions import scorer

BASE = Schedule.plain(4)
SOME = [own(BASE), repeat(BASE, 1, 3, applied="substeps")]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("held-out") / "text.jsonl"
    rows = [{"text": f"Document {i} says that {i * i} is the square of {i}. " * (1 + i % 3)}
            for i in range(12)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_held_out_loss_is_the_mean_over_tokens_with_a_paired_interval(
    tiny_model: str, text: str
) -> None:
    lm = scorer(load(tiny_model), load_tokenizer(tiny_model))
    plain, edited = held_out(Meter(lm), [own(BASE), repeat(BASE, 1, 3)], text, 12, 40)
    rows = [json.loads(line)["text"] for line in Path(text).read_text().splitlines()]
    sweep = ScheduleSweep(load(tiny_model), [BASE, BASE.repeat(1, 3)])
    total, tokens = torch.zeros(2), 0
    for row in rows:
        ids = torch.tensor([lm.tokenizer(row).input_ids[:40]])
        total += sweep.losses(ids) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    assert [plain["nll"], edited["nll"]] == pytest.approx((total / tokens).tolist(), abs=1e-4)
    assert edited["increase"] == pytest.approx(edited["nll"] - plain["nll"])
    assert edited["low"] <= edited["increase"] <= edited["high"]


def test_guards_are_scored_by_lm_eval_under_the_candidate(tiny_model: str) -> None:
    name = "copying_real_words"
    [row] = guard_scores(tiny_model, SOME, [name], 20, "float32", "cpu")
    for candidate, value in zip(SOME, row["values"], strict=True):
        alone = evaluate(
            tiny_model, [name], limit=20, dtype="float32", device="cpu",
            prepare=lambda model, c=candidate: loop(model, c.schedule, recurrence=c.recurrence),
        )  # fmt: skip
        assert alone is not None
        assert value == alone["results"][name][f"{row['metric']},none"]


def test_prices_stand_in_the_verdict(
    small_scan: Callable[..., ScanResult], text: str, tmp_path: Path
) -> None:
    result = small_scan(
        tmp_path, beam=0, text=text, documents=8, guards=("copying_random_words",), guard_limit=8
    )
    assert result.chosen.edit == "repeat"
    assert "held-out NLL" in result.verdict
    assert "copying_random_words acc" in result.verdict
    assert result.fields["held_out"]["plain"] > 0
