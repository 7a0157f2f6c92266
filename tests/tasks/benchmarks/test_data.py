"""Local data sets: what is read, and what is refused with its file and line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.tasks.benchmarks import sources
from growloop.tasks.benchmarks.data_files import rows
from growloop.tasks.benchmarks.dataset import MissingDataError, load
from growloop.tasks.benchmarks.holdout import read_text
from growloop.tasks.benchmarks.sources import DATASETS, check_folder
from hypothesis import given
from hypothesis import strategies as st

from . import data


@pytest.fixture
def folder(data_dir: Path, tmp_path: Path) -> Path:
    """A copy of the small data sets to spoil."""
    return Path(shutil.copytree(data_dir, tmp_path / "data"))


CASES = [(name, split) for name, dataset in DATASETS.items() for split in dataset.splits]


@pytest.mark.parametrize(("name", "split"), CASES)
def test_every_data_set_is_read_in_its_schema(data_dir: Path, name: str, split: str) -> None:
    loaded = load(DATASETS[name], split, data_dir)
    made = data.rows()[name][split]
    assert len(loaded.rows) == len(made)
    assert set(loaded.rows[0]) <= set(made[0])
    assert loaded.published == DATASETS[name].splits[split]
    assert loaded.source.startswith(str(data_dir))


@pytest.mark.parametrize(("name", "split"), CASES)
def test_parquet_and_json_lines_and_lists_are_the_same_data(
    data_dir: Path, tmp_path: Path, name: str, split: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = load(DATASETS[name], split, data_dir).rows
    for kind in ("json", "jsonl", "parquet"):
        path = tmp_path / kind / name / f"{split}.{kind}"
        path.parent.mkdir(parents=True)
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif kind == "json":
            path.write_text(json.dumps(rows))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        again = load(DATASETS[name], split, tmp_path / kind)
        assert again.fingerprint == load(DATASETS[name], split, data_dir).fingerprint


@pytest.mark.parametrize(("name", "split"), CASES)
def test_each_missing_or_wrong_field_is_refused_with_file_and_line(
    data_dir: Path, tmp_path: Path, name: str, split: str
) -> None:
    rows = load(DATASETS[name], split, data_dir).rows
    path = tmp_path / name / f"{split}.jsonl"
    path.parent.mkdir()
    for key in DATASETS[name].shape:
        plain = key.removesuffix("?")
        without = {k: v for k, v in rows[1].items() if k != plain}
        for wrong in (without, rows[1] | {plain: True}, "text", [], None):
            if key != plain and wrong == without:
                continue  # it may be missing
            made = [rows[0], wrong, *rows[2:]]
            path.write_text("".join(json.dumps(row) + "\n" for row in made))
            with pytest.raises(InputError) as caught:
                load(DATASETS[name], split, tmp_path)
            assert str(caught.value).startswith(f"{path}:2: ")
            assert "\n" not in str(caught.value)


WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("hellaswag", "validation", {"label": "4"}, "label must be from 0 to 3, not '4'"),
    ("hellaswag", "validation", {"label": ""}, "the test split has no labels"),
    ("hellaswag", "validation", {"endings": ["a", "b"]}, "endings must be four, not 2"),
    ("triviaqa", "validation", {"answer": {"aliases": []}}, "answer.aliases is empty"),
    ("nq_open", "validation", {"answer": []}, "answer is empty"),
    ("nq_open", "validation", {"answer": ["a", 3]}, r"answer\[1\] must be text, not 3"),
    ("quac", "validation", {"questions": ["Who?"]}, "must be as many"),
    ("coqa", "validation", {"answers": {"input_text": ["x"]}}, "fewer answers than the 2"),
    ("drop", "validation", {"answer": {"number": 7}}, "answer.number must be text, not 7"),
    ("svamp", "test", {"Answer": "many"}, "the solution must be a number, not 'many'"),
    ("mawps_addsub", "test", {"lSolutions": [1, 2]}, "must hold one number, not 2"),
    ("gsm8k", "test", {"answer": "4"}, "must end in '#### '"),
    ("lambada", "test", {"text": "word"}, "at least two words"),
]


@pytest.mark.parametrize(("name", "split", "change", "message"), WRONG)
def test_what_a_row_may_not_say_is_refused(
    data_dir: Path, tmp_path: Path, name: str, split: str, change: Any, message: str
) -> None:
    rows = load(DATASETS[name], split, data_dir).rows
    path = tmp_path / name / f"{split}.jsonl"
    path.parent.mkdir()
    path.write_text(f"{json.dumps(rows[0])}\n\n{json.dumps(rows[1] | change)}\n")
    with pytest.raises(InputError, match=f"jsonl:3: .*{message}"):
        load(DATASETS[name], split, tmp_path)


@given(cut=st.integers(1, 10**6), kind=st.sampled_from(["jsonl", "json"]))
def test_a_file_that_is_cut_anywhere_inside_a_row_is_refused(
    tmp_path_factory: pytest.TempPathFactory, cut: int, kind: str
) -> None:
    made = data.rows()["squadv2"]["validation"]
    whole = json.dumps(made, indent=1) if kind == "json" else "\n".join(map(json.dumps, made))
    text = whole[: cut % len(whole)]
    path = tmp_path_factory.mktemp("cut") / f"validation.{kind}"
    path.write_text(text)
    if kind == "jsonl" and text.rstrip("\n") in ("", json.dumps(made[0])):
        assert len(list(rows(path))) == bool(text)  # cut between rows: nothing shows it
        return
    with pytest.raises(InputError, match=rf"validation.{kind}:\d+: .*(not JSON|list)"):
        list(rows(path))


def test_a_list_tells_the_line_of_an_element(folder: Path) -> None:
    path = folder / "svamp" / "test.json"
    lines = path.read_text().splitlines()
    at = [i for i, line in enumerate(lines) if '"Body"' in line][3]
    lines[at] = '        "Body": 3,'
    path.write_text("\n".join(lines))
    opened = max(i for i in range(at) if lines[i].strip() == "{") + 1
    with pytest.raises(InputError, match=rf"test.json:{opened}: Body must be text, not 3"):
        load(DATASETS["svamp"], "test", folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\n", r"jsonl:1: not UTF-8 text"),
        (
            b'{"question": "a", "answers": ["b"]}\n{"quest',
            r"jsonl:2: not JSON .*, the file seems to be cut off",
        ),
        (b"[" * 100_000 + b"\n", r"jsonl:1: not JSON"),
        (b"", "holds no rows"),
        (b"<html>\n", "jsonl:1: not JSON"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "webqs").mkdir()
    (tmp_path / "webqs" / "test.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        load(DATASETS["webqs"], "test", tmp_path)


def test_a_parquet_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    (tmp_path / "webqs").mkdir()
    (tmp_path / "webqs" / "test.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        load(DATASETS["webqs"], "test", tmp_path)


def test_unknown_names_are_refused_with_the_nearest_one(folder: Path) -> None:
    check_folder(folder)
    (folder / "README.md").write_text("mine")
    (folder / ".cache").mkdir()
    check_folder(folder)
    (folder / "drop" / "validaton.jsonl").write_text("")
    with pytest.raises(InputError, match=r"drop: unknown file .* did you mean 'validation.jsonl'"):
        check_folder(folder)
    (folder / "drop" / "validaton.jsonl").unlink()
    (folder / "trivia_qa").mkdir()
    with pytest.raises(InputError, match="unknown data set 'trivia_qa': did you mean 'triviaqa'"):
        check_folder(folder)
    with pytest.raises(InputError, match="is not a folder"):
        check_folder(folder / "nothing")


def test_two_files_of_a_split_are_refused(folder: Path) -> None:
    shutil.copy(folder / "svamp" / "test.json", folder / "svamp" / "test.jsonl")
    with pytest.raises(InputError, match="are both there"):
        load(DATASETS["svamp"], "test", folder)


@pytest.mark.parametrize("name", DATASETS)
def test_a_missing_data_set_is_one_sentence_that_says_how_to_get_it(
    tmp_path: Path, name: str
) -> None:
    dataset = DATASETS[name]
    with pytest.raises(MissingDataError) as caught:
        load(dataset, next(iter(dataset.splits)), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / name) in message
    assert (dataset.hub.path if dataset.hub else dataset.url) in message


def test_the_benchmarks_are_22_gsm8k_and_no_others() -> None:
    from growloop.tasks.benchmarks import BENCHMARKS, COLUMNS

    assert len(BENCHMARKS) == 23
    assert [len(column.members) for column in COLUMNS] == [5, 4, 1, 1, 6, 5, 1]
    used = {benchmark.dataset for benchmark in BENCHMARKS.values()}
    assert used - {None} == set(sources.DATASETS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"caf\xe9\nb\n", r"a.txt:1: not UTF-8"),
        ("a.txt", b"", "holds no text"),
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}\n', r"a.jsonl:2: text is missing"),
        ("index.json", b"{}", "damaged or no index"),
        ("a.csv", b"", "holds no token shards and no files"),
    ],
)
def test_held_out_text_of_another_kind_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_text(tmp_path)


def test_token_shards_are_read_as_the_text_they_were_made_of(tmp_path: Path) -> None:
    from click.testing import CliRunner
    from growloop.cli import main

    documents = ["It rained in Porto.", "Olá, mundo!\nSim."]
    source = tmp_path / "text.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    command = ["tokenize", str(source), "--tokenizer", "bytes", "--out", str(tmp_path / "shards")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert read_text(tmp_path / "shards").documents == documents
    assert read_text(tmp_path / "shards", limit=1).documents == documents[:1]
    [tokens] = (tmp_path / "shards").glob("shard-00000.bin")
    tokens.write_bytes(tokens.read_bytes()[:-2])
    with pytest.raises(InputError, match="shard-00000 is cut"):
        read_text(tmp_path / "shards")


def test_a_mark_and_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    mark, found = b"\xef\xbb\xbf", [{"text": "a\nb"}, {"text": "c"}]
    lines = "".join(json.dumps(row) + "\r\n" for row in found).encode()
    (tmp_path / "a.jsonl").write_bytes(mark + lines)
    (tmp_path / "a.json").write_bytes(mark + json.dumps(found, indent=1).encode())
    for name in ("a.jsonl", "a.json"):
        assert [row for _, row in rows(tmp_path / name)] == found
    (tmp_path / "b.txt").write_bytes(mark + b"one\r\ntwo\r\n")
    assert read_text(tmp_path / "b.txt").documents == ["one\ntwo\n"]


def test_what_is_no_text_is_refused_with_its_place(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    half = r'{"text": "\ud83d"}'
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' + half)
    (tmp_path / "a.json").write_text('[{"text": "a"},\n' + half + "]")
    for name in ("a.jsonl", "a.json"):
        with pytest.raises(InputError, match=rf"{name}:2: \\ud83d is half a character"):
            list(rows(tmp_path / name))
    bad = pa.array([b"a", b"\xff"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bad}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: row 2: not UTF-8 text"):
        list(rows(tmp_path / "a.parquet"))
