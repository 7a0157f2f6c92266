"""Attention between the nodes of a trie, for any model that uses Hugging Face's interface.

A *pack* is a run of nodes in depth-first order. Outside of the pack its nodes see one path from the
root, whose keys and values are stored from earlier packs; so no node runs twice. Queries are
processed in blocks, each over the keys that some query of the block sees; or by FlexAttention with
an equivalent block mask.
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
from .transfer import to_device
from .trie import Ints, Trie

NAME = "growloop_trie"
# Queries of a block, at most and at least. Small blocks waste less on invisible keys, large ones
# have less overhead, which matters more on a GPU.
BLOCK, BLOCK_GPU = (256, 64), (1024, 512)
FALL = 64  # tokens; a drop of depth by as much ends a block

KeyValues = tuple[Tensor, Tensor]  # (1, heads, tokens, head_dim) each
_pack: ContextVar[Pack] = ContextVar("pack")


class Pack:
    """Nodes of a trie that run as one sequence, with their attention masks.

    Args:
        trie: the trie.
        start, stop: the nodes ``start .. stop-1``.
        path: ancestors of node ``start``, in order.
        past: cache slot -> keys and values of the path.
        device: device of the model.
        eager: use the architecture's own eager attention (it may cap scores or have sinks).
        flex: use FlexAttention.

    Attributes:
        next_past: cache slot -> keys and values of the next pack's path.
        next_path: nodes of the next pack's path.
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
        self.next_past: dict[int, KeyValues] = {}
        self.slots: Iterator[int] = iter(())
        nodes = np.concatenate([path, np.arange(start, stop)])
        self.depth = trie.depth[nodes]
        self.first = len(path)
        ends = trie.end[nodes]
        # the next pack starts at `stop`: its path are the nodes whose subtrees go on there
        next_path = np.flatnonzero(ends > stop)
        self.next_path = nodes[next_path]
        self._keep = to_device(next_path, device)
        self._nodes, self._ends = nodes, ends
        self._masks: dict[tuple[int, int | None, int, torch.dtype], Tensor] = {}
        self._block_masks: dict[int | None, Any] = {}
        self._blocks: list[tuple[int, int, slice | Tensor]] = []
        if self.flex:
            return
        self._there = tuple(to_device(array, device) for array in (nodes, ends, self.depth))
        sizes = BLOCK_GPU if device.type == "cuda" else BLOCK
        for a, b in _cuts(trie.depth[start:stop], *sizes):
            seen = np.flatnonzero((ends > start + a) & (nodes < start + b))
            run = len(seen) == seen[-1] - seen[0] + 1
            span = slice(int(seen[0]), int(seen[-1]) + 1)
            self._blocks.append((a, b, span if run else to_device(seen, device)))

    @contextmanager
    def running(self, slots: Iterator[int]) -> Iterator[None]:
        """Use this pack in attention inside a ``with`` block; calls take the slots in order."""
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
        """Compute one attention call of the model.

        Args:
            query, key, value: ``(1, heads, nodes, head_dim)`` each.
            window: size of the sliding window, or None.
            rest: further arguments of the eager attention.

        Returns:
            ``(1, nodes, heads, head_dim)``.
        """
        slot = next(self.slots)
        if slot in self.past:
            before = self.past[slot]
            key, value = (torch.cat(pair, dim=2) for pair in zip(before, (key, value), strict=True))
        if len(self._keep):
            self.next_past[slot] = (
                key.index_select(2, self._keep),
                value.index_select(2, self._keep),
            )
        if self.flex:
            return self._flexed(query, key, value, scaling, window)
        heads, groups = query.shape[1], query.shape[1] // key.shape[1]
        output = query.new_empty(1, query.shape[2], heads, value.shape[3])
        for i, (a, b, keys) in enumerate(self._blocks):
            q, k, v = query[:, :, a:b], _columns(key, keys), _columns(value, keys)
            if self.eager:
                plain = sys.modules[type(module).__module__].eager_attention_forward
                mask = self._mask(i, window, 1, q.dtype)
                output[:, a:b] = plain(module, q, k, v, mask, scaling=scaling, dropout=0.0, **rest)[
                    0
                ]
                continue
            # query heads that share keys become queries of one head, without copies of keys
            q = q.reshape(1, key.shape[1], groups * (b - a), q.shape[3])
            mask = self._mask(i, window, groups, q.dtype)
            attended = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
            output[:, a:b] = attended.reshape(1, heads, b - a, -1).transpose(1, 2)
        return output

    def _flexed(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        if window not in self._block_masks:
            about = self._nodes, self._ends, self.depth, self.first
            self._block_masks[window] = block_mask(*about, window, self.device)
        tokens = query.shape[2]
        output: Tensor = _flex(self.device.type)(
            *(pad(t, (0, 0, 0, padded(t.shape[2]) - t.shape[2])) for t in (query, key, value)),
            block_mask=self._block_masks[window],
            scale=scaling,
            enable_gqa=query.shape[1] > key.shape[1],
        )
        return output[:, :, :tokens].transpose(1, 2).contiguous()

    def _mask(self, block: int, window: int | None, groups: int, dtype: torch.dtype) -> Tensor:
        """Return the additive mask of a block: ``(1, 1, groups * queries, keys)``."""
        mask = self._masks.get((block, window, groups, dtype))
        if mask is None:
            a, b, keys = self._blocks[block]
            nodes, ends, depth = self._there
            own = slice(self.first + a, self.first + b)
            queries = nodes[own, None]
            visible = (nodes[keys] <= queries) & (queries < ends[keys])
            if window is not None:
                visible &= depth[own, None] - depth[keys] < window
            mask = torch.zeros(visible.shape, dtype=dtype, device=self.device)
            mask = mask.masked_fill_(~visible, torch.finfo(dtype).min)
            mask = mask.repeat(groups, 1)[None, None]
            self._masks[block, window, groups, dtype] = mask
        return mask


@functools.cache
def _flex(device: str) -> Any:
    """Return FlexAttention, compiled on a GPU, where it is slow otherwise."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention


def _columns(tensor: Tensor, keys: slice | Tensor) -> Tensor:
    return tensor[:, :, keys] if isinstance(keys, slice) else tensor.index_select(2, keys)


def _cuts(depth: Ints, longest: int = BLOCK[0], shortest: int = BLOCK[1]) -> list[tuple[int, int]]:
    """Cut queries into blocks of at most ``longest``, preferably at the ends of texts."""
    falls = np.flatnonzero(depth[:-1] - depth[1:] >= FALL) + 1
    blocks, start = [], 0
    for stop in [*falls.tolist(), len(depth)]:
        if stop - start < shortest and stop < len(depth):
            continue
        pieces = -(-(stop - start) // longest)
        edges = np.linspace(start, stop, pieces + 1).astype(int).tolist()
        blocks += list(itertools.pairwise(edges))
        start = stop
    return blocks


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
    """Attention function that Hugging Face's layers call."""
    if rest.get("position_bias") is not None:
        raise ValueError("positions by a bias on the scores")
    rest.pop("is_causal", None)
    pack = _pack.get()
    return pack.attend(module, query, key, value, scaling, sliding_window, rest), None


AttentionInterface.register(NAME, _attend)


@contextmanager
def tree_attention(model: torch.nn.Module) -> Iterator[bool]:
    """Use trie attention inside a ``with`` block; yields whether the model had eager attention."""
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
