"""Token shards and mixtures."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from growloop.core.errors import InputError
from growloop.models.training.data.documents import documents
from growloop.models.training.data.mixture import PERIOD, Mixture, Phase, shuffled
from growloop.models.training.data.shards import Shards, write_index, write_shard
from growloop.models.training.data.tokenization import (
    byte_tokenizer,
    choose_tokenizer,
    end_token,
    load_tokenizer,
    tokenize,
    tokenizer_hash,
    train_bpe,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TEXTS = [f"speech {i}: " + "we the people " * (i % 7) for i in range(50)]


def made(folder: Path, tokens: int, name: str = "a") -> Shards:
    """Shards whose tokens count up."""
    path = folder / name
    path.mkdir()
    half = tokens // 2
    shards = [
        write_shard(path, 0, [list(range(half))], 2**20),
        write_shard(path, 1, [list(range(half, tokens))], 2**20),
    ]
    write_index(path, shards, {"vocabulary": 2**20, "tokenizer": "t", "source": name})
    return Shards(path)


def test_shards_hold_the_tokens_and_the_ends_of_documents(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    found = tokenize(TEXTS, tokenizer, tmp_path / "s", "speeches", shard_documents=7)
    end = end_token(tokenizer)
    expected = [t for text in TEXTS for t in [*tokenizer.encode(text).ids, end]]
    assert found.window(0, len(found)).tolist() == expected
    assert [expected[stop - 1] for stop in found.ends().tolist()] == [end] * len(TEXTS)
    assert len(found.shards) == 8
    assert found.verify() == []
    assert found.about["documents"] == 50
    assert found.window(len(found) - 2, 4).tolist() == expected[-2:] + expected[:2]


def test_an_interrupted_job_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()

    def broken() -> Any:
        yield from TEXTS[:20]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenize(broken(), tokenizer, tmp_path / "s", "speeches", shard_documents=7)
    with pytest.raises(InputError, match="unfinished"):
        Shards(tmp_path / "s")
    damaged = tmp_path / "s" / "shard-00000.bin"
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    with pytest.raises(InputError, match="another unfinished job: its source"):
        tokenize(TEXTS, tokenizer, tmp_path / "s", "other", shard_documents=7)
    tokenize(TEXTS, tokenizer, tmp_path / "s", "speeches", shard_documents=7)
    tokenize(TEXTS, tokenizer, tmp_path / "t", "speeches", shard_documents=7)
    for path in (tmp_path / "t").iterdir():
        assert path.read_bytes() == (tmp_path / "s" / path.name).read_bytes()
    assert {p.name for p in (tmp_path / "s").iterdir()} == {
        p.name for p in (tmp_path / "t").iterdir()
    }


def test_damage_is_found(tmp_path: Path) -> None:
    found = made(tmp_path, 100)
    path = tmp_path / "a" / "shard-00001.bin"
    content = path.read_bytes()
    path.write_bytes(b"\xff" + content[1:])
    assert found.verify() == ["shard-00001.bin does not have the checksum of its index"]
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match="missing or cut"):
        Shards(tmp_path / "a")
    (tmp_path / "a" / "index.json").write_text("{}")
    with pytest.raises(InputError, match="damaged or no index"):
        Shards(tmp_path / "a")
    with pytest.raises(InputError, match="no token shards"):
        Shards(tmp_path)


@pytest.mark.parametrize("end", ["257", -1, 257, 1.0, True, [256]])
def test_an_end_token_outside_the_vocabulary_is_refused(tmp_path: Path, end: object) -> None:
    shard = write_shard(tmp_path, 0, [list(range(9))], 257)
    about = {"vocabulary": 257, "tokenizer": "t", "source": "a"}
    write_index(tmp_path, [shard], {**about, "end": end})
    with pytest.raises(
        InputError, match=r"index\.json cannot be read: end is not one of 257 tokens$"
    ):
        Shards(tmp_path)
    for valid in (None, 0, 256):
        write_index(tmp_path, [shard], {**about, "end": valid})
        assert Mixture({"a": Shards(tmp_path)}, [Phase(0, {"a": 1.0})], 2, 4).end == valid


def test_text_is_read_from_every_kind_of_file(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"text": text} for text in TEXTS]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(str(tmp_path / "b.parquet"))
    table.save_to_disk(str(tmp_path / "disk"))
    for name in ("a.jsonl", "b.parquet", "disk"):
        assert list(documents(str(tmp_path / name))) == TEXTS
    (tmp_path / "texts").mkdir()
    for i, text in enumerate(TEXTS[:3]):
        (tmp_path / "texts" / f"{i}.txt").write_text(text)
    assert list(documents(str(tmp_path / "texts"))) == TEXTS[:3]
    (tmp_path / "items.jsonl").write_text('{"prompt": "a=1 a?", "target": "1"}\n')
    assert list(documents(str(tmp_path / "items.jsonl"))) == ["a=1 a? 1"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "{", "line 1: not JSON"),
        ("a.jsonl", '{"words": "x"}', r"no text in 'text' \(fields: words\)"),
        ("a.jsonl", "3", "an object is needed"),
        ("a.jsonl", b'{"text": "\xff"}', "line 1: not UTF-8"),
        ("a.txt", b"\xff\xfe", "not UTF-8"),
        ("a.parquet", "x", "not a Parquet file"),
        ("a.doc", "x", "not a .txt, .md, .jsonl or .parquet file"),
    ],
)
def test_unreadable_text_is_one_sentence(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        list(documents(str(path)))


def test_a_damaged_folder_of_datasets_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(InputError, match="not a complete datasets folder"):
        list(documents(str(tmp_path)))


def test_a_tokenizer_of_an_unfinished_job_is_taken_for_the_same_job_alone(tmp_path: Path) -> None:
    letters = random.Random(0)
    texts = [" ".join("".join(letters.choices("abcdef", k=5)) for _ in range(400))]
    begun = train_bpe(["of another text " * 9, *texts], 512)
    begun.save(str(tmp_path / "tokenizer.json"))
    assert begun.get_vocab_size() == 512
    assert choose_tokenizer("bpe:512", lambda: texts, tmp_path).to_str() == begun.to_str()
    assert choose_tokenizer("bpe:600", lambda: texts, tmp_path).get_vocab_size() == 600
    bytes_alone = choose_tokenizer("bytes", lambda: texts, tmp_path)
    assert bytes_alone.to_str() == byte_tokenizer().to_str()


def test_missing_and_empty_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file or folder"):
        list(documents(str(tmp_path / "none.txt")))
    with pytest.raises(InputError, match=r"holds no \.txt"):
        list(documents(str(tmp_path)))
    with pytest.raises(InputError, match="holds no documents"):
        tokenize([], byte_tokenizer(), tmp_path / "s", "nothing")
    with pytest.raises(InputError, match="has no token <eos>"):
        tokenize(TEXTS, byte_tokenizer(), tmp_path / "t", "x", end="<eos>")
    with pytest.raises(InputError, match=r"holds no tokenizer\.json"):
        load_tokenizer(str(tmp_path))


def test_a_trained_tokenizer_is_an_ordinary_file_and_keeps_digits_apart(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = train_bpe(TEXTS, 512)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    text = "we the people, 1234 ünïcode\n"
    assert fast.decode(fast(text)["input_ids"]) == text
    assert len(fast("1234")["input_ids"]) == 4
    assert tokenizer_hash(load_tokenizer(str(tmp_path))) == tokenizer_hash(tokenizer)
    assert tokenizer_hash(tokenizer) != tokenizer_hash(byte_tokenizer())


@given(st.integers(1, 3000), st.text(max_size=5))
def test_shuffling_is_a_permutation(size: int, key: str) -> None:
    sample = range(size) if size < 300 else range(0, size, 7)
    found = [shuffled(i, size, key) for i in sample]
    assert len(set(found)) == len(found)
    assert all(0 <= place < size for place in found)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 4, 8]), st.integers(0, 3))
def test_the_global_batch_is_the_same_for_any_number_of_processes(
    tmp_path_factory: pytest.TempPathFactory, step: int, processes: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("m")
    sources = {"a": made(folder, 1000, "a"), "b": made(folder, 700, "b")}
    mixture = Mixture(sources, [Phase(0, {"a": 0.7, "b": 0.3}), Phase(50, {"a": 1.0})], 8, 16, seed)
    whole = mixture.batch(step)
    assert whole.tokens.shape == whole.targets.shape == (8, 16)
    assert np.array_equal(whole.tokens[:, 1:], whole.targets[:, :-1])
    parts = [mixture.batch(step, rank, processes) for rank in range(processes)]
    assert {part.count for part in parts} == {whole.count} == {8 * 16}
    assert np.array_equal(np.concatenate([part.tokens for part in parts]), whole.tokens)
    assert np.array_equal(np.concatenate([part.targets for part in parts]), whole.targets)


def test_every_source_has_its_share_and_repeats_no_window_before_all_were_seen(
    tmp_path: Path,
) -> None:
    sources = {"a": made(tmp_path, 1601, "a"), "b": made(tmp_path, 801, "b")}
    mixture = Mixture(sources, [Phase(0, {"a": 0.75, "b": 0.25})], 8, 16, 1)
    places = [mixture.place(n) for n in range(2 * PERIOD)]
    counts = Counter(name for name, _ in places)
    assert counts == {"a": 2 * PERIOD * 3 // 4, "b": 2 * PERIOD // 4}
    for name in sources:
        assert [c for n, c in places if n == name] == list(range(counts[name]))
    firsts = [int(mixture.sequence(n)[0]) for n, (s, c) in enumerate(places) if s == "a"]
    windows = (1601 - 1) // 16
    assert sorted(firsts[:windows]) == [16 * i for i in range(windows)]
    assert firsts[:windows] != firsts[windows : 2 * windows]
    assert firsts[:windows] != sorted(firsts[:windows])


def test_a_change_of_the_mixture_goes_on_with_every_source(tmp_path: Path) -> None:
    sources = {"a": made(tmp_path, 3201, "a"), "b": made(tmp_path, 3201, "b")}
    phases = [Phase(0, {"a": 1.0}), Phase(5, {"a": 0.5, "b": 0.5})]
    mixture = Mixture(sources, phases, 8, 16)
    places = [mixture.place(n) for n in range(5 * 8 + 200)]
    assert {name for name, _ in places[:40]} == {"a"}
    for name in sources:
        counts = [c for n, c in places if n == name]
        assert counts == list(range(len(counts)))


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([Phase(0, {"a": 0.5})], "sum to 1, not 0.5"),
        ([Phase(0, {"c": 1.0})], "unknown source 'c'"),
        ([Phase(0, {"a": 2.0, "b": -1.0})], "must be 0 or more"),
        ([Phase(0, {"a": 0.9999, "b": 0.0001})], "0.0001: below one sequence in 4,096"),
        ([Phase(1, {"a": 1.0})], "starts at step 0"),
        ([Phase(0, {"a": 1.0}), Phase(0, {"b": 1.0})], "one after the other"),
    ],
)
def test_what_is_no_mixture_is_refused(tmp_path: Path, phases: list[Phase], message: str) -> None:
    sources = {"a": made(tmp_path, 100, "a"), "b": made(tmp_path, 100, "b")}
    with pytest.raises(InputError, match=message):
        Mixture(sources, phases, 8, 16)


def test_sources_of_different_tokenizers_do_not_mix(tmp_path: Path) -> None:
    a = made(tmp_path, 100, "a")
    b = tokenize(TEXTS, byte_tokenizer(), tmp_path / "b", "speeches")
    with pytest.raises(InputError, match="different tokenizers"):
        Mixture({"a": a, "b": b}, [Phase(0, {"a": 0.5, "b": 0.5})], 8, 16)
    with pytest.raises(InputError, match="does not divide among 3"):
        Mixture({"a": a}, [Phase(0, {"a": 1.0})], 8, 16).batch(0, 0, 3)
