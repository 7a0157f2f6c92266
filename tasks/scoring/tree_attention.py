"""Attention between the nodes of a trie, for any model that calls Hugging Face's interface.

A *pack* is a run of nodes in depth-first order. What its nodes see outside of it is one path from
the root, whose keys and values are kept from the packs before; so no node ever runs twice. The
queries are attended to in blocks, each over just the keys that some query of it sees; or, where
FlexAttention compiles, by it with a block mask that says the same.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from .block_mask import block_mask, padded
from .transfer import moved
from .trie import Ints, Trie

NAME = "growloop_trie"
# Queries of a block, at most and at least: fewer waste less on keys out of sight, more have less
# overhead, which counts for more on a GPU.
BLOCK, BLOCK_GPU = (256, 64), (1024, 512)
FALL = 64  # tokens; where a text ends and one begins that shares so much less, a block ends

KeyValues = tuple[Tensor, Tensor]  # (1, heads, tokens, head_dim) each
_pack: ContextVar[Pack] = ContextVar("pack")


class Pack:
    """Some nodes of a trie as one sequence, and what they see.

    Args:
        trie: the trie.
        start, stop: the nodes.
        path: the nodes before ``start`` that it grows from, in order.
        past: keys and values of the path, by slot.
        device: where the model is.
        eager: use the architecture's own plain attention (it may cap scores or have sinks).
        flex: use FlexAttention.
    """

    def __init__(
        self,
        trie: Trie,
        start: int,
        stop: int,
        path: Ints,
        past: dict[int, KeyValues],
        device: torch.device,
        eager: bool = False,
        flex: bool = False,
    ) -> None:
        self.device, self.eager, self.past = device, eager, past
        self.flex = flex and not eager
        self.kept: dict[int, KeyValues] = {}
        self.slots: Iterator[int] = iter(())
        nodes = np.concatenate([path, np.arange(start, stop)])
        self.depth = trie.depth[nodes]
        self.first = len(path)
        ends = trie.end[nodes]
        # the next pack starts at `stop`: its path is what has not ended by then
        next_path = np.flatnonzero(ends > stop)
        self.next_path = nodes[next_path]
        self._keep = moved(next_path, device)
        self._nodes, self._ends = nodes, ends
        self._masks: dict[tuple[int, int | None, int, torch.dtype], Tensor] = {}
        self._block_masks: dict[int | None, Any] = {}
        self._blocks: list[tuple[int, int, slice | Tensor]] = []
        if self.flex:
            return
        self._there = tuple(moved(array, device) for array in (nodes, ends, self.depth))
        sizes = BLOCK_GPU if device.type == "cuda" else BLOCK
        for a, b in _cuts(trie.depth[start:stop], *sizes):
            seen = np.flatnonzero((ends > start + a) & (nodes < start + b))
            run = len(seen) == seen[-1] - seen[0] + 1
            span = slice(int(seen[0]), int(seen[-1]) + 1)
            self._blocks.append((a, b, span if run else moved(seen, device)))

    @contextmanager
    def running(self, slots: Iterator[int]) -> Iterator[None]:
        """Attention inside is this pack's; its calls use these slots, one after the other."""
        self.slots = slots
        token = _pack.set(self)
        try:
            yield
        finally:
            _pack.reset(token)

    def attend(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None,
        window: int | None,
        rest: dict[str, Any],
    ) -> Tensor:
        """One attention call of the model: ``(1, heads, nodes, head_dim)`` each, as the result
        ``(1, nodes, heads, head_dim)``.
        """
        slot = next(self.slots)
        if slot in self.past:
            before = self.past[slot]
            key, value = (torch.cat(pair, dim=2) for pair in zip(before, (key, value), strict=True))
        if len(self._keep):
            self.kept[slot] = key.index_select(2, self._keep), value.index_select(2, self._keep)
        if self.flex:
            return self._flexed(query, key, value, scaling, window)
        heads, groups = query.shape[1], query.shape[1] // key.shape[1]
        made = query.new_empty(1, query.shape[2], heads, value.shape[3])
        for i, (a, b, keys) in enumerate(self._blocks):
            q, k, v = query[:, :, a:b], _columns(key, keys), _columns(value, keys)
            if self.eager:
                plain = sys.modules[type(module).__module__].eager_attention_forward
                mask = self._mask(i, window, 1, q.dtype)
                made[:, a:b] = plain(module, q, k, v, mask, scaling=scaling, dropout=0.0, **rest)[0]
                continue
            # heads that share keys become queries of one head: no copies of keys
            q = q.reshape(1, key.shape[1], groups * (b - a), q.shape[3])
            mask = self._mask(i, window, groups, q.dtype)
            found = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
            made[:, a:b] = found.reshape(1, heads, b - a, -1).transpose(1, 2)
        return made

    def _flexed(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        if window not in self._block_masks:
            about = self._nodes, self._ends, self.depth, self.first
            self._block_masks[window] = block_mask(*about, window, self.device)
        tokens = query.shape[2]
        found: Tensor = _flex(self.device.type)(
            *(pad(t, (0, 0, 0, padded(t.shape[2]) - t.shape[2])) for t in (query, key, value)),
            block_mask=self._block_masks[window],
            scale=scaling,
            enable_gqa=query.shape[1] > key.shape[1],
        )
        return found[:, :, :tokens].transpose(1, 2).contiguous()

    def _mask(self, block: int, window: int | None, groups: int, dtype: torch.dtype) -> Tensor:
        """What is added to the scores of a block: ``(1, 1, groups * queries, keys)``."""
        found = self._masks.get((block, window, groups, dtype))
        if found is None:
            a, b, keys = self._blocks[block]
            nodes, ends, depth = self._there
            own = slice(self.first + a, self.first + b)
            queries = nodes[own, None]
            visible = (nodes[keys] <= queries) & (queries < ends[keys])
            if window is not None:
                visible &= depth[own, None] - depth[keys] < window
            found = torch.zeros(visible.shape, dtype=dtype, device=self.device)
            found = found.masked_fill_(~visible, torch.finfo(dtype).min)
            found = found.repeat(groups, 1)[None, None]
            self._masks[block, window, groups, dtype] = found
        return found


@functools.cache
def _flex(device: str) -> Any:
    """FlexAttention, compiled where that is what makes it fast."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention


def _columns(tensor: Tensor, keys: slice | Tensor) -> Tensor:
    return tensor[:, :, keys] if isinstance(keys, slice) else tensor.index_select(2, keys)


def _cuts(depth: Ints, longest: int = BLOCK[0], shortest: int = BLOCK[1]) -> list[tuple[int, int]]:
    """Blocks of queries: at most ``longest`` long, and ending where a text does."""
    falls = np.flatnonzero(depth[:-1] - depth[1:] >= FALL) + 1
    found, start = [], 0
    for stop in [*falls.tolist(), len(depth)]:
        if stop - start < shortest and stop < len(depth):
            continue
        pieces = -(-(stop - start) // longest)
        edges = np.linspace(start, stop, pieces + 1).astype(int).tolist()
        found += list(itertools.pairwise(edges))
        start = stop
    return found


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """What Hugging Face's layers call."""
    if rest.get("position_bias") is not None:
        raise ValueError("positions by a bias on the scores")
    rest.pop("is_causal", None)
    pack = _pack.get()
    return pack.attend(module, query, key, value, scaling, sliding_window, rest), None


AttentionInterface.register(NAME, _attend)


@contextmanager
def tree_attention(model: torch.nn.Module) -> Iterator[bool]:
    """Inside, the model attends by the trie; gives whether it had plain (eager) attention."""
    configs: dict[int, Any] = {
        id(m.config): m.config for m in model.modules() if hasattr(m, "config")
    }
    before = [(c, getattr(c, "_attn_implementation", None)) for c in configs.values()]
    try:
        for config, _ in before:
            config._attn_implementation = NAME
        yield any(implementation == "eager" for _, implementation in before)
    finally:
        for config, implementation in before:
            config._attn_implementation = implementation
