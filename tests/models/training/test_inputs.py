"""A run goes on with what it began with: changed files are named, moved ones are the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.models import build
from growloop.models.training.data.tokenization import byte_tokenizer, tokenize, train_bpe
from growloop.models.training.engine import Engine
from growloop.models.training.runfile import parse

from ...support.changed_inputs import (
    TEXTS,
    changed,
    fields,
    made_by_an_earlier_version,
    remade,
    sharded,
    state_of,
)
from ...support.training_runs import weights
from ...support.tuning_runs import fields as tuning
from ...support.tuning_runs import sums, tokenizer, written


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A base model, and examples."""
    folder = tmp_path / "place"
    build("tiny", 2, vocab_size=257).save_pretrained(folder / "base")
    tokenizer().save_pretrained(folder / "base")
    return folder


def tune(place: Path, until: int | None = None, say: Any = None, **model: Any) -> Any:
    """Fine-tune a few steps; the files are those of the first call."""
    place.mkdir(exist_ok=True)
    before = {p: p.read_bytes() for p in place.glob("*.jsonl")}
    run = tuning(place / "base", place, steps=4, validate_every=2, optimizer={"warmup": 1})
    for path, content in before.items():
        path.write_bytes(content)
    run["model"] |= model
    return Engine(parse(run), place / "out", say or (lambda text: None)).train(until)


def examples(place: Path) -> None:
    written(place / "train.jsonl", [(p, f"{t}0") for p, t in sums(50)])


def validation(place: Path) -> None:
    written(place / "held_out.jsonl", sums(20, 51))


def weights_of_the_base(place: Path) -> None:
    build("tiny", 2, seed=1, vocab_size=257).save_pretrained(place / "base")


def tokenizer_of_the_base(place: Path) -> None:
    path = place / "base" / "tokenizer_config.json"
    path.write_text(path.read_text().replace("}", ', "more": 1}'))


CHANGES: dict[str, Callable[[Path], None]] = {
    r"train\.jsonl \(data\.examples\)": examples,
    r"held_out\.jsonl \(data\.validation\)": validation,
    r"base/model\.safetensors \(model\.path\)": weights_of_the_base,
    r"base/tokenizer_config\.json \(model\.path\)": tokenizer_of_the_base,
}
"""How a refusal names what was changed, and the change."""


@pytest.mark.parametrize("until", [2, None], ids=["stopped", "finished"])
def test_fine_tuning_does_not_go_on_with_other_files_at_the_same_path(
    place: Path, until: int | None
) -> None:
    tune(place, until)
    kept = shutil.copytree(place, place.with_name("kept"))
    for file, change in CHANGES.items():
        change(place)
        with pytest.raises(InputError, match=rf"{file} changed since .*step-.* another --out"):
            tune(place)
        shutil.rmtree(place)
        shutil.copytree(kept, place)  # restored, with other times
    assert tune(place).finished


def test_adapters_do_not_go_on_upon_another_base(place: Path) -> None:
    tune(place, 2, lora={"rank": 2})
    weights_of_the_base(place)
    with pytest.raises(InputError, match=r"model\.safetensors \(model\.path\) changed"):
        tune(place, lora={"rank": 2})


def test_a_config_that_another_version_wrote_is_the_same(place: Path) -> None:
    tune(place, 2)
    config = json.loads((place / "base" / "config.json").read_text())
    config["transformers_version"] = "4.0.0"
    (place / "base" / "config.json").write_text(json.dumps(config))
    assert tune(place).finished


