"""Scores the options of questions by running every distinct token once.

lm-eval's ``hf`` backend runs context and option together, once an option. Here all requests of an
evaluation are one trie of token prefixes (``trie.py``), and one pass goes over it (``scan.py``):
options share their context, questions their examples, shot counts the shots before them. Models
whose attention cannot be told what to see keep the context's keys and values and run the options
after it. Each way is first tried against lm-eval's own code, on branches made for the purpose and
on real requests; a disagreement rules it out.
"""

from __future__ import annotations

import inspect
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from ..primitives.errors import InputError, shown
from .bars import bar
from .checked import CheckedHF
from .encoding import Request, encode_pairs
from .generation import SharedPrefixGeneration
from .processes import Processes, cut
from .scan import Scan, Scores
from .trial import TRIED, Pair, agree, in_full_precision, probes
from .trie import build

Way = Callable[[Sequence[Pair], bool], list[Scores]]

logger = logging.getLogger("growloop")
BUDGET = {"cpu": 1024, "cuda": 32_768}  # tokens run at once; 4,096 elsewhere
COMPILED = 2**23  # tokens; for fewer, compiling FlexAttention takes longer than it saves (a guess)


class CheckedLM(CheckedHF):
    """``hf`` of lm-eval, except that a question must fit into the model's context.

    ``truncation=True`` asks for lm-eval's way: dropping what comes first.
    """

    processes = Processes()

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> Scores:
        self.check(requests)
        found: Scores = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        if self.backend == "causal":
            self.check_scores(found, [(context, option) for _, context, option in requests])
        return found

    def check(self, requests: Sequence[Request]) -> None:
        """Refuse what cannot be scored."""
        for texts, context, continuation in requests:
            if not continuation:
                after = f" after {shown(texts[0][-40:])}" if texts else ""
                raise InputError(
                    f"nothing to score: {shown(texts[1] if texts else '')}{after} is no token of "
                    "its own"
                )
            if not context:
                raise InputError(
                    f"nothing to read before {shown(texts[1] if texts else '')}: "
                    f"{shown(texts[0] if texts else '')} is no token"
                )
            length = len(context) + len(continuation) - 1  # the last token is only predicted
            if length > self.max_length and not self.truncation:
                raise InputError(
                    f"a question of {length:,} tokens does not fit into the model's context "
                    f"of {self.max_length:,}: give fewer examples"
                )


