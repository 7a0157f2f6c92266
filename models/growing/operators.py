"""Growth operators of the literature: MIDAS, LIDAS, gradual stacking, G_stack, SOLAR, LLaMA Pro."""

from __future__ import annotations

import math

from ...core.errors import InputError, one_of, whole
from .maps import GrowthMap
from .registry import register_operator


@register_operator("midas")
def midas(depth: int, block_size: int = 4) -> GrowthMap:
    """Copy the middle block, the ``ceil(n/2)``-th of n, right after itself (MIDAS)."""
    blocks = _blocks(depth, block_size)
    stop = math.ceil(blocks / 2) * block_size
    return GrowthMap((*range(stop), *range(stop - block_size, depth)))


@register_operator("lidas")
def lidas(depth: int, block_size: int = 4, order: str = "contiguous") -> GrowthMap:
    """Copy the middle ``block_size`` layers (LIDAS, paper section 2).

    Args:
        depth: number of layers.
        block_size: number of layers to copy.
        order: ``contiguous`` puts the copy right after its source (8 to 12: ``0-5,2-7``), which
            keeps every layer's place in the cycle of blocks; ``inserted`` puts it at the middle
            (``0-3,2-5,4-7``). The paper does not specify it; its periodic signatures suggest the
            first.
    """
    _at_least(depth, block_size)
    one_of("order", order, ("contiguous", "inserted"))
    start = (depth - block_size) // 2
    stop = start + block_size
    if order == "contiguous":
        return GrowthMap((*range(stop), *range(start, depth)))
    middle = depth // 2
    return GrowthMap((*range(middle), *range(start, stop), *range(middle, depth)))


@register_operator("gradual_stacking")
def gradual_stacking(depth: int, block_size: int = 4) -> GrowthMap:
    """Append a copy of the last block (gradual stacking)."""
    _at_least(depth, block_size)
    return GrowthMap((*range(depth), *range(depth - block_size, depth)))


@register_operator("g_stack")
def g_stack(depth: int, times: int = 2) -> GrowthMap:
    """Stack ``times`` copies of the whole model (G_stack); 2 doubles the depth."""
    whole("times", times, 2)
    return GrowthMap(tuple(range(depth)) * times)


@register_operator("solar")
def solar(depth: int, drop: int = 8) -> GrowthMap:
    """Join the stack without its last ``drop`` layers and the stack without its first (SOLAR)."""
    whole("drop", drop, 0, depth - 1)
    return GrowthMap((*range(depth - drop), *range(drop, depth)))


@register_operator("llama_pro")
def llama_pro(depth: int, block_size: int = 4) -> GrowthMap:
    """Copy the last layer of each block after it, zeroed (LLaMA Pro)."""
    _blocks(depth, block_size)
    sources: list[int] = []
    zeroed: list[int] = []
    for layer in range(depth):
        sources.append(layer)
        if (layer + 1) % block_size == 0:
            zeroed.append(len(sources))
            sources.append(layer)
    return GrowthMap(tuple(sources), tuple(zeroed))


def _blocks(depth: int, block_size: int) -> int:
    _at_least(depth, block_size)
    if depth % block_size:
        raise InputError(f"{depth} layers are not a multiple of the block size {block_size}")
    return depth // block_size


def _at_least(depth: int, block_size: int) -> None:
    whole("block_size", block_size, 1)
    if depth < block_size:
        raise InputError(f"{depth} layers hold no block of {block_size}")
