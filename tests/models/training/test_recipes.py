"""The run files of the paper's tables."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from growloop.cli.recipes import command
from growloop.core.errors import InputError
from growloop.models import Schedule, load
from growloop.models.training import runfile
from growloop.models.training.data.tokenization import byte_tokenizer, tokenize
from growloop.models.training.engine import Engine
from growloop.models.training.plan import plan
from growloop.models.training.recipes import COMPARED, LESSONS, RECIPES, recipe, recipe_text

from ...support.selection import slow

DOCS = Path(__file__).parents[3] / "docs" / "recipes.md"
TABLES = [name for name in RECIPES if name not in LESSONS and name not in COMPARED]
FULL = [name for name in TABLES if not name.startswith("laptop")]
LAPTOP = [name for name in TABLES if name.startswith("laptop")]

# recipe: unique layers, layers run in the end, description; from the tables of the paper
TABLES_1_AND_3 = {
    "360m-baseline": (32, 32, "Tables 3, 4: 360M Baseline"),
    "360m-midas": (32, 32, "Tables 3, 4: 360M MIDAS"),
    "360m-lidas": (32, 32, "Tables 3, 4: 360M LIDAS"),
    "360m-standard-4": (4, 4, "Table 3: 360M Standard, 4 layers"),
    "360m-loop-4x8": (4, 32, "Table 3: 360M Loop(4x8)"),
    "360m-standard-8": (8, 8, "Table 3: 360M Standard, 8 layers"),
    "360m-loop-8x4": (8, 32, "Table 3: 360M Loop(8x4)"),
    "360m-standard-16": (16, 16, "Table 3: 360M Standard, 16 layers"),
    "360m-loop-16x2": (16, 32, "Table 3: 360M Loop(16x2)"),
    "1.7b-baseline": (24, 24, "Tables 1, 2, 3: 1.7B Baseline"),
    "1.7b-midas": (24, 24, "Tables 1, 3: 1.7B MIDAS"),
    "1.7b-lidas": (24, 24, "Tables 1, 2, 3: 1.7B LIDAS"),
    "1.7b-standard-4": (4, 4, "Tables 1, 3: 1.7B Standard, 4 layers"),
    "1.7b-loop-4x6": (4, 24, "Tables 1, 3: 1.7B Loop(4x6)"),
    "1.7b-standard-12": (12, 12, "Tables 1, 3: 1.7B Standard, 12 layers"),
    "1.7b-loop-12x2": (12, 24, "Tables 1, 3: 1.7B Loop(12x2)"),
    "1.7b-loop-4-4x4-4": (12, 24, "Tables 1, 2, 3: 1.7B Loop(4-4x4-4)"),
}
TABLE_2 = {
    "1.7b-baseline-nemotron": (24, 24, "Table 2: 1.7B Baseline, NMT 20%"),
    "1.7b-baseline-retrofit-8-11": (24, 28, "1.7B Baseline, NMT 20%, looped block 8-11"),
    "1.7b-baseline-retrofit-12-15": (24, 28, "1.7B Baseline, NMT 20%, looped block 12-15"),
    "1.7b-lidas-nemotron": (24, 24, "Table 2: 1.7B LIDAS, NMT 20%"),
    "1.7b-lidas-retrofit-8-11": (24, 28, "1.7B LIDAS, NMT 20%, looped block 8-11"),
    "1.7b-lidas-retrofit-12-15": (24, 28, "1.7B LIDAS, NMT 20%, looped block 12-15"),
    "1.7b-loop-4-4x4-4-nemotron": (12, 24, "Table 2: 1.7B Loop(4-4x4-4), NMT 20%"),
    "1.7b-loop-4-4x4-4-retrofit-4-7": (12, 28, "Loop(4-4x4-4), NMT 20%, looped block 4-7"),
}
TABLE_4 = {
    f"360m-{model.lower()}-{source}": (32, 32, f"Table 4: 360M {model}, {math} 20%")
    for model in ("Baseline", "MIDAS", "LIDAS")
    for math, source in (("FMT", "finemath"), ("NMT", "nemotron"))
}
ROWS = TABLES_1_AND_3 | TABLE_2 | TABLE_4
FULL_DEPTH = {"360m": (32, 361_821_120), "1.7b": (24, 1_711_376_384)}


def twin(name: str) -> str:
    """The laptop recipe of a row."""
    [found] = [laptop for laptop in LAPTOP if RECIPES[laptop] == f"twin of {name}"]
    return found


@pytest.fixture(scope="module")
def plans() -> dict[str, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:  # how fast this machine is does not matter
        patch.setattr("growloop.models.training.plan.matrix_peak", lambda *_: 1e12)
        return {name: plan(runfile.parse(recipe(name))) for name in TABLES}


def ends(found: dict[str, Any]) -> list[int]:
    return [stage["last"] + 1 for stage in found["stages"]]


def test_every_row_of_the_tables_has_a_recipe_and_a_twin() -> None:
    assert set(FULL) == set(ROWS)
    for name, (_, _, row) in ROWS.items():
        assert RECIPES[name].endswith(row)
        twin(name)
    assert len(LAPTOP) == len(FULL)


@pytest.mark.parametrize("name", TABLES)
def test_the_text_holds_the_fields_and_its_row(name: str) -> None:
    text = recipe_text(name)
    assert yaml.safe_load(text) == recipe(name)
    row = RECIPES[name].removeprefix("twin of ")
    assert text.startswith(f"# {RECIPES.get(row, row)}\n")
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", FULL)
def test_a_model_ends_with_the_layers_and_parameters_of_its_row(
    name: str, plans: dict[str, dict[str, Any]]
) -> None:
    unique, effective, _ = ROWS[name]
    depth, parameters = FULL_DEPTH[name.partition("-")[0]]
    last = plans[name]["stages"][-1]
    schedule = Schedule.parse(last["schedule"])
    assert (schedule.num_unique_layers, schedule.effective_depth) == (unique, effective)
    if unique == depth:
        assert last["unique_parameters"] == parameters
    halved = Schedule.parse(plans[twin(name)]["stages"][-1]["schedule"])
    assert (halved.num_unique_layers, halved.effective_depth) == (unique // 2, effective // 2)


@pytest.mark.parametrize("name", FULL)
def test_every_run_has_the_steps_and_tokens_of_the_paper(
    name: str, plans: dict[str, dict[str, Any]]
) -> None:
    assert plans[name]["steps"] == 200_000
    assert ends(plans[name])[-2:] == [170_000, 200_000]
    assert plans[name]["tokens"] == pytest.approx(2e11 if "360m" in name else 4e11, rel=0.05)


@pytest.mark.parametrize("operator", ["midas", "lidas"])
def test_stages_end_where_prop_1_says(operator: str, plans: dict[str, dict[str, Any]]) -> None:
    expected = [8095, 24286, 48571, 80952, 121429, 170_000, 200_000]
    assert ends(plans[f"1.7b-{operator}"]) == expected
    assert plans[f"1.7b-{operator}"]["share"] == pytest.approx(0.78, abs=0.005)
    halves = [round(end / 50) for end in expected]
    assert ends(plans[f"laptop-{operator}"]) == pytest.approx(halves, abs=1)
    assert len(ends(plans[f"360m-{operator}"])) == 32 // 4 + 1
    assert [stage["schedule"] for stage in plans[f"360m-{operator}"]["stages"]] == [
        str(depth) for depth in (4, 8, 12, 16, 20, 24, 28, 32, 32)
    ]


@pytest.mark.parametrize("name", TABLES)
def test_shares_sum_to_1_and_only_the_math_of_a_cooldown_changes(name: str) -> None:
    fields = recipe(name)
    before = fields["data"]["mixture"]
    assert sum(before.values()) == pytest.approx(1, abs=1e-9)
    assert set(before) <= set(fields["data"]["sources"])
    [event] = fields["events"]
    assert event["checkpoint"]
    after = event.get("mixture")
    assert (after is None) == (not re.search("finemath|nemotron|retrofit", name))
    if after is None:
        return
    assert sum(after.values()) == pytest.approx(1, abs=1e-9)
    math, share = list(after.items())[-1]
    assert math == ("finemath" if "finemath" in name else "nemotron")
    assert share == 0.2
    assert set(after) <= set(fields["data"]["sources"])
    assert set(before) - set(after) == {source for source in before if "math" in source}
    for source in set(before) & set(after):
        assert after[source] == pytest.approx(before[source] * 0.8 / 0.94, abs=1e-4)


@pytest.mark.parametrize("name", ["1.7b-lidas-retrofit-12-15", "360m-midas-finemath"])
def test_a_variant_and_its_base_differ_in_the_cooldown_alone(name: str) -> None:
    base, variant = recipe("-".join(name.split("-")[:2])), recipe(name)
    sources = base["data"]["sources"]
    assert list(variant["data"]["sources"].items())[: len(sources)] == list(sources.items())
    for fields in (base, variant):
        fields["data"].pop("sources")
        del fields["name"], fields["events"]
    assert base == variant


@pytest.mark.parametrize("size", ["360m", "laptop"])
def test_loop_variants_have_equal_layers_and_training_flops(size: str, tmp_path: Path) -> None:
    names = [name for name in COMPARED if name.startswith(size)]
    found, texts = {}, {}
    for name in names:
        texts[name] = tmp_path / f"{name}.yaml"
        texts[name].write_text(recipe_text(name))
        assert yaml.safe_load(texts[name].read_text()) == recipe(name)
        found[name] = plan(runfile.load(texts[name]))
    plain = found[f"{size}-variant-plain"]
    layers = 12 if size == "360m" else 6
    for name, planned in found.items():
        last, first = planned["stages"][-1], plain["stages"][-1]
        assert Schedule.parse(last["schedule"]).num_unique_layers == layers
        assert planned["flops"] == pytest.approx(plain["flops"], rel=0.01), name
        assert 0.99 < last["unique_parameters"] / first["unique_parameters"] < 1.04
        assert planned["tokens"] == planned["steps"] * plain["tokens"] / plain["steps"]
    docs = DOCS.read_text()
    for name in names:
        variant = name.split("-variant-")[1]
        assert f"`{variant}`" in docs


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    for made in (recipe, recipe_text):
        with pytest.raises(InputError, match=r"unknown recipe .* did you mean '1\.7b-lid"):
            made("1.7b-lida")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for number, source in enumerate(("text", "math", "nemotron")):
        texts = [f"{i} and {number} make {i + number}. " * 20 for i in range(40)]
        tokenize(texts, byte_tokenizer(), folder / source, source)
    return folder


def small(name: str, shards: Path, folder: Path) -> runfile.Run:
    """A laptop recipe as a run of some seconds, changed as a user would."""
    path = folder / f"{name}.yaml"
    path.write_text(recipe_text(name))
    [event] = recipe(name)["events"]
    sources = {source: str(shards / source) for source in recipe(name)["data"]["sources"]}
    return runfile.load(
        path,
        [
            f"data.sources={sources}",
            "data.seq_len=32",
            "data.batch_size=2",
            "model.options.vocab_size=257",
            "model.options.hidden_size=64",
            "model.options.intermediate_size=128",
            "steps=18",
            "optimizer.warmup=2",
            "optimizer.cooldown=4",
            f"events={[event | {'step': 14}]}",
        ],
    )


@pytest.mark.parametrize(
    "name", ["laptop-lidas", *slow("laptop-loop-2-2x4-2", "laptop-standard-2")]
)
def test_laptop_twins_train(name: str, shards: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    engine = Engine(small(name, shards, tmp_path), tmp_path / "run")
    losses: list[float] = []
    assert engine.train(watch=lambda step, values: losses.append(values["loss"])).finished
    assert losses[-1] < losses[0]
    assert (tmp_path / "run" / "step-000000014").is_dir()
    unique, effective, _ = ROWS[RECIPES[name].removeprefix("twin of ")]
    config = engine.model.config
    assert getattr(config, "num_unique_layers", config.num_hidden_layers) == unique // 2
    assert getattr(config, "effective_depth", config.num_hidden_layers) == effective // 2


@pytest.mark.parametrize(
    "name", ["parcae", "huginn", "ouro", *slow("hyperloop", "loopus", "loopformer", "relaxed")]
)
def test_loop_variants_train(name: str, shards: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    run = small(f"laptop-variant-{name}", shards, tmp_path)
    engine, losses = Engine(run, tmp_path / "run"), list[float]()
    before = {k: p.detach().clone() for k, p in engine.model.named_parameters()}
    assert engine.train(watch=lambda step, values: losses.append(values["loss"])).finished
    assert losses[-1] < losses[0]
    learned = [k for k, p in engine.model.named_parameters() if not torch.equal(p, before[k])]
    assert learned == list(before)  # every part too
    loaded = load(str(tmp_path / "run" / "step-000000018"))
    ids = torch.arange(12)[None]
    engine.model.eval()
    torch.testing.assert_close(loaded(ids).logits, engine.model(ids).logits)


def test_the_models_of_lessons_differ_in_their_layers_alone() -> None:
    fields = [recipe(name) for name in LESSONS]
    for name, found in zip(LESSONS, fields, strict=True):
        assert yaml.safe_load(recipe_text(name)) == found
        last = plan(runfile.parse(found))["stages"][-1]
        fewer = {"lessons-standard-3": 3, "lessons-standard-4": 4}  # as many as loops have unique
        assert Schedule.parse(last["schedule"]).effective_depth == fewer.get(name, 6)
        for own in ("name", "model", "growth"):
            found.pop(own, None)
    assert all(found == fields[0] for found in fields)


@pytest.mark.slow
def test_a_variant_goes_on_from_the_checkpoint_of_its_base(shards: Path, tmp_path: Path) -> None:
    base = small("laptop-lidas", shards, tmp_path)
    variant = small("laptop-lidas-retrofit-4-5", shards, tmp_path)
    Engine(base, tmp_path / "base").train()
    whole = Engine(variant, tmp_path / "whole").train().folder
    shutil.copytree(tmp_path / "base" / "step-000000014", tmp_path / "branch" / "step-000000014")
    with pytest.raises(InputError, match="began with other values"):
        Engine(variant, tmp_path / "branch")
    branch = Engine(variant, tmp_path / "branch", force=True).train().folder
    weights = "model.safetensors"
    assert (branch / weights).read_bytes() == (whole / weights).read_bytes()


def test_the_command_lists_prints_and_writes_but_never_replaces(tmp_path: Path) -> None:
    listed = CliRunner().invoke(command, []).output.splitlines()
    assert [line.split()[0] for line in listed] == list(RECIPES)
    assert CliRunner().invoke(command, ["360m-lidas"]).output == recipe_text("360m-lidas")
    out = tmp_path / "run.yaml"
    for code in (0, 1):
        result = CliRunner().invoke(command, ["360m-lidas", "--out", str(out)])
        assert result.exit_code == code
        assert out.read_text() == recipe_text("360m-lidas")
    assert "exists" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_the_table_of_the_docs_is_what_the_plans_say(plans: dict[str, dict[str, Any]]) -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name in FULL:
        found = plans[name]
        last = found["stages"][-1]
        share = found["flops"] / plans[f"{name.partition('-')[0]}-baseline"]["flops"]
        depth = Schedule.parse(last["schedule"]).effective_depth
        row = rf"\| `{name}` \|.*\| {depth} \| {last['unique_parameters']:,} \| {share:.3f} \|"
        assert re.search(row, text), f"{name}: {row}"
    for name in LAPTOP:
        assert f"`{name}`" in text
