"""Effects leave the first token alone, and what was measured without that is kept apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.leaderboard import Record, Store
from growloop.leaderboard.entries import prompting, task_label
from growloop.models import Schedule, checkpoints, load
from growloop.models.diagnostics import future_cuts, local_effects, prediction_effects, trace
from growloop.studies.cells import StudyCell
from growloop.studies.checkpoints import StudyModel
from growloop.studies.measure.prompts import read_prompts
from growloop.studies.paper import depth
from growloop.studies.paper import local_effects as local
from growloop.studies.reproduce.cell_results import CellResults

from ...support.commands import refused
from ..small import FEW, TASK, TEXTS, study

ONE = [StudyModel("m", "m", Schedule.plain(4))]
STUDIES: dict[str, list[str]] = {
    "depth": ["--parts", "score", *FEW, *TEXTS, "--tasks", TASK, "--cuts", "2"],
    "local-effects": [*TEXTS, "--measures", "local,propagated", "--where", "future,all"],
}


def by_name(module: Any, **options: Any) -> dict[tuple[Any, ...], StudyCell]:
    cells = module.plan(ONE, module.Options(**options))
    return {tuple(cell.params.values()): cell for cell in cells}


@pytest.mark.parametrize(
    ("module", "name", "before"),
    [
        (depth, ("score",), "m-score-00bd3742"),
        (local, ("local", "future"), "m-local-future-0bc0c43b"),
    ],
)
def test_cells_from_before_the_option_are_those_of_no_front(
    module: Any, name: Any, before: str
) -> None:
    old, new = by_name(module, skip_front=0)[name], by_name(module)[name]
    assert old.id == before
    assert new.id != before
    assert "skip_front" not in old.options
    assert new.options == old.options | {"skip_front": 1}


def test_cells_that_skip_nothing_are_the_same_as_before() -> None:
    old, new = by_name(depth, skip_front=0), by_name(depth, skip_front=2)
    assert old.keys() == new.keys()
    for name, cell in old.items():
        assert (cell == new[name]) == (name != ("score",))


@pytest.mark.parametrize("name", STUDIES)
def test_old_records_are_kept_and_the_new_ones_stand_beside_them(
    name: str, models: dict[str, str], tmp_path: Path
) -> None:
    arguments = [name, "-m", models["plain"], *STUDIES[name], "--out", str(tmp_path), "--json"]
    before = json.loads(study(*arguments, "--skip-front", "0").stdout)
    assert all("skip_front" not in record["cell"]["options"] for record in before)
    now = json.loads(study(*arguments).stdout)
    assert len(list((tmp_path / "records").rglob("*.json"))) == 2 * len(before)
    for old, new in zip(before, now, strict=True):
        assert old["cell"]["params"] == new["cell"]["params"]
        assert new["cell"]["options"] == old["cell"]["options"] | {"skip_front": 1}
        assert [row["value"] for row in old["rows"]] != [row["value"] for row in new["rows"]]
    found = {
        0: study(*arguments[:-1], "--skip-front", "0").stdout,
        1: study(*arguments[:-1]).stdout,
    }
    for front, table in found.items():
        header, first, *_ = table.splitlines()
        assert header.split()[-1] == "skip_front"
        assert first.split()[-1] == str(front)

    store = tmp_path / "store"
    study("publish", "--out", str(tmp_path), "--leaderboard", str(store))
    tasks = {record.task for record in Store(store).read()}
    told = [str(prompting(task)) for task in tasks]
    assert sorted(text.rpartition(", ")[2] for text in told) == [
        f"skip_front {front}" for front in (0, 1) for _ in range(len(told) // 2)
    ]
    assert len({task_label(task) for task in tasks}) == len({task.key for task in tasks})


def test_the_studies_measure_what_the_diagnostics_do(
    models: dict[str, str], tmp_path: Path
) -> None:
    model, tokenizer = load(models["looped"]), checkpoints.load_tokenizer(models["looped"])
    texts = read_prompts(tokenizer, None, 8, 150, 0)
    for front in (0, 1, 3):
        more = [
            "-m",
            models["looped"],
            "--out",
            str(tmp_path),
            "--skip-front",
            str(front),
            "--json",
        ]
        [record] = json.loads(study("local-effects", *TEXTS, "--cuts", "2", *more).stdout)
        cut = [(trace(model, ids), future_cuts(ids.shape[1], 2)) for ids in texts.ids]
        effects = [local_effects(found, cuts, skip_front=front)[0] for found, cuts in cut]
        torch.testing.assert_close(
            torch.tensor(record["data"]["max"]), torch.stack(effects).amax(0), atol=1e-4, rtol=1e-4
        )
        [record] = json.loads(study("depth", *STUDIES["depth"], *more).stdout)
        scores = torch.cat([prediction_effects(*each, skip_front=front) for each in cut])
        shares = scores.mean(0) / scores.mean(0).sum()
        torch.testing.assert_close(
            torch.tensor(record["data"]["shares"]), shares, atol=1e-4, rtol=1e-3
        )


@pytest.mark.parametrize("front", ["-1", "149", "150"])
@pytest.mark.parametrize("name", STUDIES)
def test_a_front_that_leaves_nothing_is_refused_before_the_models(
    name: str, front: str, models: dict[str, str], tmp_path: Path
) -> None:
    said = refused(
        "study", name, "-m", models["plain"], *STUDIES[name], f"--skip-front={front}",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert f"skip_front must be a whole number from 0 to 148, not {front}" in said
    assert not (tmp_path / "out").exists()


def test_an_old_leaderboard_record_is_shown_as_one_without_a_front() -> None:
    fields: dict[str, Any] = {"version": 1, "model": {"name": "m"}, "value": 0.5, "n": 8}
    task = {"name": "local_effect", "metric": "mean_effect", "prompting": "texts, 4 cuts"}
    old = Record.from_fields(fields | {"task": task})
    new = Record.from_fields(fields | {"task": task | {"prompting": "texts, 4 cuts, skip_front 1"}})
    bare = Record.from_fields(fields | {"task": {"name": "depth_score"}})
    other = Record.from_fields(fields | {"task": task | {"name": "top5_overlap"}})
    assert prompting(old.task) == "texts, 4 cuts, skip_front 0"
    assert prompting(new.task) == "texts, 4 cuts, skip_front 1"
    assert prompting(bare.task) == "skip_front 0"
    assert prompting(other.task) == "texts, 4 cuts"
    assert old.task.key != new.task.key  # never in one table, never in one difference


def test_a_cell_of_a_plan_that_took_the_first_token_away_is_measured_again(tmp_path: Path) -> None:
    results = CellResults(tmp_path)

    def write(cell: str, task: str, prompting: str) -> None:
        record = {"version": 1, "model": {"name": "m"}, "value": 0.5, "n": 8}
        record |= {"task": {"name": task, "prompting": prompting}}
        results.path(cell).parent.mkdir(parents=True, exist_ok=True)
        results.path(cell).write_text(json.dumps({"records": [record]}))

    assert not results.has("depth/lidas/0")
    for cell, task in (("depth/lidas/0", "depth_score"), ("local-effects/m/1", "local_effect")):
        write(cell, task, "texts, at most 128 tokens, 4 cuts")
        assert not results.has(cell)
        write(cell, task, "texts, at most 128 tokens, 4 cuts, skip_front 1")
        assert results.has(cell)
    write("swaps/lidas/0", "copying", "fixed shots")
    assert results.has("swaps/lidas/0")
