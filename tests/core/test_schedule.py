"""Schedules: reading, writing, editing, counting."""

from __future__ import annotations

import contextlib
import pickle

import pytest
from growloop.core.errors import InputError, NotationError
from growloop.core.schedule import check_whole
from growloop.core.schedule_notation import MAX_STEPS
from growloop.models import Schedule
from hypothesis import given
from hypothesis import strategies as st

ANY = st.lists(st.integers(0, 9), min_size=1, max_size=30).map(lambda steps: Schedule(tuple(steps)))
BLOCKS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=5)


def of_blocks(blocks: list[tuple[int, int]]) -> Schedule:
    steps: list[int] = []
    first = 0
    for size, times in blocks:
        steps += list(range(first, first + size)) * times
        first += size
    return Schedule(tuple(steps))


LOOPED = BLOCKS.map(of_blocks)
EITHER = ANY | LOOPED


@pytest.mark.parametrize(
    ("text", "unique", "depth"),
    [
        ("24", 24, 24),
        ("4x6", 4, 24),
        ("4-4x4-4", 12, 24),
        ("4-4×4-4", 12, 24),
        (" 4 - 4 X 4 - 4 ", 12, 24),
        ("0-11,8-11,12-23", 24, 28),
        ("0:12,8:12,12:24", 24, 28),
        ("0-11, 8 : 12 ,12,13:24", 24, 28),
        ("8:24", 16, 16),
        ("8-23,", 16, 16),
        ("8x1-23", 31, 31),
        ("3,", 1, 1),
        ("5-0,", 6, 6),
        ("1", 1, 1),
    ],
)
def test_notations_are_read(text: str, unique: int, depth: int) -> None:
    schedule = Schedule.parse(text)
    assert (schedule.num_unique_layers, schedule.effective_depth) == (unique, depth)


@given(EITHER)
def test_what_is_written_reads_back(schedule: Schedule) -> None:
    assert Schedule.parse(str(schedule)) == schedule


@given(BLOCKS)
def test_looped_blocks_are_written_no_longer_than_they_were_given(
    blocks: list[tuple[int, int]],
) -> None:
    text = "-".join(f"{size}x{times}" if times > 1 else str(size) for size, times in blocks)
    read = Schedule.parse(text, stored=True)
    assert read == of_blocks(blocks)
    assert len(str(read)) <= len(text)
    assert Schedule.parse(str(read)) == read  # what is written is never in doubt


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Schedule.plain(24), "24"),
        (Schedule.parse("0-11,8-11,12-23"), "8-4x2-12"),
        (Schedule.plain(24).swap(3, 4), "0-2,4,3,5-23"),
        (Schedule.plain(30).reverse(), "29-0,"),
        (Schedule.plain(5).skip(2), "0-1,3-4"),
        (Schedule.parse("4-4x4-4").repeat(4, 8), "4-4x5-4"),
        (Schedule.parse("1x2-1x2"), "1x2-1x2"),
    ],
)
def test_the_shortest_notation_is_printed(schedule: Schedule, text: str) -> None:
    assert str(schedule) == text


@pytest.mark.parametrize(
    ("text", "character"),
    [
        ("", 1),
        ("x", 1),
        ("4x", 3),
        ("4xx6", 3),
        ("4-", 3),
        ("4,,5", 3),
        ("4x0", 3),
        ("0-5", 1),
        ("8-23", 2),
        ("4-4-4", 2),
        ("8:8", 1),
        ("12:8,3", 1),
        ("0:4x2", 4),
        ("99999999", 1),
        ("4 6", 3),
        ("1-2,x", 5),
        ("4.5", 2),
        ("9999x2", 1),
        ("٣", 1),
    ],
)
def test_errors_point_at_the_character(text: str, character: int) -> None:
    with pytest.raises(NotationError, match=f"character {character}:"):
        Schedule.parse(text)


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("8-23", "blocks of 8 and 23 layers (write 31) or layers 8 to 23 (write 8:24)"),
        ("8-24", "blocks of 8 and 24 layers (write 32) or layers 8 to 24 (write 8:25)"),
        (" 12 - 8 ", "blocks of 12 and 8 layers (write 20) or layers 12 down to 8 (write 12-8,)"),
        ("4-4-4", "blocks that run once are a plain stack: write 12"),
    ],
)
def test_what_may_be_blocks_or_a_range_is_refused_with_both_readings(
    text: str, readings: str
) -> None:
    with pytest.raises(NotationError) as caught:
        Schedule.parse(text)
    assert readings in str(caught.value)
    assert Schedule.parse(text, stored=True).layers == tuple(
        range(sum(int(size) for size in text.split("-")))
    )


