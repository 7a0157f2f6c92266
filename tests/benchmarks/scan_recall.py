"""Recall of races against their budget, from the scores of a scan without a race.

``python tests/benchmarks/scan_recall.py MODEL FOLDER [--picture FILE]`` reads the validation scores
of ``growloop scan MODEL --race none --out FOLDER``. Each simulated scan draws ``--count`` of these
items without replacement, as another item seed would, and races on them. Printed are

- kept: share of scans that keep the best, and the three best, of their own items to the end;
- recovered: share of scans whose final three are the three best on all items of the folder, and
  how many of these three are among them on average;
- cost: layer forwards times tokens, counted as a scan groups them, against lm-eval's ``hf`` scoring
  each candidate by itself on as many items.

No model runs. A ``--count`` above the items of the folder draws with replacement. A folder whose
scan goes on counts as far as all candidates were measured. Of candidates that a race dropped, the
other scores are drawn from their own, shifted by the mean score of the candidates that have all
items.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from growloop.studies.checkpoints import ModelLoader, StudyModel
from growloop.studies.measure import charts
from growloop.studies.scan import probes
from growloop.studies.scan.items import bounded, requests
from growloop.studies.scan.measure import rows_alone
from growloop.studies.scan.program import ProgramTrie, program
from growloop.studies.scan.racing import Halving, Race, Standings
from growloop.studies.scan.settings import Settings
from growloop.studies.scan.stage import GROUP, SLICE
from growloop.tasks.questions import scorer
from growloop.tasks.scoring.trie import build
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TOP = 3
SHARES = ("best", "three", "recovered", "of the three")
SIZES = [1, 8, 32, 64]  # items a probe for which tokens are counted
COUNTED = 3  # scans of which the cost is counted, which takes longer than racing


def read_scores(folder: Path, names: Sequence[str], clip: float, raced: bool) -> Floats:
    """Return the scores that a race compares, ``(candidates, items)``; NaN where none is stored.

    Args:
        raced: whether candidates were dropped; if not, only items that all were measured on count.
    """
    found: dict[tuple[str, int], float] = {}
    for file in sorted((folder / "scores").glob("validation-*.json")):
        unit = json.loads(file.read_text())
        margins = np.array(unit["margins"])
        scores = bounded(margins, margins > 0, "margin", clip).mean(axis=1)
        for name, row in zip(unit["candidates"], scores, strict=True):
            found |= {(name, unit["start"] + i): value for i, value in enumerate(row)}
    count = 1 + max(item for _, item in found)
    scores = np.array([[found.get((name, i), np.nan) for i in range(count)] for name in names])
    return scores if raced else scores[:, ~np.isnan(scores).any(axis=0)]


def drawn(scores: Floats, count: int, random: np.random.Generator) -> Floats:
    """Draw ``count`` items in random order, ``(candidates, count)``: all where there are enough."""
    there = ~np.isnan(scores)
    whole = there.all(axis=1)
    size = scores.shape[1]
    items = random.permutation(size)[:count] if size >= count else random.integers(0, size, count)
    found = scores[:, items]
    level = scores[whole].mean(axis=0)  # of each item
    for row, own in zip(found, scores, strict=True):
        missing = np.isnan(row)
        other = random.choice(np.flatnonzero(~np.isnan(own)), missing.sum())
        row[missing] = np.clip(own[other] - level[other] + level[items[missing]], 0, 1)
    return found


class Costs:
    """Layer forwards times tokens, of a scan and of lm-eval.

    Args:
        model: the model.
        settings: of the scan.
        fixed: whether all questions have the same examples.
    """

    def __init__(self, model: str, settings: Settings, tasks: Sequence[str], fixed: bool) -> None:
        lm = scorer(*ModelLoader("bfloat16", "cpu", print)(model))
        names = probes.probe_names(tasks)
        self.items = probes.load_items(
            lm, names, "validation", SIZES[-1], settings.seed, settings.shots, fixed
        )
        self.base = StudyModel.read(model).schedule
        self.arms = settings.listed(self.base)
        self.programs = {arm.name: program(arm.schedule) for arm in self.arms}
        self.trie = [self._trie(size) for size in SIZES]
        rows = rows_alone([item for probe in self.items for item in probe.items])
        alone = rows * sum(len(arm.schedule) for arm in self.arms)
        self.alone = alone * settings.items / SIZES[-1]
        self.baseline = self.round(["plain"], settings.items)

    def _trie(self, size: int) -> int:
        return len(build([r for p in self.items for r in requests(p.items[:size])]))

    @cache  # noqa: B019  there are two of these
    def _steps(self, names: tuple[str, ...]) -> int:
        some = sorted(self.programs[name] for name in names)
        groups = [some[i : i + GROUP] for i in range(0, len(some), GROUP)]
        base = self.programs["plain"]
        return sum(ProgramTrie.build(base, group).layer_steps for group in groups)

    def round(self, names: Sequence[str], items: int) -> float:
        """Return the cost of a round, in the units that a scan divides it into."""
        size = SLICE * max(1, GROUP // len(names))
        parts = [min(size, items - start) for start in range(0, items, size)]
        return sum(map(self._tokens, parts)) * self._steps(tuple(names))

    def _tokens(self, items: int) -> float:
        """Return the nodes of the trie of some items a probe, beyond SIZES by its last slope."""
        slope = (self.trie[-1] - self.trie[-2]) / (SIZES[-1] - SIZES[-2])
        beyond = max(0, items - SIZES[-1])
        return float(np.interp(items, SIZES, self.trie)) + slope * beyond


def raced(race: Standings, scores: Floats, names: Sequence[str]) -> list[tuple[list[str], int]]:
    """Run a race on some scores; return the candidates and the number of items of each round."""
    found = []
    for start, stop in race.rounds():
        measured = race.alive | (np.arange(race.arms) == 0)
        found.append(([names[i] for i in np.flatnonzero(measured)], stop - start))
        for item in range(start, stop):
            race.add(scores[:, item])
        race.end_round()
        if race.settled:
            break
    return found


def kinds(arms: int, count: int, alpha: float) -> dict[str, Callable[[], Standings]]:
    """Name -> race, from cheap to expensive."""
    found: dict[str, Callable[[], Standings]] = {}
    for first in (2, 3, 4, 5, 6, 8, 12, 24, 48):
        found[f"halving, first {first}"] = lambda first=first: Halving(
            arms, count, TOP, first=first
        )
    for top in (1, TOP):
        found[f"bets, top {top}"] = lambda top=top: Race(arms, count, alpha, top)
    found["none"] = lambda: Standings(arms, count)
    return found


def top_of(values: Floats) -> list[int]:
    """Return the indices of the best candidates."""
    return np.argsort(-values, kind="stable")[:TOP].tolist()  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--count", type=int, help="items a probe of a scan; by default the folder's"
    )
    parser.add_argument("--scans", type=int, default=100)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    about = json.loads((given.folder / "scan.json").read_text())
    was_raced = about["options"].get("race", "bets") != "none"
    names = [arm.name for arm in Settings().listed(StudyModel.read(given.model).schedule)]
    scores = read_scores(given.folder, names, about["options"]["clip"], was_raced)
    given.count = given.count or scores.shape[1]
    settings = Settings(items=given.count)
    costs = {
        name: Costs(given.model, settings, about["probes"], fixed)
        for name, fixed in (("one set", True), ("drawn", False))
    }
    counts = (~np.isnan(scores)).sum(axis=1)
    print(f"{len(names)} candidates, measured on {counts.min()} to {counts.max()} items a probe; "
          f"scans of {given.count}")  # fmt: skip
    wanted = set(top_of(np.nanmean(scores, axis=1)))
    random = np.random.default_rng(0)
    orders = [drawn(scores, given.count, random) for _ in range(given.scans)]
    alpha = settings.alpha / settings.blocks
    rows = []
    for name, make in kinds(len(names), given.count, alpha).items():
        kept, fewer, recovered = [], [], []
        for number, order in enumerate(orders):
            race = make()
            done = raced(race, order, names)
            if number < COUNTED:
                fewer.append([
                    c.alone / (c.baseline + sum(c.round(*part) for part in done))
                    for c in costs.values()
                ])  # fmt: skip
            best = top_of(order.sum(axis=1))
            kept.append((race.alive[best[0]], race.alive[best].all()))
            final = wanted & set(top_of(np.where(race.alive, race.sums, -np.inf)))
            recovered.append((len(final) == TOP, len(final)))
        ratios = dict(zip(costs, np.mean(fewer, axis=0).tolist(), strict=True))
        shares = np.concatenate([np.mean(kept, axis=0), np.mean(recovered, axis=0)]).tolist()
        row = {"race": name, **dict(zip(SHARES, shares, strict=True)), **ratios}
        rows.append(row)
        print(f"| {name} | {' | '.join(f'{row[share]:.2f}' for share in SHARES)} | "
              f"{ratios['one set']:.0f} × | {ratios['drawn']:.1f} × |", flush=True)  # fmt: skip
    if given.picture:
        print(charts.save(chart(rows), str(given.picture)))


def chart(rows: Sequence[dict[str, float | str]]) -> object:
    """Draw recall against the budget, for both kinds of examples."""
    alt = charts.altair()
    values = [
        {"race": str(row["race"]).split(",")[0], "recall": row["three"], "fewer": row[kind],
         "examples": label}
        for row in rows
        for kind, label in (("one set", "one set of examples"), ("drawn", "drawn examples"))
    ]  # fmt: skip
    base = alt.Chart(charts.rows(values)).encode(
        x=alt.X("fewer:Q", scale=alt.Scale(type="log"),
                title="times fewer layer forwards × tokens than lm-eval"),
        y=alt.Y("recall:Q", scale=alt.Scale(domain=[0, 1]),
                title="scans that keep the three best"),
        color=alt.Color("examples:N", scale=alt.Scale(range=list(charts.COLOURS[:2])), title=None),
    )  # fmt: skip
    line = base.transform_filter("datum.race == 'halving'").mark_line()
    shape = alt.Shape("race:N", title=None)
    return (line + base.mark_point(filled=True, size=40).encode(shape=shape)).properties(
        width=420, height=240
    )


if __name__ == "__main__":
    main()
