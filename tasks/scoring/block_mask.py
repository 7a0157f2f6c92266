"""Block mask of a trie for FlexAttention.

A block of keys that no query of a block sees is skipped; one that all of them see needs no mask.
Both follow from the minima and maxima of the blocks, so no mask of all pairs is made. Queries and
keys are padded to whole blocks, so that the kernel compiled once serves every pack.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .transfer import to_device
from .trie import Ints

SIZE = 128  # nodes
Bools = NDArray[np.bool_]


def padded(count: int) -> int:
    """Round a number of nodes up to whole blocks.

    >>> padded(1), padded(128), padded(129)
    (128, 128, 256)
    """
    return -(-count // SIZE) * SIZE


def seen_blocks(
    nodes: Ints, ends: Ints, depth: Ints, first: int, window: int | None = None
) -> tuple[Bools, Bools]:
    """Return which blocks of keys some query of a block may see, and which all queries see.

    Args:
        nodes, ends, depth: per key; the queries are those from index ``first`` on.
        first: index of the first query.
        window: size of the sliding window, or None.

    Returns:
        Two masks, ``(blocks of queries, blocks of keys)`` each.

    >>> some, every = seen_blocks(np.arange(256), np.full(256, 256), np.arange(256), 0)
    >>> some.tolist(), every.tolist()
    ([[True, False], [True, True]], [[False, False], [True, False]])
    """
    q_low, q_high = _bounds(nodes[first:], -1)
    k_low, k_high = _bounds(nodes, np.iinfo(np.int32).max)
    end_low, end_high = _bounds(ends, 0)
    some = (k_low <= q_high[:, None]) & (q_low[:, None] < end_high)
    every = (k_high <= q_low[:, None]) & (q_high[:, None] < end_low)
    if window is not None:
        at_low, at_high = _bounds(depth[first:], 0)
        near, far = _bounds(depth, 0)
        some &= at_low[:, None] - far < window
        every &= at_high[:, None] - near < window
    return some, every


def block_mask(
    nodes: Ints, ends: Ints, depth: Ints, first: int, window: int | None, device: torch.device
) -> Any:
    """Make the mask of queries and keys padded to whole blocks; see :func:`seen_blocks`."""
    from torch.nn.attention.flex_attention import BlockMask

    some, every = seen_blocks(nodes, ends, depth, first, window)
    node = to_device(_filled(nodes, -1), device)
    end = to_device(_filled(ends, 0), device)
    query = to_device(_filled(nodes[first:], -1), device)

    def sees(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (node[k] <= query[q]) & (query[q] < end[k])

    at = to_device(_filled(depth, 0), device)
    horizon = to_device(_filled(depth[first:] - (window or 0), 0), device)

    def sees_near(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return sees(batch, head, q, k) & (at[k] > horizon[q])

    rule = sees if window is None else sees_near
    partly = _block_lists(some & ~every, device)
    return BlockMask.from_kv_blocks(*partly, *_block_lists(every, device), SIZE, rule)


def _filled(values: Ints, rest: int) -> NDArray[np.int32]:
    """Pad values to whole blocks with ``rest``."""
    filled = np.full(padded(len(values)), rest, np.int32)
    filled[: len(values)] = values
    return filled


def _bounds(values: Ints, rest: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the minimum and the maximum of each block."""
    blocks = _filled(values, rest).reshape(-1, SIZE)
    return blocks.min(axis=1), blocks.max(axis=1)


def _block_lists(blocks: Bools, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the number of key blocks of each query block, ``(1, 1, queries)``, and their order."""
    order = np.argsort(~blocks, axis=1, kind="stable").astype(np.int32)
    count = blocks.sum(axis=1, dtype=np.int32)
    return to_device(count[None, None], device), to_device(order[None, None], device)
