"""Self-check: which scoring strategies agree with lm-eval's own computation on a given model.

A strategy is used only if it reproduces lm-eval's scores of a few requests: branches made up for
the purpose, and the shortest and the longest real one (:mod:`.verify`). Models for which sharing
cannot be right (recurrent states, early exit) are recognised by their config.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from ...core.errors import InputError
from ...core.positions import uses_token_index
from .scan import Scores
from .strategies import StrategyLM
from .verify import (
    TRIED,
    Pair,
    agree,
    beginnings,
    in_full_precision,
    longest_text,
    probes,
)

Strategy = Callable[[Sequence[Pair], bool], list[Scores]]
"""(requests, quiet) -> scores per schedule: a bound method of :class:`StrategyLM`."""

logger = logging.getLogger("growloop")
COMPILED = 2**23  # tokens; for fewer, compiling FlexAttention takes longer than it saves (a guess)


class SelfCheckingLM(StrategyLM):
    """Model that knows which of its strategies agree with lm-eval, once they were checked."""

    _strategies: list[Strategy] | None = None  # fastest first; None before the first check
    _longest_checked = 0  # tokens of the longest request at the last check
    _context_tokens = 0  # tokens of all contexts so far, times schedules
    _flex_agrees: bool | None = None  # None before its check

    def _checked_strategies(self, pairs: Sequence[Pair]) -> list[Strategy]:
        """Return the strategies that agree with lm-eval, fastest first.

        Checks them at the first call, and again once requests are longer than those checked.
        """
        longest = max(len(context) + len(option) for context, option in pairs)
        unchecked = self._strategies is None
        if unchecked or (longest > self._longest_checked and self._strategies):
            candidates: list[Strategy] = self._strategies or [self._scan, self._cached]
            self._strategies = self._passing(candidates, pairs)
            self._longest_checked, self._flex_agrees = longest, None
            if not self._strategies:
                logger.warning("this model cannot share contexts: scoring as lm-eval does")
        compiled: list[Strategy] = [self._flex_scan] if self._flex_pays(pairs) else []
        return [*compiled, *(self._strategies or [])]

    def _flex_pays(self, pairs: Sequence[Pair]) -> bool:
        """Return whether FlexAttention pays for the tokens so far, these included, and agrees."""
        dtype = self.mixed_precision_dtype or self.model.dtype
        if self.device.type != "cuda" or self._scan not in (self._strategies or []):
            return False
        if dtype == torch.float32:  # its kernels are slower than others' in full precision
            return False
        tokens = sum(map(len, {id(c): c for c, _ in pairs}.values()))
        self._context_tokens += tokens * len(self.schedules or [None])
        if self._flex_agrees is None and self._context_tokens >= COMPILED:
            self._flex_agrees = self._passes(self._flex_scan, pairs)
        return bool(self._flex_agrees)

    def _passes(self, strategy: Strategy, pairs: Sequence[Pair]) -> bool:
        """Return whether a strategy agrees with lm-eval."""
        return bool(self._passing([strategy], pairs))

    def _passing(self, strategies: Sequence[Strategy], pairs: Sequence[Pair]) -> list[Strategy]:
        """Return the strategies that agree with lm-eval on probes made from the requests.

        Raises:
            InputError: the model's output is not finite.
        """
        layer_types = set(getattr(self._text_config, "layer_types", None) or [])
        if not layer_types <= {"full_attention", "sliding_attention"}:
            return []  # a recurrent state would run through the branches one after the other
        recurrence = getattr(self.model, "recurrence", None)
        if getattr(recurrence, "early_exit", None) is not None:
            return []  # the steps that run depend on the other texts of the batch
        requests = [*beginnings(pairs), *probes(pairs, self.max_length)]
        # FlexAttention is used in half precision only, so it is checked in that
        full = self._flex_scan not in strategies and self.mixed_precision_dtype is None
        with in_full_precision(self.model) if full else nullcontext():
            exact = full and self.model.dtype == torch.float32
            try:
                with self._batches_of(1):
                    expected = self._plain(requests, True)
                first = (self.schedules or [None])[0]
                with nullcontext() if first is None else self.model.scheduled(first):
                    independent = self.regimes is not None or self._independent_of_length(
                        pairs, expected[0], exact
                    )
            except InputError:
                raise
            except Exception as error:  # out of memory, perhaps
                logger.info("self-check of scoring strategies: %s", error)
                return []
            if not independent:
                logger.warning("this model's output at a token depends on how long the text is")
                self.batch_size_per_gpu = 1
                return []
            return [s for s in strategies if self._agrees(s, requests, expected, exact)]

    def _agrees(
        self,
        strategy: Strategy,
        requests: Sequence[Pair],
        expected: Sequence[Scores],
        exact: bool,
    ) -> bool:
        """Return whether a strategy reproduces the expected scores.

        Args:
            expected: per schedule, lm-eval's scores of the requests.
            exact: whether the model runs in float32.
        """
        if strategy != self._cached and uses_token_index(self.model):
            return False  # positions counted by cache slot are not those of a text in a pack
        before, self.pack = self.pack, TRIED  # small, so that packs end within texts
        try:
            agrees = agree(strategy(requests, True), expected, requests, exact)
        except InputError:  # not finite: no strategy can help
            raise
        except Exception as error:  # models refuse masks and caches by any exception
            logger.info("%s: %s", strategy.__name__, error)
            return False
        finally:
            self.pack = before
        if not agrees:
            logger.warning(
                "%s does not suit this model: trying another strategy", strategy.__name__[1:]
            )
        return agrees

    @torch.inference_mode()
    def _independent_of_length(self, pairs: Sequence[Pair], alone: Scores, exact: bool) -> bool:
        """Return whether beginnings of the longest request score within it as they do alone.

        Args:
            alone: scores of ``beginnings(pairs)``, perhaps followed by others.
            exact: whether the model runs in float32.
        """
        parts, text = beginnings(pairs), longest_text(pairs)
        logits = self._model_call(torch.tensor([text[:-1]], device=self.device))[0]
        within = []
        for context, option in parts:
            rows = logits[len(context) - 1 : len(context) - 1 + len(option)]
            total, greedy = self._sum(self._log_probs(rows), option)
            within.append((float(total), bool(greedy)))
        return agree([within], [alone[: len(parts)]], parts, exact)

    @property
    def _text_config(self) -> Any:
        return self.model.config.get_text_config(decoder=True)
