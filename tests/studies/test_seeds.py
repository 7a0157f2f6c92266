"""Several seeds of a run: names, means with t-intervals, paired differences, one line a kind."""

from __future__ import annotations

import copy
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.models import checkpoints, load, loop
from growloop.studies.catalog import find
from growloop.studies.checkpoints import read_models
from growloop.studies.measure.charts import save
from growloop.studies.runs import RunIdentity
from growloop.studies.seed_aggregation import replicates_of

from ..support.commands import refused, run
from ..tasks import tiny
from .small import parsed

TASK = "variable_assignment_code_d0"
CURVE = ["in-context-scaling", "--items", "8", "--tasks", TASK, "--shots", "0,1"]
STEP = "step-000000009"
T = 12.706205  # of two seeds


def told(folder: Path, name: str, seed: int, lr: float = 1e-3, step: int = 9) -> str:
    """A checkpoint's training.json."""
    run = {"name": name, "seed": seed, "model": {"preset": "tiny"}, "optimizer": {"lr": lr}}
    (folder / "training.json").write_text(json.dumps({"step": step, "run": run}))
    return str(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two kinds with two seeds each: plain, and looped."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    first = tiny.save("llama", folder / "first", layers=4)
    for kind, schedule in (("standard", "4"), ("loop", "1-2x2-1")):
        for seed in (0, 1):
            model = load(str(first))
            torch.manual_seed(seed)
            with torch.no_grad():
                for weight in model.model.layers.parameters():
                    weight.add_(torch.randn_like(weight) * 0.1)
            model = model if kind == "standard" else loop(model, schedule)
            path = folder / f"{kind}-s{seed}" / STEP
            checkpoints.save(model, checkpoints.load_tokenizer(str(first)), path)
            found[f"{kind}-s{seed}"] = told(path, f"{kind}-s{seed}", seed)
    return found


def records(runs: dict[str, str], out: Path) -> list[dict[str, Any]]:
    models = [word for path in runs.values() for word in ("-m", path)]
    result = run("study", *CURVE, *models, "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_a_kind_has_the_mean_over_seeds_and_kinds_their_differences(
    runs: dict[str, str], tmp_path: Path
) -> None:
    found = records(runs, tmp_path)
    assert [r["cell"]["model"] for r in found] == list(runs)
    for record in found:  # numbers whose means are known
        seed = record["training"]["seed"]
        looped = record["training"]["kind"] == "loop"
        for row in record["rows"]:
            row["value"] = 0.4 + 0.1 * seed + (0.2 + 0.02 * seed) * looped
    lines = [row for row in find("in-context-scaling").table(parsed(found)) if row["shots"] == 1]
    assert [line["model"] for line in lines[:4]] == list(runs)
    means = {line["model"]: line for line in lines[4:]}
    assert list(means) == [
        "standard: mean of 2 seeds",
        "loop: mean of 2 seeds",
        "loop minus standard: mean of 2 seeds",
    ]
    for name, values in (
        ("standard: mean of 2 seeds", [0.4, 0.5]),
        ("loop: mean of 2 seeds", [0.6, 0.72]),
        ("loop minus standard: mean of 2 seeds", [0.2, 0.22]),
    ):
        mean, half = statistics.fmean(values), T * statistics.stdev(values) / 2**0.5
        row = means[name]
        assert row["value"] == pytest.approx(mean)
        bounds = (mean - half, mean + half)
        if "minus" not in name:  # a share of items is between 0 and 1
            bounds = max(0.0, bounds[0]), min(1.0, bounds[1])
        assert (row["low"], row["high"]) == pytest.approx(bounds)
        assert row["n"] == 8
        assert [value for name, value in row.items() if name.startswith("p ")] == [None]


def tuned(folder: Path, base: str, seed: int, examples: str = "sums.jsonl") -> str:
    """A fine-tuned checkpoint, as far as its training.json goes."""
    folder.mkdir()
    run = {"name": "sft", "seed": seed, "model": {"path": base}, "data": {"examples": examples}}
    (folder / "training.json").write_text(json.dumps({"step": 9, "run": run}))
    return str(folder)


def test_fine_tuned_models_are_one_kind_where_base_and_examples_are(
    runs: dict[str, str], tmp_path: Path
) -> None:
    first = RunIdentity.read(tuned(tmp_path / "a", runs["loop-s0"], 0))
    others = {
        name: RunIdentity.read(tuned(tmp_path / name, base, 1, examples))
        for name, base, examples in (
            ("again", runs["loop-s0"], "elsewhere/sums.jsonl"),
            ("seed", runs["loop-s1"], "sums.jsonl"),
            ("base", runs["standard-s0"], "sums.jsonl"),
            ("hub", "organisation/model", "sums.jsonl"),
            ("examples", runs["loop-s0"], "words.jsonl"),
        )
    }
    assert first is not None
    alike = {name: other is not None and other.recipe == first.recipe
             for name, other in others.items()}  # fmt: skip
    assert alike == {"again": True, "seed": True, "base": False, "hub": False, "examples": False}


def test_a_chart_has_a_line_for_each_kind(runs: dict[str, str], tmp_path: Path) -> None:
    found = records(runs, tmp_path)
    picture = save(
        find("in-context-scaling").chart(parsed(found)), tmp_path / "all.svg"
    ).read_text()
    assert "standard (2 seeds)" in picture
    assert "loop (2 seeds)" in picture
    assert "loop-s1" not in picture
    some = [record for record in found if record["cell"]["model"] != "loop-s1"]
    picture = save(
        find("in-context-scaling").chart(parsed(some)), tmp_path / "some.svg"
    ).read_text()
    assert "standard (2 seeds)" in picture
    assert "loop-s0" in picture


SMALL = {
    "contributions": ["--texts", "8", "--tokens", "150"],
    "swaps": ["--items", "8", "--shots", "0", "--texts", "8", "--tokens", "150", "--sizes", "1",
              "--tasks", f"{TASK},loss"],
    "depth": ["--items", "8", "--shots", "0", "--texts", "8", "--tokens", "150", "--cuts", "1",
              "--tasks", TASK],
    "inference-scaling": ["--items", "8", "--shots", "0", "--tasks", TASK, "--repeats", "1,2",
                          "--block-size", "3"],
    "adaptive-exit": ["--items", "8", "--shots", "0", "--tasks", TASK],
    "trade-offs": ["--items", "8", "--shots", "0", "--tasks", TASK],
    "loops-against-depth": ["--items", "8", "--shots", "0", "--depths", "0", "--loops", "1,2",
                            "--block", "1:3"],
}  # fmt: skip


NUMBERS = {"inference-scaling": "gain", "contributions": "mean", "adaptive-exit": "difference"}


@pytest.mark.parametrize("name", SMALL)
def test_studies_average_over_seeds(name: str, runs: dict[str, str], tmp_path: Path) -> None:
    both = ["-m", runs["standard-s0"], "-m", runs["loop-s0"]]
    result = run("study", name, *both, *SMALL[name], "--out", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    study, found = find(name), json.loads(result.stdout)
    alone = study.table(parsed(found))
    assert not any("seeds" in row["model"] for row in alone)
    for record in list(found):  # another seed, which came out alike
        again = copy.deepcopy(record)
        again["cell"]["model"] = again["cell"]["model"].replace("-s0", "-s1")
        again["training"]["seed"] = 1
        found.append(again)
    lines = study.table(parsed(found))
    assert all(line.keys() == lines[0].keys() for line in lines)
    means = [line for line in lines if line["model"] == "standard: mean of 2 seeds"]
    assert len(means) == sum(row["model"] == "standard-s0" for row in alone)
    number = NUMBERS.get(name, "value")
    for mean, row in zip(means, alone, strict=False):
        assert mean[number] == pytest.approx(row[number])
        # no spread over seeds: of a share what is known over items, of others nothing
        assert (mean["low"], mean["high"]) in ((None, None), (row["low"], row["high"]))
    assert any(line["model"] == "loop minus standard: mean of 2 seeds" for line in lines)
    picture = save(study.chart(parsed(found)), tmp_path / "chart.svg").read_text()
    assert "loop (2 seeds)" in picture
    assert "loop-s" not in picture


def test_equal_folders_of_other_seeds_get_names_that_differ(
    runs: dict[str, str], tmp_path: Path
) -> None:
    paths = []
    for seed in (0, 1):
        path = tmp_path / str(seed) / "standard" / STEP
        shutil.copytree(runs[f"standard-s{seed}"], path)
        paths.append(told(path, "standard", seed))
    assert [model.name for model in read_models(paths)] == ["standard-s0", "standard-s1"]
    assert [model.name for model in read_models(paths[:1])] == ["standard"]
    found = records({"a": paths[0], "b": paths[1]}, tmp_path / "out")
    assert [kind.models for kind in replicates_of(parsed(found))] == [
        {0: "standard-s0", 1: "standard-s1"}
    ]
    (Path(paths[1]) / "training.json").write_text("{}")
    message = refused("study", *CURVE, "-m", paths[0], "-m", paths[1])
    assert "two of the models have the same name" in message


def test_trainings_that_differ_in_more_than_the_seed_are_not_averaged(
    runs: dict[str, str], tmp_path: Path
) -> None:
    paths = {}
    for number, (lr, step) in enumerate([(1e-3, 9), (2e-3, 9), (1e-3, 8)]):
        path = tmp_path / f"run-{number}"
        shutil.copytree(runs["standard-s0"], path)
        paths[path.name] = told(path, "standard", number, lr, step)
    assert replicates_of(parsed(records(paths, tmp_path / "out"))) == []


def test_the_same_training_counts_once(runs: dict[str, str], tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(runs["standard-s0"], again)
    three = ["-m", runs["standard-s0"], "-m", runs["standard-s1"], "-m", str(again)]
    message = refused("study", *CURVE, *three)
    assert "standard-s0 and again are the same run, seed 0 of standard" in message


def test_records_from_before_seeds_were_noted_are_understood(
    runs: dict[str, str], tmp_path: Path
) -> None:
    for record in records(runs, tmp_path):
        [file] = (tmp_path / "records").rglob(f"{record['cell']['id']}.json")
        del record["training"]
        record.pop("sha256", None)  # of a record that was changed
        file.write_text(json.dumps(record))
    assert [kind.name for kind in replicates_of(parsed(records(runs, tmp_path)))] == [
        "standard",
        "loop",
    ]
