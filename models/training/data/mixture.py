"""Data mixture: the tokens of a step as a pure function of (mixture, seed, step).

Sequence ``n = step * batch + row`` of a run is one window of one source. In every 4,096 consecutive
sequences each source has exactly its share, in an order shuffled by the seed. A source goes through
all its windows, shuffled anew per epoch, before it repeats one. Everything is computed in closed
form, so resuming replays nothing, and any number of processes can share a global batch.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError, whole
from .batches import Batch, process_rows
from .shards import Shards

PERIOD = 4096


@dataclass(frozen=True)
class Phase:
    """Mixture weights from a step on.

    Args:
        start: first step.
        weights: source -> share; shares sum to 1.
    """

    start: int
    weights: Mapping[str, float]


class Mixture:
    """Source of sequences from several token shards, in shares that may change at a step.

    Example::

        shards = {"web": Shards("shards/web"), "math": Shards("shards/math")}
        phases = [Phase(0, {"web": 0.8, "math": 0.2}), Phase(1000, {"web": 0.5, "math": 0.5})]
        Mixture(shards, phases, batch_size=8, seq_len=1024).batch(0).tokens.shape  # (8, 1024)

    Args:
        sources: name -> token shards.
        phases: at least one, the first from step 0.
        batch_size: sequences per step, over all processes.
        seq_len: tokens of a sequence; a window holds one more, the last target.
        seed: seed of the order.

    Raises:
        InputError: unknown sources, shares that do not sum to 1, phases out of order.
    """

    def __init__(
        self,
        sources: Mapping[str, Shards],
        phases: Sequence[Phase],
        batch_size: int,
        seq_len: int,
        seed: int = 0,
    ) -> None:
        self.sources, self.phases, self.seed = dict(sources), list(phases), seed
        self.batch_size = whole("batch_size", batch_size, 1)
        self.seq_len = whole("seq_len", seq_len, 1)
        self.names = list(self.sources)
        if not phases or phases[0].start != 0:
            raise InputError("the first mixture starts at step 0")
        starts = [phase.start for phase in phases]
        if sorted(set(starts)) != starts:
            raise InputError(f"mixtures start one after the other, not at {starts}")
        for phase in phases:
            check_weights(phase.weights, self.names)
            for name, share in zip(self.names, _shares(phase.weights, self.names), strict=True):
                if not share and phase.weights.get(name):
                    raise InputError(
                        f"the share of {name} is {phase.weights[name]:g}: below one sequence in "
                        f"{PERIOD:,} it is never drawn"
                    )
        self.state: dict[str, Any] = {}
        self.vocabulary = max(source.vocabulary for source in self.sources.values())
        self.end: int | None = next(iter(self.sources.values())).about.get("end")
        vocabularies = {(s.vocabulary, s.tokenizer) for s in self.sources.values()}
        if len(vocabularies) > 1:
            raise InputError("the sources of a mixture were made with different tokenizers")
        begins = {name: source.special for name, source in self.sources.items()}
        self.special = begins[self.names[0]]
        for name, special in begins.items():
            if special != self.special:
                raise InputError(
                    f"documents of {name} begin with special tokens {list(special)}, those of "
                    f"{self.names[0]} with {list(self.special)}: tokenize one of them again"
                )

    kinds: tuple[str, ...] = ()

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> Batch:
        """Return the rows of one process at one step: ``(batch_size / processes, seq_len)``."""
        mine = process_rows(self.batch_size, rank, processes)
        first = step * self.batch_size
        rows = np.stack([self.sequence(first + i) for i in range(mine.start, mine.stop)])
        return Batch(rows[:, :-1], rows[:, 1:], self.batch_size * self.seq_len)

    def observe_losses(self, step: int, losses: dict[str, float]) -> str | None:
        """Do nothing: batches do not depend on losses."""
        del step, losses
        return None

    def tokenizer(self) -> Any:
        """Return the tokenizer of the shards, or None."""
        from tokenizers import Tokenizer

        file = next(iter(self.sources.values())).folder / "tokenizer.json"
        return Tokenizer.from_file(str(file)) if file.is_file() else None

    def sequence(self, number: int) -> NDArray[np.int64]:
        """Return sequence ``number`` of the run: ``(seq_len + 1,)``."""
        name, count = self.place(number)
        source = self.sources[name]
        windows = max(1, (len(source) - 1) // self.seq_len)
        epoch, index = divmod(count, windows)
        window = shuffled(index, windows, f"{self.seed}/{name}/{epoch}")
        return source.window(window * self.seq_len, self.seq_len + 1)

    def place(self, number: int) -> tuple[str, int]:
        """Return the source of a sequence, and its index among the sequences of that source."""
        step = number // self.batch_size
        phase = bisect.bisect_right([p.start for p in self.phases], step) - 1
        inside = number - self.phases[phase].start * self.batch_size
        period, place = divmod(inside, PERIOD)
        shares = self._shares[phase]
        sources, earlier = _orders(shares, self.seed, phase, period)
        source = sources[place]
        return self.names[source], (
            self._before[phase][source] + period * shares[source] + earlier[place]
        )

    @cached_property
    def _before(self) -> list[list[int]]:
        """Number of sequences of each source in earlier phases, per phase."""
        before = [[0] * len(self.names)]
        for i, (phase, after) in enumerate(pairwise(self.phases)):
            periods, rest = divmod((after.start - phase.start) * self.batch_size, PERIOD)
            sources, _ = _orders(self._shares[i], self.seed, i, periods)
            last = [sources[:rest].count(source) for source in range(len(self.names))]
            counts = zip(before[i], self._shares[i], last, strict=True)
            before.append([count + periods * share + more for count, share, more in counts])
        return before

    @cached_property
    def _shares(self) -> list[tuple[int, ...]]:
        """Number of sequences of each source in a period, per phase."""
        return [_shares(phase.weights, self.names) for phase in self.phases]


def _shares(weights: Mapping[str, float], names: Sequence[str]) -> tuple[int, ...]:
    """Round shares to sequences of a period by largest remainders, so that they sum exactly."""
    exact = np.array([weights.get(name, 0.0) for name in names])
    exact = exact / exact.sum() * PERIOD
    shares = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: PERIOD - int(shares.sum())]] += 1
    return tuple(shares.tolist())


@lru_cache(maxsize=64)
def _orders(
    shares: tuple[int, ...], seed: int, phase: int, period: int
) -> tuple[list[int], list[int]]:
    """Return the source of each sequence in a period, and its number within the source."""
    sources = np.repeat(np.arange(len(shares)), shares)
    key = np.frombuffer(_digest(f"{seed}/order/{phase}/{period}"), "<u8")
    random = np.random.Generator(np.random.Philox(key=key[:2]))
    # ranks of raw bits: the frozen part of numpy's random numbers
    order = sources[np.argsort(random.bit_generator.random_raw(PERIOD), kind="stable")]
    earlier = np.zeros(PERIOD, np.int64)
    for source, count in enumerate(shares):
        earlier[order == source] = np.arange(count)
    return order.tolist(), earlier.tolist()


def check_weights(weights: Mapping[str, float], known: Sequence[str]) -> None:
    """Refuse unknown sources, negative shares, and shares that do not sum to 1."""
    from ....core.errors import unknown

    for name, weight in weights.items():
        if name not in known:
            raise unknown("source", name, known)
        if not weight >= 0:
            raise InputError(f"the share of {name} is {weight}: it must be 0 or more")
    if abs(sum(weights.values()) - 1) > 1e-6:
        raise InputError(f"the shares of a mixture sum to 1, not {sum(weights.values()):g}")


def shuffled(index: int, size: int, key: str) -> int:
    """Map ``index`` by a keyed permutation of ``0 .. size-1``, without computing the others.

    A Feistel network over the next even power of two, iterated until the value is below ``size``.
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = np.frombuffer(_digest(key), "<u8").tolist()
    value = index
    while True:
        left, right = value >> half, value & mask
        for k in keys:
            mixed = (right + k) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
            mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
            left, right = right, left ^ (mixed >> 32 & mask)
        value = left << half | right
        if value < size:
            return value


def _digest(text: str) -> bytes:
    return hashlib.sha256(f"growloop/{text}".encode()).digest()