def test_moved_files_and_other_working_directories_are_no_change(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tune(shutil.copytree(place, place.with_name("whole"))).folder
    tune(place, 2)
    moved = shutil.move(place, place.with_name("moved"))
    monkeypatch.chdir(moved.parent)
    run = tuning(Path("moved/base"), moved, steps=4, validate_every=2, optimizer={"warmup": 1})
    run["data"] |= {"examples": "moved/train.jsonl", "validation": "moved/held_out.jsonl"}
    last = Engine(parse(run), "moved/out").train().folder
    assert weights(last) == weights(whole)
    assert Engine(parse(run | {"model": {"path": str(moved / "base")}}), "moved/out").train()


def test_a_checkpoint_of_an_earlier_version_goes_on_with_a_line(place: Path) -> None:
    made_by_an_earlier_version(tune(place, 2).folder)
    said: list[str] = []
    last = tune(place, 3, said.append).folder
    assert [line for line in said if "does not record the identity of its inputs" in line]
    examples(place)
    with pytest.raises(InputError, match=r"train\.jsonl \(data\.examples\) changed"):
        tune(place)
    assert state_of(last)["inputs"]["data.examples"]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return sharded(tmp_path / "shards")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: remade(s / "a"), r"a/index\.json \(data\.sources\.a\) changed since"),
        (lambda s: remade(s / "b"), r"b/index\.json \(data\.sources\.b\) changed since"),
        (lambda s: remade(s / "v"), r"v/index\.json \(data\.validation\) changed since"),
        (lambda s: changed(s / "a" / "shard-00001.bin"), r"a/shard-00001\.bin is not what its"),
        (lambda s: changed(s / "b" / "shard-00000.bin"), r"b/shard-00000\.bin is not what its"),
        (lambda s: changed(s / "v" / "shard-00000.bin"), r"v/shard-00000\.bin is not what its"),
        (
            lambda s: (s / "a" / "tokenizer.json").write_text(train_bpe(TEXTS, 300).to_str()),
            r"a/tokenizer\.json is not what its index says",
        ),
    ],
    ids=["source", "event", "validation", "shard", "event shard", "held-out shard", "tokenizer"],
)
def test_training_does_not_go_on_with_other_shards(
    shards: Path, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    Engine(parse(fields(shards)), tmp_path / "out").train(2)
    change(shards)
    with pytest.raises(InputError, match=message):
        Engine(parse(fields(shards)), tmp_path / "out")


def test_shards_that_are_not_what_their_index_says_are_not_begun_with(
    shards: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(shards, tmp_path / "copy")  # with newer times
    Engine(parse(fields(copy)), tmp_path / "one")
    changed(copy / "b" / "shard-00000.bin")
    with pytest.raises(InputError, match=r"shard-00000\.bin is not what its index says"):
        Engine(parse(fields(copy)), tmp_path / "two")


def test_shards_elsewhere_are_the_same_and_their_order_is_not_free(
    shards: Path, tmp_path: Path
) -> None:
    whole = Engine(parse(fields(shards)), tmp_path / "whole").train().folder
    Engine(parse(fields(shards)), tmp_path / "out").train(2)
    copy = tmp_path / "copy"
    for name in "abv":  # made again: the same bytes at other times
        texts = TEXTS if name == "a" else TEXTS[::-1]
        tokenize(texts, byte_tokenizer(), copy / name, "elsewhere", shard_documents=10)
    shutil.rmtree(shards)
    last = Engine(parse(fields(copy)), tmp_path / "out").train(3).folder
    turned = fields(copy)
    turned["data"]["sources"] = dict(reversed(turned["data"]["sources"].items()))
    with pytest.raises(InputError, match=r"order of sources: \['b', 'a'\] was \['a', 'b'\]"):
        Engine(parse(turned), tmp_path / "out")
    last = Engine(parse(fields(copy)), tmp_path / "out").train().folder
    assert weights(last) == weights(whole)


def test_another_run_file_may_bring_other_data_but_not_under_the_same_path(
    shards: Path, tmp_path: Path
) -> None:
    Engine(parse(fields(shards)), tmp_path / "out").train(2)
    remade(shards / "a")
    with pytest.raises(InputError, match=r"a/index\.json \(data\.sources\.a\) changed"):
        Engine(parse(fields(shards)), tmp_path / "out", force=True)
    other = fields(shards)
    other["data"]["sources"]["a"] = str(shards / "v")
    with pytest.raises(InputError, match=r"index\.json \(data\.sources\.a\) changed"):
        Engine(parse(other), tmp_path / "out")
    Engine(parse(other), tmp_path / "out", force=True).train(3)


def test_a_branch_reads_what_its_parent_read(shards: Path, tmp_path: Path) -> None:
    parent = Engine(parse(fields(shards)), tmp_path / "parent").train(2).folder
    branch = parse(fields(shards, steps=8, optimizer={"warmup": 1, "cooldown": 4}))
    Engine(branch, tmp_path / "one", parent=parent)
    remade(shards / "b")
    with pytest.raises(InputError, match=r"b/index\.json .* changed since .*step-000000002"):
        Engine(branch, tmp_path / "two", parent=parent)


def test_word_lists_of_evaluations_are_inputs_too(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = tmp_path / "words.txt"
    words.write_text("\n".join(a + b + "x" for a in "abcdefgh" for b in "abcdefgh"))
    event = {"step": 6, "evaluate": {"tasks": ["copying:words=words.txt"], "limit": 1}}
    run = parse(fields(shards, events=[event]))

    def train(until: int) -> None:
        Engine(run, tmp_path / "out", evaluate=lambda folder, wanted: {}).train(until)

    train(2)
    changed(words)
    with pytest.raises(InputError, match=r"words\.txt \(events\) changed since"):
        train(4)
