"""``--use_cache``: each model its own answers, kept as they come."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from growloop.models import loop
from growloop.tasks.evaluate import evaluate
from sqlitedict import SqliteDict

from ..support.selection import slow
from . import tiny

TASK = "variable_assignment_code_d0"
Checkpoint = Callable[[str], Path]


def answers(model: Path | str, cache: Path | None, **settings: Any) -> list[Any]:
    """The scores of every option of ten questions."""
    forwarded = settings.pop("forwarded", {}) | ({} if cache is None else {"use_cache": str(cache)})
    results = evaluate(
        str(model), [TASK], limit=10, shots=0, device="cpu", forwarded=forwarded, **settings
    )
    assert results is not None
    return [sample["filtered_resps"] for sample in results["samples"][TASK]]


def stored(folder: Path) -> int:
    """How many answers the only cache in a folder holds."""
    [file] = folder.glob("*.db")
    with SqliteDict(str(file), flag="r") as found:
        return len(found)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A model that differs in its weights alone."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tiny.save("llama", tmp_path / "other")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight.mul_(-1)
    model.save_pretrained(folder)
    return folder


def test_no_model_schedule_or_precision_is_served_the_answers_of_another(
    checkpoint: Checkpoint, other: Path, tmp_path: Path
) -> None:
    model, cache = checkpoint("llama"), tmp_path / "answers" / "c.db"
    looped: dict[str, Any] = {"prepare": lambda m: loop(m, repeat=(1, 2))}
    cases: list[tuple[Path, dict[str, Any]]] = [
        (model, {}),
        (other, {}),
        (model, looped),
        (model, {"prepare": lambda m: m.lm_head.weight.data.neg_()}),
        (model, {"dtype": "bfloat16"}),
        (model, {"forwarded": {"add_bos_token": True}}),
        (model, {"forwarded": {"softmax_dtype": "float64"}}),
    ]
    for path, settings in cases:
        assert answers(path, cache, **settings) == answers(path, None, **settings)
    assert len(list(cache.parent.glob("*.db"))) == len(cases)


def test_the_cache_is_the_same_for_a_copy_and_for_both_backends(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from growloop.tasks.scoring.checked_lm import CheckedLM
    from growloop.tasks.scoring.scorer import TrieLM

    model, cache = checkpoint("llama"), tmp_path / "answers" / "c"
    right = answers(model, cache)
    copy = shutil.copytree(model, tmp_path / "copy")

    def refuse(*_: Any) -> Any:
        raise AssertionError("scored again")

    monkeypatch.setattr(CheckedLM, "_loglikelihood_tokens", refuse)
    monkeypatch.setattr(TrieLM, "_loglikelihood_tokens", refuse)
    assert answers(copy, cache) == right
    assert answers(model, cache, backend="hf") == right


KILLED = """
import os, signal, sys
from growloop.tasks import evaluate
from growloop.tasks.scoring import scan, scorer, strategies
scan.EVERY = 0.0
after = int(sys.argv[4])
calls = 0

def killing(function):
    def call(self, *args, **options):
        global calls
        calls += 1
        if calls > after:
            self.cache_hook.dbdict.commit(blocking=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return function(self, *args, **options)
    return call

name = sys.argv[3]
owner = scorer.TrieLM
setattr(owner, name, killing(getattr(owner, name)))
if name == "_run":  # the self-check runs the model too
    owner._passing = lambda self, checked, pairs: [w for w in checked if w.__name__ == sys.argv[5]]
evaluate.evaluate(
    sys.argv[1], sys.argv[6:], limit=10, shots=0, device="cpu", pack=64,
    forwarded={"use_cache": sys.argv[2]},
)
"""


def killed(model: Path, cache: Path, name: str, after: int, way: str, *tasks: str) -> None:
    """Evaluate in a process that dies at the call ``after`` of a method of the scorer."""
    line = [sys.executable, "-c", KILLED, str(model), str(cache), name, str(after), way, *tasks]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("way", ["_scan", *slow("_cached")])
def test_a_killed_evaluation_goes_on_where_it_was(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    from growloop.tasks.scoring.scorer import TrieLM

    model, cache = checkpoint("llama"), tmp_path / "answers" / "c"
    killed(model, cache, "_run", 8, way, TASK)
    kept = stored(cache.parent)
    assert 0 < kept < 50
    asked: list[int] = []
    score = TrieLM._loglikelihood_tokens

    def counting(self: Any, requests: Any, *args: Any, **options: Any) -> Any:
        asked.append(len(requests))
        return score(self, requests, *args, **options)

    monkeypatch.setattr(TrieLM, "_loglikelihood_tokens", counting)
    found = answers(model, cache, pack=64)
    assert asked == [50 - kept]
    for ours, right in zip(found, answers(model, None), strict=True):
        assert [x for x, _ in ours] == pytest.approx([x for x, _ in right], abs=1e-4)


@pytest.fixture
def task(tmp_path: Path) -> Callable[[str], str]:
    """A task of twelve documents that generates, or sums up likelihoods."""
    rows = [{"text": f"{number}: " + "so " * (5 + number), "answer": "x"} for number in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shared = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test",
    }
    kinds: dict[str, dict[str, Any]] = {
        "generate_until": {
            "doc_to_text": "{{text}}",
            "doc_to_target": "{{answer}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 3},
            "metric_list": [{"metric": "exact_match"}],
        },
        "loglikelihood_rolling": {
            "doc_to_text": "",
            "doc_to_target": "{{text}}",
            "metric_list": [{"metric": "bits_per_byte"}],
        },
    }

    def made(kind: str) -> str:
        import yaml

        path = tmp_path / f"{kind}.yaml"
        fields = {"task": f"tiny_{kind}", "output_type": kind, **shared, **kinds[kind]}
        path.write_text(yaml.safe_dump(fields))
        return str(path)

    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "method", "after"),
    [("generate_until", "_model_generate", 4), ("loglikelihood_rolling", "_run", 6)],
)
def test_generated_answers_and_documents_are_kept_one_by_one(
    checkpoint: Checkpoint,
    tmp_path: Path,
    task: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    method: str,
    after: int,
) -> None:
    model, cache = checkpoint("llama"), tmp_path / "answers" / "c"
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    if kind == "loglikelihood_rolling":
        code = KILLED.replace("scan.EVERY = 0.0", "scan.EVERY = 0.0; strategies.AT_ONCE = 2")
        monkeypatch.setitem(globals(), "KILLED", code)
    killed(model, cache, method, after, "_scan", task(kind))
    assert 0 < stored(cache.parent) < 10
    given = {"limit": 10, "device": "cpu"}
    name = f"tiny_{kind}"
    going_on, alone = (
        evaluate(str(model), [task(kind)], **given, forwarded=forwarded)  # type: ignore[arg-type]
        for forwarded in ({"use_cache": str(cache)}, {})
    )
    assert going_on is not None
    assert alone is not None
    assert stored(cache.parent) == 10
    for ours, right in zip(going_on["samples"][name], alone["samples"][name], strict=True):
        if kind == "generate_until":
            assert ours["resps"] == right["resps"]
        else:
            assert ours["resps"][0][0] == pytest.approx(right["resps"][0][0], abs=1e-3)
