"""Task files that lm-eval reads and then fails on are named in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from growloop.core.errors import InputError
from growloop.tasks.evaluate import evaluate, harness

Checkpoint = Callable[[str], Path]


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    rows = [{"question": f"{i}+{i}=", "answer": str(2 * i)} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": ["0", "2"],
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc"}],
        "metadata": {"version": 1},
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"doc_to_choice": []}, "list index out of range"),
        ({"doc_to_target": 7}, "list index out of range"),
        ({"doc_to_choice": None}, "TypeError"),
        ({"fewshot_config": "x"}, "'str' object has no attribute"),
        ({"dataset_kwargs": "x"}, ""),  # the message depends on the version of datasets
        ({"filter_list": 3}, "'int' object is not iterable"),
    ],
)
def test_a_file_that_lm_eval_fails_on_is_named(
    checkpoint: Checkpoint, tmp_path: Path, task: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    file = tmp_path / "task.yaml"
    options: dict[str, Any] = {"limit": 2, "shots": 0, "device": "cpu"}
    file.write_text(yaml.safe_dump(task))
    results = evaluate(str(checkpoint("llama")), [str(file)], **options)
    assert results is not None
    assert results["n-samples"]["sums"] == {"original": 4, "effective": 2}
    file.write_text(yaml.safe_dump(task | change))
    with pytest.raises(InputError) as refused:
        evaluate(str(checkpoint("llama")), [str(file)], **options)
    assert str(refused.value).startswith(f"lm-eval cannot use {file}: {said}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("error", [AttributeError("x"), IndexError("x")])
def test_a_fault_of_ours_is_not_blamed_on_a_file(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr("lm_eval.simple_evaluate", fail)
    with pytest.raises(type(error)):
        harness(None, ["addition_2"], None)
