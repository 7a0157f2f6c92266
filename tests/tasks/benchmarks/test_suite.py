"""The suite: the row, what is kept, what is left out."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from growloop.cli import main
from growloop.core.errors import InputError
from growloop.leaderboard import Store
from growloop.tasks.benchmarks import BENCHMARKS, COLUMNS, TaskResult, run_suite, summarise
from growloop.tasks.benchmarks.catalog import NLL
from growloop.tasks.benchmarks.holdout import Text, likelihood
from growloop.tasks.benchmarks.paired import compare
from hypothesis import given
from hypothesis import strategies as st

Checkpoint = Callable[[str], Path]
KEYS = [
    "holdout_nll",
    "open_book_f1",
    "closed_book_f1",
    "lambada_acc",
    "hellaswag_acc",
    "math_word_problems_acc",
    "reasoning_primitives_acc",
    "gsm8k_acc",
]


def made(task: str, value: float, stderr: float | None = 0.1) -> TaskResult:
    return TaskResult(task, "acc", value, stderr, 10, 0, "here", "f" * 64)


@given(st.lists(st.floats(0, 1), min_size=len(BENCHMARKS), max_size=len(BENCHMARKS)))
def test_a_column_is_the_plain_mean_of_its_tasks(values: list[float]) -> None:
    tasks = {n: made(n, v) for n, v in zip(BENCHMARKS, values, strict=True)}
    result = summarise("m", {}, tasks, None, {})
    cells = {cell.key: cell for cell in result.cells}
    assert list(cells) == KEYS
    for column in COLUMNS:
        mean = sum(tasks[m.task].value for m in column.members) / len(column.members)
        assert cells[column.key].value == pytest.approx(100 * mean)
        assert cells[column.key].stderr == pytest.approx(10 / math.sqrt(len(column.members)))


@pytest.mark.parametrize("absent", BENCHMARKS)
def test_a_column_with_a_missing_task_has_no_mean(absent: str) -> None:
    tasks = {name: made(name, 0.5) for name in BENCHMARKS if name != absent}
    result = summarise("m", {}, tasks, None, {absent: "why"})
    without = {cell.key for cell in result.cells if cell.value is None}
    [column] = [c.key for c in COLUMNS if absent in {m.task for m in c.members}]
    assert without == {column, "holdout_nll"}
    assert not result.complete


@pytest.fixture(scope="module")
def finished(
    checkpoint: Checkpoint, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a whole run with two questions a task."""
    out = tmp_path_factory.mktemp("out")
    found = run_suite(
        str(checkpoint("llama")), data_dir=str(data_dir), limit=2, out=out, device="cpu"
    )
    assert found is not None
    assert found[0].complete
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_every_task_of_the_suite_is_scored(finished: Path) -> None:
    [folder] = finished.iterdir()
    row = json.loads((folder / "suite.json").read_text())
    assert list(row["row"]) == KEYS
    assert all(isinstance(value, float) for value in row["row"].values())
    assert row["complete"]
    assert row["missing"] == {}
    assert set(row["tasks"]) == set(BENCHMARKS)
    for name, task in row["tasks"].items():
        assert task["n"] == 2
        assert task["shots"] == BENCHMARKS[name].shots
        kept = json.loads((folder / f"{name}.json").read_text())["result"]
        mean = sum(item["value"] for item in kept["items"]) / 2
        assert task["value"] == pytest.approx(mean)
        assert len(task["fingerprint"]) == 64
    assert row["partial"]["paper_drop"] == "2 of 9,536 rows"
    nll = row["holdout"]
    assert nll["documents"] == 2
    assert nll["bits_per_byte"] == pytest.approx(nll["nats"] / nll["bytes"] / math.log(2))
    assert row["row"]["holdout_nll"] == nll["nats_per_token"]


def cli(checkpoint: Path, data_dir: Path, out: Path, *more: str) -> Any:
    command = ["eval", "-m", str(checkpoint), "--suite", "paper", "--data-dir", str(data_dir)]
    command += ["--limit", "2", "--device", "cpu", "--out", str(out), *more]
    return CliRunner().invoke(main, command)


def scored(result: Any) -> list[str]:
    """Which tasks the command scored."""
    lines = [line.removeprefix("suite: ") for line in result.stderr.splitlines()]
    return [line for line in lines if line in BENCHMARKS]


