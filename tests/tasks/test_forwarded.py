"""Options of lm-eval: a closed table, checked by type before anything slow."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.core.lm_eval_options import OPTIONS, OWN
from growloop.tasks.forwarded import forwarded, from_command_line

DOCS = Path(__file__).parents[2] / "docs" / "evaluation.md"


def test_options_go_where_lm_eval_takes_them() -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    takes = {
        "harness": set(inspect.signature(simple_evaluate).parameters),
        "model": set(inspect.signature(HFLM.__init__).parameters),
    }
    for name, option in OPTIONS.items():
        if option.receiver != "weights":
            # lm-eval's command line gives the folder to its task manager
            assert name in takes[option.receiver] or name == "include_path", name
        assert name not in OWN
    found = forwarded({"revision": "v1", "gen_kwargs": {"temperature": 0.5}, "max_length": 64})
    assert found.harness == {"gen_kwargs": {"temperature": 0.5}}
    assert found.model == {"revision": "v1", "max_length": 64}


def test_defaults_are_those_of_lm_eval() -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    for function, receiver in ((simple_evaluate, "harness"), (HFLM.__init__, "model")):
        for name, parameter in inspect.signature(function).parameters.items():
            if name in OPTIONS and OPTIONS[name].receiver == receiver:
                assert OPTIONS[name].default == parameter.default, name


def test_the_docs_show_the_table() -> None:
    rows = re.findall(r"^\| `--(\w+)` \| ([^|]+) \| ([^|]+) \|", DOCS.read_text(), re.MULTILINE)
    changes = {"nothing": "–"}
    assert {(name, kind.strip(), what.strip()) for name, kind, what in rows} == {
        (name, option.kind, changes.get(option.effect, option.effect))
        for name, option in OPTIONS.items()
    }


def test_a_command_line_is_read_by_the_types_of_the_table() -> None:
    given = ["--trust_remote_code", "false", "--revision", "4.10", "--max-length=512"]
    given += [
        "--write_out",
        "--metadata",
        '{"depth": 4}',
        "--gen_kwargs",
        "temperature=0.5,top_k=3",
    ]
    found = forwarded(from_command_line(given))
    assert found.model == {"trust_remote_code": False, "revision": "4.10", "max_length": 512}
    assert found.harness == {
        "write_out": True,
        "metadata": {"depth": 4},
        "gen_kwargs": {"temperature": 0.5, "top_k": 3},
    }
    named = forwarded(from_command_line(["--apply_chat_template", "tool_use"]))
    assert named.harness == {"apply_chat_template": "tool_use"}
    assert forwarded({"add_bos_token": "none"}).model == {}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--time 2", r"unknown option --time: did you mean --times\?"),
        ("--revison x", r"unknown option --revison: did you mean --revision\?"),
        ("--frobnicate 7", r"unknown option --frobnicate \(allowed: growloop eval --help"),
        ("--pretrained B", "unknown option --pretrained: give --model instead"),
        ("--num_concurrent=2", "unknown option --num_concurrent "),
        ("--max_length many", "--max_length takes a whole number, not 'many'"),
        ("--add_bos_token=maybe", "--add_bos_token takes true or false, not 'maybe'"),
        ("--softmax_dtype float31", "--softmax_dtype takes one of float32"),
        ("--gen_kwargs hot", "takes JSON like .* or name=value,name=value, not 'hot'"),
        ("--metadata {1", "'{1' is not JSON"),
        ("--revision", "--revision needs a text"),
        ("--revision a --revision b", "--revision is given twice"),
        ("--write_out stray", "unexpected argument 'stray'"),
        ("--fewshot_as_multiturn true", "is about a chat: give --apply_chat_template too"),
        ("--model_args pretrained=B", "--model_args may not hold pretrained: give --model instead"),
        ("--model_args dtype=float16", "--model_args may not hold dtype: give --dtype instead"),
        ("--model_args batch_size=2", "may not hold batch_size: give --batch-size instead"),
        ("--model_args num_hidden_layers=2", "unknown option --model_args num_hidden_layers"),
        ("--model_args revison=b", r"--model_args revison: did you mean revision\?"),
        ("--model_args peft=a --peft b", "--peft is given twice"),
        ("--model_args peft=a,peft=b", "names peft twice"),
        ("--model_args max_length=x", "--max_length takes a whole number, not 'x'"),
    ],
)
def test_what_lm_eval_has_not_is_refused_in_one_sentence(line: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        forwarded(from_command_line(line.split(), ["--times", "--model"]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given", [{"max_length": 1.5}, {"max_length": True}, {"revision": 4}, {"metadata": 3}]
)
def test_values_of_another_type_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="takes"):
        forwarded(given)


def test_a_folder_has_no_revision() -> None:
    with pytest.raises(InputError, match="--revision is for models of the hub"):
        forwarded({"revision": "v1"}, local=True)
    assert forwarded({"revision": "main"}, local=True).decisive() == {}


def test_what_changes_numbers_is_told_and_adapters_by_their_content(tmp_path: Path) -> None:
    given = {"peft": str(tmp_path / "lora"), "softmax_dtype": "float32", "write_out": True}
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text('{"lora_alpha": 8}')
    found = forwarded(given).decisive()
    assert found.keys() == {"peft", "softmax_dtype"}
    assert re.fullmatch("lora@[0-9a-f]{12}", found["peft"])
    (tmp_path / "lora" / "adapter_config.json").write_text('{"lora_alpha": 16}')
    assert forwarded(given).decisive()["peft"] != found["peft"]
    assert forwarded({"truncation": False, "fewshot_random_seed": 1234}).decisive() == {}
