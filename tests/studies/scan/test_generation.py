"""Generative probes: candidates write what their looped models write, and the task grades it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from growloop.core.errors import InputError
from growloop.models import Schedule, load, loop
from growloop.models.checkpoints import load_tokenizer
from growloop.studies.checkpoints import ModelLoader
from growloop.studies.scan import outputs
from growloop.studies.scan.candidates import candidates, own, repeat
from growloop.studies.scan.generation import generated_points
from growloop.studies.scan.items import GeneratedItem
from growloop.studies.scan.probes import TEST, VALIDATION, load_items
from growloop.studies.scan.result import ScanResult
from growloop.tasks.evaluate import evaluate
from growloop.tasks.questions import scorer

TASK = """task: free
dataset_path: json
dataset_kwargs:
  data_files:
    validation: {folder}/validation.jsonl
    test: {folder}/test.jsonl
validation_split: validation
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: answer
process_results: !function code.{grade}
generation_kwargs:
  until: ["\\n\\n"]
  do_sample: true
  temperature: 0.7
  max_gen_toks: 6
metric_list:
  - metric: {metric}
    aggregation: {aggregation}
    higher_is_better: true
"""
CODE = """
def longest(doc, results):
    return {"share": min(1.0, len(results[0]) / 40)}


def even(doc, results):
    return {"exact_match": float(sum(map(ord, results[0])) % 2)}


def many(doc, results):
    return {"share": 40.0}
"""
BASE = Schedule.plain(4)


def task(
    folder: Path, grade: str = "longest", metric: str = "share", aggregation: str = "mean"
) -> str:
    for split, first in (("validation", 0), ("test", 100)):
        rows = [{"prompt": f"{first + i} and {i} make", "answer": str(i)} for i in range(24)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "code.py").write_text(CODE)
    path = folder / "free.yaml"
    path.write_text(TASK.format(folder=folder, grade=grade, metric=metric, aggregation=aggregation))
    return str(path)


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let task files of this test run code, and keep their data in the test's folder."""
    from growloop.tasks.scoring import planning

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(planning, "refuse_code", lambda files: None)


@pytest.fixture(scope="module")
def lm(tiny_model: str) -> Any:
    return scorer(load(tiny_model), load_tokenizer(tiny_model))


def item(text: str, written: list[str], tokens: int = 6) -> GeneratedItem:
    from lm_eval.api.instance import Instance

    options = {"until": ["\n\n"], "do_sample": False, "max_gen_toks": tokens}
    request = Instance("generate_until", {}, (text, options), 0, ("free", 0, 1))
    return GeneratedItem(request, lambda found: float(written.append(found) is None))


@pytest.mark.parametrize("kv", ["own", "shared"])
def test_candidates_write_what_their_looped_models_write(lm: Any, tiny_model: str, kv: str) -> None:
    texts = ["1 and 2", "a longer beginning of a text than the first", "3 and 4 make"]
    some = [own(BASE), repeat(BASE, 1, 3, 2, kv=kv), repeat(BASE, 0, 2, kv=kv)]
    written: list[str] = []
    loop(lm.model, BASE)
    points, cost = generated_points(lm, BASE, some, [item(text, written) for text in texts])
    assert points.tolist() == [[1.0] * 3] * 3
    assert lm.model.schedule == BASE
    assert not lm.model.recurrence.to_dict()
    expected, tokens = [], 0
    for candidate in some:
        model = loop(load(tiny_model), candidate.schedule, recurrence=candidate.recurrence)
        for text in texts:
            ids = load_tokenizer(tiny_model)(text, return_tensors="pt").input_ids
            made = model.generate(ids, do_sample=False, max_new_tokens=6, pad_token_id=0)
            new = made[0, ids.shape[1] :]
            expected.append(load_tokenizer(tiny_model).decode(new, skip_special_tokens=True))
            tokens += (ids.shape[1] + len(new) - 1) * len(candidate.schedule)
    assert written == [text.split("\n\n")[0] for text in expected]
    assert cost.alone == tokens  # no answer ended before its last token
    assert cost.layers >= tokens


def test_shared_and_own_keys_and_values_write_differently(lm: Any) -> None:
    written: list[str] = []
    loop(lm.model, BASE)
    texts = [f"{i} and {i * i} make" for i in range(12)]
    some = [repeat(BASE, 0, 4, 3, kv=kv) for kv in ("own", "shared")]
    generated_points(lm, BASE, some, [item(text, written, 24) for text in texts])
    assert written[:12] != written[12:]


