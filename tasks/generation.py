"""Generates for requests that begin alike: what they have in common runs once.

Requests are grouped by the text they begin with (the same examples, say). A batch then is laid out
as ``common | padding | rest`` on copies of the common part's keys and values.
"""

from __future__ import annotations

import copy
import itertools
from collections import defaultdict
from hashlib import sha256
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from .processes import Processes

COMMON = 128  # characters that are worth sharing
LEAST = 32  # tokens


class SharedPrefixGeneration(HFLM):  # type: ignore[misc]
    """``generate_until`` of lm-eval, with the same texts and less work."""

    processes: Processes
    _common: list[int] | None = None
    _kept: Any = None

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        if self.processes.count == 1:
            return self._generate(requests, disable_tqdm)
        quiet = disable_tqdm or self.processes.place > 0
        order = sorted(range(len(requests)), key=lambda i: str(requests[i].args[0]))
        ends = [len(order) * part // self.processes.count for part in range(self.processes.count)]
        parts = [order[a:b] for a, b in itertools.pairwise([*ends, len(order)])]
        asked = sha256(repr([request.args for request in requests]).encode()).hexdigest()
        return self.processes.share(
            asked, parts, lambda some: self._generate([requests[i] for i in some], quiet)
        )

    def _generate(self, requests: list[Any], disable_tqdm: bool) -> list[str]:
        if self.backend != "causal" or not self._shares_caches():
            return super().generate_until(requests, disable_tqdm)  # type: ignore[no-any-return]
        texts = [request.args[0] for request in requests]
        groups = [
            (members, self._common_tokens([texts[i] for i in members])) for members in _alike(texts)
        ]
        # what shares nothing still runs in batches
        rest = [i for members, common in groups if common is None for i in members]
        found: dict[int, str] = {}
        for members, common in [(rest, None), *((m, c) for m, c in groups if c is not None)]:
            if not members:
                continue
            self._common = common
            try:
                made = super().generate_until([requests[i] for i in members], disable_tqdm)
            finally:
                self._common = self._kept = None
            found |= dict(zip(members, made, strict=True))
        return [found[i] for i in range(len(requests))]

    def _shares_caches(self) -> bool:
        """Whether all layers keep all keys and values, so that a cache can be copied."""
        config = self.model.config.get_text_config(decoder=True)
        kinds = set(getattr(config, "layer_types", None) or [])
        return kinds <= {"full_attention"} and not getattr(config, "sliding_window", None)

    def _common_tokens(self, texts: list[str]) -> list[int] | None:
        if len(texts) < 2:
            return None
        least_alike = [self.tok_encode(text) for text in (min(texts), max(texts))]
        pairs = itertools.takewhile(lambda p: p[0] == p[1], zip(*least_alike, strict=False))
        common = [token for token, _ in pairs]
        return common if len(common) >= LEAST else None

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **options: Any
    ) -> Tensor:
        mask = options.get("attention_mask")
        common = self._common
        if common is None or mask is None or not self._begins(context, mask, common):
            return super()._model_generate(context, max_length, stop, **options)  # type: ignore[no-any-return]
        if self._kept is None:
            with torch.inference_mode():
                ids = torch.tensor([common], device=self.device)
                dtype = self.mixed_precision_dtype
                with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
                    self._kept = self.model(ids, use_cache=True).past_key_values
        cache = copy.deepcopy(self._kept)
        cache.batch_repeat_interleave(len(context))
        # padding goes between the common part and the rest, where the cache needs none
        lengths = mask.sum(1).tolist()
        order = torch.stack([_after(len(common), real, mask.shape[1]) for real in lengths])
        order = order.to(context.device)
        options["attention_mask"] = mask.gather(1, order)
        return super()._model_generate(  # type: ignore[no-any-return]
            context.gather(1, order), max_length, stop, past_key_values=cache, **options
        )

    @staticmethod
    def _begins(context: Tensor, mask: Tensor, common: list[int]) -> bool:
        """Whether all rows begin with the common part, and go on after it."""
        rows = context.cpu(), mask.bool().cpu()  # once, not row by row
        wanted = torch.tensor(common)
        return all(
            len(real := row[seen]) > len(common) and torch.equal(real[: len(common)], wanted)
            for row, seen in zip(*rows, strict=True)
        )


def _after(common: int, real: int, width: int) -> Tensor:
    """Where the columns of a left-padded row come from when its padding moves."""
    padding = width - real
    columns = torch.arange(width)
    return torch.cat(
        [columns[padding : padding + common], columns[:padding], columns[padding + common :]]
    )


def _alike(texts: list[str]) -> list[list[int]]:
    """Numbers of texts in groups that begin with the same ``COMMON`` characters."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, text in enumerate(texts):
        groups[text[:COMMON]].append(i)
    return list(groups.values())
