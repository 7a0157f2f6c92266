"""The tasks inside lm-eval itself, and ``growloop eval`` on tiny random models."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from growloop.cli import main
from growloop.core.errors import InputError
from growloop.leaderboard import Store
from growloop.primitives import STANDARD, Source, fingerprint, standard_task
from growloop.tasks import GROUPS, PATH
from growloop.tasks.benchmarks.catalog import BENCHMARKS, COLUMNS
from growloop.tasks.documents import config
from growloop.tasks.evaluate import evaluate
from growloop.tasks.results import rows

Checkpoint = Callable[[str], Path]


@pytest.fixture(scope="module")
def manager() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(PATH), include_defaults=False)


def test_lm_eval_finds_every_task_and_group(manager: Any) -> None:
    columns = {column.group for column in COLUMNS if len(column.members) > 1}
    assert set(manager.all_subtasks) == set(STANDARD) | set(BENCHMARKS)
    assert set(manager.all_groups) == set(GROUPS) | columns | {"paper_suite"}


@pytest.mark.parametrize(
    "name", ["variable_assignment_code_d1", "copying_real_words", "addition_8"]
)
def test_the_yaml_file_says_what_growloop_eval_uses(manager: Any, name: str) -> None:
    from lm_eval.api.task import ConfigurableTask

    theirs = manager.load([name])["tasks"][name]
    ours = ConfigurableTask(config=config(standard_task(name), 1000, 0, False))
    for field in ("doc_to_text", "doc_to_target", "doc_to_choice", "target_delimiter"):
        assert getattr(theirs.config, field) == getattr(ours.config, field)
    for field in ("output_type", "num_fewshot", "metric_list", "fewshot_split", "test_split"):
        assert getattr(theirs.config, field) == getattr(ours.config, field)
    assert list(theirs.test_docs()) == list(ours.test_docs())
    assert theirs.config.metadata["growloop"]["fingerprint"] == fingerprint(
        Source(standard_task(name), "test", 0), 1000
    )


def test_documents_are_the_items_and_shots_come_from_their_own_split(manager: Any) -> None:
    name = "variable_assignment_math_d0"
    task = manager.load([name])["tasks"][name]
    items = Source(standard_task(name), "test", 0).items(0, 1000)
    assert [doc["prompt"] for doc in task.test_docs()] == [item.prompt for item in items]
    tests = {item.prompt for item in items}
    shots = {doc["prompt"] for doc in task.fewshot_docs()}
    assert len(shots) == 1000
    assert not shots & tests
    task.set_fewshot_seed(1234)
    context = task.fewshot_context(task.test_docs()[0], 5)
    assert context.endswith(items[0].prompt)
    assert context.count("What is the numerical value") == 6


def test_examples_are_never_controlled() -> None:
    from growloop.tasks.documents import splits

    plain = splits(standard_task("variable_assignment_code_d1"), 20)
    cut = splits(standard_task("variable_assignment_code_d1", control="cut"), 20)
    assert list(plain["fewshot"]) == list(cut["fewshot"])
    assert list(plain["test"]) != list(cut["test"])


def test_metadata_changes_parameters(manager: Any) -> None:
    from lm_eval.tasks import TaskManager

    deeper = TaskManager(
        include_path=str(PATH), include_defaults=False, metadata={"depth": 3, "pretrained": "x"}
    )
    loaded = deeper.load(["reasoning_primitives"])["tasks"]
    told = loaded["variable_assignment_code_d0"].config.metadata["growloop"]
    assert told["params"]["depth"] == 3
    assert told["label"] == "variable_assignment_code_d3"
    assert loaded["copying_real_words"].config.metadata["growloop"]["params"]["words"] == "real"


def test_the_group_is_the_plain_mean_of_its_five_tasks(checkpoint: Checkpoint) -> None:
    results = evaluate(str(checkpoint("llama")), ["reasoning_primitives"], limit=6, device="cpu")
    assert results is not None
    table = rows(results)
    assert [row.task for row in table] == ["reasoning_primitives", *GROUPS["reasoning_primitives"]]
    assert table[0].value == pytest.approx(sum(row.value for row in table[1:]) / 5)
    assert table[0].chance == pytest.approx(0.16)
    assert [row.chance for row in table[1:]] == [0.1, 0.1, 0.2, 0.2, 0.2]
    assert all(row.n == 6 and row.shots == 5 for row in table[1:])


def test_items_and_limit_name_the_same_questions(checkpoint: Checkpoint) -> None:
    model, tasks = str(checkpoint("llama")), ["addition_2"]
    by_limit = evaluate(model, tasks, limit=6, shots=1, device="cpu")
    by_count = evaluate(model, tasks, count=6, shots=1, device="cpu")
    assert by_limit is not None
    assert by_count is not None
    assert rows(by_limit) == rows(by_count)
    assert rows(by_limit)[0].fingerprint is not None
    more = evaluate(model, tasks, count=7, limit=100, shots=1, device="cpu")
    assert more is not None
    assert [row.n for row in rows(more)] == [7]


def test_a_group_takes_a_depth_and_names_its_tasks_by_it(checkpoint: Checkpoint) -> None:
    for tasks, params in (
        (["reasoning_primitives:depth=3"], {}),
        (["reasoning_primitives"], {"depth": "3"}),
    ):
        results = evaluate(
            str(checkpoint("llama")), tasks, params=params, limit=2, shots=1, device="cpu"
        )
        assert results is not None
        names = [row.task for row in rows(results)]
        assert names[0] == "reasoning_primitives:depth=3"
        assert names[3:] == [f"variable_assignment_{s}_d3" for s in ("basic", "math", "code")]


def test_fixed_shots_are_the_same_before_every_question(checkpoint: Checkpoint) -> None:
    def contexts(fixed: bool) -> list[str]:
        results = evaluate(
            str(checkpoint("llama")),
            ["variable_assignment"],
            limit=4,
            shots=2,
            fixed_shots=fixed,
            device="cpu",
        )
        assert results is not None
        [samples] = results["samples"].values()
        found = [sample["arguments"][0][0] for sample in samples]
        return [text.rsplit("Fill in blank", 1)[0] for text in found]

    assert len(set(contexts(True))) == 1
    assert len(set(contexts(False))) == 4


def test_the_seed_draws_other_items(checkpoint: Checkpoint) -> None:
    def first(seed: int) -> Any:
        results = evaluate(
            str(checkpoint("llama")), ["addition_2"], limit=1, seed=seed, shots=0, device="cpu"
        )
        assert results is not None
        return results["samples"]["addition_2"][0]["doc"]["prompt"]

    assert first(0) == Source(standard_task("addition_2"), "test", 0)[0].prompt
    assert first(1) == Source(standard_task("addition_2"), "test", 1)[0].prompt


def test_the_command_prints_a_table_and_writes_results_samples_and_itself(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    arguments = ["eval", "--model", str(checkpoint("gpt2")), "--tasks", "preschool_math,addition_2"]
    arguments += ["--limit", "3", "--device", "cpu", "--out", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "preschool_math" in result.stdout
    assert "chance" in result.stdout
    [saved] = tmp_path.rglob("results_*.json")
    content = json.loads(saved.read_text())
    assert content["growloop"]["command"] == shlex.join(["growloop", *arguments])
    told = content["configs"]["addition_2"]["metadata"]["growloop"]
    assert len(told["fingerprint"]) == 64
    assert told["version"] == 1
    samples = {path.name.split("_20")[0] for path in tmp_path.rglob("samples_*.jsonl")}
    assert samples == {"samples_preschool_math", "samples_addition_2"}


def test_json_output_is_for_machines(checkpoint: Checkpoint, tmp_path: Path) -> None:
    arguments = ["eval", "-m", str(checkpoint("gpt2")), "-t", "addition_2", "-l", "2", "--json"]
    result = CliRunner().invoke(main, [*arguments, "--device", "cpu", "-o", str(tmp_path)])
    [row] = json.loads(result.stdout)
    assert row["task"] == "addition_2"
    assert row["n"] == 2


def test_options_of_lm_eval_are_taken_and_no_others(checkpoint: Checkpoint, tmp_path: Path) -> None:
    arguments = ["eval", "-m", str(checkpoint("gpt2")), "-t", "addition_2", "-l", "2"]
    arguments += ["--device", "cpu", "-o", str(tmp_path)]
    result = CliRunner().invoke(main, [*arguments, "--bootstrap_iters", "0", "--max_length=500"])
    assert result.exit_code == 0, result.output
    refused = CliRunner().invoke(main, [*arguments, "--bootstrap_iter", "0"])
    assert refused.exit_code == 2
    assert "did you mean --bootstrap_iters?" in refused.stderr


def test_a_stock_task_is_found_by_its_nearest_name(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="unknown task 'hellaswga': did you mean hellaswag"):
        evaluate(str(checkpoint("llama")), ["hellaswga"], device="cpu")


def test_a_pattern_stands_for_all_tasks_it_fits(checkpoint: Checkpoint) -> None:
    results = evaluate(str(checkpoint("llama")), ["addition_?"], limit=1, shots=0, device="cpu")
    assert results is not None
    assert [row.task for row in rows(results)] == ["addition_2", "addition_4", "addition_8"]


def test_more_shots_than_usual_draw_from_a_larger_pool(checkpoint: Checkpoint) -> None:
    from growloop.tasks.documents import pool_size

    task = standard_task("addition_2")
    assert [pool_size(task, shots) for shots in (5, 999, 1500)] == [1000, 1000, 1501]
    small = standard_task("addition_2", digits=1)
    assert pool_size(small, 5) == 5


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (["reasoning_primitives", "reasoning_primitives_d1"], {}, "share a task"),
        (["reasoning_primitives"], {"params": {"style": "code"}}, "two tasks of .* are the same"),
        (["addition_2"], {"params": {"style": "code"}}, "none of the chosen tasks"),
        (["addition_2"], {"seed": -1}, "seed must be a whole number from 0"),
        (["addition_2"], {"device": "cdua"}, "no device 'cdua'"),
        (["addition_2"], {"device": "cuda:7"}, "no device 'cuda:7'"),
        (["addition_2"], {"forwarded": {"samples": {"a": [1]}}}, "give one of them"),
        (["addition_2"], {"forwarded": {"metadata": {"depth": 4}}}, "for lm-eval's own tasks"),
        (
            ["addition_2"],
            {"limit": None, "forwarded": {"samples": {"addition_2": [-7]}}},
            "lm-eval: ",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(
    checkpoint: Checkpoint, tasks: list[str], options: dict[str, Any], message: str
) -> None:
    given = {"device": "cpu", "limit": 1} | options
    with pytest.raises(InputError, match=message) as caught:
        evaluate(str(checkpoint("llama")), tasks, **given)
    assert "\n" not in str(caught.value)


def test_the_yaml_tasks_keep_what_their_name_says(manager: Any) -> None:
    from growloop.tasks.documents import load

    with pytest.raises(InputError, match="its style is part of its name"):
        load({"task": "variable_assignment_basic_d0"}, style="code")
    with pytest.raises(InputError, match="depth must be a whole number"):
        load({"task": "variable_assignment_basic_d0"}, depth=4.0)


def test_the_result_file_tells_the_time_it_took(checkpoint: Checkpoint, tmp_path: Path) -> None:
    results = evaluate(str(checkpoint("llama")), ["addition_2"], limit=1, device="cpu")
    assert results is not None
    from growloop.tasks.results import save

    took = results["growloop"]["seconds"]
    [saved] = [p for p in save(results, "m", tmp_path, "c") if p.name.startswith("results")]
    assert float(json.loads(saved.read_text())["total_evaluation_time_seconds"]) >= took


def test_files_that_others_write_meanwhile_are_not_ours(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from growloop.tasks.results import save
    from lm_eval.loggers import EvaluationTracker

    results = evaluate(str(checkpoint("llama")), ["addition_2"], limit=1, device="cpu")
    assert results is not None
    write = EvaluationTracker.save_results_samples

    def with_others(self: Any, **given: Any) -> None:
        (tmp_path / "results_2026-01-01T00-00-00.000000.json").write_text("{}")
        write(self, **given)

    monkeypatch.setattr(EvaluationTracker, "save_results_samples", with_others)
    written = save(results, "m", tmp_path, "c")
    assert [path.parent.name for path in written] == ["m", "m"]


@pytest.mark.parametrize(("inside", "model"), [(".", "."), ("below", "..")])
def test_a_model_given_from_inside_its_folder_is_called_after_it(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, model: str
) -> None:
    own = Path(shutil.copytree(checkpoint("llama"), tmp_path / "own"))
    (own / "below").mkdir()
    monkeypatch.chdir(own / inside)
    command = ["eval", "-m", model, "-t", "addition_2", "-l", "1", "--device", "cpu"]
    out, store = tmp_path / "out", tmp_path / "records"
    result = CliRunner().invoke(main, [*command, "--out", str(out), "--leaderboard", str(store)])
    assert result.exit_code == 0, result.output
    assert [path.name for path in out.iterdir()] == ["own"]
    assert {record.model.name for record in Store(store).read()} == {"own"}


def test_an_output_that_cannot_be_written_is_refused_before_scoring(tmp_path: Path) -> None:
    from growloop.tasks.results import check_out

    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "x", tmp_path / "r.json"):
        with pytest.raises(InputError):
            check_out(out)
    check_out(tmp_path / "new" / "folder")
    assert {p.name for p in tmp_path.iterdir()} == {"file"}


def test_a_context_too_long_for_the_model_is_one_sentence(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="does not fit into the model's context of 2,048"):
        evaluate(str(checkpoint("llama")), ["copying"], shots=40, limit=1, device="cpu")


def test_folders_that_hold_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json"):
        evaluate(str(tmp_path), ["copying"])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot load model"):
        evaluate(str(tmp_path), ["copying"], device="cpu")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF?")
    with pytest.raises(InputError, match="cannot load model"):
        evaluate(str(tmp_path / "bad.gguf"), ["copying"], device="cpu")


def test_a_hub_model_that_cannot_be_had_is_one_sentence() -> None:
    with pytest.raises(InputError, match="cannot load model 'nobody/nothing'") as caught:
        evaluate("nobody/nothing", ["copying"], device="cpu")
    assert "\n" not in str(caught.value)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InputError, match=r"pip install 'growloop\[eval\]'"):
        evaluate("some/model", ["copying"])


def lm_eval_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lm_eval", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_lm_eval_command_validates_and_scores_our_tasks(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = ["--include_path", str(PATH)]
    checked = lm_eval_command("validate", *path, "--tasks", "reasoning_primitives")
    assert "All tasks found and valid" in checked.stdout, checked.stderr
    ran = lm_eval_command(
        "run",
        *path,
        "--tasks",
        "variable_assignment_basic_d0",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={checkpoint('llama')}",
        "--device",
        "cpu",
        "--limit",
        "5",
        "--output_path",
        str(tmp_path),
    )
    assert ran.returncode == 0, ran.stderr
    [saved] = tmp_path.rglob("results_*.json")
    theirs = json.loads(saved.read_text())
    told = theirs["configs"]["variable_assignment_basic_d0"]["metadata"]["growloop"]
    assert told["version"] == 1
    assert len(told["fingerprint"]) == 64
    ours = evaluate(
        str(checkpoint("llama")), ["variable_assignment_basic_d0"], limit=5, device="cpu"
    )
    assert ours is not None
    for metric in ("acc,none", "acc_norm,none"):
        a = theirs["results"]["variable_assignment_basic_d0"][metric]
        assert a == ours["results"]["variable_assignment_basic_d0"][metric]
