"""Studies end to end on tiny checkpoints: plan, run, resume, tables, charts, refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.cli import main
from growloop.models import Recurrence, Schedule, checkpoints, load, loop
from growloop.models.diagnostics import exit_logits, fitting, local_effects, trace
from growloop.studies import depth, lenses
from growloop.studies.accuracy import right_answers, scorer_of
from growloop.studies.between import compared
from growloop.studies.catalog import STUDIES, find
from growloop.studies.contributions import TITLES
from growloop.studies.intervals import bootstrap, holm, mcnemar, paired
from growloop.studies.publishing import published
from growloop.studies.questions import questions, scorer
from growloop.studies.subjects import Loaded
from growloop.studies.sweep import Sweep, alone, packed
from growloop.studies.texts import read_texts
from growloop.tasks.evaluate import evaluate

from ..cli.test_commands import refused, run
from ..tasks import tiny

TASK = "variable_assignment_code_d0"
FEW = ["--items", "8", "--shots", "1"]
TEXTS = ["--texts", "8", "--tokens", "150"]
TUNING = ["--min-steps", "2", "--epochs", "1", "--held-out", "4", "--precision", "fp32"]
SMALL = {
    "trade-offs": [*FEW, "--tasks", f"{TASK},copying_real_words"],
    "contributions": TEXTS,
    "local-effects": [*TEXTS, "--measures", "local,propagated", "--where", "future,all"],
    "weight-similarity": ["--apart", "1,2"],
    "swaps": [*FEW, *TEXTS, "--tasks", f"{TASK},loss", "--sizes", "1,2"],
    "depth": [*FEW, *TEXTS, "--tasks", TASK, "--cuts", "2", "--lens-updates", "2"],
    "inference-scaling": [*FEW, "--tasks", TASK, "--block", "3", "--times", "1,2"],
    "in-context-scaling": ["--items", "8", "--tasks", TASK, "--counts", "0,2"],
    "adaptive-exit": [*FEW, "--tasks", TASK],
    "sample-efficiency": [*FEW, *TUNING, "--sizes", "0,8", "--seeds", "2", "--depths", "0,1"],
    "loops-against-depth": [*FEW, "--depths", "0,1", "--loops", "1,2", "--block", "1:3"],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A plain and a looped checkpoint."""
    plain = tiny.save("llama", tmp_path_factory.mktemp("models") / "plain", layers=4)
    looped = plain.parent / "looped"
    model = loop(load(str(plain)), "1-2x2-1")
    checkpoints.save(model, checkpoints.load_tokenizer(str(plain)), looped)
    return {"plain": str(plain), "looped": str(looped)}


def study(*arguments: str) -> Any:
    result = run("study", *arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("name", SMALL)
def test_a_study_runs_on_plain_and_looped_models(
    name: str, models: dict[str, str], tmp_path: Path
) -> None:
    options = ["--out", str(tmp_path), *SMALL[name]]
    both = ["-m", models["plain"], "-m", models["looped"]]
    picture = tmp_path / "chart.svg"
    planned = study(name, *both, *options, "--plan").stdout.splitlines()
    table = study(name, *both, *options, "--picture", str(picture)).stdout
    assert "plain" in table
    assert "looped" in table
    assert "<svg" in picture.read_text()
    files = sorted((tmp_path / "records").rglob("*.json"))
    assert sorted(f.stem for f in files) == sorted(line.split("\t")[1] for line in planned)
    for file in files:
        record = json.loads(file.read_text())
        assert record["command"].startswith(f"growloop study {name} -m ")
        assert record["model"]["schedule"] == ("4" if "plain" in file.stem else "1-2x2-1")
        for row in record["rows"]:
            if "low" in row and row["metric"] != "depth score":
                assert row["low"] <= row["value"] + 1e-9
                assert row["value"] <= row["high"] + 1e-9
                assert row["n"] == 8


def test_what_was_measured_is_not_measured_again(models: dict[str, str], tmp_path: Path) -> None:
    arguments = ["contributions", "-m", models["plain"], *TEXTS, "--out", str(tmp_path)]
    study(*arguments)
    [file] = (tmp_path / "records").rglob("*.json")
    changed = json.loads(file.read_text())
    changed["rows"][0]["value"] = 12345.0
    file.write_text(json.dumps(changed))
    assert "12345" in study(*arguments, "--json").stdout  # it was read, not made
    study(*arguments, "--seed", "1")
    assert len(list((tmp_path / "records").rglob("*.json"))) == 2
    assert "is of" in refused("study", *arguments, "--dtype", "bfloat16")
    for text in ("{", "[]", '{"format": "growloop study"}', json.dumps(changed | {"rows": [1]})):
        file.write_text(text)
        assert "is no record of a study" in refused("study", *arguments)


def test_a_chart_shows_what_is_asked_now_not_what_was_when_it_was_measured(
    models: dict[str, str], tmp_path: Path
) -> None:
    arguments = ["contributions", "-m", models["plain"], *TEXTS, "--out", str(tmp_path)]
    study(*arguments)
    study(*arguments, "--show", "mlp_cosine", "--picture", str(tmp_path / "chart.svg"))
    picture = (tmp_path / "chart.svg").read_text()
    assert TITLES["mlp_cosine"] in picture
    assert TITLES["residual_norm"] not in picture
    assert len(list((tmp_path / "records").rglob("*.json"))) == 1


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # tasks, then what is compared of each
        ("trade-offs", 2), ("in-context-scaling", 2), ("loops-against-depth", 2 * 2),
        ("sample-efficiency", 2 * 2), ("inference-scaling", 3), ("swaps", 2 * (1 + 2)),
    ],
)  # fmt: skip
def test_models_are_compared_on_the_same_items(
    name: str, count: int, models: dict[str, str], tmp_path: Path
) -> None:
    options = ["--model", models["plain"], "--model", models["looped"], "--out", str(tmp_path)]
    options += SMALL[name]
    found = json.loads(study(name, *options, "--json").stdout)
    study(name, *options, "--against", "plain")
    rows = compared(find(name), found, "plain")
    assert len(rows) == count
    assert {(row["model"], row["against"], row["n"]) for row in rows} == {("looped", "plain", 8)}
    assert all(row["low"] - 1e-9 <= row["difference"] <= row["high"] + 1e-9 for row in rows)
    assert all(0 < row[f"p (Holm of {count})"] <= 1 for row in rows)
    back = compared(find(name), found, "looped")
    assert [row["difference"] for row in back] == pytest.approx([-r["difference"] for r in rows])


