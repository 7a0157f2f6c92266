"""``growloop scan`` and the notations of other tools, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from growloop.models import load

from ..tasks import tiny
from .test_commands import refused
from .test_models import done

SMALL = ["--probe", "copying_real_words", "--items", "24", "--test-items", "16", "--shots", "0",
         "--max-block", "2", "--allow-chance", "--dtype", "float32", "--beam", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save("llama", tmp_path_factory.mktemp("scan") / "model", layers=4))


def test_one_command_gives_table_verdict_map_notations_records_and_the_saved_model(
    model: str, tmp_path: Path
) -> None:
    out, records = tmp_path / "scan", tmp_path / "records"
    places = ["--out", str(out), "--leaderboard", str(records), "--picture", str(out / "map.json")]
    text = done("scan", model, *SMALL, *places, "--save", "best")
    result = json.loads((out / "result.json").read_text())
    assert result["verdict"] in text
    assert "chosen among 7" in text
    best = json.loads((out / "best.json").read_text())
    assert f"schedule: {best['schedule']}" in text
    saved = load(str(out / "best"))
    assert str(saved.schedule) == best["schedule"] == result["chosen_schedule"]
    assert (out / "best-mergekit.yml").read_text() == best["mergekit"]
    assert len((out / "table.csv").read_text().splitlines()) == 9
    assert any(records.rglob("*.json*"))
    again = done("scan", model, *SMALL, "--out", str(out), "--json")
    assert json.loads(again)["rows"] == result["rows"]
    for notation in (["--mergekit", str(out / "best-mergekit.yml")], ["--schedule", best["rys"]]):
        looped = tmp_path / notation[0].strip("-")
        done("loop", model, *notation, "--out", str(looped))
        assert load(str(looped)).schedule == saved.schedule


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--save", "all"], "--save takes best"),
        (["--save-to", "x"], "give both"),
        (["--dtype", "int4"], "unknown dtype"),
        (["--max-block", "5"], "larger than the model"),
        (["--edits", ""], "nothing to search"),
        (["--apply", "halved"], "unknown way to apply a repeat"),
        (["--repeats", "one"], "--repeats takes whole numbers"),
        (["--picture", "map.gif"], "kind of picture"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(
    model: str, tmp_path: Path, arguments: list[str], message: str
) -> None:
    sentence = refused("scan", model, *SMALL, "--out", str(tmp_path / "out"), *arguments)
    assert message in sentence


def test_a_generative_task_is_scanned_and_shared_keys_and_values_need_one(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    options = [*SMALL, "--race", "halving", "--kv", "own,shared", "--max-gen-toks", "2"]
    for split in ("validation", "test"):
        rows = [{"prompt": f"{split} {i}:", "answer": str(i)} for i in range(24)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    file = tmp_path / "free.yaml"
    file.write_text(
        f"task: free\ndataset_path: json\ndataset_kwargs:\n  data_files:\n"
        f"    validation: {tmp_path}/validation.jsonl\n    test: {tmp_path}/test.jsonl\n"
        "validation_split: validation\ntest_split: test\noutput_type: generate_until\n"
        "doc_to_text: '{{prompt}}'\ndoc_to_target: answer\nmetric_list:\n  - metric: exact_match\n"
    )
    options[options.index("copying_real_words")] = str(file)
    result = json.loads(done("scan", model, *options, "--out", str(tmp_path / "out"), "--json"))
    assert {row["kv"] for row in result["rows"]} == {"own", "shared"}
    assert result["candidates"] == 14
    assert result["probes"][0]["metric"] == "exact_match"
    assert result["probes"][0]["max_gen_toks"] == 2
    sentence = refused("scan", model, *SMALL, "--kv", "shared", "--out", str(tmp_path / "not"))
    assert "give --kv shared with a task whose answers are generated" in sentence


def test_two_schedules_at_once_are_refused(model: str, tmp_path: Path) -> None:
    file = tmp_path / "merge.yml"
    file.write_text("merge_method: passthrough\nslices:\n- sources:\n  - model: m\n"
                    "    layer_range: [0, 9]\n")  # fmt: skip
    out = ["--out", str(tmp_path / "out")]
    both = refused("loop", model, "--mergekit", str(file), "--schedule", "4", *out)
    assert "give one of them" in both
    assert "needs 9 layers" in refused("loop", model, "--mergekit", str(file), *out)
    assert "outside a model of 4" in refused("loop", model, "--schedule", "(2,9)", *out)
