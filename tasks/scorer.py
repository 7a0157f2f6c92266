"""Scores the options of a question in one pass over its context.

lm-eval's ``hf`` backend runs context and option together, once an option. Here each question is
one packed sequence: the context, then the options as branches of a tree, so that every distinct
token runs once. A branch token sees the context and its own branch only (a 4-D attention mask)
and has the position it would have alone::

    context tokens 0 1 2 3   options "4 5", "4 6", "7 8"  (the last token is only predicted)
    packed         0 1 2 3 | 4 7      positions 0 1 2 3 4 4

Models that do not take such a mask keep the context's keys and values and run the options after
it. The first question is scored by lm-eval's own code too; a disagreement falls back to that.
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

Request = tuple[tuple[str, str], list[int], list[int]]
"""The texts, the tokens of the context, the tokens of the continuation."""
Score = tuple[float, bool]
"""The log-probability of an option, and whether it is what the model would say itself."""
Way = Callable[[list[int], list[list[int]]], list[Score]]

logger = logging.getLogger("growloop")


class SharedContextLM(HFLM):  # type: ignore[misc]
    """``hf`` of lm-eval, except that the options of a question share the work on its context.

    A question that does not fit into the model's context is refused, unless
    ``truncation=True`` asks for lm-eval's way: dropping what comes first.
    """

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Score]:
        if self.backend != "causal":
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)  # type: ignore[no-any-return]
        by_context: dict[tuple[int, ...], list[int]] = defaultdict(list)
        truncated: list[int] = []
        for i, (_, context, continuation) in enumerate(requests):
            length = len(context) + len(continuation) - 1  # the last token is only predicted
            if length <= self.max_length:
                by_context[tuple(context)].append(i)
            elif self.truncation:
                truncated.append(i)
            else:
                raise InputError(
                    f"a question of {length:,} tokens does not fit into the model's context "
                    f"of {self.max_length:,}: give fewer --shots"
                )
        results: dict[int, Score] = {}
        hidden = disable_tqdm or self.rank != 0
        bar = tqdm(total=len(requests), disable=hidden, desc="Scoring", unit=" options")
        # longest first: running out of memory shows at once
        for context, members in sorted(by_context.items(), key=lambda pair: -len(pair[0])):
            options = [requests[i][2] for i in members]
            scores = self._way(list(context), options)(list(context), options)
            results |= dict(zip(members, scores, strict=True))
            bar.update(len(members))
        bar.close()
        if truncated:
            plain = super()._loglikelihood_tokens([requests[i] for i in truncated], True)
            results |= dict(zip(truncated, plain, strict=True))
        for i, (texts, _, _) in enumerate(requests):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, results[i])
        return [results[i] for i in range(len(requests))]

    def _way(self, context: list[int], options: list[list[int]]) -> Way:
        """The fastest way of scoring that suits the model, found out on the first question."""
        if not hasattr(self, "_chosen"):
            self._chosen = self._choose(context, options)
        window = getattr(self.config, "sliding_window", None)
        if self._chosen == self._packed and window and len(context) + 64 > window:
            return self._cached  # one mask for all layers would let them see too far
        return self._chosen

    def _choose(self, context: list[int], options: list[list[int]]) -> Way:
        right = self._plain(context, options)
        tolerance = 1e-3 if self.model.dtype == torch.float32 else 1.0  # nats
        for way in (self._packed, self._cached):
            try:
                found = way(context, options)
            except Exception as error:  # a model may refuse masks or caches in its own way
                logger.info("%s: %s", way.__name__, error)
                continue
            if all(abs(a - b) <= tolerance for (a, _), (b, _) in zip(found, right, strict=True)):
                return way
        logger.warning("this model cannot share contexts: falling back to lm-eval's own scoring")
        return self._plain

    def _plain(self, context: list[int], options: list[list[int]]) -> list[Score]:
        """lm-eval's own way."""
        requests = [(None, context, option) for option in options]
        return super()._loglikelihood_tokens(requests, True, 1)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def _packed(self, context: list[int], options: list[list[int]]) -> list[Score]:
        """Context and options as one sequence under a tree mask."""
        length = len(context)
        nodes: dict[tuple[int, ...], int] = {(): length - 1}  # a branch: where its end stands
        tokens, parents, positions = list(context), [], list(range(length))
        for option in options:
            for end in range(1, len(option)):
                branch = tuple(option[:end])
                if branch not in nodes:
                    nodes[branch] = len(tokens)
                    parents.append(nodes[branch[:-1]])
                    tokens.append(option[end - 1])
                    positions.append(length + end - 1)
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
            self._sum(
                rows[[nodes[tuple(option[:end])] - first for end in range(len(option))]], option
            )
            for option in options
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
