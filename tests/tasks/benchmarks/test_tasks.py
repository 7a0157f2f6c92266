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


def run_both(
    model: Any, folder: Path, documents: dict[str, dict[str, list[Any]]], limit: int
) -> Any:
    """lm-eval's results for our tasks and its own on the same documents, in one call."""
    from lm_eval import simple_evaluate

    return simple_evaluate(
        model=model,
        tasks=[*documents, *(stock.task(name, rows) for name, rows in documents.items())],
        task_manager=manager(folder),
        limit=limit,
        gen_kwargs={"max_gen_toks": 32},
        bootstrap_iters=0,
    )


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


def compare(results: Any, name: str) -> None:
    """The same prompts, answers and scores through lm-eval's task and ours."""
    both = []
    for task in (name, f"stock_{name}"):
        samples = results["samples"][task]
        if name in ("paper_triviaqa", "paper_nq_open"):  # a filter of another name
            samples = [sample | {"filter": "none"} for sample in samples]
        both.append(sorted(samples, key=lambda s: (s["filter"], s["doc_id"])))
    assert both[0]
    for mine, its in zip(*both, strict=True):
        for key in ("doc_id", "arguments", "resps", "filter", "filtered_resps"):
            assert mine[key] == its[key], key
    for key, value in results["results"][f"stock_{name}"].items():
        if key.split(",")[0] in stock.SAME_METRIC[name]:
            assert results["results"][name][key] == value, key


@pytest.fixture(scope="module")
def results(model: Any, data_dir: Path) -> Any:
    documents = {name: data.rows()[str(BENCHMARKS[name].dataset)] for name in stock.SAME_METRIC}
    return run_both(model, data_dir, documents, limit=2)


@pytest.mark.parametrize("name", stock.SAME_METRIC)
def test_scores_are_those_of_lm_eval(results: Any, name: str) -> None:
    compare(results, name)


@pytest.mark.skipif(not HAS_COQA, reason="lm-eval's coqa needs transformers 4")
def test_coqa_is_that_of_lm_eval() -> None:
    from growloop.tasks.benchmarks import dialogue
    from lm_eval.tasks.coqa import utils

    for doc in data.rows()["coqa"]["validation"]:
        assert dialogue.coqa_text(doc) == utils.doc_to_text(doc)
        assert dialogue.coqa_references(doc) == utils.doc_to_target(doc)
        for answer in ("in a barn", " barn\nQ:", "", "the barn, in", "a cat"):
            score = dialogue.score_coqa(doc, [answer])
            theirs = utils.process_results(doc, [answer])
            assert {name: score[f"{name}_lm_eval"] for name in theirs} == theirs


def test_a_version_stands_in_the_task_file_and_in_the_catalog() -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    for column in COLUMNS:
        if column.group in {path.stem for path in (PATH / "paper").glob("*.yaml")}:
            group = load_yaml(PATH / "paper" / f"{column.group}.yaml", resolve_func=False)
            assert group["metadata"]["version"] == column.version
    for name in ASKED:
        task = load_yaml(PATH / "paper" / f"{name}.yaml", resolve_func=False, recursive=True)
        assert task["metadata"]["version"] == BENCHMARKS[name].version, name
        metrics = [metric["metric"] for metric in task["metric_list"]]
        assert {BENCHMARKS[name].metric, *BENCHMARKS[name].further} <= set(metrics)


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
def test_real_documents_score_the_same_through_lm_eval(model: Any) -> None:
    folder = Path(os.environ.get("GROWLOOP_BENCHMARKS", ""))
    if not folder.name:
        pytest.skip("GROWLOOP_BENCHMARKS names no folder: tests/real_benchmark_data.py writes one")
    documents = {}
    for name in stock.SAME_METRIC:
        files = sorted((folder / str(BENCHMARKS[name].dataset)).glob("*.jsonl"))
        if files:
            lines = {file.stem: file.read_text("utf-8").split("\n") for file in files}
            documents[name] = {
                split: [json.loads(line) for line in found if line]
                for split, found in lines.items()
            }
    assert len(documents) >= 6
    results = run_both(model, folder, documents, limit=20)
    for name in documents:
        compare(results, name)
