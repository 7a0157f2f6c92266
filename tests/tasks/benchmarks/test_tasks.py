"""The benchmarks as lm-eval tasks: prompts, and the same numbers as through lm-eval's own."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from growloop.tasks import PATH
from growloop.tasks.benchmarks import BENCHMARKS, COLUMNS

from . import data, stock

Checkpoint = Callable[[str], Path]
ASKED = [name for name, benchmark in BENCHMARKS.items() if benchmark.dataset]
HAS_COQA = importlib.util.find_spec("transformers.data.metrics") is not None


def manager(data_dir: Path | str) -> Any:
    from lm_eval.tasks import TaskManager

    metadata = {"data_dir": str(data_dir)}
    return TaskManager(include_path=str(PATH), include_defaults=False, metadata=metadata)


@pytest.fixture(scope="session")
def model(checkpoint: Checkpoint) -> Any:
    from growloop.tasks.evaluate import load_model

    arguments = {"pretrained": str(checkpoint("llama")), "dtype": "float32", "device": "cpu"}
    return load_model("tiny", "growloop", arguments | {"batch_size": 1})


def run(model: Any, task: Any, manager: Any = None, **options: Any) -> tuple[Any, list[Any]]:
    """Values and samples."""
    from lm_eval import simple_evaluate

    options["bootstrap_iters"] = 0
    results = simple_evaluate(model=model, tasks=[task], task_manager=manager, **options)
    [(name, values)] = results["results"].items()
    samples = sorted(results["samples"][name], key=lambda s: (s["filter"], s["doc_id"]))
    return values, samples


def test_every_benchmark_and_column_has_its_yaml_file() -> None:
    stems = {path.stem for path in (PATH / "paper").glob("*.yaml")}
    groups = {c.group for c in COLUMNS if len(c.members) > 1} - {"reasoning_primitives"}
    assert stems == set(ASKED) | groups | {"paper_suite"}


def test_the_groups_are_the_columns(data_dir: Path) -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    for column in COLUMNS:
        if len(column.members) > 1 and column.group != "reasoning_primitives":
            group = load_yaml(PATH / "paper" / f"{column.group}.yaml")
            assert group["task"] == [member.task for member in column.members]
            [mean] = group["aggregate_metric_list"]
            assert mean["metric"] == column.members[0].metric
            assert mean["weight_by_size"] is False
    whole = load_yaml(PATH / "paper" / "paper_suite.yaml")["task"]
    assert set(whole) == {column.group for column in COLUMNS} - {"paper_gsm8k"}


@pytest.mark.parametrize("name", stock.FILES)
def test_prompts_are_those_of_lm_eval(name: str) -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    ours = load_yaml(PATH / "paper" / f"{name}.yaml", resolve_func=False, recursive=True)
    theirs = stock.config(name, resolve=False)
    keys = ["description", "fewshot_delimiter", "target_delimiter"]
    defaults = {"target_delimiter": " "}
    if name != "paper_coqa":  # there it is a function, which is compared below
        keys += ["doc_to_text"]
    if name != "paper_webqs":  # multiple choice there: it has no generation
        keys += ["generation_kwargs", "output_type", "doc_to_choice"]
        assert _functions(ours) == _functions(theirs)
    for key in keys:
        default = defaults.get(key)
        assert ours.get(key, default) == theirs.get(key, default), key


def _functions(task: dict[str, Any]) -> list[Any]:
    return [found["filter"] for found in task.get("filter_list", [])]


def compare(model: Any, name: str, rows: dict[str, list[Any]], folder: Path, limit: int) -> None:
    """The same prompts, answers and scores through lm-eval's task and ours."""
    shots = BENCHMARKS[name].shots
    ours, our_samples = run(model, name, manager(folder), limit=limit, num_fewshot=shots)
    theirs, their_samples = run(model, stock.task(name, rows), limit=limit, num_fewshot=shots)
    assert len(our_samples) % min(limit, len(next(iter(rows.values())))) == 0
    if name in ("paper_triviaqa", "paper_nq_open"):  # a filter of another name
        our_samples = [sample | {"filter": "remove_whitespace"} for sample in our_samples]
    for mine, its in zip(our_samples, their_samples, strict=True):
        for key in ("doc_id", "arguments", "resps", "filter", "filtered_resps"):
            assert mine[key] == its[key], key
    for key, value in theirs.items():
        if key.split(",")[0] in stock.SAME_METRIC[name]:
            assert ours[key] == value, key


