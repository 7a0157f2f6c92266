"""Measurement of candidates on items: margins, correctness and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...core.errors import InputError
from ...core.positions import regimes
from ...models import Recurrence, Schedule, cost, loop
from ...models.looping.config import current_schedule
from ...tasks.scoring.trie import build
from ...tasks.scoring.verify import TRIED, agree, in_full_precision, probes
from .candidates import Candidate, own, repeat
from .forward import ProgramScan
from .generation import generated_points
from .items import CLIP, Floats, Item, Pair, ProbeItems, margins_of, requests, score
from .program import ProgramTrie, program

if TYPE_CHECKING:
    from ...tasks.scoring.scorer import TrieLM


@dataclass(frozen=True)
class Scores:
    """Scores of candidates on items of several probes.

    Args:
        margins: nats, ``(candidates, probes, items)``.
        points: 1 for a right answer and 0 for a wrong one, or the points of a generated answer by
            the task's metric; ``(candidates, probes, items)``.
        layer_tokens: layer forwards times tokens that were run.
        head_tokens: tokens that the head ran on.
        alone: layer forwards times tokens if lm-eval's ``hf`` scored each candidate by itself.
    """

    margins: Floats
    points: Floats
    layer_tokens: int
    head_tokens: int
    alone: int


class Meter:
    """Model that candidates are measured on.

    Args:
        lm: the scorer of the model, which is looped in place by its own schedule.
        clip: largest margin that counts, in nats: that of a right generated answer.

    Attributes:
        base: the model's own schedule.

    Raises:
        InputError: a model with a recurrence of its own, or whose layers cannot be scanned.
    """

    def __init__(self, lm: TrieLM, clip: float = CLIP) -> None:
        self.lm, self.model, self.clip = lm, lm.model, clip
        recurrence = getattr(self.model, "recurrence", None) or Recurrence()
        if recurrence.to_dict():
            raise InputError(
                f"this model's loops have settings ({recurrence.to_dict()}): a scan "
                "needs a model without"
            )
        self.base: Schedule = current_schedule(self.model)
        loop(self.model)
        self.scan = ProgramScan(self.model, program(self.base), lm.pack)
        self._verified = False

    def measure(
        self,
        some: Sequence[Candidate],
        probes: Sequence[ProbeItems],
        progress: Callable[[float], object] = lambda share: None,
    ) -> Scores:
        """Measure candidates on all items of some probes: in one pass, but for generated answers.

        Args:
            progress: called with the share of the work that is done.
        """
        scored = [item for probe in probes for item in probe.scored]
        written = [item for probe in probes for item in probe.generated]
        done, kinds = [0.0], bool(scored) + bool(written)

        def report(share: float) -> None:
            done[0] += share / kinds
            progress(done[0])

        margins = np.zeros((len(some), len(probes), len(probes[0])))
        points, cost = np.zeros(margins.shape), np.zeros(3, dtype=np.int64)
        if scored:
            at = [i for i, probe in enumerate(probes) if probe.scored]
            parts, spent = self._score(some, scored, report)
            shape = len(some), len(at), -1
            margins[:, at], points[:, at] = (part.reshape(shape) for part in parts)
            cost += spent
        if written:
            at = [i for i, probe in enumerate(probes) if probe.generated]
            found, run = generated_points(self.lm, self.base, some, written, report)
            points[:, at] = found.reshape(len(some), len(at), -1)
            margins[:, at] = margins_of(points[:, at], self.clip)
            cost += run.layers, run.head, run.alone
        return Scores(margins, points, *map(int, cost))

    def _score(
        self,
        some: Sequence[Candidate],
        items: Sequence[Item],
        progress: Callable[[float], object],
    ) -> tuple[tuple[Floats, Floats], tuple[int, int, int]]:
        """Score candidates by log-probabilities, in one pass.

        Returns:
            Margins and points, ``(candidates, items)`` each, and the cost as in :class:`Scores`.
        """
        pairs = requests(items)
        self._verify(pairs)
        before = self.scan.layer_tokens, self.scan.head_tokens
        programs = [program(c.schedule, c.recurrence) for c in some]
        totals, greedy = self.scan.run(build(pairs), programs, progress)
        alone = rows_alone(items) * sum(len(candidate.schedule) for candidate in some)
        layer_tokens, head_tokens = self.scan.layer_tokens, self.scan.head_tokens
        cost = layer_tokens - before[0], head_tokens - before[1], alone
        return score(totals, greedy, items), cost

    def expected_flops(self, some: Sequence[Candidate], probes: Sequence[ProbeItems]) -> float:
        """Return the FLOPs of a measurement before it is made; those of generated answers at most.

        Args:
            some, probes: as for :meth:`measure`.
        """
        layer_tokens = head_tokens = 0
        if scored := [item for probe in probes for item in probe.scored]:
            trie = build(requests(scored))
            programs = [program(c.schedule, c.recurrence) for c in some]
            steps = ProgramTrie.build(self.scan.base, programs).layer_steps
            predicting = len(np.unique(trie.places[trie.predicted(0, len(trie))]))
            layer_tokens, head_tokens = steps * len(trie), predicting * len(some)
        for item in (item for probe in probes for item in probe.generated):
            prompt, new = len(self.lm.tok_encode(item.request.args[0])), item.longest
            layer_tokens += (prompt + new) * sum(len(c.schedule) for c in some)
            head_tokens += new * len(some)
        return self.flops(layer_tokens, head_tokens)

    @torch.inference_mode()
    def _verify(self, pairs: Sequence[Pair]) -> None:
        """Compare a few requests with whole forward passes of the looped model, in float32.

        Raises:
            InputError: they differ, or positions depend on the length of a text.
        """
        if self._verified:
            return
        if regimes(self.model) is not None:
            raise InputError(
                "positions of this model depend on the length of a text: its candidates cannot be "
                "scanned together"
            )
        shortest = min(pairs, key=lambda pair: len(pair[0]) + len(pair[1]))
        longest = max(pairs, key=lambda pair: len(pair[0]) + len(pair[1]))
        few = [*probes([shortest], self.lm.max_length)[:9], longest]
        tried = [own(self.base), repeat(self.base, 0, 1)]
        name = type(self.model).__name__
        with in_full_precision(self.model):
            exact = self.model.dtype == torch.float32
            expected = [
                [self._alone(pair, candidate.schedule) for pair in few] for candidate in tried
            ]
            # packs so small that they go on where others end
            budget, self.scan.budget = self.scan.budget, TRIED
            try:
                totals, greedy = self.scan.run(build(few), [program(c.schedule) for c in tried])
            except InputError:
                raise
            except Exception as error:  # layers refuse masks and positions by any exception
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise InputError(
                    f"the layers of {name} cannot be run apart, so this architecture cannot be "
                    f"scanned: {reason}"
                ) from error
            finally:
                self.scan.budget = budget
        found = [list(zip(*row, strict=True)) for row in zip(totals, greedy, strict=True)]
        if not agree(found, expected, few, exact):
            raise InputError(
                f"the layers of {name} do not score apart as they do in a forward pass: this "
                "architecture cannot be scanned"
            )
        self._verified = True

    def _alone(self, pair: Pair, schedule: Schedule) -> tuple[float, bool]:
        """Score a request by a forward pass of its own."""
        context, option = pair
        ids = torch.tensor([[*context, *option][:-1]], device=self.model.device)
        with self.model.scheduled(schedule):
            logits = self.model(ids, use_cache=False).logits[0, len(context) - 1 :]
        log_probs = logits.float().log_softmax(-1)
        targets = torch.tensor(option, device=log_probs.device)
        total = float(log_probs.gather(1, targets[:, None]).sum())
        return total, bool((log_probs.argmax(-1) == targets).all())

    def flops(self, layer_tokens: int, head_tokens: int) -> float:
        """Return the FLOPs of layer forwards and head products."""
        return layer_tokens * self._layer_flops + head_tokens * self._head_flops

    def extra_flops(self, candidate: Candidate) -> float:
        """Return the FLOPs of a forward pass under a candidate, relative to the model as it is."""
        own_flops = cost(self.model, self.base).forward_flops
        return cost(self.model, candidate.schedule).forward_flops / own_flops - 1

    @cached_property
    def _head_flops(self) -> float:
        once, twice = (cost(self.model, Schedule((0,) * n)).forward_flops for n in (1, 2))
        return 2 * once - twice

    @cached_property
    def _layer_flops(self) -> float:
        whole = cost(self.model, self.base).forward_flops
        return (whole - self._head_flops) / len(self.base)


def rows_alone(items: Sequence[Item]) -> int:
    """Count the tokens that lm-eval's ``hf`` runs for some items.

    It runs every context with every option, without the option's last token; options that differ
    by that token alone share a row (its ``logits_cache``).
    """
    rows = {(tuple(i.context), tuple(option[:-1])) for i in items for option in i.options}
    return sum(len(context) + len(rest) for context, rest in rows)