@pytest.mark.usefixtures("trusted")
def test_answers_are_greedy_short_and_from_the_split_to_choose_on(lm: Any, tmp_path: Path) -> None:
    name = task(tmp_path)
    [chosen] = load_items(lm, [name], VALIDATION, 20, 0, 0, False, longest=4)
    [report] = load_items(lm, [name], TEST, 20, 0, 0, False)
    assert len(chosen.generated) == 20
    assert (chosen.metric, chosen.chance) == ("share", 0.0)
    assert not {item.request.args[0] for item in chosen.generated} & {
        item.request.args[0] for item in report.generated
    }
    sizes = [i.request.args[1]["max_gen_toks"] for i in (chosen.generated[0], report.generated[0])]
    assert sizes == [4, 6]
    settings = chosen.generated[0].request.args[1]
    assert settings["do_sample"] is False
    assert "temperature" not in settings
    assert chosen.generated[0].grade("a" * 10) == 0.25


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("grade", ["longest", "even"])
def test_a_scan_reports_the_tasks_metric_as_growloop_eval_does(
    small_scan: Callable[..., ScanResult], tiny_model: str, tmp_path: Path, grade: str
) -> None:
    metric = "share" if grade == "longest" else "exact_match"
    name = task(tmp_path, grade, metric)
    result = small_scan(
        tmp_path / "scan", probes=(name,), items=24, test_items=24, beam=0, kv=("own", "shared"),
        race="none",
    )  # fmt: skip
    names = {row["name"] for row in result.rows}
    assert {"repeat 0:2", "repeat 0:2 (shared KV)"} <= names
    again = small_scan(
        tmp_path / "scan", probes=(name,), items=24, test_items=24, beam=0, kv=("own", "shared"),
        race="none",
    )  # fmt: skip
    assert again.rows == result.rows
    [about] = result.fields["test_probes"]
    assert about["metric"] == metric
    chosen, test = result.chosen, result.fields["test"][0]
    assert chosen.edit == "repeat"
    for candidate, value in ((own(BASE), test["plain"]), (chosen, test["accuracy"])):
        alone = evaluate(
            tiny_model, [name], dtype="float32", device="cpu",
            forwarded={"gen_kwargs": "do_sample=False,temperature=0.0"},
            prepare=lambda model, c=candidate: loop(model, c.schedule, recurrence=c.recurrence),
        )  # fmt: skip
        assert alone is not None
        assert value == pytest.approx(alone["results"]["free"][f"{metric},none"], abs=1e-6)
    record = outputs.write_record(result, ModelLoader("float32", "cpu"), tmp_path / "records")
    assert record is not None
    assert [row.metric for row in record.rows] == [metric, metric]
    assert [row.value for row in record.rows] == pytest.approx([test["plain"], test["accuracy"]])
    filled = [bool(row.answers) for row in record.rows]
    assert filled == [grade == "even"] * 2


@pytest.mark.usefixtures("trusted")
def test_metrics_that_are_no_mean_of_points_are_refused(lm: Any, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    [probe] = load_items(lm, [task(tmp_path / "many", "many")], VALIDATION, 20, 0, 0, False)
    with pytest.raises(InputError, match=r"share of free gives an answer 40\.0"):
        probe.generated[0].grade("a")
    (tmp_path / "median").mkdir()
    name = task(tmp_path / "median", aggregation="median")
    with pytest.raises(InputError, match="no metric that is a mean over its answers"):
        load_items(lm, [name], VALIDATION, 20, 0, 0, False)


def test_shared_keys_and_values_need_generated_answers(
    small_scan: Callable[..., ScanResult],
) -> None:
    with pytest.raises(InputError, match="change nothing but generated text"):
        small_scan(kv=("own", "shared"))
    with pytest.raises(InputError, match="unknown keys and values of a repeat"):
        small_scan(kv=("both",))


def test_a_shared_candidate_is_one_of_its_own_and_stacks_no_layers() -> None:
    some = candidates(BASE, max_block=2, kv=("own", "shared"))
    plain, shared = (c for c in some if c.blocks == ((1, 3, 1),))
    assert plain.schedule == shared.schedule
    assert shared.recurrence.kv_sharing == "last"
    assert (plain.stacks, shared.stacks) == (True, False)
    assert plain.identity != shared.identity
    assert len({tuple(c.identity) for c in some}) == len(some) == 15


def test_points_are_compared_by_their_mean_and_a_sign_flip_test() -> None:
    from growloop.studies.scan.items import ProbeItems
    from growloop.studies.scan.report import gains

    some, probe = [own(BASE), repeat(BASE, 0, 1)], ProbeItems("free", "test", None, ())
    plain = np.array([0.25, 0.5, 0.75, 0.0] * 10)
    points = np.stack([plain, plain + 0.25])[:, None]
    [gain] = gains(some, [probe], 4 * points - 2, points)
    assert (gain.difference, gain.plain) == (0.25, 0.375)
    assert gain.low < 0.25 < gain.high
    assert gain.p < 1e-4
    assert gain.points["free"][1] == plain.tolist()
    assert not gain.answers