@pytest.mark.parametrize("name", stock.SAME_METRIC)
def test_scores_are_those_of_lm_eval(model: Any, data_dir: Path, name: str) -> None:
    dataset = BENCHMARKS[name].dataset
    assert dataset is not None
    limit = 1 if name == "paper_gsm8k" else 2  # its answers are long
    compare(model, name, data.rows()[dataset], data_dir, limit)


@pytest.mark.skipif(not HAS_COQA, reason="lm-eval's coqa needs transformers 4")
def test_coqa_is_that_of_lm_eval() -> None:
    from growloop.tasks.benchmarks import dialogue
    from lm_eval.tasks.coqa import utils

    for doc in data.rows()["coqa"]["validation"]:
        assert dialogue.coqa_text(doc) == utils.doc_to_text(doc)
        assert dialogue.coqa_references(doc) == utils.doc_to_target(doc)
        for answer in ("in a barn", " barn\nQ:", "", "the barn, in", "a cat"):
            assert dialogue.score_coqa(doc, [answer]) == utils.process_results(doc, [answer])


def test_squadv2_asks_as_lm_eval_does(data_dir: Path) -> None:
    from lm_eval.tasks.squadv2.task import SQuAD2

    [task] = manager(data_dir).load(["paper_squadv2"])["tasks"].values()
    docs = list(task.eval_docs)
    for doc in docs:
        assert task.doc_to_text(doc) == SQuAD2.doc_to_text(task, doc)
        assert f" {task.doc_to_target(doc)}" == SQuAD2.doc_to_target(task, doc)
    assert [len(doc["answers"]["text"]) for doc in docs] == [2, 0]


def test_a_question_is_never_among_its_own_examples(data_dir: Path) -> None:
    for name in ("paper_svamp", "paper_asdiv", "paper_mawps_singleop"):
        [task] = manager(data_dir).load([name])["tasks"].values()
        task.set_fewshot_seed(1234)
        for doc in task.eval_docs:
            prompt = task.fewshot_context(doc, 5)
            assert prompt.count("nswer:") == 6
            assert prompt.count(task.doc_to_text(doc)) == 1


def test_prompts_of_our_own(data_dir: Path) -> None:
    expected = {
        "paper_svamp": "Question: Ada has 2 shells. Ada finds 0 more. "
        "How many shells has Ada now?\nAnswer:",
        "paper_mawps_addsub": "Question: Ada has 2 shells. Ada finds 0 more. "
        "How many shells has Ada now?\nAnswer:",
        "paper_tydiqa_nocontext": "Question: On which river lies Porto?\n\nAnswer:",
        "paper_quac": "Title: Ines\n\nSection: Life\n\nBackground: Ines was born in Faro. "
        "She played the oud. In 1950 she left the band.\n\nQ: Where was she born?\n\nA:",
    }
    targets = {"paper_svamp": "2", "paper_mawps_addsub": "2", "paper_quac": "born in Faro."}
    for name, text in expected.items():
        [task] = manager(data_dir).load([name])["tasks"].values()
        doc = task.eval_docs[0]
        assert task.doc_to_text(doc) == text
        assert task.doc_to_target(doc) == targets.get(name, "the Douro")


@pytest.mark.real
@pytest.mark.parametrize("name", stock.SAME_METRIC)
def test_real_documents_score_the_same_through_lm_eval(model: Any, name: str) -> None:
    folder = os.environ.get("GROWLOOP_BENCHMARKS")
    if not folder:
        pytest.skip("GROWLOOP_BENCHMARKS names no folder: tests/real_benchmark_data.py writes one")
    dataset = BENCHMARKS[name].dataset
    assert dataset is not None
    files = sorted((Path(folder) / dataset).glob("*.jsonl"))
    if not files:
        pytest.skip(f"{folder} holds no {dataset}")
    rows = {f.stem: [json.loads(line) for line in f.read_text().splitlines()] for f in files}
    compare(model, name, rows, Path(folder), limit=5)