def test_only_the_first_of_several_processes_tells(
    checkpoint: Checkpoint, data_dir: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [folder] = out.iterdir()
    (folder / "suite.json").unlink()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    result = cli(checkpoint("llama"), data_dir, out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "suite:" not in result.stderr
    assert not (folder / "suite.json").exists()
    monkeypatch.setenv("RANK", "0")
    assert "open_book" in cli(checkpoint("llama"), data_dir, out).stdout
    assert (folder / "suite.json").exists()


def test_what_is_finished_is_not_scored_again(
    checkpoint: Checkpoint, data_dir: Path, out: Path, tmp_path: Path
) -> None:
    [folder] = out.iterdir()
    before = (folder / "suite.json").read_text()
    (folder / "paper_drop.json").unlink()
    (folder / "paper_lambada.json").write_text('{"version": 1, "key": {')  # cut
    result = cli(checkpoint("llama"), data_dir, out)
    assert result.exit_code == 0, result.output
    assert scored(result) == ["paper_drop", "paper_lambada"]
    after, whole = json.loads((folder / "suite.json").read_text()), json.loads(before)
    assert after["row"] == whole["row"]
    store = tmp_path / "records"
    again = cli(
        checkpoint("llama"), data_dir, out, "--json", "--leaderboard", str(store), "--name", "mine"
    )
    assert scored(again) == []
    assert json.loads(again.stdout)["row"] == whole["row"]
    records = {(r.task.name, r.task.metric): r for r in Store(store).read()}
    assert {r.model.name for r in records.values()} == {"mine"}
    names = {name for name, _ in records}
    assert names >= {"open_book_qa", "math_word_problems", "paper_drop", "paper_lambada", "holdout"}
    mean = records["open_book_qa", "f1"]
    assert 100 * mean.value == pytest.approx(whole["row"]["open_book_f1"])
    assert mean.cost.unique_parameters
    versions = {
        name: {r.task.version for (n, _), r in records.items() if n == name} for name in names
    }
    assert versions["paper_coqa"] == versions["open_book_qa"] == {"2"}
    assert versions["paper_drop"] == versions["holdout"] == {"1"}
    assert {metric for name, metric in records if name == "paper_coqa"} == {"f1", "f1_lm_eval"}


def test_a_run_that_is_stopped_goes_on_to_the_same_row(
    checkpoint: Checkpoint, data_dir: Path, finished: Path, out: Path
) -> None:
    [folder] = out.iterdir()
    names = list(BENCHMARKS)
    for name in names[-4:]:
        (folder / f"{name}.json").unlink()
    (folder / "suite.json").unlink()
    seen: list[str] = []

    def stop(line: str) -> None:
        seen.append(line)
        if line == names[-2]:
            raise KeyboardInterrupt

    given = {"data_dir": str(data_dir), "limit": 2, "out": out, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        run_suite(str(checkpoint("llama")), say=stop, **given)
    assert not (folder / "suite.json").exists()
    assert not list(folder.glob(".*"))
    result = cli(checkpoint("llama"), data_dir, out)
    assert scored(result) == names[-2:]
    [whole] = finished.glob("*/suite.json")
    row = json.loads((folder / "suite.json").read_text())["row"]
    assert row == json.loads(whole.read_text())["row"]


@pytest.mark.slow
def test_other_data_settings_or_weights_are_scored_anew(
    checkpoint: Checkpoint, data_dir: Path, out: Path, tmp_path: Path
) -> None:
    changed = Path(shutil.copytree(data_dir, tmp_path / "data"))
    lines = (changed / "nq_open" / "validation.jsonl").read_text().splitlines()
    (changed / "nq_open" / "validation.jsonl").write_text("\n".join(reversed(lines)))
    assert scored(cli(checkpoint("llama"), changed, out)) == ["paper_nq_open"]
    for name in (*DATA_OF_ALL, "holdout"):
        if name != "lambada":
            shutil.rmtree(changed / name)
    primitives = [name for name, benchmark in BENCHMARKS.items() if not benchmark.dataset]
    left = {"paper_lambada", *primitives}
    assert set(scored(cli(checkpoint("llama"), changed, out, "--block", "1:2"))) == left
    assert set(scored(cli(checkpoint("gpt2"), changed, out))) == left
    assert len(list(out.iterdir())) == 3


DATA_OF_ALL = sorted({b.dataset for b in BENCHMARKS.values() if b.dataset})


def test_a_missing_data_set_leaves_its_column_out_and_the_rest_runs(
    checkpoint: Checkpoint, data_dir: Path, out: Path, tmp_path: Path
) -> None:
    some = Path(shutil.copytree(data_dir, tmp_path / "data"))
    shutil.rmtree(some / "webqs")
    shutil.rmtree(some / "tydiqa")
    result = cli(checkpoint("llama"), some, out)
    assert result.exit_code == 0, result.output
    assert scored(result) == []
    assert "(incomplete)" in result.stdout
    missing = [line for line in result.stderr.splitlines() if line.startswith("missing: ")]
    assert len(missing) == 2  # TyDiQA is missing in two columns, and said once
    assert "stanfordnlp/web_questions" in result.stderr
    [path] = out.glob("*/suite.json")
    row = json.loads(path.read_text())
    assert [key for key, value in row["row"].items() if value is None] == [
        "open_book_f1",
        "closed_book_f1",
    ]
    assert set(row["missing"]) == {"paper_webqs", "paper_tydiqa_goldp", "paper_tydiqa_nocontext"}
    assert not row["complete"]


def test_a_wrong_file_stops_the_suite_before_the_model_is_loaded(
    data_dir: Path, tmp_path: Path
) -> None:
    some = Path(shutil.copytree(data_dir, tmp_path / "data"))
    (some / "nq_open" / "validation.jsonl").write_text('{"question": "a"}\n')
    result = cli(tmp_path, some, tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert "nq_open/validation.jsonl:1: answer is missing (there is question)" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--suite", "papper"], "unknown suite 'papper': did you mean 'paper'"),
        (["--suite", "paper", "--shots", "3"], "--shots is fixed by --suite"),
        (["--suite", "paper", "--fixed-shots"], "--fixed-shots is fixed by --suite"),
        (["--suite", "paper", "--tasks", "drop"], "--tasks is fixed by --suite"),
        (["--suite", "paper", "--limit", "0"], "limit must be a whole number from 1"),
        (["--suite", "paper", "--items", "0"], "items must be a whole number from 1"),
        (["--suite", "paper", "--data-dir", "nowhere"], "nowhere is not a folder"),
        (["--suite", "paper", "--holdout", "nowhere"], "held-out text is a folder or a file"),
        (["--data-dir", "x"], "need --suite"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, options: list[str], message: str
) -> None:
    command = ["eval", "-m", str(checkpoint("llama")), "--out", str(tmp_path / "out"), *options]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint) -> Iterator[Any]:
    from growloop.tasks.evaluate import load_model

    arguments = {"pretrained": str(checkpoint("llama")), "dtype": "float32", "device": "cpu"}
    return load_model("tiny", "growloop", arguments | {"batch_size": 1})


@pytest.mark.parametrize("window", [16, 50, 2048])
def test_held_out_likelihood_is_lm_evals_rolling_likelihood(model: Any, window: int) -> None:
    from lm_eval.api.instance import Instance

    texts = ["It rained in Porto, as it does in autumn, for a week.", "Olá, mundo!"]
    found = likelihood(model, Text(texts, "here"), window=window)
    model._max_length, before = window, model._max_length
    requests = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]
    right = -sum(model.loglikelihood_rolling(requests, disable_tqdm=True))
    model._max_length = before
    assert found.nats == pytest.approx(right, rel=1e-5)
    assert found.bytes == sum(len(text.encode()) for text in texts)
    assert found.tokens == sum(len(model.tok_encode(t, add_special_tokens=False)) for t in texts)
    assert found.nats_per_token == pytest.approx(found.nats / found.tokens)
    assert found.bits_per_byte == pytest.approx(found.nats / found.bytes / math.log(2))


def test_the_error_of_the_likelihood_is_that_of_documents_drawn(model: Any) -> None:
    same = likelihood(model, Text(["aaaa bbbb"] * 3, "here"))
    assert same.stderr == pytest.approx(0.0, abs=1e-9)
    assert likelihood(model, Text(["aaaa bbbb"], "here")).stderr is None
    with pytest.raises(InputError, match="limit must be"):
        run_suite("x", limit=0)


def result_file(folder: Path, name: str, values: list[float], hashes: list[str]) -> None:
    items = [
        {"id": i, "hash": h, "value": v}
        for i, (h, v) in enumerate(zip(hashes, values, strict=True))
    ]
    folder.mkdir(exist_ok=True)
    content = {"result": {"n": len(values), "items": items}}
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_differences_are_paired_by_question(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    result_file(one, "paper_drop", [0.0, 1.0, 0.0, 1.0], ["a", "b", "c", "d"])
    result_file(other, "paper_drop", [1.0, 1.0, 1.0, 0.0], ["d", "b", "c", "a"])
    result_file(one, "paper_coqa", [0.5, 0.0], ["a", "b"])
    result_file(other, "paper_coqa", [0.5, 1.0], ["a", "b"])
    drop, coqa, column = compare(one, other)
    # by question: 0, 0, 1, 0; mean 1/4, standard deviation 1/2, of 4 questions
    assert (drop.first, drop.second, drop.difference) == (50.0, 75.0, 25.0)
    # and two more, one for and one against: 0, 0, 1, 0, 1, -1
    square = 0.75 * 4 / 3 + 2 + 2 * 4 * 0.25**2 / 6
    assert drop.low == pytest.approx(100 * (1 - 1.96 * math.sqrt(square)) / 6, abs=0.01)
    assert coqa.difference == 50.0
    assert column.members == ("paper_drop", "paper_coqa")
    assert column.difference == pytest.approx(37.5)
    assert column.low is not None
    assert drop.low < column.low < 37.5 < column.high <= 100
    old = json.loads((one / "paper_coqa.json").read_text())
    old["result"]["others"] = {"f1,none": 0.25, "f1_lm_eval,none": 0.2}
    (one / "paper_coqa.json").write_text(json.dumps(old))
    with pytest.raises(
        InputError, match="paper_coqa: the two models were scored by different versions"
    ):
        compare(one, other)
    result_file(other, "paper_coqa", [0.5, 1.0], ["a", "c"])
    with pytest.raises(InputError, match="paper_coqa: the two models answered different questions"):
        compare(one, other)
    with pytest.raises(InputError, match="holds no results"):
        compare(one, tmp_path)
    (one / "paper_coqa.json").write_text('{"result": {"items": []}}')
    with pytest.raises(InputError, match="is not a result of a suite"):
        compare(one, other)


def test_a_model_does_not_differ_from_itself(finished: Path) -> None:
    [folder] = finished.iterdir()
    found = compare(folder, folder)
    assert len(found) == 1 + len(BENCHMARKS) + 4
    assert {d.difference for d in found} == {0.0}
    assert {(d.low, d.high) for d in found if d.name == NLL} == {(None, None)}
    # as little as so many equal answers allow
    assert all(d.high is not None and d.high > 0 for d in found if d.name != NLL)


def test_prompts_that_did_not_fit_are_counted_in_result_table_and_records(
    checkpoint: Checkpoint, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from growloop.cli.suite import _print
    from growloop.studies.publish_suite import suite_records
    from growloop.tasks.benchmarks.suite import _score
    from growloop.tasks.notes import CUT
    from growloop.tasks.scoring.scorer import TrieLM

    name = "paper_gsm8k"
    given: dict[str, Any] = {"pretrained": str(checkpoint("llama")), "device": "cpu"}
    found = {}
    for length in (4096, 400):
        lm = TrieLM(**given, max_length=length)
        found[length] = _score(lm, BENCHMARKS[name], str(data_dir), 2, {}, {})
    fits, cut = found[4096], found[400]
    assert fits is not None
    assert cut is not None
    assert (fits.notes, cut.notes) == ({}, {CUT: 2})
    settings = {"limit": 2, "dtype": "float32", "backend": "growloop"}
    result = summarise("m", settings, {name: cut}, None, {})
    assert result.to_dict()["remarks"] == {name: "prompts cut: 2"}
    assert result.to_dict()["tasks"][name]["notes"] == {CUT: 2}
    _print(result)
    assert f"{name}: prompts cut: 2" in capsys.readouterr().out
    [record] = suite_records(result, {"name": "m"}, {}, "growloop eval")
    assert record.task.prompting == "prompts cut: 2"
    whole = summarise("m", settings, {name: fits}, None, {})
    [other] = suite_records(whole, {"name": "m"}, {}, "growloop eval")
    assert other.task.prompting is None
    assert other.task.key != record.task.key


def test_results_kept_before_there_were_remarks_are_read() -> None:
    kept = dataclasses.asdict(made("paper_coqa", 0.5))
    del kept["notes"]
    assert TaskResult(**kept).notes == {}
