"""Scorer: lm-eval's ``hf`` model that runs every distinct token of an evaluation once.

lm-eval runs context and option together, once per option. Here all requests form one trie of token
prefixes (``trie.py``), and one pass goes over it (``scan.py``): options share their context,
questions their examples, a larger number of shots the smaller ones. ``strategies.py`` has the
alternatives for models that a scan does not suit; ``self_check.py`` decides which are correct.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from ...core.errors import InputError
from . import strategies
from .early_storage import EarlyStorage
from .encoding import Request
from .processes import Processes, cut
from .scan import Scores
from .self_check import SelfCheckingLM
from .verify import Pair

logger = logging.getLogger("growloop")
BUDGET = {"cpu": 1024, "cuda": 32_768}  # tokens per forward pass; 4,096 on other devices


class TrieLM(SelfCheckingLM):
    """Hugging Face model that computes shared prefixes of requests once.

    Args:
        pack: tokens per forward pass; by default what suits the device. Halved when memory runs
            out.
        schedules: schedules of a looped model, scored together; see :meth:`select`.
        args, rest: arguments of ``HFLM``.
    """

    repairs = True

    def __init__(
        self, *args: Any, pack: int | None = None, schedules: Any = None, **rest: Any
    ) -> None:
        super().__init__(*args, **rest)
        self.processes = Processes.of(self)
        self._rank, self._world_size = 0, 1  # requests are divided here, not by lm-eval
        self.pack = pack or BUDGET.get(self.device.type, 4096)
        self.schedules: list[Any] | None = schedules
        self.storage = EarlyStorage()
        self._selected = 0
        self._scores_by_key: dict[int, list[Scores]] = {}  # of all schedules, until selected

    def select(self, number: int) -> None:
        """Return the scores of schedule ``number`` from now on."""
        self._selected = number

    def score_schedules(
        self, pairs: Sequence[Pair], schedules: Sequence[Any], quiet: bool = True
    ) -> list[Scores]:
        """Score requests under each schedule of a looped model; one list of scores per schedule.

        Args:
            pairs: tokens of contexts and continuations; equal contexts may be one list.
            schedules: schedules; steps that they share at the beginning run once.
            quiet: show no progress bar.
        """
        before, self.schedules = self.schedules, list(schedules)
        try:
            return self._score_all(pairs, quiet)
        finally:
            self.schedules = before

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        step = strategies.AT_ONCE if self._stores_early else max(1, len(requests))
        totals: list[float] = []
        with self._batches_of(10**9):  # the windows of all documents are one trie
            for start in range(0, len(requests), step):
                some = requests[start : start + step]
                totals += super().loglikelihood_rolling(some, disable_tqdm)
        return totals

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> Scores:
        """Score requests by the trie, and store the scores for ``--use_cache``."""
        if self.backend != "causal":
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        self.check(requests)
        quiet = disable_tqdm or self.processes.rank > 0
        pairs = [self._truncated(context, continuation) for _, context, continuation in requests]
        stored = set[int]()

        def store(number: int, score: tuple[float, bool]) -> None:
            texts = requests[number][0]
            if texts is None or number in stored or not math.isfinite(score[0]):
                return  # lm-eval stores rolling windows itself; scores must be finite
            self.cache_hook.add_partial("loglikelihood", texts, score)
            stored.add(number)

        early = self._stores_early and self.schedules is None
        with self.storage.opened(pairs, store if early else None):
            scores = self._score(pairs, quiet)
        for number, score in enumerate(scores):
            store(number, score)
        return scores

    @property
    def _stores_early(self) -> bool:
        """Whether scores are stored while scoring goes on.

        Not with several processes: each would store other scores and resume with other requests.
        """
        return self.cache_hook.dbdict is not None and self.processes.size == 1

    def _truncated(self, context: list[int], continuation: list[int]) -> Pair:
        """Cut a request on the left to the model's context, as lm-eval does.

        Raises:
            InputError: the continuation alone is longer than the model's context.
        """
        over = len(context) + len(continuation) - 1 - self.max_length
        if over <= 0:
            return context, continuation
        if over >= len(context):
            raise InputError(
                f"a continuation of {len(continuation):,} tokens does not fit into the model's "
                f"context of {self.max_length:,}"
            )
        return context[over:], continuation

    def _score(self, pairs: Sequence[Pair], quiet: bool = True) -> Scores:
        """Score requests under the current schedule, or the selected one of several."""
        if self.schedules is None:
            return self._score_all(pairs, quiet)[0]
        key = _key(pairs)
        if key not in self._scores_by_key:
            self._scores_by_key[key] = self._score_all(pairs, quiet)
        return self._scores_by_key[key][self._selected]

    def _score_all(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """Score requests under each schedule; several processes divide the requests."""
        if self.processes.size == 1 or not pairs:
            return self._finite_scores(pairs, quiet)

        def score(some: Sequence[int]) -> list[tuple[tuple[float, bool], ...]]:
            return list(zip(*self._finite_scores([pairs[i] for i in some], quiet), strict=True))

        by_request = self.processes.share(_key(pairs), cut(pairs, self.processes.size), score)
        return [list(scores) for scores in zip(*by_request, strict=True)]

    def _finite_scores(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """Score requests on this process and refuse scores that are not finite."""
        by_schedule = self._fastest(pairs, quiet)
        for schedule, scores in zip(self.schedules or [None], by_schedule, strict=True):
            with nullcontext() if schedule is None else self.model.scheduled(schedule):
                self.check_scores(scores, pairs)
        return by_schedule

    def _fastest(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """Score by the fastest strategy that passed the self-check and does not fail."""
        if not pairs:
            return [[]] * len(self.schedules or [None])
        for strategy in self._checked_strategies(pairs):
            try:
                return strategy(pairs, quiet)
            except Exception as error:  # out of memory, or a limit of the model's own
                logger.warning("%s failed: %s", strategy.__name__[1:], error)
        return self._plain(pairs, quiet)


def _key(pairs: Sequence[Pair]) -> int:
    """Return the same number for equal requests."""
    contexts = {id(context): hash(tuple(context)) for context, _ in pairs}
    return hash(tuple((contexts[id(context)], *option) for context, option in pairs))
