"""Settings of a scan, and their checks before the slow part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import InputError, one_of, whole
from ...core.statistics import check_items
from .candidates import EDITS, KV, OWN, PLAIN, candidates, recurrence_of
from .items import CLIP, MEASURES
from .probes import LONGEST
from .racing import BETS, RACES

LARGEST = 8  # layers of the largest block, by default; all sizes of a model of fewer
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Settings:
    """Options of a scan; all but ``budget``, ``guards`` and ``text`` decide its numbers.

    Args:
        probes: tasks, groups or JSON Lines files; by default the reasoning primitives.
        items: validation items a probe, which candidates are chosen on.
        test_items: test items a probe, which the choice is reported on.
        shots: examples before each question of growloop's own tasks.
        fixed_shots: the same examples before all questions: cheaper.
        seed: seed that draws items and examples.
        edits: of ``repeat``, ``skip`` and ``swap``.
        max_block: largest block; None for all sizes.
        repeats: numbers of extra passes.
        applied: ways to apply a repeat: ``plain``, ``damped:SHARE``, ``substeps``.
        kv: keys and values of the passes of a repeat: ``own``, ``shared``, or both.
        max_gen_toks: most tokens of a generated answer.
        normalise: compare options of growloop's own tasks by log-probability a character, as
            lm-eval's ``acc_norm``; other tasks are compared by their own metric.
        measure: score of a race: ``margin`` or ``accuracy``.
        clip: largest margin that counts, in nats.
        race: ``bets``, which states its error; ``halving``, which states its cost; ``none``
            measures all candidates on all items.
        top: number of the best candidates that the race keeps.
        alpha: probability that the races together drop one of the best, with ``bets``.
        beam: blocks that are combined, and combinations kept at each level; 0 for no combinations.
        blocks: most blocks of a combination.
        max_extra_layers: most extra layer forwards of a combination; None for twice ``max_block``.
        report: number of best candidates measured on test items; p-values are Holm-corrected.
        allow_chance: scan although the model guesses on a probe.
        text: file of documents for held-out negative log-likelihood.
        documents, tokens: how many of its documents, and the tokens that each is cut to.
        guards: lm-eval tasks to score without and with the chosen repeat.
        guard_limit: most questions of a guard task.
        budget: seconds, or FLOPs, after which the search stops; ``20m``, ``2e15flops``.
    """

    probes: tuple[str, ...] = ()
    items: int = 200
    test_items: int = 500
    shots: int = 5
    fixed_shots: bool = False
    seed: int = 0
    edits: tuple[str, ...] = ("repeat",)
    max_block: int | None = LARGEST
    repeats: tuple[int, ...] = (1,)
    applied: tuple[str, ...] = (PLAIN,)
    kv: tuple[str, ...] = (OWN,)
    max_gen_toks: int = LONGEST
    normalise: bool = False
    measure: str = "margin"
    clip: float = CLIP
    race: str = BETS
    top: int = 1
    alpha: float = 0.05
    beam: int = 4
    blocks: int = 3
    max_extra_layers: int | None = None
    report: int = 1
    allow_chance: bool = False
    text: str | None = None
    documents: int = 32
    tokens: int = 256
    guards: tuple[str, ...] = ()
    guard_limit: int = 500
    budget: str | None = None

    def __post_init__(self) -> None:
        for name in ("probes", "edits", "applied", "kv", "guards"):
            if isinstance(value := getattr(self, name), str):  # one name, from Python
                object.__setattr__(self, name, (value,))
        for name in ("items", "test_items"):
            check_items(whole(name, getattr(self, name), 1, 10**6))
        whole("shots", self.shots, 0, 10**5)
        whole("seed", self.seed, 0)
        for edit in self.edits:
            one_of("edit", edit, EDITS)
        for way in self.applied:
            recurrence_of(way)
        for kind in self.kv:
            one_of("keys and values of a repeat", kind, KV)
        whole("--max-gen-toks", self.max_gen_toks, 1, 10**5)
        one_of("measure", self.measure, MEASURES)
        one_of("race", self.race, RACES)
        whole("--top", self.top, 1, 1000)
        if not 0 < self.clip <= 100:
            raise InputError(f"--clip is in nats, above 0 and up to 100, not {self.clip}")
        if not 0 < self.alpha < 1:
            raise InputError(f"--alpha is a probability between 0 and 1, not {self.alpha}")
        whole("beam", self.beam, 0, 1000)
        whole("blocks", self.blocks, 1, 100)
        if self.max_extra_layers is not None:
            whole("--max-extra-layers", self.max_extra_layers, 1)
        whole("report", self.report, 1, 1000)
        whole("--guard-items", self.guard_limit, 1)
        parse_budget(self.budget)

    @property
    def most_extra(self) -> int:
        """Most extra layer forwards of a combination."""
        return self.max_extra_layers or 2 * (self.max_block or LARGEST)

    def listed(self, base: Any) -> Sequence[Any]:
        """Return the candidates of the first stage."""
        # the default must not refuse a model of fewer layers
        largest = None if self.max_block == LARGEST and len(base) < LARGEST else self.max_block
        return candidates(base, self.edits, largest, self.repeats, self.applied, self.kv)


def parse_budget(text: str | None) -> tuple[float | None, float | None]:
    """Parse a budget into seconds and FLOPs; None for no limit.

    >>> parse_budget("20m"), parse_budget("2e15flops")
    ((1200.0, None), (None, 2000000000000000.0))

    Raises:
        InputError: neither a time nor a number of FLOPs.
    """
    if text is None:
        return None, None
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\+?\d+)?)\s*(s|m|h|flops)", text.strip().lower())
    if not match or not 0 < float(match[1]) < 1e30:
        raise InputError(f"a budget is a time or FLOPs, such as 20m or 2e15flops, not {text!r}")
    number, unit = float(match[1]), match[2]
    return (None, number) if unit == "flops" else (number * UNITS[unit], None)
