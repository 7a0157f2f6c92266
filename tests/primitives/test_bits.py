from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from growloop.core.errors import InputError
from growloop.primitives import SPLITS
from growloop.primitives.bits import (
    Partition,
    deal,
    distinct,
    draw,
    falling,
    mix,
    ranks_of,
    stream_key,
)
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 2**62), st.integers(1, 300), st.integers(0, 299))
def test_a_draw_depends_on_its_index_alone(start: int, count: int, inner: int) -> None:
    key, ranges = stream_key("task", 1, {"a": 2}), [26, 5, 2**32, 1000, 2, 3, 4, 5, 6]
    whole = draw(key, start, count, ranges)
    inner %= count
    assert (draw(key, start + inner, 1, ranges)[:, 0] == whole[:, inner]).all()


def test_draws_are_the_documented_philox_words() -> None:
    # the definition, spelled out: these very numbers must come out for ever
    key = stream_key("growloop", 1)
    words = np.random.Philox(key=key, counter=7).random_raw(4).tolist()
    lanes = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
    expected = [(lane * 1000) >> 32 for lane in lanes]
    assert draw(key, 7, 1, [1000] * 8)[:, 0].tolist() == expected
    assert expected == [966, 732, 199, 595, 973, 913, 162, 399]


def test_keys_differ_with_every_coordinate() -> None:
    keys = {
        tuple(stream_key(*coordinates).tolist())
        for coordinates in [("a", 1), ("a", 2), ("b", 1), ("a", 1, {}), ("a", 1, {"x": 1})]
    }
    assert len(keys) == 5


@pytest.mark.parametrize("pick", [distinct, deal])
@given(st.integers(1, 40), st.data())
def test_picks_are_distinct_and_in_range(pick, population: int, data) -> None:  # type: ignore[no-untyped-def]
    k = data.draw(st.integers(1, population))
    seed = data.draw(st.integers(0, 2**32))
    picks = pick(draw(stream_key(seed), 0, 20, falling(population, k)), population)
    for column in picks.T.tolist():
        assert len(set(column)) == k
        assert max(column) < population


@pytest.mark.parametrize("pick", [distinct, deal])
def test_every_sample_comes_from_exactly_one_tuple_of_ranks(pick) -> None:  # type: ignore[no-untyped-def]
    ranks = np.array([[a, b, c] for a in range(5) for b in range(4) for c in range(3)], np.uint32).T
    found = {tuple(column) for column in pick(ranks, 5).T.tolist()}
    assert found == set(permutations(range(5), 3))


@given(st.integers(2, 300), st.integers(0, 2**32))
def test_ranks_of_undoes_distinct(population: int, seed: int) -> None:
    ranks = draw(stream_key(seed), 0, 10, falling(population, min(population, 12)))
    assert (ranks_of(distinct(ranks, population)) == ranks).all()


def test_hashes_tell_every_tuple_of_a_small_space_apart() -> None:
    rows = np.array([[a, b] for a in range(300) for b in range(300)], np.uint32).T
    assert len(set(mix(rows, 90_000).tolist())) == 90_000


@pytest.mark.parametrize("ranges", [(26, 25), (4, 3, 2, 1), (5,) * 5, (7,) * 9, (1000, 1000)])
def test_a_partition_puts_every_tuple_in_one_split_and_says_which(ranges: tuple[int, ...]) -> None:
    partition = Partition(ranges)
    context = [np.arange(500, dtype=np.uint32)]
    for split in SPLITS:
        draws = draw(stream_key(split), 0, 500, partition.draw_ranges(split))
        ranks = partition.ranks(draws, context, split)
        assert (ranks < np.array(ranges)[:, None]).all()
        assert partition.split_of(ranks, context) == [split] * 500


def test_the_splits_of_a_partition_cover_the_whole_space_once() -> None:
    partition = Partition((6, 5, 4))
    ranks = np.array([[a, b, c] for a in range(6) for b in range(5) for c in range(4)], np.uint32).T
    found = partition.split_of(ranks, [])
    counts = {split: found.count(split) for split in SPLITS}
    assert counts == {split: partition.share(120, split) for split in SPLITS}
    assert counts == {"train": 60, "validation": 24, "test": 24, "fewshot": 12}


def test_within_a_split_every_value_is_as_likely_as_any_other() -> None:
    partition = Partition(tuple(falling(25, 5)))
    count = 50_000
    for split in SPLITS:
        draws = draw(stream_key(split), 0, count, partition.draw_ranges(split))
        picks = distinct(partition.ranks(draws, [], split), 25)
        for row in picks:
            found = np.bincount(row, minlength=25)
            chi = ((found - count / 25) ** 2 / (count / 25)).sum()
            assert chi < 60  # 24 degrees of freedom: exceeded once in 10,000


def test_a_space_too_small_to_divide_is_refused_with_its_size() -> None:
    with pytest.raises(InputError, match="only 4 combinations of values, which cannot"):
        _ = Partition((2, 2)).tail


def test_an_unknown_split_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'train'"):
        Partition((100,)).interval("trian")
