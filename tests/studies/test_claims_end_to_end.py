"""Every claim of the ledger finds what the commands write: their names cannot drift apart.

Tiny models of each kind, as their trainings would describe them, go through ``growloop eval`` and
``growloop study``; then each comparison of each claim has an effect.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from click.testing import CliRunner
from growloop.cli import main
from growloop.leaderboard import Record, Store
from growloop.leaderboard.claims.paper_claims import CLAIMS
from growloop.leaderboard.claims.verdicts import evaluate_claims
from growloop.models import build, checkpoints, grow, loop
from growloop.models.training.data.symbols import END, symbol_tokenizer, vocabulary
from growloop.studies.catalog import STUDIES
from growloop.studies.publish import SELECTORS
from transformers import PreTrainedTokenizerFast

pytestmark = pytest.mark.slow

TASK = ["--tasks", "variable_assignment_code_d0"]
FEW = ["--items", "8", "--shots", "0"]
TEXTS = ["--texts", "8", "--tokens", "150"]
BASE = {"text": 0.94, "math": 0.06}
SIX = ("standard-6", "loop-1-2x2-1", "lidas")  # of the same effective depth
TUNED = ["--sizes", "16", "--ties", "tied,untied", "--seeds", "1", "--depths", "1,2"]
TUNED += ["--min-steps", "2", "--epochs", "1", "--seq-len", "256", "--precision", "fp32"]
STUDIED: dict[str, tuple[tuple[str, ...], list[str]]] = {
    # study: models, options
    "inference-scaling": (
        ("standard-6", "lidas", "retrofit"),
        [*TASK, *FEW, "--block-size", "4", "--repeats", "1,2,3", "--control", "none"],
    ),
    "sample-efficiency": (
        SIX,
        [*FEW, *TUNED],
    ),
    "swaps": ((*SIX, "loop-3x2"), [*TASK, *FEW, "--sizes", "1"]),
    "in-context-scaling": (SIX, [*TASK, "--items", "8", "--shots", "0,1"]),
    "depth": (SIX, [*TASK, *FEW, *TEXTS, "--cuts", "1"]),
    "contributions": (SIX, TEXTS),
    "local-effects": (SIX[:1], [*TEXTS, "--cuts", "1"]),
    "loops-against-depth": (SIX[1:2], [*FEW, "--depths", "0", "--loops", "1,2"]),
    "weight-similarity": (SIX[2:], ["--apart", "2"]),
}


def made(name: str, folder: Path) -> None:
    """A checkpoint with what its training would have left beside it."""
    layers = {"standard-3": 3, "loop-3x2": 3, "loop-1-2x2-1": 4, "standard-6": 6}.get(name, 2)
    seed = crc32(name.encode())  # equal weights would be one model
    model = build("tiny", layers, seed, vocab_size=len(vocabulary()))
    events: list[dict[str, Any]] = []
    if name.startswith("loop-"):
        loop(model, name.removeprefix("loop-"))
    elif layers == 2:
        for _ in range(2):
            grow(model, "midas" if name == "midas" else "lidas", block_size=2)
    if name.endswith(("nemotron", "finemath")):
        events = [{"step": 85, "mixture": {"text": 0.8, name.split("-")[1]: 0.2}}]
    elif name == "retrofit":
        loop(model, repeat=(2, 4))
        events = [{"step": 85, "mixture": {"text": 0.8, "nemotron": 0.2}, "repeat": [2, 4]}]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=symbol_tokenizer(), eos_token=END, pad_token=END
    )
    checkpoints.save(model, tokenizer, folder / name)
    run = {
        "name": name,
        "seed": 0,
        "steps": 100,
        "model": {"preset": "tiny"},
        "data": {"mixture": BASE},
        "events": events,
    }
    told = {"run": run, "flops": 7e9 if layers == 2 else 1e10, "tokens": 1000}
    (folder / name / "training.json").write_text(json.dumps(told))


def ran(*arguments: str) -> Any:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, ``records`` of all that was measured on them, and the studies' own files."""
    here = tmp_path_factory.mktemp("claims")
    models, to = here / "models", ["--leaderboard", str(here / "records")]
    scored = (*SIX, "standard-3", "loop-3x2", "midas", "lidas-nemotron", "lidas-finemath")
    for name in (*scored, "retrofit"):
        made(name, models)
    (here / "held_out").mkdir()
    for number in range(2):
        (here / "held_out" / f"{number}.txt").write_text(f"a = {number}")
    for name in (*scored, "retrofit"):
        out = ["--out", str(here / "results"), "--limit", "8", "--device", "cpu", *to]
        ran("eval", "-m", str(models / name), *TASK, "--shots", "0", *out)
        if name in ("standard-6", "lidas"):
            held_out = ["--suite", "paper", "--holdout", str(here / "held_out")]
            ran("eval", "-m", str(models / name), *held_out, *out)
    for study, (names, options) in STUDIED.items():
        chosen = [part for name in names for part in ("-m", str(models / name))]
        ran("study", study, *chosen, *options, "--out", str(here / "studies"), *to)
    return here


@pytest.fixture(scope="module")
def records(folder: Path) -> tuple[Record, ...]:
    return Store(folder / "records").read()


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim.id for claim in CLAIMS])
def test_every_comparison_of_a_claim_finds_its_records(
    claim: Any, records: tuple[Record, ...]
) -> None:
    (found,) = (f for f in evaluate_claims(records, [claim]) if f.scale == "tiny")
    for effect in found.effects:
        assert effect.verdict != "not run at this scale", f"{effect.comparison.what}: {effect.why}"
        assert effect.value is not None


def test_every_study_is_published(records: tuple[Record, ...]) -> None:
    assert set(STUDIES) <= set(SELECTORS)
    assert set(STUDIED) <= {record.study for record in records}


def test_what_was_measured_is_published_later_too(
    folder: Path, records: tuple[Record, ...], tmp_path: Path
) -> None:
    kept = shutil.copytree(folder / "studies", tmp_path / "studies")  # without the checkpoints
    shutil.move(folder / "models", tmp_path / "elsewhere")
    try:
        where = ["--out", str(kept), "--leaderboard", str(tmp_path / "records")]
        ran("study", "publish", *where)
        assert "0 records added" in ran("study", "publish", *where).stderr
    finally:
        shutil.move(tmp_path / "elsewhere", folder / "models")
    later = Store(tmp_path / "records").read()
    assert {record.id for record in later} == {
        record.id for record in records if record.study in STUDIED
    }


def test_a_page_shows_all_of_it(folder: Path, tmp_path: Path) -> None:
    ran("leaderboard", "build", str(folder / "records"), "--out", str(tmp_path / "site"))
    pages = {path.name.rsplit("-", 1)[0] for path in (tmp_path / "site" / "studies").iterdir()}
    assert pages == set(STUDIED)
