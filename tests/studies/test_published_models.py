"""Scores and studies of models that loop by themselves, against their authors' own code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.core.remote_code import trusting
from growloop.models import checkpoints, loop
from growloop.models.looping.native import native_schedule
from growloop.studies.measure.losses import schedule_losses
from growloop.tasks.evaluate import evaluate
from growloop.tasks.questions import scorer
from growloop.tasks.scoring.verify import EXACT

from ..support.commands import run
from ..support.published import FIELDS, KINDS, original, own_module_cache, published, start_of
from ..tasks.tiny import OPTIONS, OTHER
from .small import FEW, SMALL, TASK, TEXTS, parsed

LOOPS = (1, 2, 4)


@pytest.fixture(scope="module", params=KINDS)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    patch = pytest.MonkeyPatch()
    own_module_cache(patch, tmp_path_factory.mktemp("modules"))
    yield published(request.param, tmp_path_factory.mktemp(request.param))
    patch.undo()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # records of studies go there


@pytest.fixture
def field(folder: Path) -> str:
    return next(FIELDS[kind] for kind in KINDS if folder.name.startswith(kind))


@pytest.fixture
def loaded(folder: Path) -> Any:
    with trusting(True):
        return loop(checkpoints.load(str(folder), dtype="float32").eval())


@torch.no_grad()
def their_log_probs(model: Any, ids: list[int]) -> torch.Tensor:
    """The authors' log-probability of each token but the first, ``(tokens - 1,)``."""
    rows = torch.tensor([ids])
    logits = model(rows, use_cache=False, **start_of(model, rows)).logits[0, :-1]
    return logits.log_softmax(-1).gather(1, rows[0, 1:, None])[:, 0]


def test_scores_at_every_number_of_loops_are_the_authors(
    folder: Path, field: str, loaded: Any
) -> None:
    theirs = [original(folder, **{field: loops}) for loops in LOOPS]
    schedules = [native_schedule(model.config) for model in theirs]
    pairs = [(OTHER, option) for option in OPTIONS] + [(OTHER[:9], option) for option in OPTIONS]
    lm = scorer(loaded, checkpoints.load_tokenizer(str(folder)))
    scored = lm.score_schedules(pairs, schedules)
    own = lm.score_schedules(pairs[:3], [loaded.schedule])
    for model, scores in zip(theirs, scored, strict=True):
        for (context, option), (score, _) in zip(pairs, scores, strict=True):
            expected = float(their_log_probs(model, [*context, *option])[-len(option) :].sum())
            assert score == pytest.approx(expected, abs=EXACT * len(option))
    assert own[0] != scored[0][:3]
    losses = schedule_losses(loaded, schedules, torch.tensor([OTHER]))
    expected = [-float(their_log_probs(model, OTHER).mean()) for model in theirs]
    assert losses == pytest.approx(expected, abs=EXACT)


def test_eval_scores_several_numbers_of_loops(folder: Path, field: str, tmp_path: Path) -> None:
    schedule, block = {"H_cycles": ("0:2,0:4", "0:4"), "total_ut_steps": ("0:2", "0:2"),
                       "mean_recurrence": ("0:4", "1:3")}[field]  # fmt: skip
    result = run(
        "eval", "--model", str(folder), "--trust-remote-code", "--tasks", TASK, "--items", "8",
        "--shots", "0", "--schedule", schedule, "--block", block, "--repeats", "0,2",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    files = sorted(tmp_path.rglob("results_*.json"))
    schedules = [json.loads(file.read_text())["growloop"]["schedule"] for file in files]
    assert len(set(schedules)) == len(files) == 2


def test_a_random_start_is_scored_only_where_it_repeats(folder: Path, field: str) -> None:
    if field != "mean_recurrence":
        pytest.skip("it starts from its input")
    settings = {"limit": 8, "shots": 0, "device": "cpu"}
    with trusting(True):
        for backend in ("growloop", "hf"):
            with pytest.raises(InputError, match="start of its loops at random"):
                evaluate(str(folder), [TASK], backend=backend, **settings)
        both = [
            evaluate(str(folder), [TASK], backend=backend, prepare=loop, **settings)
            for backend in ("growloop", "hf")
        ]
    scores = [
        [score for sample in found["samples"][TASK] for score, _ in sample["filtered_resps"]]
        for found in both
        if found is not None
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


@pytest.mark.parametrize("name", ["loop-extrapolation", "dynamics", "weight-similarity"])
def test_studies_measure_every_number_of_loops(folder: Path, field: str, name: str) -> None:
    options = {
        "loop-extrapolation": [*FEW, *TEXTS, "--tasks", f"{TASK},loss", "--upto", "2"],
        "dynamics": [*TEXTS, "--loops", "5"],
        "weight-similarity": ["--apart", "1"],
    }[name]
    result = run("study", name, "-m", str(folder), "--trust-remote-code", "--json", *options)
    assert result.exit_code == 0, result.output
    records = parsed(json.loads(result.stdout))
    rows = [row for record in records for row in record.rows]
    own = str(native_schedule(original(folder).config))
    assert {record.model.schedule for record in records} == {own}
    if name == "dynamics":
        assert {row["loop"] for row in rows if row.metric == "change"} >= {1, 2, 3, 4}
    if name == "loop-extrapolation":
        assert {1, 3, 6} <= {row["loops"] for row in rows}


@pytest.mark.parametrize("name", ["swaps", "local-effects", "inference-scaling"])
def test_studies_that_change_single_steps_are_refused(folder: Path, name: str) -> None:
    result = run("study", name, "-m", str(folder), "--trust-remote-code", *SMALL[name])
    assert result.exit_code == 2, result.output
    assert "loops by itself" in result.stderr or "between its steps" in result.stderr
