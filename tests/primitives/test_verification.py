from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.primitives import STANDARD, Source, Template, export, make_task, standard_task, verify


def written(path: Path, count: int = 50, split: str = "test", **params: Any) -> Path:
    export([Source(make_task("variable_assignment", params), split, 0)], count, path)
    return path


def edit(path: Path, line: int, change: Callable[[dict[str, Any]], Any]) -> None:
    lines = path.read_text().splitlines(keepends=True)
    row = json.loads(lines[line - 1])
    row = change(row) or row
    lines[line - 1] = json.dumps(row) + "\n"
    path.write_text("".join(lines))


@pytest.mark.parametrize("name", STANDARD)
def test_every_standard_task_verifies(tmp_path: Path, name: str) -> None:
    [report] = export([Source(standard_task(name), "train", 2)], 200, tmp_path / "a.jsonl")
    verdict = verify([tmp_path / "a.jsonl"])
    assert verdict.ok, verdict.bad
    assert verdict.lines == 200
    assert verdict.fingerprints == {str(tmp_path / "a.jsonl"): report.fingerprint}


@pytest.mark.parametrize("control", ["cut", "shuffled"])
def test_controls_verify(tmp_path: Path, control: str) -> None:
    verdict = verify([written(tmp_path / "a.jsonl", depth=1, control=control)])
    assert verdict.ok, verdict.bad


def set_to(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda row: row.update(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(answer=(row["answer"] + 1) % 5), "is not choice"),
        (set_to(answer=9), "not an index of its 5 choices"),
        (set_to(answer=True), "field 'answer' has the wrong type"),
        (set_to(target="99"), "target '99' is not choice"),
        (lambda row: row.update(choices=[row["target"]] * 5), "two choices are the same"),
        (lambda row: row.pop("prompt") and None, "field 'prompt' is missing"),
        (set_to(prompt="Fill in blank:\n\n"), "field 'prompt' differs"),
        (set_to(index=10**9), "not the item of its coordinates"),
        (lambda row: row.update(seed=0.0), "field 'seed' has the wrong type"),
        (set_to(index=-1), "not the item of its coordinates"),
        (set_to(index=2**70), "not the item of its coordinates"),
        (set_to(seed=1), "not the item of its coordinates"),
        (set_to(seed=-1), "seed must be a whole number from 0"),
        (set_to(split="train"), "not the item of its coordinates"),
        (set_to(split="trian"), "unknown split 'trian'"),
        (set_to(task="copyin"), "unknown task 'copyin'"),
        (set_to(version=0), "made by version 0 of the task, this is 1"),
        (set_to(params={"depht": 1}), "unknown parameter"),
        (set_to(params={}), "parameters given are not those"),
        (set_to(choices=[1, 2]), "must hold texts"),
        (set_to(note="mine"), "field 'note' is none of an item's"),
        (set_to(original_answer=7), "field 'original_answer' differs"),
        (set_to(params='{"depth": '), "field 'params' has the wrong type"),
        (lambda row: [1], "not a JSON object"),
    ],
)
def test_an_edited_line_is_found_by_its_number(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = written(tmp_path / "a.jsonl")
    edit(path, 17, change)
    verdict = verify([path])
    assert not verdict.ok
    assert verdict.bad[0][0] == f"{path}, line 17"
    assert message in verdict.bad[0][1]


def test_a_truncated_file_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl")
    whole = path.read_bytes()
    for cut in (1, 30):
        path.write_bytes(whole[:-cut])
        assert verify([path]).bad[0][0] == f"{path}, line 50"
    lines = whole.splitlines(keepends=True)
    for damaged in (lines[:20] + lines[21:], lines[1:], lines[::-1], lines + lines[3:4]):
        path.write_bytes(b"".join(damaged))
        assert "missing, added or out of order" in " ".join(r for _, r in verify([path]).bad)
    path.write_bytes(b"")
    assert verify([path]).bad == [(str(path), "holds no items")]


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"null\n", b"\n{}\n", b"NaN\n"]
)
def test_junk_lines_are_reported(tmp_path: Path, junk: bytes) -> None:
    path = written(tmp_path / "a.jsonl")
    path.write_bytes(path.read_bytes() + junk)
    verdict = verify([path])
    assert f"{path}, line 51" in [place for place, _ in verdict.bad]


