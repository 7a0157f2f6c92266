"""``growloop leaderboard`` and ``growloop claims``."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from growloop.cli import main
from growloop.leaderboard import Model, Store
from growloop.models import build as new_model
from growloop.models import checkpoints, loop

from ..leaderboard.making import made, result
from ..leaderboard.result_files import OURS, STOCK
from ..tasks import tiny


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line))


def ran(line: str) -> str:
    found = run(line)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_result_files_are_added_once(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(STOCK))
    (tmp_path / "b.json").write_text(json.dumps(OURS))
    assert ran("leaderboard add a.json b.json").startswith("7 records added to records, 0 were")
    assert ran("leaderboard add a.json").startswith("0 records added to records, 4 were there")
    assert ran("leaderboard check") == "7 records: all right\n"


def test_of_several_files_all_are_added_or_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(STOCK))
    (tmp_path / "b.json").write_text('{"model_name": "m", "results": {"x": {"acc,none": 7}}}')
    found = run("leaderboard add b.json a.json none.json")
    assert found.exit_code == 2
    assert "b.json: task 'x', acc: value: 7.0 is out of range: acc" in found.stderr
    assert "; cannot read none.json: " in found.stderr
    assert found.stderr.endswith("; none of the 3 files was added\n")
    assert "none of the" not in run("leaderboard add b.json").stderr
    assert not (tmp_path / "records").exists()


def test_a_checkpoint_tells_about_itself(tmp_path: Path) -> None:
    model = loop(new_model("tiny", 4), "1-2x2-1")
    checkpoints.save(model, None, tmp_path / "looped")
    (tmp_path / "a.json").write_text(json.dumps(STOCK))
    ran("leaderboard add a.json --model looped --name ours")
    found = Store("records").read()[0]
    assert (found.model.name, found.model.family) == ("ours", "looped")
    assert (found.model.schedule, found.model.unique_layers) == ("1-2x2-1", 4)
    assert found.cost.unique_parameters == sum(p.numel() for p in model.parameters())
    assert found.cost.inference_flops
    renamed = "leaderboard add a.json --name other --to there"
    ran(renamed)
    assert {record.model.name for record in Store("there").read()} == {"other"}
    assert "must be a name, not a path" in run(f"{renamed} --name ../x").stderr


def test_check_names_file_line_and_field_of_what_is_wrong() -> None:
    Store("records").add([made()])
    (file,) = Path("records").iterdir()
    file.write_text(file.read_text().replace('"n":100', '"n":"many"'))
    found = run("leaderboard check records")
    assert found.exit_code == 2
    assert f"{file.name}, line 1: n: " in found.stderr
    assert "0 records: 1 problems" in found.stderr
    told = json.loads(run("leaderboard check --json").stdout)
    assert told["problems"][0]["line"] == 1


def test_show_prints_comparable_results_together() -> None:
    Store("records").add(
        [
            made(0.5, model="first"),
            made(0.75, model="second", n=400),
            made(0.9, model="[red]third[/red]", task="other"),
        ]
    )
    text = ran("leaderboard show --no-paper")
    first, second = text.split("\n\n")[:2]
    assert first.index("second") < first.index("first")
    assert "0.704 – 0.791" in first
    assert "[red]third[/red]" in second
    assert "LIDAS" in ran("leaderboard show --tasks 'reasoning*' --model LIDAS")
    assert "no results" in ran("leaderboard show --tasks nothing")
    lines = json.loads(ran("leaderboard show --no-paper --json --tasks copying"))
    assert [line["value"] for line in lines] == [0.75, 0.5]
    rows = list(csv.reader(io.StringIO(ran("leaderboard show --csv --no-paper"))))
    assert len(rows) == 4
    assert "unknown study 'swap'" in run("leaderboard show --study swap").stderr


def test_results_of_studies_are_named_where_there_are_no_others() -> None:
    about = {"study": "swaps", "conditions": {"swapped": 1, "chosen": True}}
    Store("records").add([made(0.5, **about), made(0.7, study="depth", loops=3)])
    assert "of studies: --study all, or one of depth, swaps" in ran("leaderboard show --no-paper")
    one = ran("leaderboard show --no-paper --study swaps")
    assert "tiny, chosen, swapped 1 " in one
    assert "study" not in one
    every = ran("leaderboard show --no-paper --study all")
    assert "tiny, loops 3" in every
    assert every.split("\n")[1].split()[:2] == ["model", "study"]


def test_a_damaged_store_is_shown_as_far_as_it_can_be_read() -> None:
    Store("records").add([made(0.5, model="good")])
    Path("records/bad.jsonl").write_bytes(b"\xff\n")
    found = run("leaderboard show --no-paper")
    assert found.exit_code == 0
    assert "good" in found.stdout
    assert "left out: bad.jsonl, line 1: byte 1 is not UTF-8" in found.stderr


def test_build_writes_a_site() -> None:
    assert ran("leaderboard build --out here/site --title Ours").strip() == "here/site/index.html"
    assert "<title>Results – Ours</title>" in Path("here/site/index.html").read_text()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("leaderboard show nowhere", "there is no folder nowhere"),
        ("leaderboard check nowhere", "there is no folder nowhere"),
        ("leaderboard build nowhere", "there is no folder nowhere"),
        ("leaderboard add none.json", "cannot read none.json"),
        ("leaderboard add", "Missing argument"),
        ("leaderboard shwo", "shwo"),
        ("leaderboard serve --port 99999", "99999"),
        ("claims nowhere", "there is no folder nowhere"),
        ("claims --claim lidas-over-midas", "did you mean 'lidas-over-midas-over-standard'"),
    ],
)
def test_mistakes_are_told_in_one_sentence(line: str, reason: str) -> None:
    found = run(line)
    assert found.exit_code == 2
    assert reason in found.stderr
    assert "Traceback" not in found.output


def test_claims_tell_verdict_effect_and_reason() -> None:
    text = ran("claims --claim looping-at-equal-parameters")
    assert "1.7B: the paper's rows" in text
    assert "+0.112" in text
    records = [
        record
        for seed in range(3)
        for record in (
            result("looped", 0.5 + seed / 1000, seed, about={"unique_layers": 8}),
            result("standard", 0.4, seed),
        )
    ]
    Store("records").add(records)
    text = ran("claims --claim looping-at-equal-parameters")
    assert "30M: supported" in text
    assert "3 runs" in text
    (found,) = json.loads(ran("claims --no-paper --json -c looping-at-equal-parameters"))
    (effect,) = found["effects"]
    assert (found["verdict"], effect["trainings"]) == ("supported", 3)
    assert set(effect["records"]) == {record.id for record in records}
    ran("claims --no-paper --picture claims.json")
    chart = Path("claims.json").read_text(encoding="utf-8")
    assert "claims tested here" in json.loads(chart)["title"]["text"]
    assert f'"value": {effect["value"]}' in chart
    Path("empty").mkdir()
    assert "no effect to draw" in run("claims empty --no-paper --picture p.svg").stderr
    assert not Path("p.svg").exists()


def test_an_evaluation_adds_its_records(tmp_path: Path) -> None:
    checkpoint = tiny.save("llama", tmp_path / "tiny")
    line = f"eval -m {checkpoint} -t copying_random_words --limit 3 --shots 0 --dtype float32"
    for _ in range(2):
        ran(f"{line} --block 0:1 --name mine --leaderboard records --out out")
    found = Store("records").read()
    assert len(found) == 2  # measured twice, at different times
    record = found[0]
    assert isinstance(record.model, Model)
    assert (record.model.name, record.task.name, record.n) == ("mine", "copying_random_words", 3)
    assert record.task.fingerprint
    assert record.task.chance == 0.1
    assert (record.model.schedule, record.schedule) == ("3", "1x2-2")
    assert record.cost.effective_parameters > record.cost.unique_parameters  # type: ignore[operator]
    assert record.command
    assert record.command.startswith("growloop eval")
    assert record.versions["torch"]
    files = " ".join(str(path) for path in Path("out").rglob("results_*.json"))
    assert ran(f"leaderboard add {files}").startswith("0 records added to records, 2 were there")
    bad = run(f"{line} --leaderboard there --name a/../b")
    assert bad.exit_code == 2
    assert "must be a name, not a path" in bad.stderr


TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
SCORE = "-t copying_random_words --limit 3 --shots 1 --device cpu --leaderboard records --out out"


def with_template(folder: Path) -> Path:
    """A checkpoint whose tokenizer has a chat template."""
    from transformers import AutoTokenizer

    tiny.save("llama", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def test_a_chat_and_a_plain_run_are_two_results_that_say_what_they_are(tmp_path: Path) -> None:
    model = with_template(tmp_path / "chatty")
    chat = "--apply_chat_template --system_instruction 'Be brief.' --softmax_dtype float64"
    ran(f"eval -m {model} {SCORE} {chat}")
    ran(f"eval -m {model} {SCORE} --dtype bfloat16")
    told, plain = sorted(
        Store("records").read(), key=lambda r: r.task.prompting or "", reverse=True
    )
    template, instruction = (sha256(t.encode()).hexdigest() for t in (TEMPLATE, "Be brief."))
    assert told.task.prompting == (
        f"chat template {template[:12]}, system instruction {instruction[:12]}, shots as turns"
    )
    assert told.settings == {"softmax_dtype": "float64"}
    assert (told.dtype, told.backend) == ("float32", "growloop")
    assert (plain.task.prompting, plain.settings, plain.dtype) == (None, {}, "bfloat16")
    assert told.model.digest == plain.model.digest
    assert told.model.digest
    assert told.task.key != plain.task.key
    assert len(json.loads(ran("leaderboard show --no-paper --json"))) == 2
    files = [json.loads(path.read_text()) for path in Path("out").rglob("results_*.json")]
    (file,) = (f for f in files if f["chat_template"])
    assert (file["chat_template"], file["chat_template_sha"]) == (TEMPLATE, template)
    assert (file["system_instruction"], file["fewshot_as_multiturn"]) == ("Be brief.", True)
    assert file["growloop"]["options"] == {
        "apply_chat_template": True,
        "system_instruction": "Be brief.",
        "softmax_dtype": "float64",
    }
    names = " ".join(str(path) for path in Path("out").rglob("results_*.json"))
    assert ran(f"leaderboard add {names}").startswith("0 records added to records, 2 were")


def test_folders_of_one_name_and_their_copies_are_told_apart_by_content(tmp_path: Path) -> None:
    for parent, context in (("a", 1024), ("b", 2048)):
        tiny.save("llama", tmp_path / parent / "checkpoint-100,lr=1", context)
    shutil.copytree(tmp_path / "a", tmp_path / "copied" / "a")
    for parent in ("a", "b", "copied/a"):
        ran(f"eval -m {tmp_path / parent / 'checkpoint-100,lr=1'} {SCORE}")
    lines = json.loads(ran("leaderboard show --no-paper --json"))
    assert len(lines) == 2
    assert {line["label"] for line in lines} == {
        "checkpoint-100,lr=1 [a]",
        "checkpoint-100,lr=1 [b]",
    }
    assert {path.name for path in Path("out").iterdir()} == {"checkpoint-100,lr=1"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--model_args pretrained=B", "--model_args may not hold pretrained: give --model instead"),
        ("--model_args dtype=float16", "may not hold dtype: give --dtype instead"),
        ("--repeat_s 2", "unknown option --repeat_s: did you mean --repeats?"),
        ("--apply_chat_tmplate", "did you mean --apply_chat_template?"),
        ("--revision v2", "--revision is for models of the hub"),
    ],
)
def test_options_that_would_score_something_else_are_refused(
    tmp_path: Path, options: str, reason: str
) -> None:
    model = tiny.save("llama", tmp_path / "tiny")
    found = run(f"eval -m {model} {SCORE} {options}")
    assert found.exit_code == 2
    assert reason in found.stderr
    assert not Path("records").exists()
    assert not Path("out").exists()