def test_a_comparison_is_the_paired_one(models: dict[str, str], tmp_path: Path) -> None:
    options = ["--model", models["plain"], "--model", models["looped"], "--out", str(tmp_path)]
    options += ["--tasks", TASK, "--items", "40", "--shots", "0", "--json"]
    found = json.loads(study("trade-offs", *options).stdout)
    [row] = compared(find("trade-offs"), found, "plain")
    plain, looped = ([a == "1" for a in record["rows"][0]["answers"]] for record in found)
    wanted = paired(looped, plain)
    values = [row[name] for name in ("difference", "low", "high", "p (Holm of 1)")]
    assert values == pytest.approx([wanted.difference, wanted.low, wanted.high, wanted.p])


def test_beside_a_difference_is_the_one_on_questions_without_an_answer(
    models: dict[str, str], tmp_path: Path
) -> None:
    options = ["--model", models["plain"], "--model", models["looped"], "--shots", "0", "--json"]
    options += ["--tasks", f"{TASK},copying_real_words", "--items", "30"]
    plain = json.loads(study("trade-offs", *options, "--out", str(tmp_path / "a")).stdout)
    options += ["--control", "cut", "--out", str(tmp_path / "b")]
    found = json.loads(study("trade-offs", *options).stdout)
    before, rows = (compared(find("trade-offs"), some, "plain") for some in (plain, found))
    values = {record["cell"]["model"]: record["rows"][-1] for record in found if "of" in
              record["rows"][-1]}  # fmt: skip
    difference = values["looped"]["value"] - values["plain"]["value"]
    assert [row.pop("control difference") for row in rows] == [pytest.approx(difference), None]
    assert rows == before
    assert len(published(found)) == len(published(plain))
    # in the study's own table: as if the looped model were compared with a standard one
    for record in found:
        record["data"]["shape"] = []
        same = record["cell"]["model"] == "plain"
        record["data"]["family"] = "standard" if same else "looped"
        record["model"] |= {"unique_layers": 4, "effective_depth": 6 if same else 8}
    mean, _, versus = find("trade-offs").table(found)
    assert mean["control difference"] is None
    assert versus["what"] == "vs iso-param"
    assert versus["control difference"] == pytest.approx(difference)
    assert versus["difference, controlled tasks"] == pytest.approx(rows[0]["difference"])


