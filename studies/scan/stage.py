"""Race of a scan: rounds of items, measured unit by unit, with candidates dropped between."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .candidates import Candidate
from .folder import ScanFolder, Unit
from .items import Floats, ProbeItems, bounded
from .measure import Meter, Scores
from .racing import Standings, contest
from .settings import Settings

GROUP = 64  # candidates of a unit: they share the layers before their blocks
EVERY = 10.0  # seconds between two messages inside of a unit
SLICE = 32  # items a probe of a unit of GROUP candidates: what a kill loses at most


@dataclass(frozen=True)
class Estimate:
    """Scores of a candidate as far as it was measured on validation items.

    Args:
        candidate: the candidate.
        items: items a probe that it was measured on.
        alive: whether it was never dropped.
        margin, accuracy: means over probes; accuracy by each probe's own metric.
        margin_gain, accuracy_gain: paired differences to the model as it is, on the same items.
        score_gain: the same of the scores that the race compares.
        better, worse: whether it differs from the model as it is, by a bet on the paired scores
            corrected for the number of candidates.
    """

    candidate: Candidate
    items: int
    alive: bool
    margin: float
    accuracy: float
    margin_gain: float
    accuracy_gain: float
    score_gain: float
    better: bool
    worse: bool


@dataclass(frozen=True)
class Stage:
    """Outcome of a race.

    Args:
        estimates: one per candidate, in their order.
        leader: the best candidate.
        items: items a probe that the survivors were measured on.
        complete: whether all items were used or one candidate was left, not the budget spent.
    """

    estimates: tuple[Estimate, ...]
    leader: Candidate
    items: int
    complete: bool

    @property
    def alive(self) -> list[Estimate]:
        """Candidates that were not dropped, the best first."""
        return [estimate for estimate in self.ranked if estimate.alive]

    @property
    def ranked(self) -> list[Estimate]:
        """All candidates: those not dropped, then those dropped later; the best of them first."""
        return sorted(self.estimates, key=lambda e: (-e.alive, -e.items, -e.score_gain))


class Racer:
    """Runner of races in a scan folder.

    Args:
        meter: the model.
        folder: folder in which units are stored.
        probes: validation items.
        settings: of the scan.
        within: whether the budget allows FLOPs on top of those that were spent.
        say: receives progress messages.
    """

    def __init__(
        self,
        meter: Meter,
        folder: ScanFolder,
        probes: Sequence[ProbeItems],
        settings: Settings,
        within: Callable[[float], bool],
        say: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.meter, self.folder, self.probes = meter, folder, probes
        self.settings, self.within, self.say = settings, within, say
        self.count = min(map(len, probes))

    def race(self, arms: Sequence[Candidate], alpha: float, title: str) -> Stage:
        """Race candidates, the model as it is first, on the validation items."""
        shape = len(arms), len(self.probes), self.count
        margins, points = np.full(shape, np.nan), np.zeros(shape)
        measured = np.zeros(len(arms), dtype=int)
        given, complete = self.settings, True
        race = contest(given.race, len(arms), self.count, alpha, given.top)
        for start, stop in _rounds(race):
            alive = np.flatnonzero(race.alive | (np.arange(len(arms)) == 0))  # gains need the first
            found = self.scores([arms[int(i)] for i in alive], start, stop, title, race, arms)
            if found is None:
                complete = False
                break
            margins[alive, :, start:stop], points[alive, :, start:stop] = found
            measured[alive] = stop
            scores = bounded(margins, points, given.measure, given.clip)
            for item in range(start, stop):
                race.add(np.nan_to_num(scores[:, :, item].mean(axis=1)))
            race.end_round()
            self._report(title, race, arms, stop)
            if race.settled:
                break
        if race.seen == 0:
            return Stage((), arms[0], 0, False)
        scores = bounded(margins, points, given.measure, given.clip)
        wins = self._wins(race, alpha)
        estimates = [
            self._estimate(arms[i], race.alive[i], measured[i], margins, points, scores, i, wins[i])
            for i in range(len(arms))
        ]
        return Stage(tuple(estimates), arms[int(race.leader)], race.seen, complete)

    def scores(
        self,
        some: Sequence[Candidate],
        start: int,
        stop: int,
        title: str = "",
        race: Standings | None = None,
        arms: Sequence[Candidate] = (),
        probes: Sequence[ProbeItems] | None = None,
        kind: str = "validation",
    ) -> tuple[Floats, Floats] | None:
        """Return margins and points of candidates, ``(candidates, probes, items)`` each.

        Args:
            start, stop: items of each probe.
            probes: the probes; by default the validation items.
            kind: name of these items, in the names of their files.

        Returns:
            None where the budget ended.
        """
        probes = self.probes if probes is None else probes
        divided = units_of(kind, some, start, stop)
        units = [unit for unit, _ in divided]
        finished: set[str] = set()

        lead = ""
        if race is not None and race.seen:
            lead = f", leading: {arms[int(race.leader)].name}"
        last = [time.monotonic()]

        def said(share: float) -> None:
            if time.monotonic() - last[0] >= EVERY:
                last[0] = time.monotonic()
                number = len(finished) + share
                self.say(f"{title}: items {start}-{stop}, {number:.1f}/{len(units)} units{lead}")

        def done(unit: Unit) -> None:
            finished.add(unit.id)
            self.say(f"{title}: items {start}-{stop}, {len(some)} candidates, "
                     f"{len(finished)}/{len(units)} units{lead}")  # fmt: skip

        found = self.folder.scores(
            units,
            lambda unit: self.meter.measure(unit.candidates, _items_of(unit, probes), said),
            self._flops,
            lambda unit: self.within(
                self.meter.expected_flops(unit.candidates, _items_of(unit, probes))
            ),
            done,
        )
        if found is None:
            return None
        margins = np.zeros((len(some), len(probes), stop - start))
        points = np.zeros(margins.shape)
        for (unit, group), part in zip(divided, found, strict=True):
            margins[group, :, unit.start - start : unit.stop - start] = part.margins
            points[group, :, unit.start - start : unit.stop - start] = part.points
        return margins, points

    def first_round_flops(self, arms: Sequence[Candidate]) -> float:
        """Return the FLOPs of the first round of a race, after which there is an answer."""
        given = self.settings
        race = contest(given.race, len(arms), self.count, given.alpha, given.top)
        return sum(
            self.meter.expected_flops(unit.candidates, _items_of(unit, self.probes))
            for unit, _ in units_of("validation", arms, *_rounds(race)[0])
        )

    def _flops(self, scores: Scores) -> float:
        return self.meter.flops(scores.layer_tokens, scores.head_tokens)

    def _report(self, title: str, race: Standings, arms: Sequence[Candidate], seen: int) -> None:
        leader = int(race.leader)
        gain = race.means[leader] - race.means[0] if race.alive[0] else np.nan
        self.say(
            f"{title}: after {seen} items a probe {int(race.alive.sum())} of {len(arms)} are left, "
            f"leading: {arms[leader].name}" + ("" if np.isnan(gain) else f" ({gain:+.3f})")
        )

    @staticmethod
    def _wins(race: Standings, alpha: float) -> list[tuple[bool, bool]]:
        """Return whether each candidate is certainly better, or worse, than the first."""
        limit = np.log(race.arms / alpha)
        pairs = zip(race.above.log, race.below.log, strict=True)
        return [(bool(above > limit), bool(below > limit)) for above, below in pairs]

    @staticmethod
    def _estimate(
        candidate: Candidate,
        alive: Any,
        seen: int,
        margins: Floats,
        points: Floats,
        scores: Floats,
        i: int,
        wins: tuple[bool, bool],
    ) -> Estimate:
        def gain(values: Any) -> float:
            return float((values[i, :, :seen] - values[0, :, :seen]).mean())

        return Estimate(
            candidate,
            int(seen),
            bool(alive),
            float(margins[i, :, :seen].mean()),
            float(points[i, :, :seen].mean()),
            gain(margins),
            gain(points),
            gain(scores),
            *wins,
        )


def units_of(
    kind: str, some: Sequence[Candidate], start: int, stop: int
) -> list[tuple[Unit, list[int]]]:
    """Divide candidates and items into units, each with the indices of its candidates."""
    order = sorted(range(len(some)), key=lambda i: some[i].schedule.layers)
    groups = [order[i : i + GROUP] for i in range(0, len(order), GROUP)]
    return [
        (Unit(kind, a, b, tuple(some[i] for i in group)), group)
        for a, b in _slices(start, stop, len(some))
        for group in groups
    ]


def _slices(start: int, stop: int, arms: int) -> list[tuple[int, int]]:
    size = SLICE * max(1, GROUP // arms)  # few candidates: examples are shared by more
    return [(a, min(a + size, stop)) for a in range(start, stop, size)]


def _rounds(race: Standings) -> list[tuple[int, int]]:
    """Return the rounds of a race; without drops a slice each, so a budget may end anywhere."""
    rounds = race.rounds()
    return _slices(*rounds[0], race.arms) if len(rounds) == 1 else rounds


def _items_of(unit: Unit, probes: Sequence[ProbeItems]) -> list[ProbeItems]:
    return [replace(probe, items=probe.items[unit.start : unit.stop]) for probe in probes]
