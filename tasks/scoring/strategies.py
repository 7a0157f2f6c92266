"""Scoring strategies: four computations of the same log-probabilities.

- ``_scan``: every node of the trie of all requests once (:mod:`.scan`); ``_flex_scan`` is the same
  with FlexAttention.
- ``_cached``: each context once; its options run as a batch on copies of its KV cache. For models
  whose attention does not take a mask from outside.
- ``_plain``: lm-eval's own computation, one request at a time. The reference for the others.

Each takes (context, continuation) pairs of tokens and returns scores per schedule.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from ...core.caches import cache_name, cache_of
from ...core.positions import fixed_rope_length
from ..progress_bars import bar
from .checked_lm import CheckedLM
from .early_storage import EarlyStorage
from .encoding import Request
from .scan import Scan, Scores
from .shared_prefixes import SharedPrefixGeneration
from .trie import build
from .verify import Pair

AT_ONCE = 32  # requests scored one by one, or documents, between two writes of stored answers


class StrategyLM(SharedPrefixGeneration, CheckedLM):
    """Model with several strategies for the same scores; subclasses choose one.

    Attributes:
        pack: tokens per forward pass of a scan; lowered when memory runs out.
        schedules: schedules of a looped model to score; None for its current one.
        storage: destination of scores that are stored while scoring goes on.
    """

    pack: int
    schedules: list[Any] | None
    storage: EarlyStorage

    def _plain(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """Score by lm-eval's own computation, one request at a time."""
        requests: list[Request] = [(None, *pair) for pair in pairs]
        score = super()._loglikelihood_tokens
        if (store := self.storage.callback(pairs)) is None:
            return self._under_each(lambda: score(requests, quiet, 1))
        scores: Scores = []
        for start in range(0, len(requests), AT_ONCE):
            for pair_score in score(requests[start : start + AT_ONCE], quiet, 1):
                store(len(scores), pair_score)
                scores.append(pair_score)
        return [scores]

    def _scan(self, pairs: Sequence[Pair], quiet: bool, flex: bool = False) -> list[Scores]:
        """Score by one pass over the trie of all requests."""
        between = getattr(self.model, "loops_by_itself", False)
        between = between or getattr(self.model, "runner", None) is not None
        if self.schedules is not None and between:
            raise ValueError("a scan of several schedules skips what runs between loops")
        return self._by_length(lambda some: self._scan_group(some, quiet, flex), pairs)

    def _flex_scan(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """Score by one pass over the trie of all requests, with FlexAttention."""
        return self._scan(pairs, quiet, flex=True)

    def _scan_group(self, pairs: Sequence[Pair], quiet: bool, flex: bool) -> list[Scores]:
        """Score requests of equal rotary frequencies by one scan; store finished scores early."""
        schedules = self.schedules
        trie = build(pairs)
        store = self.storage.callback(pairs)

        def finished(numbers: Sequence[int], scores: Sequence[Scores]) -> None:
            for number in numbers:
                assert store is not None
                store(number, scores[0][number])

        scan = Scan(
            self.model, trie, self._run, self.softmax_dtype, self.pack, schedules, flex,
            finished if store else None,
        )  # fmt: skip
        with bar("Scoring", total=len(trie), unit=" tokens", quiet=quiet) as progress:
            by_route = scan.run(progress.update)
        self.pack = scan.budget
        if schedules is None:
            return by_route
        by_schedule = {r.schedule: scores for r, scores in zip(scan.routes, by_route, strict=True)}
        return [by_schedule[tuple(schedule)] for schedule in schedules]

    def _cached(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """Score each context once, its options as a batch on copies of its KV cache."""
        return self._by_length(
            lambda some: self._under_each(lambda: self._cached_group(some, quiet)), pairs
        )

    def _cached_group(self, pairs: Sequence[Pair], quiet: bool) -> Scores:
        """Score requests grouped by context, longest context first."""
        by_context: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, (context, _) in enumerate(pairs):
            by_context[tuple(context)].append(i)
        by_number: dict[int, tuple[float, bool]] = {}
        store = self.storage.callback(pairs) or (lambda number, score: None)
        with bar("Scoring", total=len(pairs), unit=" options", quiet=quiet) as progress:
            # longest first: running out of memory shows at once
            for members in sorted(by_context.values(), key=lambda m: -len(pairs[m[0]][0])):
                options = [pairs[i][1] for i in members]
                scores = self._question(pairs[members[0]][0], options)
                for number, score in zip(members, scores, strict=True):
                    by_number[number] = score
                    store(number, score)
                progress.update(len(members))
        return [by_number[i] for i in range(len(pairs))]

    @torch.inference_mode()
    def _question(self, context: list[int], options: list[list[int]]) -> Scores:
        """Score the options of one context on copies of its KV cache."""
        ids = torch.tensor([context], device=self.device)
        longest = max(map(len, options))
        output = self._run(ids, use_cache=True, **self._last_logits(1))
        first = self._log_probs(output.logits[0, -1:])  # (1, vocabulary)
        rest: Tensor | None = None
        if longest > 1:
            # padding follows the shorter options, where no token attends to it
            padded = [option[:-1] + [0] * (longest - len(option)) for option in options]
            cache = cache_of(output)
            cache.batch_repeat_interleave(len(options))
            cached = {cache_name(self.model.forward, output): cache}
            after = self._run(torch.tensor(padded, device=self.device), use_cache=True, **cached)
            rest = self._log_probs(after.logits)  # (options, longest - 1, vocabulary)
        sums = [
            self._sum(
                first if rest is None else torch.cat([first, rest[k, : len(option) - 1]]), option
            )
            for k, option in enumerate(options)
        ]
        totals, greedy = (torch.stack(values).tolist() for values in zip(*sums, strict=True))
        return list(zip(totals, greedy, strict=True))

    def _by_length(
        self, score: Callable[[Sequence[Pair]], list[Scores]], pairs: Sequence[Pair]
    ) -> list[Scores]:
        """Score all requests together, or in groups whose lengths have the same rotary frequencies.

        Args:
            score: requests -> scores per schedule.
        """
        if self.regimes is None:
            return score(pairs)
        lengths = [len(context) + len(option) - 1 for context, option in pairs]
        groups = self.regimes.groups(lengths)
        if len(groups) > 1:
            self.notes.say(
                "positions of this model depend on the length of a text: "
                "requests of different length share less"
            )
        by_request: dict[int, tuple[tuple[float, bool], ...]] = {}
        for members in groups:
            some = [pairs[i] for i in members]
            length = fixed_rope_length(self.model, lengths[members[0]])
            with length, self.storage.subset(pairs, some, members):
                scores = score(some)
            by_request |= dict(zip(members, zip(*scores, strict=True), strict=True))
        return [
            list(scores) for scores in zip(*(by_request[i] for i in range(len(pairs))), strict=True)
        ]

    def _under_each(self, score: Callable[[], Scores]) -> list[Scores]:
        """Score under each schedule, one after the other."""
        scores = []
        for schedule in self.schedules or [None]:
            with nullcontext() if schedule is None else self.model.scheduled(schedule):
                scores.append(score())
        return scores

    @staticmethod
    def _sum(rows: Tensor, option: list[int]) -> tuple[Tensor, Tensor]:
        """Return an option's log-probability and whether it is greedy, both 0-d tensors.

        Args:
            rows: log-probabilities of the positions before each token, ``(tokens, vocabulary)``.
        """
        wanted = torch.tensor(option, device=rows.device)
        total = rows.gather(1, wanted[:, None]).sum()
        return total, (rows.argmax(dim=-1) == wanted).all()

    @cached_property
    def _selects_logits(self) -> bool:
        return "logits_to_keep" in inspect.signature(self.model.forward).parameters

    def _last_logits(self, rows: int) -> dict[str, int]:
        """Return the argument for the last ``rows`` logits only; none if forward lacks it."""
        return {"logits_to_keep": rows} if self._selects_logits else {}

    def _run(self, ids: Tensor, **options: Any) -> Any:
        """Run the model's forward, under autocast if lm-eval was given a mixed precision."""
        with torch.autocast(
            device_type=self.device.type,
            dtype=self.mixed_precision_dtype,
            enabled=self.mixed_precision_dtype is not None,
        ):
            return self.model(ids, **options)

    def _log_probs(self, logits: Tensor) -> Tensor:
        return log_softmax(logits, dim=-1, dtype=self.softmax_dtype)
