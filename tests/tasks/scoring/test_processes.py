"""Several processes find what one finds, each with a part of the work."""

from __future__ import annotations

import json
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
from growloop.tasks.scoring.processes import cut
from growloop.tasks.scoring.trie import build
from hypothesis import given
from hypothesis import strategies as st

from ...support.processes import codes_of, free_port
from ..tiny import PAIRS
from . import together

texts = st.lists(st.integers(0, 2), min_size=1, max_size=6)


@given(st.lists(st.tuples(texts, texts), max_size=12), st.integers(1, 5))
def test_each_request_is_in_one_piece(pairs: list[tuple[list[int], list[int]]], parts: int) -> None:
    found = cut(pairs, parts)
    assert len(found) == parts
    assert sorted(i for part in found for i in part) == list(range(len(pairs)))


def questions() -> list[tuple[list[int], list[int]]]:
    begins = [[7] * 30, [8] * 30]
    return [([*begins[i % 2], i, *range(20)], [option]) for i in range(200) for option in (1, 2)]


def texts_alone() -> list[tuple[list[int], list[int]]]:
    """As rolling likelihoods are: all begin with one token."""
    return [([0], [i, *range(50)]) for i in range(200)]


@pytest.mark.parametrize("asked", [questions, texts_alone])
def test_pieces_are_of_equal_length_and_hardly_overlap(
    asked: Callable[[], list[tuple[list[int], list[int]]]],
) -> None:
    pairs = asked()
    whole = len(build(pairs))
    lengths = [len(build([pairs[i] for i in part])) for part in cut(pairs, 4)]
    assert max(lengths) < 1.05 * whole / 4
    assert sum(lengths) < 1.02 * whole


@pytest.mark.slow
def test_two_processes_score_and_generate_as_one(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    model, port = str(checkpoint("llama")), free_port()
    server = get_context("forkserver")
    server.set_forkserver_preload([together.__name__])
    started = [
        server.Process(target=together.work, args=(rank, port, model, tmp_path))
        for rank in range(2)
    ]
    codes = codes_of(started)
    assert codes == [0, 0], (tmp_path / "output-0.txt").read_text()[-3000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    alone = json.loads(json.dumps(together.found(model)))
    assert (alone["count"], first["count"]) == (1, 2)
    for name in ("scores", "texts", "nats"):
        assert first[name] == second[name]
    assert first["texts"] == alone["texts"]
    assert first["nats"] == pytest.approx(alone["nats"], abs=1e-4)
    for (score, greedy), (wanted, was) in zip(first["scores"], alone["scores"], strict=True):
        assert score == pytest.approx(wanted, abs=1e-4)
        assert greedy == was
    assert len(first["scores"]) == len(PAIRS)
    assert first["refused"] == second["refused"]
    asked, failed, unsendable = first["refused"]
    assert "have different requests" in asked
    assert failed == "InputError: only here"
    assert unsendable == "RuntimeError: _OddError: 3 and 4"
    assert second["evaluations"] == [None, None]  # the first one tells
    for mine, right in zip(first["evaluations"], alone["evaluations"], strict=True):
        assert [asked[:2] for asked in mine] == [asked[:2] for asked in right]
        for (*_, scores), (*_, wanted) in zip(mine, right, strict=True):
            assert scores == pytest.approx(wanted, abs=1e-4)