class TrieLM(SharedPrefixGeneration, CheckedLM):
    """A Hugging Face model that runs what requests have in common once.

    Args:
        pack: tokens run at once; by default what suits the device, and less where memory is short.
        schedules: of a looped model, all scored in one pass; ``select`` says whose scores are
            given.
        rest: what ``HFLM`` takes.
    """

    batch_size_per_gpu: Any

    def __init__(
        self, *args: Any, pack: int | None = None, schedules: Any = None, **rest: Any
    ) -> None:
        super().__init__(*args, **rest)
        self.processes = Processes.of(self)
        self._rank, self._world_size = 0, 1  # requests are shared out here, not by lm-eval
        self.pack = pack or BUDGET.get(self.device.type, 4096)
        self.schedules: list[Any] | None = schedules
        self._selected = 0
        self._ways: list[Way] | None = None
        self._asked = 0  # tokens so far
        self._flexes: bool | None = None  # not tried yet
        self._known: dict[int, list[Scores]] = {}  # of the schedules that were not asked for yet

    def select(self, number: int) -> None:
        """Give the scores of this schedule from now on."""
        self._selected = number

    def score_schedules(
        self, pairs: Sequence[Pair], schedules: Sequence[Any], quiet: bool = True
    ) -> list[Scores]:
        """The scores of requests under each schedule of the looped model.

        Args:
            pairs: tokens of contexts and continuations; equal contexts may be one list.
            schedules: what they begin with in common runs once.
        """
        before, self.schedules = self.schedules, list(schedules)
        try:
            return self._shared(pairs, quiet)
        finally:
            self.schedules = before

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> Scores:
        pairs = [request.args for request in requests]
        if self.backend != "causal" or self.enable_thinking or not all(c for c, _ in pairs):
            return super().loglikelihood(requests, disable_tqdm)  # type: ignore[no-any-return]
        quiet = disable_tqdm or self.processes.place > 0
        return self._loglikelihood_tokens(encode_pairs(self, pairs, quiet), disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        before = self.batch_size_per_gpu
        self.batch_size_per_gpu = 10**9  # the windows of all texts are one trie
        try:
            return super().loglikelihood_rolling(requests, disable_tqdm)  # type: ignore[no-any-return]
        finally:
            self.batch_size_per_gpu = before

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> Scores:
        if self.backend != "causal":
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        self.check(requests)
        quiet = disable_tqdm or self.processes.place > 0
        pairs = [self._fitted(context, continuation) for _, context, continuation in requests]
        found = self._score(pairs, quiet)
        for (texts, _, _), score in zip(requests, found, strict=True):
            if texts is not None:  # lm-eval adds rolling windows itself
                self.cache_hook.add_partial("loglikelihood", texts, score)
        return found

    def _fitted(self, context: list[int], continuation: list[int]) -> Pair:
        """What of a request is read: lm-eval cuts on the left where that was asked for."""
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
        """The scores of requests in the fastest way that suits the model."""
        if self.schedules is None:
            return self._shared(pairs, quiet)[0]
        key = _key(pairs)
        if key not in self._known:
            self._known[key] = self._shared(pairs, quiet)
        return self._known[key][self._selected]

    def _shared(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """The scores of all requests, of which this process computes its part."""
        if self.processes.count == 1 or not pairs:
            return self._finite(pairs, quiet)

        def score(some: Sequence[int]) -> list[tuple[tuple[float, bool], ...]]:
            return list(zip(*self._finite([pairs[i] for i in some], quiet), strict=True))

        by_request = self.processes.share(_key(pairs), cut(pairs, self.processes.count), score)
        return [list(scores) for scores in zip(*by_request, strict=True)]

    def _finite(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """The scores of some requests; refused where they are no numbers."""
        found = self._fastest(pairs, quiet)
        for schedule, scores in zip(self.schedules or [None], found, strict=True):
            with nullcontext() if schedule is None else self.model.scheduled(schedule):
                self.check_scores(scores, pairs)
        return found

    def _fastest(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        if not pairs:
            return [[]] * len(self.schedules or [None])
        if self._ways is None:
            ways: list[Way] = [self._scan, self._cached]
            self._ways = [way for way in ways if self._suits(way, pairs)]
            if not self._ways:
                logger.warning("this model cannot share contexts: scoring as lm-eval does")
        compiled: list[Way] = [self._flexed] if self._worth_compiling(pairs) else []
        for way in [*compiled, *self._ways]:
            try:
                return way(pairs, quiet)
            except Exception as error:  # out of memory, or a limit of the model's own
                logger.warning("%s failed: %s", way.__name__[1:], error)
        return self._plain(pairs, quiet)

    def _worth_compiling(self, pairs: Sequence[Pair]) -> bool:
        """Whether FlexAttention pays, now that there are these too, and gives the same."""
        dtype = self.mixed_precision_dtype or self.model.dtype
        if self.device.type != "cuda" or self._scan not in (self._ways or []):
            return False
        if dtype == torch.float32:  # its kernels are slower than others' in full precision
            return False
        tokens = sum(map(len, {id(c): c for c, _ in pairs}.values()))
        self._asked += tokens * len(self.schedules or [None])
        if self._flexes is None and self._asked >= COMPILED:
            self._flexes = self._suits(self._flexed, pairs)
        return bool(self._flexes)

    def _suits(self, way: Way, pairs: Sequence[Pair]) -> bool:
        """Whether a way gives lm-eval's numbers: on branches made up, and on two requests."""
        kinds = set(getattr(self._text_config, "layer_types", None) or [])
        if not kinds <= {"full_attention", "sliding_attention"}:
            return False  # a recurrent state would run through the branches one after the other
        recurrence = getattr(self.model, "recurrence", None)
        if getattr(recurrence, "early_exit", None) is not None:
            return False  # which steps run depends on what runs beside
        asked = probes(pairs, self.max_length)
        # FlexAttention is for half precision alone: it is tried in that
        whole = way != self._flexed and self.mixed_precision_dtype is None
        before, self.pack = self.pack, TRIED  # so that packs go on where others end
        try:
            with in_full_precision(self.model) if whole else nullcontext():
                exact = whole and self.model.dtype == torch.float32
                agrees = agree(way(asked, True), self._plain(asked, True), asked, exact)
        except InputError:  # it computes no numbers in any way
            raise
        except Exception as error:  # a model may refuse masks or caches in its own way
            logger.info("%s: %s", way.__name__, error)
            return False
        finally:
            self.pack = before
        if not agrees:
            logger.warning("%s does not suit this model: trying another way", way.__name__[1:])
        return agrees

    @property
    def _text_config(self) -> Any:
        return self.model.config.get_text_config(decoder=True)

    def _flexed(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """The same with FlexAttention."""
        return self._scan(pairs, quiet, flex=True)

    def _scan(self, pairs: Sequence[Pair], quiet: bool, flex: bool = False) -> list[Scores]:
        """Every distinct token once."""
        schedules = self.schedules
        if schedules is not None and getattr(self.model, "runner", None) is not None:
            raise ValueError("what happens between loops runs with them")
        trie = build(pairs)
        scan = Scan(self.model, trie, self._run, self.softmax_dtype, self.pack, schedules, flex)
        with bar("Scoring", total=len(trie), unit=" tokens", quiet=quiet) as progress:
            found = scan.run(progress.update)
        self.pack = scan.budget
        if schedules is None:
            return found
        by_schedule = {r.schedule: scores for r, scores in zip(scan.routes, found, strict=True)}
        return [by_schedule[tuple(schedule)] for schedule in schedules]

    def _under_each(self, score: Callable[[], Scores]) -> list[Scores]:
        """Scores by schedule, one after the other."""
        found = []
        for schedule in self.schedules or [None]:
            with nullcontext() if schedule is None else self.model.scheduled(schedule):
                found.append(score())
        return found

    def _plain(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """lm-eval's own way, one at a time."""
        requests: list[Request] = [(None, *pair) for pair in pairs]
        theirs = super()._loglikelihood_tokens
        return self._under_each(lambda: theirs(requests, quiet, 1))

    def _cached(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """Each context once, its options as a batch on copies of its keys and values."""
        return self._under_each(lambda: self._cached_now(pairs, quiet))

    def _cached_now(self, pairs: Sequence[Pair], quiet: bool) -> Scores:
        by_context: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, (context, _) in enumerate(pairs):
            by_context[tuple(context)].append(i)
        found: dict[int, tuple[float, bool]] = {}
        with bar("Scoring", total=len(pairs), unit=" options", quiet=quiet) as progress:
            # longest first: running out of memory shows at once
            for members in sorted(by_context.values(), key=lambda m: -len(pairs[m[0]][0])):
                options = [pairs[i][1] for i in members]
                scores = self._question(pairs[members[0]][0], options)
                found |= dict(zip(members, scores, strict=True))
                progress.update(len(members))
        return [found[i] for i in range(len(pairs))]

    @torch.inference_mode()
    def _question(self, context: list[int], options: list[list[int]]) -> Scores:
        ids = torch.tensor([context], device=self.device)
        longest = max(map(len, options))
        output = self._run(ids, use_cache=True, **self._keep(1))
        first = self._log_probs(output.logits[0, -1:])  # (1, vocabulary)
        rest: Tensor | None = None
        if longest > 1:
            # options end at different lengths; what pads them comes last and changes nothing
            padded = [option[:-1] + [0] * (longest - len(option)) for option in options]
            cache = output.past_key_values
            cache.batch_repeat_interleave(len(options))
            after = self._run(
                torch.tensor(padded, device=self.device), past_key_values=cache, use_cache=True
            )
            rest = self._log_probs(after.logits)  # (options, longest - 1, vocabulary)
        found = [
            self._sum(
                first if rest is None else torch.cat([first, rest[k, : len(option) - 1]]), option
            )
            for k, option in enumerate(options)
        ]
        totals, greedy = (torch.stack(values).tolist() for values in zip(*found, strict=True))
        return list(zip(totals, greedy, strict=True))

    @staticmethod
    def _sum(rows: Tensor, option: list[int]) -> tuple[Tensor, Tensor]:
        """The score of an option from the log-probabilities ``(tokens, vocabulary)`` before it."""
        wanted = torch.tensor(option, device=rows.device)
        total = rows.gather(1, wanted[:, None]).sum()
        return total, (rows.argmax(dim=-1) == wanted).all()

    @cached_property
    def _can_keep(self) -> bool:
        return "logits_to_keep" in inspect.signature(self.model.forward).parameters

    def _keep(self, rows: int) -> dict[str, int]:
        """Ask for the last logits only, where the model can."""
        return {"logits_to_keep": rows} if self._can_keep else {}

    def _run(self, ids: Tensor, **options: Any) -> Any:
        with torch.autocast(
            device_type=self.device.type,
            dtype=self.mixed_precision_dtype,
            enabled=self.mixed_precision_dtype is not None,
        ):
            return self.model(ids, **options)

    def _log_probs(self, logits: Tensor) -> Tensor:
        return log_softmax(logits, dim=-1, dtype=self.softmax_dtype)


def _key(pairs: Sequence[Pair]) -> int:
    """The same number for the same requests."""
    contexts = {id(context): hash(tuple(context)) for context, _ in pairs}
    return hash(tuple((contexts[id(context)], *option) for context, option in pairs))