def test_examples_are_shown_to_questions_without_an_answer_too(
    models: dict[str, str], tmp_path: Path
) -> None:
    options = ["-m", models["plain"], "--tasks", f"{TASK},copying_real_words", "--counts", "0,2"]
    options += ["--items", "8", "--out", str(tmp_path), "--json"]
    plain = json.loads(study("in-context-scaling", *options).stdout)
    found = json.loads(study("in-context-scaling", *options, "--control", "shuffled").stdout)
    for record, other in zip(plain, found, strict=True):
        assert other["rows"][:2] == record["rows"]
    rows = find("in-context-scaling").table(found)
    beside = found[0]["rows"][2:]
    assert [row["shots"] for row in beside] == [0, 2]
    assert [row["control gain"] for row in rows] == [0.0, beside[1]["difference"], None, None]
    assert beside[1]["difference"] == pytest.approx(beside[1]["value"] - beside[0]["value"])


def test_loops_are_run_on_questions_without_an_answer_too(
    models: dict[str, str], tmp_path: Path
) -> None:
    options = ["-m", models["looped"], *FEW, "--depths", "0,1", "--loops", "1,2", "--json"]
    options += ["--control", "cut", "--out", str(tmp_path)]
    found = json.loads(study("loops-against-depth", *options).stdout)
    rows = find("loops-against-depth").table(found)
    cut = [[row["value"] for row in record["rows"] if "of" in row] for record in found]
    assert [row["control gain"] for row in rows] == [0.0, cut[0][1] - cut[0][0], 0.0,
                                                     cut[1][1] - cut[1][0]]  # fmt: skip
    assert len(published(found)) == len(rows) == 4


