"""A job of ``growloop tokenize`` goes on with what it began with, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.core.text_tokens import vocabulary_size
from growloop.models.training.data.batches import Source
from growloop.models.training.data.documents import documents, read_by
from growloop.models.training.data.mixture import Mixture, Phase
from growloop.models.training.data.shards import Shards
from growloop.models.training.data.tokenization import (
    byte_tokenizer,
    load_tokenizer,
    tokenize,
    train_bpe,
)

from ....support.spelling import BOS, spelling

ROWS = [{"text": f"text {i}", "other": f"more {i}"} for i in range(12)]


def rows(path: Path, written: list[dict[str, str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in written))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    rows(folder / "a.jsonl", ROWS[:6])
    rows(folder / "b.jsonl", ROWS[6:])
    return folder


def job(
    source: Path,
    out: Path,
    stop: bool = False,
    field: str = "text",
    tokenizer: Any = None,
    said: list[str] | None = None,
) -> Shards:
    """Tokenize a folder of rows, three a shard; ``stop`` in the middle of it."""

    def texts() -> Iterator[str]:
        for number, text in enumerate(documents(str(source), field)):
            if stop and number == 6:
                raise KeyboardInterrupt
            yield text

    read = read_by(str(source), field, "train")
    say = (lambda text: None) if said is None else said.append
    chosen = tokenizer or byte_tokenizer()
    return tokenize(texts(), chosen, out, str(source), None, 3, read=read, say=say)


def stopped(source: Path, out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        job(source, out, stop=True)
    assert len(list(out.glob("shard-*.json"))) == 2


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_job_does_not_go_on_with_another_column_source_or_tokenizer(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stopped(source, out)
    before = contents(out)
    other = tmp_path / "elsewhere"
    rows(other / "a.jsonl", ROWS[3:])
    with pytest.raises(InputError, match="its field is text, not other"):
        job(source, out, field="other")
    with pytest.raises(InputError, match="another unfinished job: its source is"):
        job(other, out)
    with pytest.raises(InputError, match="another unfinished job: its tokenizer is"):
        job(source, out, tokenizer=train_bpe(["text more"], 300))
    rows(source / "b.jsonl", [row | {"text": row["text"].upper()} for row in ROWS[6:]])
    with pytest.raises(InputError, match=r"b\.jsonl of .*source changed since the job in"):
        job(source, out)
    rows(source / "b.jsonl", ROWS[6:])
    rows(source / "c.jsonl", ROWS[:1])
    with pytest.raises(InputError, match=r"c\.jsonl of .*source changed since the job in"):
        job(source, out)
    assert contents(out) == before


def test_a_job_goes_on_with_the_same_files_elsewhere_and_gives_the_same_bytes(
    source: Path, tmp_path: Path
) -> None:
    job(source, tmp_path / "whole")
    stopped(source, tmp_path / "out")
    moved = shutil.move(source, tmp_path / "moved")
    for path in moved.iterdir():
        os.utime(path, ns=(1, 1))
    found = job(moved, tmp_path / "out")
    assert found.about["field"] == "text"
    whole = contents(tmp_path / "whole")
    ours = contents(tmp_path / "out")
    assert {n: c for n, c in ours.items() if n != "index.json"} == {
        n: c for n, c in whole.items() if n != "index.json"
    }
    assert found.digest == Shards(tmp_path / "whole").digest
    assert found.about["content"] == Shards(tmp_path / "whole").about["content"]


def test_a_job_of_an_earlier_version_goes_on_with_a_line_as_it_began(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stopped(source, out)
    path = out / "job.json"
    known = ("source", "tokenizer", "vocabulary", "end", "shard_documents")
    begun = {name: value for name, value in json.loads(path.read_text()).items() if name in known}
    path.write_text(json.dumps(begun))
    said: list[str] = []
    assert job(source, out, said=said).special == ()
    assert said == [f"the job in {out} does not record its inputs: they are assumed to be the same"]


def test_what_a_tokenizer_file_says_of_cutting_and_padding_is_not_done(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    texts = ["a text of more than four bytes", "b"]
    found = tokenize(texts, load_tokenizer(str(tmp_path)), tmp_path / "s", "letters")
    assert len(found) == sum(map(len, texts)) + 2


def test_a_vocabulary_reaches_to_the_largest_id() -> None:
    from tokenizers import Tokenizer, models

    gaps = Tokenizer(models.WordLevel({"a": 0, "<eos>": 9}, unk_token="a"))
    assert gaps.get_vocab_size() == 2
    assert vocabulary_size(gaps) == 10


def test_sources_of_a_mixture_begin_their_documents_alike(tmp_path: Path) -> None:
    texts = ["abc" * 9] * 9
    made: dict[str, Shards] = {}
    for name in "ab":
        made[name] = tokenize(texts, spelling(f"{BOS} $A"), tmp_path / name, "letters")
    index = tmp_path / "b" / "index.json"  # as earlier versions wrote it
    about = json.loads(index.read_text())
    del about["special_tokens"]
    index.write_text(json.dumps(about))
    made["b"] = Shards(tmp_path / "b")
    with pytest.raises(InputError, match=r"of b begin with special tokens \[\], those of a with"):
        Mixture(made, [Phase(0, {"a": 1.0})], 2, 4)
    found: Source = Mixture({"b": made["b"]}, [Phase(0, {"b": 1.0})], 2, 4)
    assert found.special == ()
