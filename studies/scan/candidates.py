"""Candidates of a scan: edits of a model's own schedule, and how a repeat is applied.

A candidate is a schedule plus a :class:`Recurrence`, so whatever wins can be saved as a looped
checkpoint. Blocks count steps of the model's own schedule; of a plain model these are its layers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ...core.errors import InputError, one_of, whole
from ...models import Recurrence, Schedule

EDITS = ("repeat", "skip", "swap")
PLAIN, SUBSTEPS = "plain", "substeps"
OWN, SHARED = KV = ("own", "shared")
DAMPED = re.compile(r"damped:(0?\.\d+|1(?:\.0*)?)")


@dataclass(frozen=True)
class Candidate:
    """Model under a changed schedule.

    Args:
        name: what is changed, e.g. ``repeat 6:10``; unique within a scan.
        edit: ``none``, ``repeat``, ``skip``, ``swap`` or ``combination``.
        schedule: schedule it runs by.
        blocks: ``(start, stop, extra passes)`` of each edited block; extra passes are -1 for a
            skipped block and 0 for a swapped one.
        applied: how a repeat is applied: ``plain``, ``damped:SHARE`` or ``substeps``.
        kv: whether each pass of a repeat keeps keys and values of its ``own``, or the last pass's
            are ``shared``, which later tokens of a generated text read.
    """

    name: str
    edit: str
    schedule: Schedule
    blocks: tuple[tuple[int, int, int], ...] = ()
    applied: str = PLAIN
    kv: str = OWN

    @property
    def recurrence(self) -> Recurrence:
        """Settings of the looped model that computes this candidate."""
        found = recurrence_of(self.applied)
        return replace(found, kv_sharing="last") if self.kv == SHARED else found

    @property
    def stacks(self) -> bool:
        """True if a plain model of stacked layers computes the same."""
        return self.applied == PLAIN and self.kv == OWN

    @property
    def identity(self) -> list[str]:
        """Computation of the candidate, as names of units hash it."""
        return [str(self.schedule), self.applied, *([] if self.kv == OWN else [self.kv])]


def recurrence_of(applied: str) -> Recurrence:
    """Parse how a repeat is applied.

    >>> recurrence_of("damped:0.5").damping, recurrence_of("substeps").substeps
    (0.5, True)

    Raises:
        InputError: none of ``plain``, ``damped:SHARE`` and ``substeps``.
    """
    if match := DAMPED.fullmatch(applied):
        return Recurrence(damping=float(match[1]))
    if applied.startswith("damped"):
        raise InputError(f"a damped repeat is damped:SHARE, e.g. damped:0.5, not {applied}")
    one_of("way to apply a repeat", applied, (PLAIN, SUBSTEPS, "damped:SHARE"))
    return Recurrence(substeps=applied == SUBSTEPS)


def own(base: Schedule) -> Candidate:
    """Return the candidate that changes nothing."""
    return Candidate("plain", "none", base)


def candidates(
    base: Schedule,
    edits: Sequence[str] = ("repeat",),
    max_block: int | None = 8,
    repeats: Sequence[int] = (1,),
    applied: Sequence[str] = (PLAIN,),
    kv: Sequence[str] = (OWN,),
) -> list[Candidate]:
    """List the candidates of the first stage, the model as it is first.

    Args:
        base: the model's own schedule.
        edits: kinds of edits, of ``repeat``, ``skip`` and ``swap``.
        max_block: largest block in steps; None for all sizes.
        repeats: numbers of extra passes of a repeated block.
        applied: ways to apply a repeat.
        kv: of ``own`` and ``shared``: keys and values of the passes of a repeat.

    Raises:
        InputError: a model of one layer, a block larger than the model, or a bad option.

    >>> [c.name for c in candidates(Schedule.plain(2), max_block=2)]
    ['plain', 'repeat 0:1', 'repeat 0:2', 'repeat 1:2']
    """
    depth = len(base)
    if depth < 2:
        raise InputError("a scan compares blocks of layers, and this model runs one layer")
    if max_block is not None and whole("--max-block", max_block, 1) > depth:
        raise InputError(f"a block of {max_block} layers is larger than the model, which runs "
                         f"{depth}")  # fmt: skip
    if not edits:
        raise InputError("nothing to search: give --edits repeat, skip or swap")
    for edit in edits:
        one_of("edit", edit, EDITS)
    for times in repeats:
        whole("repeats", times, 1, 1000)
    for way in applied:
        recurrence_of(way)
    if not kv:
        raise InputError("a repeat needs keys and values: give --kv own, shared, or both")
    for kind in kv:
        one_of("keys and values of a repeat", kind, KV)
    listed = [own(base)]
    blocks = list(_blocks(depth, max_block or depth))
    if "repeat" in edits:
        for times in dict.fromkeys(repeats):
            for way, kind in itertools.product(dict.fromkeys(applied), dict.fromkeys(kv)):
                listed += [repeat(base, start, stop, times, way, kind) for start, stop in blocks]
    if "skip" in edits:
        listed += [
            Candidate(f"skip {i}:{j}", "skip", base.skip(i, j), ((i, j, -1),))
            for i, j in blocks
            if j - i < depth
        ]
    if "swap" in edits:  # a block with the next one of its size
        listed += [
            Candidate(
                f"swap {i}:{j} and {j}:{2 * j - i}", "swap", base.swap(i, j, j - i),
                ((i, j, 0), (j, 2 * j - i, 0)),
            )
            for i, j in blocks
            if 2 * j - i <= depth
        ]  # fmt: skip
    return _unique(listed)


def repeat(
    base: Schedule,
    start: int,
    stop: int,
    times: int = 1,
    applied: str = PLAIN,
    kv: str = OWN,
) -> Candidate:
    """Repeat a block right after itself, ``times`` extra passes."""
    return combination(base, [(start, stop, times)], applied, kv)


def combination(
    base: Schedule,
    blocks: Sequence[tuple[int, int, int]],
    applied: str = PLAIN,
    kv: str = OWN,
) -> Candidate:
    """Repeat several disjoint blocks.

    Raises:
        InputError: blocks that overlap.
    """
    ordered = sorted(blocks)
    for (_, stop, _), (start, _, _) in itertools.pairwise(ordered):
        if start < stop:
            raise InputError("combined blocks overlap")
    schedule = base
    for start, stop, times in reversed(ordered):  # so that earlier steps keep their numbers
        schedule = schedule.repeat(start, stop, times)
    parts = [f"{i}:{j}" + (f" x{times}" if times > 1 else "") for i, j, times in ordered]
    ways = [*([] if applied == PLAIN else [applied]), *([] if kv == OWN else [f"{kv} KV"])]
    name = f"repeat {' + '.join(parts)}" + (f" ({', '.join(ways)})" if ways else "")
    edit = "repeat" if len(ordered) == 1 else "combination"
    return Candidate(name, edit, schedule, tuple(ordered), applied, kv)


def _blocks(depth: int, largest: int) -> Iterator[tuple[int, int]]:
    for start in range(depth):
        for stop in range(start + 1, min(depth, start + largest) + 1):
            yield start, stop


def _unique(listed: Sequence[Candidate]) -> list[Candidate]:
    """Drop candidates that compute the same as an earlier one (repeats of a looped model)."""
    seen: dict[tuple[str, ...], Candidate] = {}
    for candidate in listed:
        seen.setdefault(tuple(candidate.identity), candidate)
    return list(seen.values())
