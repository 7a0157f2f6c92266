"""Studies of lm-eval's multiple-choice tasks: the numbers are those of growloop eval."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..support.commands import refused, run

TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    train: {folder}/train.jsonl
    validation: {folder}/validation.jsonl
validation_split: validation
training_split: train
output_type: {kind}
doc_to_text: "{{{{prompt}}}}"
doc_to_target: answer
doc_to_choice: {choices}
metric_list:
  - metric: acc
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of task files: two tasks, their group, and one that generates."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    for split, first in (("train", 0), ("validation", 100)):
        rows = [
            {"prompt": f"{first + i} and {i} make", "answer": i % 3, "choices": ["x", "yy", "z z"]}
            for i in range(24)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("sums_a", "sums_b"):
        text = TASK.format(name=name, folder=folder, kind="multiple_choice", choices="choices")
        (folder / f"{name}.yaml").write_text(text)
    (folder / "sums.yaml").write_text("group: sums\ntask:\n  - sums_a\n  - sums_b\n")
    text = TASK.format(name="free", folder=folder, kind="generate_until", choices="choices")
    (folder / "free.yaml").write_text(text.replace("- metric: acc", "- metric: exact_match"))
    return folder


def test_a_study_scores_a_task_file_as_growloop_eval_does(
    models: dict[str, str], tasks: Path, tmp_path: Path
) -> None:
    file = str(tasks / "sums_a.yaml")
    options = ["--items", "24", "--shots", "2", "--repeats", "1", "--block-size", "2"]
    result = run(
        "study", "inference-scaling", "-m", models["plain"], "--tasks", file, *options,
        "--out", str(tmp_path / "out"), "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = [row for record in json.loads(result.stdout) for row in record["rows"]]
    [plain, *_] = [row for row in rows if row["split"] == "test" and row["times"] == 0]
    assert {row["split"] for row in rows} == {"test", "validation"}
    assert (plain["task"], plain["n"], plain["chance"]) == ("sums_a", 24, pytest.approx(1 / 3))
    scored = run(
        "eval", "-m", models["plain"], "--tasks", file, "--shots", "2", "--dtype", "float32",
        "--out", str(tmp_path / "results"), "--json",
    )  # fmt: skip
    assert scored.exit_code == 0, scored.output
    [row] = json.loads(scored.stdout)
    assert row["value"] == pytest.approx(plain["value"])


def test_what_a_study_cannot_use_is_refused(models: dict[str, str], tasks: Path) -> None:
    command = ["study", "inference-scaling", "-m", models["plain"], "--block-size", "2"]
    assert "scored as generate_until" in refused(*command, "--tasks", str(tasks / "free.yaml"))
    message = refused(*command, "--tasks", str(tasks / "sums_a.yaml"), "--fixed-shots", "true")
    assert "fixed and nested examples are for growloop's tasks" in message
    assert "unknown task 'nosuch_task'" in refused(*command, "--tasks", "nosuch_task")


def test_a_folder_of_tasks_with_its_groups(
    models: dict[str, str], tasks: Path, tmp_path: Path
) -> None:
    call = ["eval", "-m", models["plain"], "--include_path", str(tasks), "--tasks", "sums,sums_*"]
    assert "Duplicate" in refused(*call, "--output_path", str(tmp_path / "twice"))
    result = run(*call[:-1], "sums", "--output_path", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    names = sorted(path.name.partition("_20")[0] for path in (tmp_path / "out").rglob("*.json*"))
    assert names == ["results", "samples_sums_a", "samples_sums_b"]
    assert "sums_a" in result.stdout


def test_samples_are_written_or_not_and_predictions_have_no_metric(
    models: dict[str, str], tasks: Path, tmp_path: Path
) -> None:
    call = ["eval", "-m", models["plain"], "--include_path", str(tasks), "--tasks", "sums_a"]
    without = run(*call, "--log_samples", "false", "--output_path", str(tmp_path / "none"))
    assert without.exit_code == 0, without.output
    [results] = [json.loads(path.read_text()) for path in (tmp_path / "none").rglob("*.json*")]
    assert results["task_hashes"]["sums_a"]
    only = run(*call, "--predict_only", "--log_samples", "--output_path", str(tmp_path / "only"))
    assert (only.exit_code, only.stdout) == (0, ""), only.output
    [samples] = (tmp_path / "only").rglob("samples*")
    assert len(samples.read_text().splitlines()) == 24
    message = refused(*call, "--predict_only", "--leaderboard", str(tmp_path / "records"))
    assert message == "Error: --predict_only computes no metric: leave out --leaderboard"
    assert "is not a folder" in refused(*call[:3], "--include_path", "nowhere", "--tasks", "sums_a")


@pytest.mark.slow
@pytest.mark.parametrize("only", [[], ["--predict_only"]])
def test_files_are_those_of_lm_eval(
    models: dict[str, str], tasks: Path, tmp_path: Path, only: list[str]
) -> None:
    """The same names, keys and values, log-likelihoods up to rounding."""
    options = ["--include_path", str(tasks), "--tasks", "sums", *only, "--log_samples"]
    ours = run("eval", "-m", models["plain"], *options, "--output_path", str(tmp_path / "ours"))
    assert ours.exit_code == 0, ours.output
    theirs = subprocess.run(
        [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args",
         f"pretrained={models['plain']},dtype=auto", "--device", "cpu", *options,
         "--output_path", str(tmp_path / "theirs")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert theirs.returncode == 0, theirs.stderr
    files = {
        side: {
            path.name.partition("_20")[0]: path.read_text()
            for path in (tmp_path / side).rglob("*.json*")
        }
        for side in ("ours", "theirs")
    }
    assert sorted(files["ours"]) == sorted(files["theirs"])
    for name in ("samples_sums_a", "samples_sums_b"):
        one, other = (
            sorted(map(json.loads, files[side][name].splitlines()), key=lambda row: row["doc_id"])
            for side in ("ours", "theirs")
        )
        assert len(one) == len(other) == 24
        for mine, reference in zip(one, other, strict=True):
            assert mine.keys() >= reference.keys()
            for field in reference.keys() - {"resps", "filtered_resps"}:
                assert mine[field] == reference[field], field
            for field in ("resps", "filtered_resps"):
                assert numbers(mine[field]) == pytest.approx(numbers(reference[field]), abs=1e-3)
    results = [json.loads(files[side]["results"]) for side in ("ours", "theirs")]
    assert results[0].keys() >= results[1].keys() - {"chat_template", "chat_template_sha"}
    for field in ("results", "n-samples", "n-shot", "higher_is_better", "group_subtasks"):
        assert results[0].get(field) == results[1].get(field), field


def numbers(nested: Any) -> list[float]:
    """Numbers and booleans of nested lists, as floats; lm-eval writes some as text."""
    if isinstance(nested, list):
        return [number for item in nested for number in numbers(item)]
    return [float({"True": 1, "False": 0}.get(str(nested), nested))]


def test_code_of_a_folder_runs_only_if_it_is_trusted(
    models: dict[str, str], tasks: Path, tmp_path: Path
) -> None:
    text = (
        (tasks / "sums_b.yaml")
        .read_text()
        .replace('doc_to_text: "{{prompt}}"', "doc_to_text: !function code.text")
    )
    (tasks / "sums_b.yaml").write_text(text)
    (tasks / "code.py").write_text("def text(doc):\n    return doc['prompt']\n")
    call = ["eval", "-m", models["plain"], "--include_path", str(tasks), "--out", str(tmp_path)]
    assert "names code (!function code.text)" in refused(*call, "--tasks", "sums")
    for more in (["--tasks", "sums_a"], ["--tasks", "sums", "--trust-task-code"]):
        result = run(*call, *more, "--items", "4")
        assert result.exit_code == 0, result.output
