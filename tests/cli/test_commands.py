"""The commands as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from growloop.primitives import STANDARD, TASKS

from ..support.commands import refused, run


def test_the_command_of_the_readme_writes_what_it_says(tmp_path: Path) -> None:
    out = tmp_path / "va.jsonl"
    options = "--style=code --depth=2 --items=1000 --seed=0 --split=test --format=jsonl"
    result = run("generate", "variable_assignment", *options.split(" "), "--out", str(out))
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 1000
    names = "id task version split seed index params prompt target choices answer original_answer"
    assert list(rows[0]) == names.split()
    checked = run("verify", str(out))
    assert checked.exit_code == 0
    assert "1,000 items: all right" in checked.stdout


@pytest.mark.parametrize("task", TASKS)
def test_every_primitive_has_a_subcommand_with_its_parameters(task: str) -> None:
    text = run("generate", task, "--help").stdout
    assert "Example:" in text
    for name in TASKS[task]().params:
        assert f"--{name.replace('_', '-')}" in text
    result = run("generate", task, "--items", "3", "--out", "-", "--quiet")
    assert len(result.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    "command", [[], ["generate"], ["verify"], ["tasks"], ["tasks", "show"], ["eval"]]
)
def test_every_help_shows_an_example(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "growloop " in result.stdout.split("Example")[1]


def test_an_option_and_a_param_say_the_same(tmp_path: Path) -> None:
    a = run("generate", "copying", "--segment-length", "3", "-n", "5", "-o", "-")
    b = run("generate", "copying", "-p", "segment_length=3", "-n", "5", "-o", "-")
    c = run("generate", "copying", "-p", "segment-length=3", "-n", "5", "-o", "-")
    assert a.stdout == b.stdout == c.stdout != ""


def test_the_format_follows_the_name(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    run("generate", "copying", "-n", "5", "-o", str(tmp_path / "a.parquet"))
    assert (tmp_path / "a.parquet").read_bytes()[:4] == b"PAR1"


def test_all_splits_go_into_one_folder(tmp_path: Path) -> None:
    out = str(tmp_path / "hop")
    result = run(
        "generate", "p_hop", "-n", "20", "--split", "all", "--format", "datasets", "-o", out
    )
    assert result.exit_code == 0, result.output
    assert run("verify", out).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "copyng", "-o", "x"], "did you mean 'copying'"),
        (["genrate"], "did you mean 'generate'"),
        (
            ["generate", "copying", "--items", "-1", "-o", "x"],
            "items must be a whole number of 1 or more",
        ),
        (["generate", "copying", "--items", "1e3", "-o", "x"], "not a valid integer"),
        (["generate", "copying", "--seed", "-1", "-o", "x"], "seed must be a whole number from 0"),
        (["generate", "copying", "--split", "tset", "-o", "x"], "did you mean 'test'"),
        (["generate", "copying", "--split", "all", "-o", "x"], "--format datasets"),
        (["generate", "copying", "--format", "csv", "-o", "x"], "unknown format 'csv'"),
        (["generate", "copying", "--words", "rael", "-o", "x"], "did you mean 'real'"),
        (["generate", "copying", "--segment-length", "10", "-o", "x"], "must be below"),
        (["generate", "copying", "-p", "nonsense", "-o", "x"], "--param takes name=value"),
        (["generate", "copying", "-p", "sequence_length=ten", "-o", "x"], "a whole number"),
        (["generate", "copying", "-p", "words=real", "--words", "random", "-o", "x"], "twice"),
        (["generate", "copying", "--template", "none.j2", "-o", "x"], "cannot read template"),
        (["generate", "copying", "-o", "no/such/folder/x"], "there is no folder"),
        (["generate", "copying"], "Missing option"),
        (["generate", "copying", "--frmat", "jsonl", "-o", "x"], "did you mean '--format'"),
        (
            ["generate", "variable_assignment", "--depth", "-1", "-o", "x"],
            "depth must be a whole number from 0",
        ),
        (["generate", "variable_assignment", "--depth", "99999", "-o", "x"], "names"),
        (["generate", "variable_assignment", "--high", "3", "-o", "x"], "at least 5 values"),
        (["generate", "addition", "--operands", "2", "-n", "300000", "-o", "x"], "holds 200,000"),
        (["verify", "none.jsonl"], "there is no file"),
        (["verify"], "Missing argument"),
        (["verify", "a" * 300], "File name too long"),
        (["tasks", "show", "copying", "-p", "depht=3"], "did you mean 'depth'"),
        (["tasks", "show", "reasoning_primitives"], "is a group"),
        (["generate", "copying", "--template", "", "-o", "x"], "cannot read template"),
        (["generate", "copying", "--format", "", "-o", "x"], "unknown format"),
        (
            ["generate", "p_hop", "--length", "9999999", "-o", "x"],
            "length must be a whole number from",
        ),
        (["tasks", "show", "copying_real_word"], "did you mean 'copying_real_words'"),
        (["tasks", "show", "copying", "-k", "-1"], "shots must be from 0"),
        (["tasks", "show", "variable_assignment:depht=2"], "did you mean 'depth'"),
        (["eval", "--model", "./none"], "there is no model folder"),
        (["eval", "--model", "none.gguf"], "there is no file none.gguf"),
        (["eval", "--model", "m", "--tasks", ""], "no tasks given"),
        (["eval", "--model", "m", "--dtype", "float8"], "unknown dtype"),
        (["eval", "--model", "m", "--shots", "-1"], "--shots takes whole numbers"),
        (["eval", "--model", "m", "--shots", "1,1"], "names a number twice"),
        (["eval", "--model", "m", "--num_fewshot", "1,1"], "names a number twice"),
        (["eval", "--model", "m", "--shots", "0,1", "-t", "lambada"], "not lambada"),
        (["eval", "--model", "m", "--repeats", "0,1"], "give both"),
        (["eval", "--model", "m", "--block", "0:1", "--repeats", "1,x"], "--repeats takes whole"),
        (["eval", "--model", "m", "--pack", "3"], "tokens at once (--pack) must be a whole number"),
        (["eval", "--model", "m", "--limit", "0"], "limit must be a whole number from 1"),
        (["eval", "--model", "m", "--items", "0"], "items must be a whole number from 1"),
        (["eval", "--model", "m", "--batch-size", "big"], "batch size"),
        (["eval", "--model", "m", "-p", "dept=3"], "did you mean 'depth'"),
        (["eval", "--model", "m", "-t", "addition_2", "-n", "200000"], "at most half"),
        (
            ["eval", "--model", "m", "-t", "addition_2:digits=1", "-n", "5", "-k", "9"],
            "examples to draw",
        ),
        (["eval", "--model", "m", "--picture", "a.svg"], "--picture draws a curve"),
        (["eval", "--model", "m", "--json", "--csv"], "not both"),
        (["eval", "--model", "m", "--modle", "n"], "did you mean --model?"),
        (["inspect", "m", "--model", "n"], "the model is given twice"),
        (["loop", "--block", "0:1", "-o", "x"], "which model?"),
        (["train", "run.yaml", "--device", "cuda:99"], "no device 'cuda:99'"),
        (["train", "run.yaml", "--dtype", "float16"], "unknown dtype"),
        (["sft", "-m", "m", "-d", "d", "-o", "x", "--device", "none"], "no device 'none'"),
        (["sft", "-m", "m", "-d", "d", "-o", "x", "-n", "5"], "about --leaderboard"),
        (["eval", "--model", "m", "stray"], "unexpected argument 'stray'"),
        (["verify", os.fsdecode(b"a\xff.jsonl")], r"is not UTF-8 text: 'a\udcff.jsonl'"),
        (["tasks", "show", "copying", "-p", "\ud800=3"], r"is not UTF-8 text: '\ud800=3'"),
        (["eval"], "Missing option"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_verify_exits_with_2_and_names_the_line(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    run("generate", "copying", "-n", "20", "-o", str(out))
    out.write_text(out.read_text().replace('"index": 7', '"index": 8'))
    result = run("verify", str(out))
    assert result.exit_code == 2
    assert f"{out}, line 8: " in result.stderr
    as_json = run("verify", "--json", str(out))
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout)["ok"] is False


def test_tasks_lists_every_standard_task_and_the_path() -> None:
    listed = run("tasks").stdout
    for name in STANDARD:
        assert name in listed
    assert (Path(run("tasks", "--path").stdout.strip()) / "reasoning_primitives.yaml").is_file()
    entries = json.loads(run("tasks", "--json").stdout)
    assert {entry["name"] for entry in entries} == set(STANDARD)


def test_show_prints_a_question_with_its_shots() -> None:
    result = run("tasks", "show", "variable_assignment_math_d1", "--shots", "2")
    assert result.stdout.count("What is the numerical value of") == 3
    assert "options: " in result.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m growloop.cli generate copying -n 200000 -o - | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert json.loads(result.stdout)["index"] == 0
    assert "Traceback" not in result.stderr


def test_a_pipe_can_be_verified() -> None:
    growloop = f"{sys.executable} -m growloop.cli"
    shell = f"{growloop} generate copying -n 50 -o - | {growloop} verify /dev/stdin"
    result = subprocess.run(shell, shell=True, capture_output=True, text=True)
    assert "50 items: all right" in result.stdout


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a")
    assert refused("tokenize", str(path), "--out", str(path)) == f"Error: {path}: File exists"


def test_a_full_device_is_one_sentence() -> None:
    if not Path("/dev/full").exists():
        return
    for command in ("generate copying -n 100000 -o -", "tasks"):
        shell = f"{sys.executable} -m growloop.cli {command} > /dev/full"
        result = subprocess.run(shell, shell=True, capture_output=True, text=True)
        assert result.returncode == 2
        assert result.stderr.splitlines()[-1] == "Error: No space left on device"
