"""How long a scan takes against lm-eval's ``hf`` scoring each candidate by itself.

``python tests/benchmarks/scan_speed.py MODEL FOLDER`` times both sides in turn in one process, with
one set of examples for all questions and with drawn ones:

- theirs: the plain model and two candidates on a few questions. What a candidate costs does not
  depend on the others, so all candidates on all items are computed from it: seconds of a layer
  forward of a token, times layer forwards times tokens.
- ours: two units as a scan divides its work, some candidates on the items of a first round and the
  last candidates on those of the last. A race is computed from it: seconds of a layer forward of a
  token of the two kinds, times layer forwards times tokens of its rounds.

Which candidates a race drops is read from FOLDER, that of a scan with ``--race none`` (see
``scan_recall.py``). Printed are seconds by the clock and of the processor, which differ where other
programs run. Loading the model and tokenizing, which both sides do once, are left out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from growloop.studies.checkpoints import ModelLoader, StudyModel
from growloop.studies.scan import probes
from growloop.studies.scan.candidates import Candidate
from growloop.studies.scan.items import ProbeItems, requests
from growloop.studies.scan.measure import Meter, rows_alone
from growloop.studies.scan.racing import Halving, Race, Standings
from growloop.studies.scan.settings import Settings
from growloop.studies.scan.stage import units_of
from growloop.tasks.questions import scorer
from growloop.tasks.scoring.scorer import TrieLM
from numpy.typing import NDArray
from scan_recall import TOP, Costs, drawn, raced, read_scores

Times = NDArray[np.float64]  # seconds by the clock, seconds of the processor


def timed(function: Callable[[], Any]) -> tuple[Times, Any]:
    """Return the seconds of a call, and what it returned."""
    start = time.perf_counter(), time.process_time()
    found = function()
    return np.array([time.perf_counter() - start[0], time.process_time() - start[1]]), found


def some_of(loaded: Sequence[ProbeItems], count: int) -> list[ProbeItems]:
    """Return the first items of each probe."""
    return [ProbeItems(p.name, p.split, p.chance, p.items[:count]) for p in loaded]


def theirs(
    lm: TrieLM, arms: Sequence[Candidate], loaded: Sequence[ProbeItems], batch: int
) -> tuple[Times, int]:
    """Score candidates by lm-eval; return seconds, and layer forwards times tokens."""
    items = [item for probe in loaded for item in probe.scored]
    pairs: Any = [(None, *pair) for pair in requests(items)]
    seconds, cost = np.zeros(2), 0
    for arm in arms:
        with lm.model.scheduled(arm.schedule), lm._batches_of(batch):
            score = super(TrieLM, lm)._loglikelihood_tokens
            spent, _ = timed(lambda score=score: score(pairs, True, batch))
        seconds += spent
        cost += rows_alone(items) * len(arm.schedule)
    return seconds, cost


def ours(
    meter: Meter, arms: Sequence[Candidate], loaded: Sequence[ProbeItems]
) -> tuple[Times, int]:
    """Measure candidates in one pass; return seconds, and layer forwards times tokens."""
    seconds, found = timed(lambda: meter.measure(arms, loaded))
    return seconds, found.layer_tokens


def races(arms: int, count: int, alpha: float) -> dict[str, Callable[[], Standings]]:
    """Name -> race."""
    found: dict[str, Callable[[], Standings]] = {
        f"halving, first {first}": lambda first=first: Halving(arms, count, TOP, first=first)
        for first in (5, 6, 8, 12, 24)
    }
    return {
        **found,
        "bets, top 1": lambda: Race(arms, count, alpha, 1),
        f"bets, top {TOP}": lambda: Race(arms, count, alpha, TOP),
        "none": lambda: Standings(arms, count),
    }


def main() -> None:
    """Time both sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=2, help="a probe, for lm-eval")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="of lm-eval's backend")
    parser.add_argument("--few", type=int, default=12, help="candidates of our first unit")
    parser.add_argument("--count", type=int, default=200, help="items a probe of a whole scan")
    args = parser.parse_args()
    about = json.loads((args.folder / "scan.json").read_text())
    settings = Settings(items=args.count)
    base = StudyModel.read(args.model).schedule
    arms = list(settings.listed(base))
    names = [arm.name for arm in arms]
    was_raced = about["options"].get("race", "bets") != "none"
    scores = read_scores(args.folder, names, about["options"]["clip"], was_raced)
    orders = [drawn(scores, args.count, np.random.default_rng(seed)) for seed in range(3)]
    lm = scorer(*ModelLoader("bfloat16", "cpu", print)(args.model))
    meter = Meter(lm)
    # the units of a first round lie together in the tree of layers, as those of a scan do
    first = list(units_of("validation", arms, 0, 1)[-1][0].candidates[: args.few])
    last = [arms[0], *(arms[int(i)] for i in np.argsort(-np.nanmean(scores, axis=1))[: 2 * TOP])]
    for fixed in (True, False):
        label = "one set of examples" if fixed else "drawn examples"
        tasks = probes.probe_names(about["probes"])
        loaded = probes.load_items(lm, tasks, "validation", 64, 0, settings.shots, fixed)
        costs = Costs(args.model, settings, about["probes"], fixed)
        spent = {kind: np.zeros(3) for kind in ("theirs", "first", "last")}
        meter.measure(arms[:1], some_of(loaded, 8))  # warms up, and checks the model
        for _ in range(args.rounds):
            parts = {
                "theirs": theirs(lm, [arms[0], *last[1:3]], some_of(loaded, args.questions),
                                 args.batch),
                "first": ours(meter, first, some_of(loaded, 5)),
                "last": ours(meter, last, some_of(loaded, 8 if fixed else 4)),
            }  # fmt: skip
            for kind, (seconds, cost) in parts.items():
                spent[kind] += *seconds, cost
        for kind, total in spent.items():
            rate = total[:2] / total[2] * 1e6
            print(f"{label}, {kind}: {rate[0]:.1f} µs a layer forward of a token by the clock, "
                  f"{rate[1]:.1f} of the processor, of {total[2]:,.0f}", flush=True)  # fmt: skip
        speed = {kind: total[:2] / total[2] for kind, total in spent.items()}
        alone = costs.alone * speed["theirs"]
        print(f"{label}: lm-eval {alone[0] / 3600:.1f} h by the clock, {alone[1] / 3600:.1f} h of "
              "the processor (computed)", flush=True)  # fmt: skip
        for name, make in races(len(arms), args.count, settings.alpha / settings.blocks).items():
            totals = []
            for order in orders:
                done = raced(make(), order, names)
                early = sum(costs.round(*part) for part in done[:1])
                late = costs.baseline + sum(costs.round(*part) for part in done[1:])
                totals.append(early * speed["first"] + late * speed["last"])
            seconds = np.mean(totals, axis=0)
            ratios = alone / seconds
            print(f"| {name} | {seconds[0]:.0f} s | {seconds[1]:.0f} s | {ratios[0]:.0f} × | "
                  f"{ratios[1]:.0f} × |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
