"""Scores the options of a question in one pass over its context.

lm-eval's ``hf`` backend runs context and option together, once an option. Here each question is
one packed sequence: the context, then the options as branches of a tree, so that every distinct
token runs once. A branch token sees the context and its own branch only (a 4-D attention mask)
and has the position it would have alone::

    context tokens 0 1 2 3   options "4 5", "4 6", "7 8"  (the last token is only predicted)
    packed         0 1 2 3 | 4 7      positions 0 1 2 3 4 4

Models that do not take such a mask keep the context's keys and values and run the options after
it. Each way is first tried against lm-eval's own code, on branches made for the purpose; a
disagreement rules it out.
"""

from __future__ import annotations

import inspect
import logging
from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from torch.nn.functional import log_softmax
from tqdm import tqdm

from ..primitives.errors import InputError

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""The texts, the tokens of the context, the tokens of the continuation."""
Score = tuple[float, bool]
"""The log-probability of an option, and whether it is what the model would say itself."""
Way = Callable[[list[int], list[list[int]]], list[Score]]

logger = logging.getLogger("growloop")
LONGEST_PACKED = 16_384  # tokens; a dense mask of more is larger than it is worth
TRIED = 256  # tokens of the context a way is tried on
PLACED_BY_INDEX = {"bloom", "mpt"}  # a token's place in the sequence is its position (ALiBi)


class CheckedLM(HFLM):  # type: ignore[misc]
    """``hf`` of lm-eval, except that a question must fit into the model's context.

    ``truncation=True`` asks for lm-eval's way: dropping what comes first.
    """

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Score]:
        for _, context, continuation in requests:
            length = len(context) + len(continuation) - 1  # the last token is only predicted
            if length > self.max_length and not self.truncation:
                raise InputError(
                    f"a question of {length:,} tokens does not fit into the model's context "
                    f"of {self.max_length:,}: give fewer --shots"
                )
        return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)  # type: ignore[no-any-return]


class SharedContextLM(CheckedLM):
    """The options of a question share the work on its context."""

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Score]:
        if self.backend != "causal":
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        by_context: dict[tuple[int, ...], list[int]] = defaultdict(list)
        alone: list[int] = []  # rolling windows, and what is cut by truncation
        for i, (texts, context, continuation) in enumerate(requests):
            fits = len(context) + len(continuation) - 1 <= self.max_length
            shares = texts is not None and (fits or not self.truncation)
            (by_context[tuple(context)] if shares else alone).append(i)
        groups = [members for members in by_context.values() if len(members) > 1]
        alone += [members[0] for members in by_context.values() if len(members) == 1]
        results: dict[int, Score] = {}
        if alone:
            some = [requests[i] for i in alone]
            plain = super()._loglikelihood_tokens(some, disable_tqdm, override_bs)
            results |= dict(zip(alone, plain, strict=True))
        total = sum(map(len, groups))
        hidden = disable_tqdm or self.rank != 0 or not total
        bar = tqdm(total=total, disable=hidden, desc="Scoring", unit=" options")
        # longest first: running out of memory shows at once
        for members in sorted(groups, key=lambda group: -len(requests[group[0]][1])):
            shared, options = requests[members[0]][1], [requests[i][2] for i in members]
            results |= dict(zip(members, self._score(shared, options), strict=True))
            for i in members:
                self.cache_hook.add_partial("loglikelihood", requests[i][0], results[i])
            bar.update(len(members))
        bar.close()
        return [results[i] for i in range(len(requests))]

    def _score(self, context: list[int], options: list[list[int]]) -> list[Score]:
        """The scores of a question's options, in the fastest way that suits model and question."""
        length = len(context) + max(map(len, options))
        if length - 1 > self.max_length:
            return self._plain(context, options)  # refuses
        if not hasattr(self, "_ways"):
            self._ways = [way for way in (self._packed, self._cached) if self._suits(way, context)]
            if not self._ways:
                logger.warning("this model cannot share contexts: scoring as lm-eval does")
        for way in self._ways:
            if way == self._packed and length > (self._window or LONGEST_PACKED):
                continue  # one mask for all layers would let some see too far
            try:
                return way(context, options)
            except Exception as error:  # out of memory, or a limit of the model's own
                logger.warning("%s failed on a question: %s", way.__name__, error)
        return self._plain(context, options)

    def _suits(self, way: Way, context: list[int]) -> bool:
        """Whether a way gives lm-eval's numbers, tried on branches that share and diverge."""
        kinds = set(getattr(self._text_config, "layer_types", None) or [])
        if not kinds <= {"full_attention", "sliding_attention"}:
            return False  # a recurrent state would run through the branches one after the other
        if way == self._packed and self._text_config.model_type in PLACED_BY_INDEX:
            return False
        a, b, c, d = (context * 4)[-4:]
        options = [[a, b], [a, c], [d, a, b], [d, a, c], [d, c, b], [b], [c, c, c, c]]
        # what is tried is the mask and the cache, not a window, nor the patience of the user
        room = min(self._window or TRIED, self.max_length, TRIED) - 8
        tried = context[: max(1, room)]
        right = self._plain(tried, options)
        try:
            found = way(tried, options)
        except Exception as error:  # a model may refuse masks or caches in its own way
            logger.info("%s: %s", way.__name__, error)
            return False
        each = 1e-3 if self.model.dtype == torch.float32 else 0.3  # nats a token
        return all(
            abs(x - y) <= each * len(option)
            for (x, _), (y, _), option in zip(found, right, options, strict=True)
        )

    @property
    def _text_config(self) -> Any:
        return self.model.config.get_text_config(decoder=True)

    @cached_property
    def _window(self) -> int | None:
        """The fewest tokens that some layer sees, if not all."""
        names = ("sliding_window", "attention_chunk_size")
        found = [getattr(self._text_config, name, None) for name in names]
        return min((window for window in found if window), default=None)

    def _plain(self, context: list[int], options: list[list[int]]) -> list[Score]:
        """lm-eval's own way."""
        requests: list[Request] = [(None, context, option) for option in options]
        return super()._loglikelihood_tokens(requests, True, 1)

    @torch.inference_mode()
    def _packed(self, context: list[int], options: list[list[int]]) -> list[Score]:
        """Context and options as one sequence under a tree mask."""
        length = len(context)
        children: dict[tuple[int, int], int] = {}  # (a branch's end, the next token): its place
        tokens, parents, positions = list(context), [], list(range(length))
        paths = []  # of each option, the places that predict its tokens
        for option in options:
            path = [length - 1]
            for token in option[:-1]:
                place = children.setdefault((path[-1], token), len(tokens))
                if place == len(tokens):
                    parents.append(path[-1])
                    tokens.append(token)
                    positions.append(positions[path[-1]] + 1)
                path.append(place)
            paths.append(path)
        total = len(tokens)
        sees = torch.ones(total, total, dtype=torch.bool).tril_()
        for node, parent in enumerate(parents, start=length):
            sees[node, length:] = sees[parent, length:]  # its branch; the context it sees anyway
            sees[node, node] = True
        mask = torch.zeros(total, total, dtype=self.model.dtype)
        mask.masked_fill_(~sees, torch.finfo(mask.dtype).min)
        output = self._run(
            torch.tensor([tokens], device=self.device),
            attention_mask=mask[None, None].to(self.device),
            position_ids=torch.tensor([positions], device=self.device),
            use_cache=False,
            **self._keep(total - length + 1),
        )
        rows = self._log_probs(output.logits[0, length - 1 - total :])  # (nodes + 1, vocabulary)
        first = length - 1
        return [
            self._sum(rows[[place - first for place in path]], option)
            for path, option in zip(paths, options, strict=True)
        ]

    @torch.inference_mode()
    def _cached(self, context: list[int], options: list[list[int]]) -> list[Score]:
        """The context once, the options as a batch on copies of its keys and values."""
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
        return [
            self._sum(
                first if rest is None else torch.cat([first, rest[k, : len(option) - 1]]), option
            )
            for k, option in enumerate(options)
        ]

    @staticmethod
    def _sum(rows: Tensor, option: list[int]) -> Score:
        """The score of an option from the log-probabilities ``(tokens, vocabulary)`` before it."""
        wanted = torch.tensor(option, device=rows.device)
        total = rows.gather(1, wanted[:, None]).sum().item()
        return total, bool((rows.argmax(dim=-1) == wanted).all())

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
