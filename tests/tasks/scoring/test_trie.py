"""The trie holds every distinct prefix once, in an order that its two numbers describe."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from growloop.tasks.scoring.block_mask import seen_blocks
from growloop.tasks.scoring.scan import routes
from growloop.tasks.scoring.tree_attention import BLOCK, Pack, _cuts
from growloop.tasks.scoring.trie import Trie, build
from hypothesis import given
from hypothesis import strategies as st
from torch import device

token = st.integers(0, 3)
pair = st.tuples(st.lists(token, min_size=1, max_size=8), st.lists(token, min_size=1, max_size=4))
requests = st.lists(pair, max_size=20)


def prefix(trie: Trie, node: int) -> tuple[int, ...]:
    """The tokens from the root to a node, by what it sees."""
    seen = [k for k in range(node + 1) if node < trie.end[k]]
    assert trie.depth[seen].tolist() == list(range(len(seen)))
    return tuple(trie.tokens[seen].tolist())


@given(requests)
def test_every_distinct_prefix_is_one_node(pairs: list[tuple[list[int], list[int]]]) -> None:
    trie = build(pairs)
    rows = [[*context, *option][:-1] for context, option in pairs]
    wanted = {tuple(row[: n + 1]) for row in rows for n in range(len(row))}
    found = [prefix(trie, node) for node in range(len(trie))]
    assert len(found) == len(set(found))
    assert set(found) == wanted


@given(requests)
def test_every_token_is_predicted_from_what_comes_before_it(
    pairs: list[tuple[list[int], list[int]]],
) -> None:
    trie = build(pairs)
    found = {
        (owner, len(text), *text, target)
        for place, target, owner in zip(trie.places, trie.targets, trie.owners, strict=True)
        if (text := prefix(trie, place))
    }
    wanted = {
        (i, len(context) + n, *context, *option[:n], option[n])
        for i, (context, option) in enumerate(pairs)
        for n in range(len(option))
    }
    assert found == wanted
    assert len(trie.places) == sum(len(option) for _, option in pairs)
    assert (np.diff(trie.places) >= 0).all()


@given(requests, st.integers(1, 9))
def test_packs_see_what_their_nodes_grow_from(
    pairs: list[tuple[list[int], list[int]]], size: int
) -> None:
    trie = build(pairs)
    path = np.empty(0, dtype=np.int64)
    for start in range(0, len(trie), size):
        stop = min(start + size, len(trie))
        pack = Pack(trie, start, stop, path, {}, device("cpu"))
        covered = []
        for a, b, keys in pack._blocks:
            seen = np.arange(len(pack._nodes))[keys]
            covered += range(a, b)
            for q in range(start + a, start + b):
                sees = {k for k in range(q + 1) if q < trie.end[k]}
                assert sees <= set(pack._nodes[seen].tolist())
        assert covered == list(range(stop - start))
        path = pack.next_path
    assert len(path) == 0


def test_blocks_end_where_texts_do() -> None:
    texts = [np.arange(300), np.arange(20, 330), *[np.arange(5)] * 3]
    depth = np.concatenate(texts)
    blocks = _cuts(depth)
    assert [a for a, _ in blocks[1:]] == [b for _, b in blocks[:-1]]
    assert all(0 < b - a <= BLOCK[0] for a, b in blocks)
    assert {300, 610} <= {b for _, b in blocks}


@given(requests, st.integers(1, 9), st.none() | st.integers(1, 6))
def test_blocks_of_flex_attention_see_what_their_nodes_grow_from(
    pairs: list[tuple[list[int], list[int]]], size: int, window: int | None
) -> None:
    trie = build(pairs)
    path = np.empty(0, dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "growloop.tasks.scoring.block_mask.SIZE", 4
        )  # so that few nodes are many blocks
        for start in range(0, len(trie), size):
            stop = min(start + size, len(trie))
            pack = Pack(trie, start, stop, path, {}, device("cpu"))
            key, query = pack._nodes, pack._nodes[pack.first :, None]
            sees = (key <= query) & (query < pack._ends)
            if window is not None:
                sees &= pack.depth[pack.first :, None] - pack.depth < window
            some, every = seen_blocks(pack._nodes, pack._ends, pack.depth, pack.first, window)
            for q, k in itertools.product(range(some.shape[0]), range(some.shape[1])):
                block = sees[4 * q : 4 * q + 4, 4 * k : 4 * k + 4]
                assert some[q, k] or not block.any()
                assert not every[q, k] or block.all()
            path = pack.next_path


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=8))
def test_schedules_are_a_trie_of_steps(schedules: list[list[int]]) -> None:
    found = routes(schedules)
    assert {route.schedule for route in found} == set(map(tuple, schedules))
    slot_of: dict[int, tuple[int, ...]] = {}
    for before, route in itertools.pairwise([None, *found]):
        assert route is not None
        assert route.schedule is not None
        assert len(route.slots) == len(route.schedule)
        assert route.shared < len(route.schedule)
        if before is not None:
            assert route.slots[: route.shared] == before.slots[: route.shared]
        for step, slot in enumerate(route.slots):
            own = route.schedule[: step + 1]
            assert slot_of.setdefault(slot, own) == own


def test_memory_is_that_of_the_contexts_not_of_all_options() -> None:
    context = list(range(2000))
    trie = build([(context, [5, 6, n]) for n in range(500)])
    assert len(trie) == 2002
    assert len(trie.places) == 1500
