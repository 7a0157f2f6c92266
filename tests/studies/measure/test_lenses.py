"""Tuned lenses of studies: what they learn from, whose they are, and that a kill loses little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.models import Schedule, checkpoints, diagnostics, load
from growloop.models.diagnostics import exit_logits, lens_fitting, trace
from growloop.studies.measure.schedule_sweep import ScheduleSweep, separate_options
from growloop.tasks.questions import Question, questions, scorer

from ...support import architectures
from ...support.commands import refused, run
from ..small import FEW, TASK, TEXTS, study


def test_leaving_early_is_scored_by_the_lens(models: dict[str, str]) -> None:
    model = load(models["plain"])
    asked = questions(scorer(model, checkpoints.load_tokenizer(models["plain"])), TASK, 1, shots=0)
    [question] = asked.questions
    scores = ScheduleSweep(model, [Schedule.plain(4)]).exit_log_probs(question)[0]
    assert scores.shape == (5, 5)
    for number, (sheet, option) in enumerate(
        zip(separate_options(question), question.options, strict=True)
    ):
        found = trace(model, torch.tensor([sheet.tokens]))
        for step, state in enumerate((*found.inputs, found.outputs[-1])):
            rows = exit_logits(found, step, state[0, -len(option) :]).log_softmax(-1)
            wanted = rows.gather(1, torch.tensor(option)[:, None]).sum()
            torch.testing.assert_close(scores[step, number], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
def test_options_of_other_length_are_read_by_their_own_positions(rope_type: str) -> None:
    text = architectures.tokens(1, 30)[0].tolist()
    options = [[7], text[10:14], text[20:30]]  # texts of 10, 13 and 19 tokens; the switch is at 12
    question = Question(text[:10], options, 0)
    sweep = ScheduleSweep(architectures.scaled("llama", rope_type), [Schedule.plain(4)])
    for _ in range(2):
        found = sweep.exit_log_probs(question)[0, -1]
        for score, option in zip(found, options, strict=True):
            model = architectures.scaled("llama", rope_type)
            ids = torch.tensor([[*text[:10], *option[:-1]]])
            with torch.no_grad():
                rows = model(ids).logits[0, 9:].log_softmax(-1)
            wanted = rows.gather(1, torch.tensor(option)[:, None]).sum()
            torch.testing.assert_close(score, wanted, atol=1e-4, rtol=1e-4)


def test_a_tuned_lens_is_measured_beside_the_logit_lens(
    models: dict[str, str], tmp_path: Path
) -> None:
    """The logit lens reads the same numbers whether or not a lens is trained beside it."""
    asked = ["depth", "-m", models["looped"], *FEW, *TEXTS, "--tasks", TASK, "--json"]
    asked += ["--parts", "overlap,accuracy", "--out", str(tmp_path)]
    plain = json.loads(study(*asked).stdout)
    tuned = json.loads(study(*asked, "--lens-updates", "20").stdout)
    for before, after in zip(plain, tuned, strict=True):
        assert (before["data"]["lens"], after["data"]["lens"]) == ("logit lens", "tuned lens")
        assert after["data"]["logit"] == before["rows"]
        key = "answers" if "task" in after["rows"][0] else "value"
        assert after["rows"][-1][key] == before["rows"][-1][key]  # the model itself
        assert [row[key] for row in after["rows"]] != [row[key] for row in before["rows"]]
    picture = tmp_path / "chart.svg"
    study(*asked, "--lens-updates", "20", "--picture", str(picture))
    for text in ("tuned lens", "logit lens", "leaving early: variable_assignment_code_d0"):
        assert text in picture.read_text()


def test_a_lens_of_another_model_is_refused(models: dict[str, str], tmp_path: Path) -> None:
    asked = ["depth", *TEXTS, "--parts", "overlap", "--out", str(tmp_path)]
    study(*asked, "-m", models["plain"], "--lens-updates", "2")
    [lens] = (tmp_path / "lenses").glob("*.safetensors")
    other, model = tmp_path / "other", load(models["plain"])
    with torch.no_grad():
        model.model.norm.weight.mul_(1.5)
    checkpoints.save(model, checkpoints.load_tokenizer(models["plain"]), other)
    study(*asked, "-m", models["plain"], "--lens", str(lens))
    message = refused("study", *asked, "-m", str(other), "--lens", str(lens))
    assert "the lens was trained on another model than" in message


def test_a_lens_never_learns_from_what_is_measured(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"What is {i:02} plus {i * i:03}, and why is that so?" for i in range(30)]
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    (tmp_path / "b.txt").write_text("\n\n".join(texts[10:] + texts[:10]))
    seen: list[list[int]] = []

    def watched(model: Any, batches: Any, updates: int, **more: Any) -> Any:
        every = list(batches)
        seen.extend(row for batch in every for row in batch.tolist())
        return lens_fitting.fit_lens(model, every, updates, **more)

    monkeypatch.setattr(diagnostics, "fit_lens", watched)
    asked = ["depth", "-m", models["plain"], "--texts", "8", "--tokens", "99", "--parts", "overlap"]
    asked += ["--lens-updates", "9", "--text", str(tmp_path / "a.txt"), "--out", str(tmp_path)]
    tokenizer = checkpoints.load_tokenizer(models["plain"])
    for more in ([], ["--lens-text", str(tmp_path / "b.txt")]):
        seen.clear()
        study(*asked, *more)
        learned = {text for text in texts if tokenizer(text).input_ids in seen}
        assert learned == set(texts[8:])
    (tmp_path / "c.txt").write_text("\n\n".join(texts[:12]))
    message = refused("study", *asked, "--lens-text", str(tmp_path / "c.txt"))
    assert "has 4 prompts that are not measured, 8 are needed" in message


def test_a_killed_lens_goes_on_and_other_weights_get_their_own(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of a training is below ``--out`` until the lens is whole."""
    asked = ["depth", "-m", models["plain"], *FEW, *TEXTS, "--tasks", TASK, "--parts", "overlap"]
    asked += ["--lens-updates", "6", "--json"]
    whole = json.loads(study(*asked, "--out", str(tmp_path / "whole")).stdout)
    monkeypatch.setattr(lens_fitting, "EVERY", 0.0)
    monkeypatch.setattr(lens_fitting, "SHARE", 0)
    traced, calls = lens_fitting.trace, 0

    def killed(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return traced(*given)

    monkeypatch.setattr(lens_fitting, "trace", killed)
    out = tmp_path / "killed"
    assert run("study", *asked, "--out", str(out)).exit_code != 0
    assert [path.suffix for path in sorted((out / "lenses").iterdir())] == [".lock", ".part"]
    again = json.loads(study(*asked, "--out", str(out)).stdout)
    assert calls == 4 + 3  # the three updates that were done are not done again
    assert again[0]["rows"] == whole[0]["rows"]
    assert sorted(path.suffix for path in (out / "lenses").iterdir()) == [".lock", ".safetensors"]
