"""Generation with shared cache slots and early exit, written out with a plain model's layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import pytest
import torch
from growloop.core.caches import cache_name
from torch import Tensor
from transformers import (
    DynamicCache,
    PreTrainedModel,
)

CACHES = pytest.mark.parametrize("cache", ["dynamic", "static"])


class Rule(Protocol):
    """A published exit rule: told the state that enters a block, then state and logits a loop."""

    def init(self, state: Tensor) -> None: ...

    def check(self, state: Tensor, logits: Tensor) -> bool: ...


def simulated(
    model: PreTrainedModel,
    ids: Tensor,
    layers: Sequence[int],
    new: int = 6,
    slots: int | None = None,
    block: tuple[int, int, int] | None = None,
    settled: Callable[[Tensor, Tensor | None], bool] = lambda after, before: False,
    window: int | None = None,
    rule: Rule | None = None,
) -> tuple[Tensor, int]:
    """Greedy generation for one sequence, with nothing but a plain model's layers.

    A slot is a (layer, loop modulo slots). Within a forward each loop attends to what its slot
    held before the forward and to its own entries; the last loop to use a slot leaves its entries
    in it. Once ``settled``, the rest of the ``block`` (start, size, times) is left out and its
    slots get the entries of the layer's last loop. A ``rule`` judges instead of ``settled``, with
    the logits that the layers after the block would give now.

    Returns:
        Logits ``(1, new, vocabulary)``, and how many layers ran.
    """
    past: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    logits, ran, inner = [], 0, model.model
    start, size, times = block or (0, 0, 0)
    cached = cache_name(inner.layers[0].forward)
    for _ in range(new):
        count = ids.shape[1]
        held = next(iter(past.values()))[0].shape[2] if past else 0
        h = inner.embed_tokens(ids)
        places = torch.arange(held, held + count)[None]
        rope = inner.rotary_emb(h, position_ids=places)
        back = places.T - torch.arange(held + count)[None]  # how far back a key is
        hidden = (back < 0) | (back >= (window or 10**6))
        mask = torch.zeros(back.shape).masked_fill(hidden, float("-inf"))[None, None]
        seen: Counter[int] = Counter()
        fresh, newest = {}, {}
        gone, before = False, None
        for step, layer in enumerate(layers):
            slot = (layer, seen[layer] % (slots or 10**6))
            seen[layer] += 1
            inside = start <= step < start + size * times
            if not inside or (step - start) == 0:
                gone, before = False, None
            if inside and step == start and rule is not None:
                rule.init(h)
            old = past.get(slot)
            if gone:
                entries = newest[layer]
                fresh[slot] = entries if old is None else joined(old, entries)
                continue
            cache = DynamicCache()
            if old is not None:
                cache.update(*old, layer)
            h = inner.layers[layer](
                h,
                attention_mask=mask,
                position_ids=places,
                position_embeddings=rope,
                **{cached: cache},
            )
            ran += 1
            fresh[slot] = (cache.layers[layer].keys, cache.layers[layer].values)
            newest[layer] = tuple(part[:, :, -count:] for part in fresh[slot])
            if inside and (step - start) % size == size - 1:
                gone, before = settled(h, before), h
                if rule is not None:
                    seen_now = h
                    for later in layers[start + size * times :]:  # each a layer of its own
                        cache = DynamicCache()
                        if (later, 0) in past:
                            cache.update(*past[later, 0], later)
                        seen_now = inner.layers[later](
                            seen_now,
                            attention_mask=mask,
                            position_ids=places,
                            position_embeddings=rope,
                            **{cached: cache},
                        )
                        ran += 1
                    gone = rule.check(h, model.lm_head(inner.norm(seen_now)))
        past = fresh
        logits.append(model.lm_head(inner.norm(h))[:, -1])
        ids = logits[-1].argmax(-1, keepdim=True)
    return torch.stack(logits, 1), ran


def joined(old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([old[0], new[0]], 2), torch.cat([old[1], new[1]], 2)
