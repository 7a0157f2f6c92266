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
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from ...core.caches import cache_name, cache_of
from ...core.errors import InputError, shown
from ...core.positions import as_long_as, counts_places
from ..bars import bar
from ..notes import ALIKE, CUT, MERGED, MISREAD
from .backend import CheckedHF
from .encoding import Request, encode, encode_alone
from .generation import CheckedGeneration, SharedPrefixGeneration
from .processes import Processes, cut
from .scan import Scan, Scores
from .trie import build
from .verify import TRIED, Pair, agree, beginnings, in_full_precision, longest_text, probes

Way = Callable[[Sequence[Pair], bool], list[Scores]]
Store = Callable[[int, tuple[float, bool]], object]
"""Is given the number of a request and its score as soon as that is known."""

logger = logging.getLogger("growloop")
BUDGET = {"cpu": 1024, "cuda": 32_768}  # tokens run at once; 4,096 elsewhere
AT_ONCE = 32  # documents, or requests of lm-eval's own way, between one storing and the next
COMPILED = 2**23  # tokens; for fewer, compiling FlexAttention takes longer than it saves (a guess)


class CheckedLM(CheckedGeneration, CheckedHF):
    """``hf`` of lm-eval, except that a question must fit into the model's context.

    ``truncation=True`` asks for lm-eval's way: dropping what comes first. Requests that lm-eval may
    not run together, or takes for one another, are given to it apart.
    """

    logits_cache: Any
    processes = Processes()
    repairs = False  # whether texts are cut where their tokens allow it, or as lm-eval does

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> Scores:
        if self.backend != "causal" or self.enable_thinking:
            return super().loglikelihood(requests, disable_tqdm)  # type: ignore[no-any-return]
        quiet = disable_tqdm or self.processes.place > 0
        tasks = [request.task_name or "a task" for request in requests]
        encoded = self.encoded([request.args for request in requests], quiet, tasks)
        over = [len(c) + len(o) - 1 > self.max_length for _, c, o in encoded]
        found = self._loglikelihood_tokens(encoded, disable_tqdm)
        self.notes.add(CUT, [task for task, was in zip(tasks, over, strict=True) if was])
        return found

    def encoded(
        self,
        pairs: Sequence[tuple[str, str]],
        quiet: bool = True,
        tasks: Sequence[str] | None = None,
    ) -> list[Request]:
        """The tokens of contexts and continuations; what is odd about them is said once.

        Args:
            tasks: of each pair, the name of its task.
        """
        wordy = [i for i, (context, _) in enumerate(pairs) if context]
        found = encode(self, [pairs[i] for i in wordy], quiet, self.repairs)
        requests = dict(zip(wordy, found.requests, strict=True))
        names = tasks or ["a task"] * len(pairs)
        kinds = {MERGED if self.repairs else MISREAD: found.merged, ALIKE: found.alike}
        for kind, some in kinds.items():
            members = [wordy[i] for i in some]
            for task, number in Counter(names[i] for i in members).items():
                first = next(pairs[i] for i in members if names[i] == task)
                self.notes.say(_odd(kind, task, number, names.count(task), *first))
            self.notes.add(kind, [names[i] for i in members])
        return [
            requests[i] if i in requests else encode_alone(self, continuation)
            for i, (_, continuation) in enumerate(pairs)
        ]

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> Scores:
        self.check(requests)
        theirs = super()._loglikelihood_tokens
        if self.backend != "causal":
            return theirs(requests, disable_tqdm, override_bs)  # type: ignore[no-any-return]
        groups = [list(range(len(requests)))]
        if self.regimes is not None:
            lengths = [len(context) + len(option) - 1 for _, context, option in requests]
            groups = self.regimes.groups([min(n, self.max_length) for n in lengths])
        found: dict[int, tuple[float, bool]] = {}
        before = self.logits_cache
        for members in groups:
            some = [requests[i] for i in members]
            self.logits_cache = before and not _mistaken(some)
            try:
                part = theirs(some, disable_tqdm or len(groups) > 1, override_bs)
            finally:
                self.logits_cache = before
            found |= dict(zip(members, part, strict=True))
        scores = [found[i] for i in range(len(requests))]
        self.check_scores(scores, [(context, option) for _, context, option in requests])
        return scores

    def check(self, requests: Sequence[Request]) -> None:
        """Refuse what cannot be scored."""
        self.check_embedded(tokens for _, *both in requests for tokens in both)
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

    repairs = True

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
        self._longest_way = 0  # tokens of the longest request that the ways were tried on
        self._asked = 0  # tokens so far
        self._flexes: bool | None = None  # not tried yet
        self._known: dict[int, list[Scores]] = {}  # of the schedules that were not asked for yet
        self._storing: tuple[Sequence[Pair], Store] | None = None

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

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        step = AT_ONCE if self._stores else max(1, len(requests))
        found: list[float] = []
        with self._batches_of(10**9):  # the windows of all texts are one trie
            for start in range(0, len(requests), step):
                some = requests[start : start + step]
                found += super().loglikelihood_rolling(some, disable_tqdm)
        return found

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
        stored = set[int]()

        def store(number: int, score: tuple[float, bool]) -> None:
            texts = requests[number][0]
            if texts is None or number in stored or not math.isfinite(score[0]):
                return  # lm-eval adds rolling windows itself; what is no number is not kept
            self.cache_hook.add_partial("loglikelihood", texts, score)
            stored.add(number)

        self._storing = (pairs, store) if self._stores else None
        try:
            found = self._score(pairs, quiet)
        finally:
            self._storing = None
        for number, score in enumerate(found):
            store(number, score)
        return found

    @property
    def _stores(self) -> bool:
        """Whether answers are kept as they come.

        Of several processes each would keep others, and go on with other requests than the rest.
        """
        return self.cache_hook.dbdict is not None and self.processes.count == 1

    def _store_of(self, pairs: Sequence[Pair]) -> Store | None:
        """What keeps the answers to these requests; None for those that only try a way."""
        asked, store = self._storing or (None, None)
        return store if asked is pairs and self.schedules is None else None

    @contextmanager
    def _storing_of(
        self, pairs: Sequence[Pair], some: Sequence[Pair], members: Sequence[int]
    ) -> Iterator[None]:
        """Keep the answers to some of the requests under the numbers they have among all."""
        before, store = self._storing, self._store_of(pairs)
        if store is not None:
            self._storing = some, lambda number, score: store(members[number], score)
        try:
            yield
        finally:
            self._storing = before

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
        self._try_ways(pairs)
        assert self._ways is not None
        compiled: list[Way] = [self._flexed] if self._worth_compiling(pairs) else []
        for way in [*compiled, *self._ways]:
            try:
                return way(pairs, quiet)
            except Exception as error:  # out of memory, or a limit of the model's own
                logger.warning("%s failed: %s", way.__name__[1:], error)
        return self._plain(pairs, quiet)

    def _try_ways(self, pairs: Sequence[Pair]) -> None:
        """See which ways suit the model, again where requests are longer than those tried."""
        longest = max(len(context) + len(option) for context, option in pairs)
        if self._ways is not None and (longest <= self._longest_way or not self._ways):
            return
        ways: list[Way] = [self._scan, self._cached] if self._ways is None else self._ways
        self._ways, self._longest_way, self._flexes = self._suiting(ways, pairs), longest, None
        if not self._ways:
            logger.warning("this model cannot share contexts: scoring as lm-eval does")

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
        """Whether a way gives lm-eval's numbers."""
        return bool(self._suiting([way], pairs))

    def _suiting(self, ways: Sequence[Way], pairs: Sequence[Pair]) -> list[Way]:
        """The ways that give lm-eval's numbers: on branches made up, and on a few requests."""
        kinds = set(getattr(self._text_config, "layer_types", None) or [])
        if not kinds <= {"full_attention", "sliding_attention"}:
            return []  # a recurrent state would run through the branches one after the other
        recurrence = getattr(self.model, "recurrence", None)
        if getattr(recurrence, "early_exit", None) is not None:
            return []  # which steps run depends on what runs beside
        asked = [*beginnings(pairs), *probes(pairs, self.max_length)]
        # FlexAttention is for half precision alone: it is tried in that
        whole = self._flexed not in ways and self.mixed_precision_dtype is None
        with in_full_precision(self.model) if whole else nullcontext():
            exact = whole and self.model.dtype == torch.float32
            try:
                with self._batches_of(1):
                    right = self._plain(asked, True)
                first = (self.schedules or [None])[0]
                with nullcontext() if first is None else self.model.scheduled(first):
                    alike = self.regimes is not None or self._reads_alike(pairs, right[0], exact)
            except InputError:
                raise
            except Exception as error:  # out of memory, perhaps
                logger.info("trying ways of scoring: %s", error)
                return []
            if not alike:
                logger.warning("what this model makes of a text depends on how long the text is")
                self.batch_size_per_gpu = 1
                return []
            return [way for way in ways if self._agrees(way, asked, right, exact)]

    def _agrees(
        self, way: Way, asked: Sequence[Pair], right: Sequence[Scores], exact: bool
    ) -> bool:
        """Whether a way gives these scores."""
        if way != self._cached and counts_places(self.model):
            return False  # a place in a pack is none in a text
        before, self.pack = self.pack, TRIED  # so that packs go on where others end
        try:
            agrees = agree(way(asked, True), right, asked, exact)
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

    @torch.inference_mode()
    def _reads_alike(self, pairs: Sequence[Pair], alone: Scores, exact: bool) -> bool:
        """Whether the beginnings of the longest request score within it as they do alone.

        Args:
            alone: scores of the beginnings, and of others after them.
        """
        parts, text = beginnings(pairs), longest_text(pairs)
        logits = self._model_call(torch.tensor([text[:-1]], device=self.device))[0]
        found = []
        for context, option in parts:
            rows = logits[len(context) - 1 : len(context) - 1 + len(option)]
            total, greedy = self._sum(self._log_probs(rows), option)
            found.append((float(total), bool(greedy)))
        return agree([found], [alone[: len(parts)]], parts, exact)

    @property
    def _text_config(self) -> Any:
        return self.model.config.get_text_config(decoder=True)

    def _flexed(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """The same with FlexAttention."""
        return self._scan(pairs, quiet, flex=True)

    def _scan(self, pairs: Sequence[Pair], quiet: bool, flex: bool = False) -> list[Scores]:
        """Every distinct token once."""
        if self.schedules is not None and getattr(self.model, "runner", None) is not None:
            raise ValueError("what happens between loops runs with them")
        return self._apart(lambda some: self._scan_now(some, quiet, flex), pairs)

    def _scan_now(self, pairs: Sequence[Pair], quiet: bool, flex: bool) -> list[Scores]:
        schedules = self.schedules
        trie = build(pairs)
        store = self._store_of(pairs)

        def finished(numbers: Sequence[int], scores: Sequence[Scores]) -> None:
            for number in numbers:
                assert store is not None
                store(number, scores[0][number])

        scan = Scan(
            self.model, trie, self._run, self.softmax_dtype, self.pack, schedules, flex,
            finished if store else None,
        )  # fmt: skip
        with bar("Scoring", total=len(trie), unit=" tokens", quiet=quiet) as progress:
            found = scan.run(progress.update)
        self.pack = scan.budget
        if schedules is None:
            return found
        by_schedule = {r.schedule: scores for r, scores in zip(scan.routes, found, strict=True)}
        return [by_schedule[tuple(schedule)] for schedule in schedules]

    def _apart(
        self, score: Callable[[Sequence[Pair]], list[Scores]], pairs: Sequence[Pair]
    ) -> list[Scores]:
        """Scores by schedule; where positions depend on the length of a text, lengths apart."""
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
            one = as_long_as(self.model, lengths[members[0]])
            with one, self._storing_of(pairs, some, members):
                scores = score(some)
            by_request |= dict(zip(members, zip(*scores, strict=True), strict=True))
        return [
            list(scores) for scores in zip(*(by_request[i] for i in range(len(pairs))), strict=True)
        ]

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
        if (store := self._store_of(pairs)) is None:
            return self._under_each(lambda: theirs(requests, quiet, 1))
        found: Scores = []
        for start in range(0, len(requests), AT_ONCE):
            for score in theirs(requests[start : start + AT_ONCE], quiet, 1):
                store(len(found), score)
                found.append(score)
        return [found]

    def _cached(self, pairs: Sequence[Pair], quiet: bool) -> list[Scores]:
        """Each context once, its options as a batch on copies of its keys and values."""
        return self._apart(
            lambda some: self._under_each(lambda: self._cached_now(some, quiet)), pairs
        )

    def _cached_now(self, pairs: Sequence[Pair], quiet: bool) -> Scores:
        by_context: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, (context, _) in enumerate(pairs):
            by_context[tuple(context)].append(i)
        found: dict[int, tuple[float, bool]] = {}
        store = self._store_of(pairs) or (lambda number, score: None)
        with bar("Scoring", total=len(pairs), unit=" options", quiet=quiet) as progress:
            # longest first: running out of memory shows at once
            for members in sorted(by_context.values(), key=lambda m: -len(pairs[m[0]][0])):
                options = [pairs[i][1] for i in members]
                scores = self._question(pairs[members[0]][0], options)
                for number, score in zip(members, scores, strict=True):
                    found[number] = score
                    store(number, score)
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
            cache = cache_of(output)
            cache.batch_repeat_interleave(len(options))
            cached = {cache_name(self.model.forward, output): cache}
            after = self._run(torch.tensor(padded, device=self.device), use_cache=True, **cached)
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


def _odd(kind: str, task: str, number: int, count: int, context: str, continuation: str) -> str:
    """The sentence for requests whose tokens are odd."""
    share = f"{number:,} of {count:,} requests of {task}"
    where = f"such as {shown(continuation)} after {shown(context[-20:])}"
    if kind == ALIKE:
        return f"{share} are the same tokens as another option, {where}: they score alike"
    if kind == MERGED:
        return (
            f"{share}, {where}, have a token that reaches over their boundary: they and the other "
            "options are scored from the last token before it"
        )
    return (
        f"{share}, {where}, have a token that reaches over their boundary: lm-eval scores another "
        "text than theirs (--backend growloop does not)"
    )


def _mistaken(requests: Sequence[Request]) -> bool:
    """Whether lm-eval's cache of logits takes requests for one another.

    It does where texts are equal but for their last tokens and continuations are not equally long:
    it then reads the score of the shorter from the first of the longer's places.
    """
    lengths: dict[int, int] = {}
    return any(
        lengths.setdefault(hash((*context, *option[:-1])), len(option)) != len(option)
        for _, context, option in requests
    )


def _key(pairs: Sequence[Pair]) -> int:
    """The same number for the same requests."""
    contexts = {id(context): hash(tuple(context)) for context, _ in pairs}
    return hash(tuple((contexts[id(context)], *option) for context, option in pairs))