def test_cells_can_be_run_one_by_one(models: dict[str, str], tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    arguments = ["inference-scaling", "-m", models["plain"], *SMALL["inference-scaling"]]
    count = len(study(*arguments, "--plan").stdout.splitlines())
    assert count == 2  # a block of three of four layers has two starts
    for number in reversed(range(count)):
        study(*arguments, "--out", str(parts), "--cell", str(number))
    together = study(*arguments, "--out", str(whole)).stdout
    assert study(*arguments, "--out", str(parts)).stdout == together
    assert "--cell is a number from 0 to 1" in refused("study", *arguments, "--cell", "2")


def test_the_choice_is_made_on_validation(models: dict[str, str], tmp_path: Path) -> None:
    arguments = ["inference-scaling", "-m", models["plain"], *SMALL["inference-scaling"]]
    study(*arguments, "--out", str(tmp_path))
    files = list((tmp_path / "records").rglob("*.json"))
    for file in files:  # the best on test is at start 1, the best on validation at start 0
        record = json.loads(file.read_text())
        start = record["cell"]["params"]["start"]
        for row in record["rows"]:
            best = 0 if row["split"] == "validation" else 1
            row["value"] = 0.9 if row["times"] == 2 and start == best else 0.1
        file.write_text(json.dumps(record))
    [line] = study(*arguments, "--out", str(tmp_path)).stdout.splitlines()[1:]
    assert "0:3 ×2" in line
    assert "0.1000" in line
    assert "0.9000" not in line


@pytest.mark.parametrize("kind", ["llama", "bloom", "mistral-window", "gemma2"])
def test_studies_score_as_the_evaluation_does(kind: str, tmp_path: Path) -> None:
    path = str(tiny.save(kind, tmp_path, layers=4))
    loaded = Loaded("float32", "cpu")
    loaded.load(path)
    lm = scorer_of(loaded)
    asked = questions(lm, TASK, 3, shots=1)
    plain = Schedule.plain(4)
    schedules = [plain, plain.repeat(1, 3, 2), plain.swap(0, 2), Schedule((0, 3))]
    loop(lm.model)
    pairs = [(question.context, option) for question in asked.asked for option in question.options]
    found = torch.tensor([[s for s, _ in part] for part in lm.score_schedules(pairs, schedules)])
    found = found.reshape(len(schedules), 3, -1).transpose(0, 1)
    right = right_answers(loaded, asked, schedules)
    for number, schedule in enumerate(schedules):
        results = evaluate(
            path,
            [TASK],
            shots=1,
            count=3,
            dtype="float32",
            device="cpu",
            prepare=lambda m, schedule=schedule: loop(m, schedule),
        )
        assert results is not None
        samples = sorted(results["samples"][TASK], key=lambda sample: sample["doc_id"])
        wanted = [[float(score[0]) for score in s["filtered_resps"]] for s in samples]
        torch.testing.assert_close(found[:, number], torch.tensor(wanted), atol=1e-3, rtol=1e-4)
        answers = [sample["doc"]["answer"] for sample in samples]
        assert answers == [question.answer for question in asked.asked]
        assert right[number].tolist() == [bool(sample["acc"]) for sample in samples]
    metadata = results["configs"][TASK]["metadata"]["growloop"]
    assert metadata["fingerprint"] == asked.fingerprint


def test_a_sweep_of_a_looped_model_is_one_of_its_layers(models: dict[str, str]) -> None:
    plain, looped = load(models["plain"]), load(models["looped"])
    ids = torch.randint(0, 200, (1, 20))
    schedules = [Schedule.parse(text) for text in ("4", "1-2x2-1", "1-2x3-1", "0,3")]
    wanted = []
    for schedule in schedules:
        with torch.no_grad():
            logits = loop(plain, schedule)(ids).logits[0, :-1].log_softmax(-1)
        wanted.append(float(-logits.gather(1, ids[0, 1:, None]).mean()))
    for model in (looped, load(models["plain"])):
        torch.testing.assert_close(
            Sweep(model, schedules).losses(ids), torch.tensor(wanted), atol=1e-5, rtol=1e-5
        )
    assert str(looped.schedule) == "1-2x2-1"


def test_a_sweep_runs_what_schedules_share_once(models: dict[str, str]) -> None:
    model = load(models["plain"])
    plain = Schedule.plain(4)
    sweep = Sweep(model, [plain, plain.repeat(1, 3), plain.repeat(1, 3, 2)])
    sweep.losses(torch.arange(10)[None])
    assert sweep.layer_calls == 4 + (2 + 1) + (2 + 1)


def test_leaving_early_is_scored_by_the_lens(models: dict[str, str]) -> None:
    model = load(models["plain"])
    asked = questions(scorer(model, checkpoints.load_tokenizer(models["plain"])), TASK, 1, shots=0)
    [question] = asked.asked
    scores = Sweep(model, [Schedule.plain(4)]).exit_scores(question)[0]
    assert scores.shape == (5, 5)
    for number, (sheet, option) in enumerate(zip(alone(question), question.options, strict=True)):
        found = trace(model, torch.tensor([sheet.tokens]))
        for step, state in enumerate((*found.inputs, found.outputs[-1])):
            rows = exit_logits(found, step, state[0, -len(option) :]).log_softmax(-1)
            wanted = rows.gather(1, torch.tensor(option)[:, None]).sum()
            torch.testing.assert_close(scores[step, number], wanted, atol=1e-4, rtol=1e-4)


def test_a_tuned_lens_is_measured_beside_the_logit_lens(
    models: dict[str, str], tmp_path: Path
) -> None:
    """The logit lens reads the same numbers whether or not a lens is trained beside it."""
    asked = ["depth", "-m", models["looped"], *FEW, *TEXTS, "--tasks", TASK, "--json"]
    asked += ["--parts", "overlap,accuracy", "--out", str(tmp_path)]
    plain = json.loads(study(*asked).stdout)
    tuned = json.loads(study(*asked, "--lens-updates", "20").stdout)
    for before, after in zip(plain, tuned, strict=True):
        assert (before["data"]["lens"], after["data"]["lens"]) == ("logit lens", "tuned lens")
        assert after["data"]["logit"] == before["rows"]
        key = "answers" if "task" in after["rows"][0] else "value"
        assert after["rows"][-1][key] == before["rows"][-1][key]  # the model itself
        assert [row[key] for row in after["rows"]] != [row[key] for row in before["rows"]]
    picture = tmp_path / "chart.svg"
    study(*asked, "--lens-updates", "20", "--picture", str(picture))
    for text in ("tuned lens", "logit lens", "leaving early: variable_assignment_code_d0"):
        assert text in picture.read_text()


def test_branches_of_a_sheet_do_not_see_each_other(models: dict[str, str]) -> None:
    model = load(models["plain"])
    [question] = questions(
        scorer(model, checkpoints.load_tokenizer(models["plain"])), TASK, 1, shots=0
    ).asked
    sheet = packed(question)
    assert sheet.sees is not None
    assert sheet.positions is not None
    length = len(question.context)
    for number, rows in sheet.rows.items():
        assert [sheet.tokens[row] for row in rows[1:]] == list(question.options[number][:-1])
        assert [sheet.positions[row] for row in rows] == list(
            range(length - 1, length - 1 + len(rows))
        )
        for row in rows[1:]:
            seen = set(sheet.sees[row].nonzero().flatten().tolist())
            assert seen == set(range(length)) | {r for r in rows if r <= row}


def test_the_heatmap_is_that_of_the_diagnostics(models: dict[str, str], tmp_path: Path) -> None:
    arguments = ["--where", "all", *TEXTS, "--out", str(tmp_path), "--json"]
    [record] = json.loads(study("local-effects", "-m", models["looped"], *arguments).stdout)
    model, tokenizer = load(models["looped"]), checkpoints.load_tokenizer(models["looped"])
    texts = read_texts(tokenizer, None, 8, 150, 0)
    effects = torch.cat([local_effects(trace(model, ids)) for ids in texts.ids])
    found = torch.tensor(record["data"]["max"])
    torch.testing.assert_close(found, effects.amax(0), atol=1e-4, rtol=1e-4)
    assert record["data"]["coordinates"][3:5] == [[1, 1], [2, 1]]
    assert record["data"]["fingerprint"] == texts.fingerprint


def test_texts_come_from_files_too(models: dict[str, str], tmp_path: Path) -> None:
    rows = [{"question": f"What is {i} plus {i}, and why?"} for i in range(9)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "a.txt").write_text("\n\n".join(row["question"] for row in rows))
    tokenizer = checkpoints.load_tokenizer(models["plain"])
    found = [
        read_texts(tokenizer, str(tmp_path / f"a.{kind}"), 8, 99, 0) for kind in ("jsonl", "txt")
    ]
    assert found[0].fingerprint == found[1].fingerprint
    assert tokenizer.decode(found[0].ids[3][0]) == rows[3]["question"]
    seen = frozenset(row["question"] for row in rows[:7])
    later = read_texts(tokenizer, str(tmp_path / "a.txt"), 2, 99, 0, without=seen)
    assert tokenizer.decode(later.ids[0][0]) == rows[7]["question"]


def test_weights_are_compared_without_a_tokenizer(
    models: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints.save(load(models["looped"]), None, tmp_path / "bare")
    assert "bare" in study("weight-similarity", "-m", str(tmp_path / "bare"), "--apart", "1").stdout
    message = refused("study", "contributions", "-m", str(tmp_path / "bare"), *TEXTS)
    assert "bare has no tokenizer that can be read" in message


def test_list_and_show_say_what_there_is() -> None:
    listed = study("list").stdout
    assert SMALL.keys() <= STUDIES.keys()
    for name in STUDIES:
        assert name in listed
        shown = study("show", name).stdout
        assert "Cost:" in shown
        assert f"growloop study {name} --model" in shown
    assert len(json.loads(study("list", "--json").stdout)) == len(STUDIES)


@pytest.mark.parametrize("kind", ["html", "png", "pdf"])
def test_pictures_are_of_any_kind(kind: str, models: dict[str, str], tmp_path: Path) -> None:
    picture = tmp_path / f"chart.{kind}"
    study("weight-similarity", "-m", models["plain"], "-o", str(tmp_path), "-p", str(picture),
          "--dark")  # fmt: skip
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("swapps -m M", "unknown study 'swapps': did you mean 'swaps'?"),
        ("show depht", "did you mean 'depth'?"),
        ("show", "give one study"),
        ("swaps", "give a model"),
        ("swaps -m M --item 5", "did you mean '--items'?"),
        ("swaps -m M --items many", "--items takes a whole number, not 'many'"),
        ("swaps -m M --items 3", "an interval needs at least 8 items, not 3"),
        ("swaps -m M --sizes 3", "runs 4 steps: no two blocks of 3"),
        ("swaps -m M --pairs some", "unknown choice of pairs 'some'"),
        ("swaps -m M --tasks hellaswag", "unknown task 'hellaswag'"),
        ("swaps -m M --tasks loss --text none.txt", "there is no text file none.txt"),
        ("swaps -m M -m M", "is given twice"),
        ("swaps -m ./none", "there is no model folder"),
        ("swaps -m M --against plane", "unknown model 'plane': did you mean 'plain'?"),
        ("weight-similarity -m M --against plain", "keeps no answers to compare models by"),
        ("swaps -m M --against plain", "--against compares models: give two or more"),
        ("swaps -m M more", "unexpected argument 'more'"),
        ("swaps -m M --picture a.gif", "unknown kind of picture '.gif'"),
        ("swaps -m M --dtype float8", "unknown dtype 'float8'"),
        ("inference-scaling -m M --block 5", "runs 4 steps, fewer than a block of 5"),
        ("inference-scaling -m M --block 2 --starts 0,3", "starts go from 0 to 2"),
        ("inference-scaling -m M --control all", "unknown control 'all'"),
        ("trade-offs -m M --items 5", "an interval needs at least 8 items, not 5"),
        ("trade-offs -m M --tasks primitives", "unknown task 'primitives'"),
        ("trade-offs -m M --split train", "unknown split 'train'"),
        (
            "in-context-scaling -m M --tasks copying_real_words --control cut",
            "none of the tasks has questions with control 'cut'",
        ),
        ("loops-against-depth -m M", "has no looped block: say which with --block"),
        ("loops-against-depth -m M --block 2:9", "the block 2:9 is outside the steps 0:4"),
        ("loops-against-depth -m M --block two", "a block is START:STOP"),
        ("contributions -m M --texts 2", "an interval needs at least 8 texts, not 2"),
        ("contributions -m M --show norm", "unknown measure 'norm'"),
        ("local-effects -m M --measures global", "unknown measure 'global'"),
        ("depth -m M --lens none.safetensors", "there is no lens none.safetensors"),
        ("depth -m M --parts all", "unknown part 'all'"),
        ("depth -m M --lens-updates 9 --lens-text none.txt", "there is no text file none.txt"),
        ("weight-similarity -m M --apart 9", "none of the distances 9"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    arguments: str, message: str, models: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [models["plain"] if word == "M" else word for word in arguments.split()]
    assert message in refused("study", *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["swaps", "depth"])
def test_a_model_without_the_needed_access_is_refused(
    name: str, models: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    model = loop(load(models["looped"]), recurrence=Recurrence(injection="add"))
    checkpoints.save(model, checkpoints.load_tokenizer(models["plain"]), tmp_path / "injected")
    message = refused("study", name, "-m", str(tmp_path / "injected"), *SMALL[name])
    assert "is not the output of the one before" in message


def test_intervals_and_tests_are_the_known_ones() -> None:
    from scipy.stats import bootstrap as reference

    values = [float(i % 3 == 0) for i in range(90)]
    low, high = bootstrap(values)
    wanted = reference((values,), lambda x, axis: x.mean(axis), method="percentile", rng=0)
    assert low == pytest.approx(wanted.confidence_interval.low, abs=0.02)
    assert high == pytest.approx(wanted.confidence_interval.high, abs=0.02)
    assert mcnemar(8, 2) == pytest.approx(0.109375)
    assert holm([0.5]) == [0.5]
    found = paired([True, True, False, True] * 5, [True, False, False, False] * 5)
    assert (found.better, found.worse, found.difference) == (10, 0, 0.5)
    assert found.low <= 0.5 <= found.high


def test_the_command_is_found() -> None:
    assert "study" in main.list_commands(None)  # type: ignore[arg-type]


def test_other_weights_at_the_same_path_are_not_taken_for_those_that_were_measured(
    models: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models["plain"], path)
    asked = ["contributions", "-m", str(path), *TEXTS, "--out", str(tmp_path / "out")]
    before = study(*asked).stdout
    weights = path / "model.safetensors"
    weights.touch()  # copied again: the same content at another time
    assert study(*asked).stdout == before
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "of another model than" in refused("study", *asked)


def test_another_schedule_at_the_same_path_is_another_model(
    models: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models["looped"], path)
    asked = ["depth", "-m", str(path), *TEXTS, "--parts", "overlap", "--lens-updates", "2"]
    study(*asked, "--out", str(tmp_path / "out"))
    model, tokenizer = loop(load(models["plain"]), "1-2x3-1"), checkpoints.load_tokenizer(str(path))
    checkpoints.save(model, tokenizer, path, overwrite=True)
    assert "of another model than" in refused("study", *asked, "--out", str(tmp_path / "out"))
    # its lens is another one too
    study(*asked, "--out", str(tmp_path / "out"), "--seed", "1")
    assert len(list((tmp_path / "out" / "lenses").glob("*.safetensors"))) == 2


def test_a_lens_of_another_model_is_refused(models: dict[str, str], tmp_path: Path) -> None:
    asked = ["depth", *TEXTS, "--parts", "overlap", "--out", str(tmp_path)]
    study(*asked, "-m", models["plain"], "--lens-updates", "2")
    [lens] = (tmp_path / "lenses").glob("*.safetensors")
    other, model = tmp_path / "other", load(models["plain"])
    with torch.no_grad():
        model.model.norm.weight.mul_(1.5)
    checkpoints.save(model, checkpoints.load_tokenizer(models["plain"]), other)
    study(*asked, "-m", models["plain"], "--lens", str(lens))
    message = refused("study", *asked, "-m", str(other), "--lens", str(lens))
    assert "the lens was trained on another model than" in message


def test_a_lens_never_learns_from_what_is_measured(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"What is {i:02} plus {i * i:03}, and why is that so?" for i in range(30)]
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    (tmp_path / "b.txt").write_text("\n\n".join(texts[10:] + texts[:10]))
    seen: list[list[int]] = []

    def watched(model: Any, batches: Any, updates: int, **more: Any) -> Any:
        every = list(batches)
        seen.extend(row for batch in every for row in batch.tolist())
        return fitting.fit_lens(model, every, updates, **more)

    monkeypatch.setattr(lenses, "fit_lens", watched)
    asked = ["depth", "-m", models["plain"], "--texts", "8", "--tokens", "99", "--parts", "overlap"]
    asked += ["--lens-updates", "9", "--text", str(tmp_path / "a.txt"), "--out", str(tmp_path)]
    tokenizer = checkpoints.load_tokenizer(models["plain"])
    for more in ([], ["--lens-text", str(tmp_path / "b.txt")]):
        seen.clear()
        study(*asked, *more)
        learned = {text for text in texts if tokenizer(text).input_ids in seen}
        assert learned == set(texts[8:])
    (tmp_path / "c.txt").write_text("\n\n".join(texts[:12]))
    message = refused("study", *asked, "--lens-text", str(tmp_path / "c.txt"))
    assert "has 4 texts that are not measured, 8 are needed" in message


def test_records_of_another_version_of_a_task_are_refused(
    models: dict[str, str], tmp_path: Path
) -> None:
    asked = ["trade-offs", "-m", models["plain"], *FEW, "--tasks", TASK, "--out", str(tmp_path)]
    study(*asked)
    [file] = (tmp_path / "records").rglob("*.json")
    record = json.loads(file.read_text())
    record["rows"][0]["version"] = 0
    file.write_text(json.dumps(record))
    assert f"is of version 0 of {TASK}, which is" in refused("study", *asked)


def test_numbers_in_two_precisions_are_no_table(models: dict[str, str], tmp_path: Path) -> None:
    asked = ["contributions", "-m", models["plain"], *TEXTS, "--out", str(tmp_path)]
    study(*asked, "--dtype", "bfloat16")
    other = ["inference-scaling", "-m", models["plain"], *SMALL["inference-scaling"]]
    other += ["--out", str(tmp_path)]
    study(*other, "--starts", "0", "--dtype", "bfloat16")
    message = refused("study", *other, "--dtype", "auto")  # the rest in the model's own, float32
    assert "is in bfloat16 and in float32: give --dtype" in message


def test_what_others_have_measured_meanwhile_is_not_measured_again(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two processes do that share a folder."""
    asked = ["depth", "-m", models["plain"], *FEW, *TEXTS, "--tasks", TASK, "--out", str(tmp_path)]
    measured, inner = [], depth.measure

    def beside(cell: Any, *given: Any) -> Any:
        measured.append(cell.params["part"])
        if cell.params["part"] == "score":  # the other process is faster
            study(*asked, "--cell", "1")
        return inner(cell, *given)

    changed = replace(depth.STUDY, measure=beside)
    monkeypatch.setattr(depth, "STUDY", changed)
    study(*asked)
    assert measured == ["score", "overlap", "accuracy"]


def test_a_killed_lens_goes_on_and_other_weights_get_their_own(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of a training is below ``--out`` until the lens is whole."""
    asked = ["depth", "-m", models["plain"], *FEW, *TEXTS, "--tasks", TASK, "--parts", "overlap"]
    asked += ["--lens-updates", "6", "--json"]
    whole = json.loads(study(*asked, "--out", str(tmp_path / "whole")).stdout)
    monkeypatch.setattr(fitting, "EVERY", 0.0)
    monkeypatch.setattr(fitting, "SHARE", 0)
    traced, calls = fitting.trace, 0

    def killed(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return traced(*given)

    monkeypatch.setattr(fitting, "trace", killed)
    out = tmp_path / "killed"
    assert run("study", *asked, "--out", str(out)).exit_code != 0
    assert [path.suffix for path in sorted((out / "lenses").iterdir())] == [".lock", ".part"]
    again = json.loads(study(*asked, "--out", str(out)).stdout)
    assert calls == 4 + 3  # the three updates that were done are not done again
    assert again[0]["rows"] == whole[0]["rows"]
    assert sorted(path.suffix for path in (out / "lenses").iterdir()) == [".lock", ".safetensors"]


def test_help_of_a_study_has_its_own_options() -> None:
    for ask in (["swaps", "--help"], ["-h", "swaps"], ["show", "swaps"]):
        shown = study(*ask).stdout
        for text in ("--pairs", "Figures 1 and 8", "--leaderboard", "Example:"):
            assert text in shown
    for ask in (["--help"], ["list", "-h"]):
        assert "NAME is a study, or list." in study(*ask).stdout
    assert "which study? growloop study list" in refused("study")
    assert "did you mean 'swaps'" in refused("study", "swap", "--help")


def test_diagnostics_are_compared_on_the_same_texts(models: dict[str, str], tmp_path: Path) -> None:
    both = ["-m", models["plain"], "-m", models["looped"], "--out", str(tmp_path), *TEXTS]
    wanted = {"depth": 1 + 3 * 5, "contributions": 7 * 4, "local-effects": 3, "swaps": 1 + 2}
    more = {"depth": ["--parts", "score,overlap", "--cuts", "2"],
            "swaps": ["--tasks", "loss", "--sizes", "1,2"]}  # fmt: skip
    for name, count in wanted.items():
        asked = [name, *both, *more.get(name, [])]
        found = json.loads(study(*asked, "--json").stdout)
        rows = compared(find(name), found, "plain")
        assert len(rows) == count, name
        for row in rows:
            assert row["low"] - 1e-9 <= row["difference"] <= row["high"] + 1e-9
            assert 0 < row[f"p (Holm of {count})"] <= 1
        assert "looped" in study(*asked, "--against", "plain").stdout.split("against")[1]
        kept = [row["each"] for record in found for row in record["rows"] if "each" in row]
        assert kept
        assert all(len(each) == 8 for each in kept)
    found = json.loads(study("depth", *both, *more["depth"], "--json").stdout)
    [score] = [row for row in compared(find("depth"), found, "plain") if "score" in row["task"]]
    each = [r["rows"][0]["each"] for r in found if r["cell"]["params"]["part"] == "score"]
    assert score["difference"] == pytest.approx(sum(b - a for a, b in zip(*each, strict=True)) / 8)


def test_swaps_that_change_nothing_are_not_counted(models: dict[str, str], tmp_path: Path) -> None:
    asked = ["swaps", "-m", models["looped"], *FEW, "--tasks", TASK, "--out", str(tmp_path)]
    [record] = json.loads(study(*asked, "--sizes", "2", "--json").stdout)
    same = [row for row in record["rows"] if not row.get("changes", True)]
    assert [(row["first"], row["second"]) for row in same] == [(1, 3)]
    rows = find("swaps").table([record])
    assert rows[-1]["swaps"] == len(record["rows"]) - 2 == 2
    others = [row["value"] for row in record["rows"][1:] if row["changes"]]
    assert rows[-1]["value"] == pytest.approx(sum(others) / 2)
    model = loop(load(models["plain"]), "4x2")
    path = tmp_path / "twice"
    checkpoints.save(model, checkpoints.load_tokenizer(models["plain"]), path)
    shown = study("swaps", "-m", str(path), *FEW, "--tasks", TASK, "--sizes", "4",
                  "--out", str(tmp_path)).stdout  # fmt: skip
    assert "harmful" not in shown
    assert "mean of swaps" in shown


def test_texts_that_are_the_same_are_no_sample(models: dict[str, str], tmp_path: Path) -> None:
    """Generated questions begin alike: cut there, eight of them are one."""
    asked = ["contributions", "-m", models["plain"], "--texts", "8", "--tokens", "24"]
    message = refused("study", *asked, "--out", str(tmp_path / "out"))
    assert "only 1 of 8 texts differ in their first 24 tokens: give more --tokens" in message
    assert not (tmp_path / "out" / "records").exists()


def test_checkpoints_of_one_run_are_told_apart_by_their_steps(
    models: dict[str, str], tmp_path: Path
) -> None:
    both = []
    for step in ("step-000000020", "step-000000040"):
        shutil.copytree(models["plain"], tmp_path / "run" / step)
        both += ["-m", str(tmp_path / "run" / step)]
    asked = ["weight-similarity", *both, "--apart", "1", "--out", str(tmp_path)]
    shown = study(*asked).stdout
    assert "run@20" in shown
    assert "run@40" in shown
    assert "step-000000020 is given twice" in refused("study", *asked, *both[:2])


def test_a_page_needs_no_network(models: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / "chart.html"
    asked = ["weight-similarity", "-m", models["plain"], "--apart", "1", "--out", str(tmp_path)]
    study(*asked, "--picture", str(page))
    assert "<script src" not in page.read_text()
    assert "vegaEmbed" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("list extra", "list takes no extra"),
        ("list -m M", "list takes no --model"),
        ("publish -m M --leaderboard l", "publish takes no --model"),
        ("swaps -m M --plan --json", "leave out --json and --cell"),
        ("swaps -m M --out taken/out", "taken/out is below a file"),
        ("swaps -m M --picture taken/a.svg", "taken/a.svg is below a file"),
    ],
)
def test_what_would_be_ignored_or_lost_is_refused(
    arguments: str, message: str, models: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("")
    words = [models["plain"] if word == "M" else word for word in arguments.split()]
    assert message in refused("study", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