@given(EITHER)
def test_a_list_of_half_open_ranges_is_the_same_schedule(schedule: Schedule) -> None:
    text = ",".join(f"{layer}:{layer + 1}" for layer in schedule)
    assert Schedule.parse(text) == schedule


def test_blocks_are_of_all_layers_of_a_model() -> None:
    for text in ("6", "2-2x3-2", "3x2-3", "0:3", "0-2,", "0,1"):
        check_whole(text, 6)
    with pytest.raises(InputError, match=r"is of 4 layers, the model has 6: .* such as 0:4"):
        check_whole("2x3-2", 6)


@given(st.text(max_size=40) | st.text("0123456789x-:, ×", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(NotationError):
        assert 1 <= len(Schedule.parse(text)) <= MAX_STEPS


@given(EITHER)
def test_coordinates_count_the_runs_of_each_layer(schedule: Schedule) -> None:
    assert [layer for layer, _ in schedule.coordinates] == list(schedule)
    for step, (layer, loop) in enumerate(schedule.coordinates):
        assert loop == schedule.layers[:step].count(layer)
    assert len(set(schedule.coordinates)) == len(schedule)


@given(EITHER)
def test_sections_cover_the_steps_and_repeat_what_they_say(schedule: Schedule) -> None:
    steps: list[int] = []
    for start, size, times in schedule.sections:
        assert start == len(steps)
        steps += schedule.layers[start : start + size] * times
    assert tuple(steps) == schedule.layers


@given(EITHER, st.data())
def test_edits_do_what_their_names_say(schedule: Schedule, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(schedule) - 1))
    stop = data.draw(st.integers(start + 1, len(schedule)))
    times = data.draw(st.integers(1, 3))
    block, before, after = (
        schedule.layers[start:stop],
        schedule.layers[:start],
        schedule.layers[stop:],
    )
    assert schedule.repeat(start, stop, times).layers == before + block * (times + 1) + after
    assert schedule.reverse(start, stop).reverse(start, stop) == schedule
    if len(block) < len(schedule):
        assert schedule.skip(start, stop).layers == before + after
    size = data.draw(st.integers(1, len(schedule)))
    other = data.draw(st.integers(0, len(schedule) - size))
    first = data.draw(st.integers(0, len(schedule) - size))
    if first == other or abs(first - other) >= size:
        swapped = schedule.swap(first, other, size)
        assert swapped.swap(first, other, size) == schedule
        assert sorted(swapped) == sorted(schedule)
        assert swapped.layers[first : first + size] == schedule.layers[other : other + size]


@given(LOOPED, st.integers(1, 6))
def test_the_number_of_loops_can_be_changed(schedule: Schedule, times: int) -> None:
    if all(section.times == 1 for section in schedule.sections):
        with pytest.raises(InputError, match="no looped block"):
            schedule.with_loops(times)
        return
    changed = schedule.with_loops(times)
    assert set(changed) == set(schedule)
    assert len(changed) == sum(
        size * (times if old > 1 else 1) for _, size, old in schedule.sections
    )


@pytest.mark.parametrize("block", [(2, 2), (3, 1), (-1, 2), (0, 5), (0.0, 2), (True, 2)])
def test_blocks_that_are_none_are_refused(block: tuple[int, int]) -> None:
    with pytest.raises(InputError):
        Schedule.plain(4).repeat(*block)


@pytest.mark.parametrize("layers", [(), (-1,), (1.0,), (True,), ("1",)])
def test_layers_that_are_none_are_refused(layers: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        Schedule(layers)


def test_overlapping_swaps_and_zero_times_are_refused() -> None:
    with pytest.raises(InputError, match="overlap"):
        Schedule.plain(8).swap(0, 1, 2)
    with pytest.raises(InputError, match="times"):
        Schedule.plain(8).repeat(0, 2, 0)
    with pytest.raises(InputError, match="outside"):
        Schedule.plain(8).skip(8)


def test_schedules_are_values() -> None:
    a, b = Schedule.parse("8-4x2-12"), Schedule.parse("0-11,8-11,12-23")
    assert a == b
    assert hash(a) == hash(b)
    assert len({a, b, Schedule.plain(24)}) == 2
    assert pickle.loads(pickle.dumps(a)) == a
    with pytest.raises(AttributeError):
        a.layers = (1,)  # type: ignore[misc]
