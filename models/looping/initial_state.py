"""Random initial states of a loop, the same for every batch and every way of computing.

A state depends on a seed and on the position of its token; in training also on the step and on the
row. Only raw random bits are drawn, so that a model computes the same for ever.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

BLOCK = 128  # positions drawn at once
WIDEST = 3.0  # standard deviations where the normal distribution is cut off


def initial_states(
    positions: Tensor, width: int, seed: int = 0, step: int | None = None, row: int = 0
) -> Tensor:
    """Draw states of a normal distribution cut off at three standard deviations.

    Args:
        positions: position of each token, ``(tokens,)``.
        width: dimension of a state.
        seed: seed of the draw.
        step: training step; None for evaluation.
        row: number of the sequence in the batch of all processes.

    Returns:
        ``(tokens, width)`` in float32, of standard deviation 1 before the cut.

    >>> short, long = (initial_states(torch.arange(n), 4) for n in (3, 300))
    >>> torch.equal(short, long[:3]), bool(long.abs().max() <= 3)
    (True, True)
    """
    numbers = positions.cpu().long()
    blocks = numbers // BLOCK
    key = seed, 0 if step is None else step + 1, row, width
    states = torch.empty(len(numbers), width)
    for block in sorted(set(blocks.tolist())):
        here = blocks == block
        states[here] = _block(*key, block)[numbers[here] % BLOCK]
    return states.to(positions.device)


@functools.lru_cache(maxsize=32)
def _block(seed: int, step: int, row: int, width: int, block: int) -> Tensor:
    """Draw the states of 128 positions, ``(positions, width)``."""
    bits = np.random.Philox(key=[seed, width], counter=[0, block, row, step])
    raw = bits.random_raw(BLOCK * width) >> np.uint64(11)
    share = torch.from_numpy((raw.astype(np.float64) + 0.5) / 2.0**53)
    low = 0.5 * math.erfc(WIDEST / math.sqrt(2))
    states: Tensor = torch.special.ndtri(low + share * (1 - 2 * low)).float()
    return states.reshape(BLOCK, width)
