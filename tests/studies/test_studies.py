"""Studies end to end on tiny checkpoints: plan, run, resume, tables, charts, refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.cli import main
from growloop.core.significance import holm, mcnemar, paired
from growloop.leaderboard.site import theme
from growloop.models import Recurrence, Schedule, checkpoints, load, loop
from growloop.models.diagnostics import MEASURES, SKIP_FRONT, local_effects, trace
from growloop.models.training.finetuning import Settings
from growloop.studies.catalog import STUDIES
from growloop.studies.checkpoints import ModelLoader
from growloop.studies.measure.accuracy import item_correctness, load_scorer
from growloop.studies.measure.prompts import read_prompts
from growloop.studies.measure.schedule_sweep import ScheduleSweep, pack_options
from growloop.studies.paper import depth, sample_efficiency
from growloop.studies.paper import local_effects as local_effects_study
from growloop.studies.paper.contributions import TITLES
from growloop.tasks.evaluate import evaluate
from growloop.tasks.questions import questions, scorer

from ..support.commands import refused
from ..support.selection import slow
from ..tasks import tiny
from .small import SMALL, TASK, TEXTS, study


def test_defaults_that_stand_in_options_are_those_of_the_models() -> None:
    assert sample_efficiency.Options().settings(untie=False) == Settings()
    assert depth.Options().skip_front == local_effects_study.Options().skip_front == SKIP_FRONT
    assert tuple(TITLES) == MEASURES


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
                assert row["n"] == 8
            if row.get("low") is not None and row["metric"] != "depth score":
                assert row["low"] <= row["value"] + 1e-9
                assert row["value"] <= row["high"] + 1e-9


def test_what_was_measured_is_not_measured_again(models: dict[str, str], tmp_path: Path) -> None:
    arguments = ["contributions", "-m", models["plain"], *TEXTS, "--out", str(tmp_path)]
    study(*arguments)
    [file] = (tmp_path / "records").rglob("*.json")
    changed = json.loads(file.read_text())
    changed["rows"][0]["value"] = 12345.0
    del changed["sha256"]  # as in records of earlier versions
    file.write_text(json.dumps(changed))
    assert "12345" in study(*arguments, "--json").stdout  # it was read, not made
    study(*arguments, "--seed", "1")
    assert len(list((tmp_path / "records").rglob("*.json"))) == 2
    assert "is of" in refused("study", *arguments, "--dtype", "bfloat16")
    for text in ("{", "[]", '{"format": "growloop study"}', json.dumps(changed | {"rows": [1]})):
        file.write_text(text)
        assert "is not a study record" in refused("study", *arguments)


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


def test_cells_can_be_run_one_by_one(models: dict[str, str], tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    arguments = ["inference-scaling", "-m", models["plain"], *SMALL["inference-scaling"]]
    count = len(study(*arguments, "--plan").stdout.splitlines())
    assert count == 2  # a block of three of four layers has two starts
    for number in reversed(range(count)):
        study(*arguments, "--out", str(parts), "--cell", str(number))
    together = study(*arguments, "--out", str(whole)).stdout
    assert study(*arguments, "--out", str(parts)).stdout == together
    assert "cell is a number from 0 to 1" in refused("study", *arguments, "--cell", "2")


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
        del record["sha256"]  # as in records of earlier versions
        file.write_text(json.dumps(record))
    [line] = study(*arguments, "--out", str(tmp_path)).stdout.splitlines()[1:]
    assert "0:3 ×2" in line
    assert "0.1000" in line
    assert "0.9000" not in line


@pytest.mark.parametrize("kind", ["llama", *slow("bloom", "mistral-window", "gemma2")])
def test_studies_score_as_the_evaluation_does(kind: str, tmp_path: Path) -> None:
    path = str(tiny.save(kind, tmp_path, layers=4))
    loaded = ModelLoader("float32", "cpu")
    loaded.load(path)
    lm = load_scorer(loaded)
    asked = questions(lm, TASK, 3, shots=1)
    plain = Schedule.plain(4)
    schedules = [plain, plain.repeat(1, 3, 2), plain.swap(0, 2), Schedule((0, 3))]
    loop(lm.model)
    pairs = [
        (question.context, option) for question in asked.questions for option in question.options
    ]
    found = torch.tensor([[s for s, _ in part] for part in lm.score_schedules(pairs, schedules)])
    found = found.reshape(len(schedules), 3, -1).transpose(0, 1)
    right = item_correctness(loaded, asked, schedules)
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
        assert answers == [question.answer for question in asked.questions]
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
            ScheduleSweep(model, schedules).losses(ids), torch.tensor(wanted), atol=1e-5, rtol=1e-5
        )
    assert str(looped.schedule) == "1-2x2-1"


def test_a_sweep_runs_what_schedules_share_once(models: dict[str, str]) -> None:
    model = load(models["plain"])
    plain = Schedule.plain(4)
    sweep = ScheduleSweep(model, [plain, plain.repeat(1, 3), plain.repeat(1, 3, 2)])
    sweep.losses(torch.arange(10)[None])
    assert sweep.layer_calls == 4 + (2 + 1) + (2 + 1)


def test_branches_of_a_sheet_do_not_see_each_other(models: dict[str, str]) -> None:
    model = load(models["plain"])
    [question] = questions(
        scorer(model, checkpoints.load_tokenizer(models["plain"])), TASK, 1, shots=0
    ).questions
    sheet = pack_options(question)
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
    texts = read_prompts(tokenizer, None, 8, 150, 0)
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
        read_prompts(tokenizer, str(tmp_path / f"a.{kind}"), 8, 99, 0) for kind in ("jsonl", "txt")
    ]
    assert found[0].fingerprint == found[1].fingerprint
    assert tokenizer.decode(found[0].ids[3][0]) == rows[3]["question"]
    seen = frozenset(row["question"] for row in rows[:7])
    later = read_prompts(tokenizer, str(tmp_path / "a.txt"), 2, 99, 0, without=seen)
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


@pytest.mark.parametrize("kind", ["html", *slow("png", "pdf")])
def test_pictures_are_of_any_kind(kind: str, models: dict[str, str], tmp_path: Path) -> None:
    picture = tmp_path / f"chart.{kind}"
    study("weight-similarity", "-m", models["plain"], "-o", str(tmp_path), "-p", str(picture),
          "--dark")  # fmt: skip
    assert picture.stat().st_size > 1000


def test_pictures_on_dark_have_no_black_lines(models: dict[str, str], tmp_path: Path) -> None:
    arguments = ["inference-scaling", "-m", models["plain"], *SMALL["inference-scaling"]]
    for picture, ink in (("dark", theme.DARK.ink), ("light", theme.LIGHT.ink)):
        path = tmp_path / f"{picture}.svg"
        more = ["--dark"] if picture == "dark" else []
        study(*arguments, "-o", str(tmp_path), "-p", str(path), *more)
        strokes = set(re.findall(r'stroke="([^"]+)"', path.read_text(encoding="utf-8")))
        fills = set(re.findall(r'fill="([^"]+)"', path.read_text(encoding="utf-8")))
        assert ink in strokes & fills
        assert not {"black", "#000", "#000000"} & (strokes | fills)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("swapps -m M", "unknown study 'swapps': did you mean 'swaps'?"),
        ("show depht", "did you mean 'depth'?"),
        ("show", "give one study"),
        ("swaps", "give a model"),
        ("swaps -m M --item 5", "did you mean '--items'?"),
        (
            "swaps -m M --items many",
            "Invalid value for '--items' / '-n': 'many' is not a valid integer",
        ),
        ("swaps -m M --items 3", "an interval needs at least 8 items, not 3"),
        ("swaps -m M --sizes 3", "runs 4 steps: no two blocks of 3"),
        ("swaps -m M --pairs some", "unknown choice of pairs 'some'"),
        ("swaps -m M --tasks hellaswga", "unknown task 'hellaswga'"),
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
        ("loop-extrapolation -m M", "has no looped block: say which with --block"),
        ("loop-extrapolation -m M --block 1:3 --upto 0", "upto must be"),
        ("dynamics -m M", "has no loop: repeat a block"),
        ("dynamics -m M --block 1:3 --period 2", "give one"),
        ("dynamics -m M --period 4", "nothing to compare loop by loop: it has only 4 steps"),
        ("dynamics -m M --block 1:3 --loops 1", "loops must be"),
        ("dynamics -m M --period 2 --states cosine", "unknown states 'cosine'"),
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
    from scipy.stats import binomtest

    assert mcnemar(8, 2) == pytest.approx(0.109375)
    for better, worse in ((0, 0), (5, 5), (3, 9), (700, 800), (3000, 2500)):
        wanted = binomtest(better, better + worse).pvalue if better + worse else 1.0
        assert mcnemar(better, worse) == pytest.approx(wanted)
    assert holm([0.5]) == [0.5]
    found = paired([True, True, False, True] * 5, [True, False, False, False] * 5)
    assert (found.better, found.worse, found.difference) == (10, 0, 0.5)
    assert found.low <= 0.5 <= found.high


def test_the_command_is_found() -> None:
    assert "study" in main.list_commands(None)  # type: ignore[arg-type]


def test_help_of_a_study_has_its_own_options() -> None:
    for ask in (["swaps", "--help"], ["-h", "swaps"], ["show", "swaps"]):
        shown = study(*ask).stdout
        for text in ("--pairs", "Figures 1 and 8", "--leaderboard", "Example:"):
            assert text in shown
    for ask in (["--help"], ["list", "-h"]):
        assert "NAME is a study." in study(*ask).stdout
    assert "which study? growloop study list" in refused("study")
    assert "did you mean 'swaps'" in refused("study", "swap", "--help")


def test_texts_that_are_the_same_are_no_sample(models: dict[str, str], tmp_path: Path) -> None:
    """Generated questions begin alike: cut there, eight of them are one."""
    asked = ["contributions", "-m", models["plain"], "--texts", "8", "--tokens", "24"]
    message = refused("study", *asked, "--out", str(tmp_path / "out"))
    assert "only 1 of 8 prompts differ in their first 24 tokens: give more --tokens" in message
    assert not (tmp_path / "out" / "records").exists()


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
        ("swaps -m M --plan --json", "leave out --json, --csv and --cell"),
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
