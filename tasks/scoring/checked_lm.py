"""lm-eval's ``hf`` model with checked requests: what ``--backend hf`` scores with.

The numbers are lm-eval's own. Added are refusals (a request that does not fit into the context, an
empty continuation, a token without an embedding, logits that are not finite) and notes about
requests whose tokens do not split where their texts do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...core.errors import InputError, shown
from ..notes import ALIKE, CUT, MERGED, MISREAD
from .backend import CheckedHF
from .encoding import Request, encode, encode_alone
from .generation import CheckedGeneration
from .processes import Processes
from .scan import Scores


class CheckedLM(CheckedGeneration, CheckedHF):
    """``hf`` of lm-eval that refuses requests longer than the model's context.

    With ``truncation=True`` it cuts them on the left, as lm-eval does. Requests that lm-eval's
    batching or its cache of logits would score wrongly are passed to it separately.
    """

    logits_cache: Any
    processes = Processes()
    repairs = False  # cut texts at a token boundary (True), or where lm-eval cuts them

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> Scores:
        if self.backend != "causal" or self.enable_thinking:
            return super().loglikelihood(requests, disable_tqdm)  # type: ignore[no-any-return]
        quiet = disable_tqdm or self.processes.rank > 0
        tasks = [request.task_name or "a task" for request in requests]
        encoded = self.encoded([request.args for request in requests], quiet, tasks)
        too_long = [len(c) + len(o) - 1 > self.max_length for _, c, o in encoded]
        scores = self._loglikelihood_tokens(encoded, disable_tqdm)
        self.notes.add(CUT, [task for task, cut in zip(tasks, too_long, strict=True) if cut])
        return scores

    def encoded(
        self,
        pairs: Sequence[tuple[str, str]],
        quiet: bool = True,
        tasks: Sequence[str] | None = None,
    ) -> list[Request]:
        """Encode contexts and continuations; note unusual tokenizations once per task.

        Args:
            pairs: (context, continuation) texts; an empty context is allowed.
            quiet: show no progress bar.
            tasks: task name of each pair, for the notes.
        """
        with_context = [i for i, (context, _) in enumerate(pairs) if context]
        encoded = encode(self, [pairs[i] for i in with_context], quiet, self.repairs)
        requests = dict(zip(with_context, encoded.requests, strict=True))
        names = tasks or ["a task"] * len(pairs)
        notes = {MERGED if self.repairs else MISREAD: encoded.merged, ALIKE: encoded.alike}
        for kind, affected in notes.items():
            members = [with_context[i] for i in affected]
            for task, number in Counter(names[i] for i in members).items():
                first = next(pairs[i] for i in members if names[i] == task)
                self.notes.say(_note(kind, task, number, names.count(task), *first))
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
        """Score by lm-eval; requests with other rotary frequencies run separately."""
        self.check(requests)
        score = super()._loglikelihood_tokens
        if self.backend != "causal":
            return score(requests, disable_tqdm, override_bs)  # type: ignore[no-any-return]
        groups = [list(range(len(requests)))]
        if self.regimes is not None:
            lengths = [len(context) + len(option) - 1 for _, context, option in requests]
            groups = self.regimes.groups([min(n, self.max_length) for n in lengths])
        by_number: dict[int, tuple[float, bool]] = {}
        before = self.logits_cache
        for members in groups:
            group = [requests[i] for i in members]
            self.logits_cache = before and not _collides_in_logits_cache(group)
            try:
                part = score(group, disable_tqdm or len(groups) > 1, override_bs)
            finally:
                self.logits_cache = before
            by_number |= dict(zip(members, part, strict=True))
        scores = [by_number[i] for i in range(len(requests))]
        self.check_scores(scores, [(context, option) for _, context, option in requests])
        return scores

    def check(self, requests: Sequence[Request]) -> None:
        """Refuse requests that cannot be scored.

        Raises:
            TokenizerError: a token has no embedding.
            InputError: a context or a continuation has no tokens, or both are longer than the
                model's context and ``truncation`` is off.
        """
        self.check_embedded(tokens for _, *both in requests for tokens in both)
        for texts, context, continuation in requests:
            if not continuation:
                after = f" after {shown(texts[0][-40:])}" if texts else ""
                raise InputError(
                    f"nothing to score: {shown(texts[1] if texts else '')}{after} is not a "
                    "token of its own"
                )
            if not context:
                raise InputError(
                    f"nothing to read before {shown(texts[1] if texts else '')}: "
                    f"{shown(texts[0] if texts else '')} is not a token"
                )
            length = len(context) + len(continuation) - 1  # the last token is only predicted
            if length > self.max_length and not self.truncation:
                raise InputError(
                    f"a question of {length:,} tokens does not fit into the model's context "
                    f"of {self.max_length:,}: give fewer examples"
                )


def _note(kind: str, task: str, number: int, count: int, context: str, continuation: str) -> str:
    """Word the note about requests with an unusual tokenization; the texts are an example."""
    share = f"{number:,} of {count:,} requests of {task}"
    example = f"such as {shown(continuation)} after {shown(context[-20:])}"
    if kind == ALIKE:
        return f"{share} are the same tokens as another option, {example}: they score alike"
    if kind == MERGED:
        return (
            f"{share}, {example}, have a token that reaches over their boundary: they and the "
            "other options are scored from the last token before it"
        )
    return (
        f"{share}, {example}, have a token that reaches over their boundary: lm-eval scores "
        "another text than theirs (--backend growloop does not)"
    )


def _collides_in_logits_cache(requests: Sequence[Request]) -> bool:
    """Return whether lm-eval's cache of logits would mix up some of these requests.

    Its key is context plus continuation without the last token. For equal keys and continuations of
    different lengths, it reads the shorter one's score from the first positions of the longer one.
    """
    lengths: dict[int, int] = {}
    return any(
        lengths.setdefault(hash((*context, *option[:-1])), len(option)) != len(option)
        for _, context, option in requests
    )
