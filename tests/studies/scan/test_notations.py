"""Notations of schedules: RYS and mergekit, read and written."""

from __future__ import annotations

from pathlib import Path

import pytest
from growloop.core.errors import InputError, NotationError
from growloop.core.rys import read_rys, write_rys
from growloop.core.schedule import Schedule
from growloop.models.looping.mergekit import read_mergekit, write_mergekit
from growloop.studies.scan.candidates import candidates
from hypothesis import given
from hypothesis import strategies as st

LAYERS = 6
EVERY = candidates(Schedule.plain(LAYERS), ("repeat", "skip", "swap"), None, (1, 3))


def test_every_repeat_of_one_block_comes_back_from_rys() -> None:
    for candidate in EVERY:
        if candidate.edit == "repeat":
            text = write_rys(candidate.schedule, LAYERS)
            assert read_rys(text, LAYERS) == candidate.schedule, text


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)).filter(lambda b: b[0] < b[1]),
                min_size=1, max_size=4))  # fmt: skip
def test_rys_inserts_each_block_after_the_last_run_of_its_last_layer(
    blocks: list[tuple[int, int]],
) -> None:
    text = ";".join(f"({i},{j})" for i, j in blocks)
    expected = list(range(LAYERS))
    for i, j in blocks:
        last = max(step for step, layer in enumerate(expected) if layer == j - 1)
        expected = [*expected[: last + 1], *range(i, j), *expected[last + 1 :]]
    assert list(read_rys(text, LAYERS)) == expected


def test_one_block_runs_to_its_end_and_then_again_from_its_start() -> None:
    assert list(read_rys("(45,52)", 80)) == [*range(52), *range(45, 80)]


@pytest.mark.parametrize("text", ["(1", "(1,2", "(2,2)", "(1,2)(3,4)", "()", "(1,2);", "(a,b)"])
def test_what_is_no_rys_notation_is_pointed_at(text: str) -> None:
    with pytest.raises(NotationError):
        read_rys(text, LAYERS)


def test_rys_refuses_blocks_the_model_lacks_and_schedules_it_cannot_say() -> None:
    with pytest.raises(InputError, match="outside a model of 6 layers"):
        read_rys("(2,7)", LAYERS)
    with pytest.raises(InputError, match="has no RYS notation"):
        write_rys(Schedule.plain(LAYERS).skip(2), LAYERS)


def test_every_candidate_comes_back_from_mergekits_file(tmp_path: Path) -> None:
    file = tmp_path / "merge.yml"
    for candidate in EVERY:
        file.write_text(write_mergekit(candidate.schedule, "org/model"))
        assert read_mergekit(file) == (candidate.schedule, "org/model")


def test_mergekits_own_reader_takes_what_is_written_and_its_dump_is_read(tmp_path: Path) -> None:
    config = pytest.importorskip("mergekit.config", reason="mergekit is not installed")
    import yaml

    for candidate in EVERY[::7]:
        text = write_mergekit(candidate.schedule, "org/model")
        merge = config.MergeConfiguration.model_validate(yaml.safe_load(text))
        ranges = [source.layer_range for part in merge.slices for source in part.sources]
        stacked = [layer for start, stop in ranges for layer in range(start, stop)]
        assert stacked == list(candidate.schedule)
        (tmp_path / "dump.yml").write_text(merge.to_yaml())
        assert read_mergekit(tmp_path / "dump.yml") == (candidate.schedule, "org/model")


SLICE = "- sources:\n  - model: a\n    layer_range: [0, 4]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"merge_method: slerp\nslices:\n{SLICE}", "only merge_method passthrough"),
        ("merge_method: passthrough\nmodels:\n- model: a\n", "cannot express models"),
        ("merge_method: passthrough\n", "has no slices"),
        ("merge_method: passthrough\nslices:\n" + SLICE + SLICE.replace("model: a", "model: b"),
         "layers of a and b"),
        ("merge_method: passthrough\nslices:\n" + SLICE.replace("[0, 4]", "[4, 0]"), "layer_range"),
        ("merge_method: passthrough\nslices:\n" + SLICE + "  parameters: {scale: 0.5}\n",
         "cannot express parameters"),
        ("[]", "no configuration"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_schedule_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "merge.yml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_mergekit(file)