def test_repeats_are_found_within_and_between_files(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a.jsonl"), written(tmp_path / "b.jsonl", split="train")
    assert verify([a, b]).ok
    lines = a.read_text().splitlines(keepends=True)
    a.write_text("".join([*lines, lines[3]]))
    b.write_text(b.read_text() + lines[7])
    verdict = verify([a, b])
    assert {
        (f"{a}, line 51", f"the same item as {a}, line 4"),
        (f"{b}, line 51", f"the same item as {a}, line 8"),
    } < set(verdict.bad)


def test_only_the_first_problems_are_kept_but_all_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl")
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    verdict = verify([path], most=3)
    assert verdict.problems == 50
    assert [place for place, _ in verdict.bad] == [f"{path}, line {n}" for n in (1, 2, 3)]


def test_an_own_template_and_word_list_are_asked_for(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\n".join(f"w{i}" for i in range(200)))
    template = Template("mine", "{{ words | join(' ') }}: {{ segment | join(' ') }} ?")
    task = make_task("copying", {"words": str(words)})
    export([Source(task, "test", 0, template)], 20, tmp_path / "a.jsonl")
    assert "give it with --template" in verify([tmp_path / "a.jsonl"]).bad[0][1]
    found = verify([tmp_path / "a.jsonl"], template=template)
    assert "give it with --words" in found.bad[0][1]
    assert verify([tmp_path / "a.jsonl"], template=template, words=str(words)).ok
    other = Template("other", template.source + " ")
    found = verify([tmp_path / "a.jsonl"], template=other, words=str(words))
    assert "not those the file was made with" in found.bad[0][1]


def test_a_data_set_folder_is_held_against_its_card(tmp_path: Path) -> None:
    sources = [Source(make_task("copying"), split, 0) for split in ("train", "test")]
    export(sources, 30, tmp_path / "d", "datasets")
    assert verify(tmp_path / "d").ok
    file = tmp_path / "d" / "data" / "test.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:20]))
    assert verify(tmp_path / "d").bad == [(str(file), "is not the file the card lists")]
    file.unlink()
    assert verify(tmp_path / "d").bad == [(str(file), "is missing, though the card lists it")]
    card = tmp_path / "d" / "README.md"
    card.write_bytes(b"\xff" + card.read_bytes())
    assert verify(tmp_path / "d").bad == [(str(card), "byte 1 is not UTF-8")]


def test_a_data_line_cannot_name_a_file_to_open(tmp_path: Path) -> None:
    export([Source(make_task("copying"), "test", 0)], 5, tmp_path / "a.jsonl")
    edit(tmp_path / "a.jsonl", 2, lambda row: row.update(params='{"words": "/etc/passwd"}'))
    assert "give it with --words" in verify(tmp_path / "a.jsonl").bad[0][1]


def test_the_format_is_known_by_content_not_by_name(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    export([Source(make_task("copying"), "test", 0)], 5, tmp_path / "a.pq", "parquet")
    assert verify(tmp_path / "a.pq").ok


def test_items_at_the_far_end_of_a_source_verify(tmp_path: Path) -> None:
    item = Source(make_task("copying"), "test", 0)[2**63 - 2]
    (tmp_path / "a.jsonl").write_text(json.dumps(item.record()) + "\n")
    assert all("out of order" in reason for _, reason in verify(tmp_path / "a.jsonl").bad)


def test_no_files_are_refused() -> None:
    with pytest.raises(InputError, match="no files"):
        verify([])


def test_paths_that_hold_no_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        verify([tmp_path / "none.jsonl"])
    with pytest.raises(InputError, match=r"holds no \.jsonl"):
        verify([tmp_path])
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        verify([tmp_path / "a.parquet"])


def test_files_of_the_layout_before_verify_with_the_same_fingerprint(tmp_path: Path) -> None:
    """``params`` as an object, and no ``original_answer`` without a control."""
    for control in ("none", "shuffled"):
        source = Source(make_task("preschool_math", {"control": control}), "test", 0)
        old, new = tmp_path / f"{control}-old.jsonl", tmp_path / f"{control}-new.jsonl"
        lines = [json.dumps(item.record()) + "\n" for item in source.items(0, 20)]
        old.write_text("".join(lines))
        export([source], 20, new)
        before, now = verify(old), verify(new)
        assert before.ok, before.bad
        assert list(before.fingerprints.values()) == list(now.fingerprints.values())


def test_a_blank_line_at_the_end_is_none_and_one_within_is_reported(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, b"\n", b"  \n"]))
    assert verify(path).ok
    path.write_bytes(b"".join([*lines[:9], b"\n", *lines[9:]]))
    assert verify(path).bad == [(f"{path}, line 10", "not a whole JSON object")]


def test_gzip_and_standard_input_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(tmp_path / "a.jsonl").read_bytes()
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(content))
    assert verify(packed).lines == 50
    packed.write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(InputError, match="is not a whole gzip file"):
        verify(packed)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert verify("-").lines == 50


def test_a_mark_and_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl")
    before = verify([path])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    after = verify([path])
    assert after.ok, after.bad
    assert after.fingerprints == before.fingerprints
    (tmp_path / "t.j2").write_bytes(b"\xef\xbb\xbfSay {{ question }}\r\n")
    assert Template.from_file(tmp_path / "t.j2").source.startswith("Say")
