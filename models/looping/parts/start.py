"""State of the first loop: the input of the block, zero, or random (Geiping et al. 2025)."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from ....core.errors import InputError, shown, whole
from ..initial_state import initial_states
from .part import Places, Start
from .registry import BlockShape, register_part


@register_part("start", "input")
class InputStart(Start):
    """State that entered the block: ``h = e``."""

    acts = False


@register_part("start", "zero")
class ZeroStart(Start):
    """Zero: ``h = 0``. The injection has to bring in e, in the first loop too."""

    def begin(self, hidden: Tensor, places: Places | None) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(hidden)


@register_part("start", "random")
class RandomStart(Start):
    """Normal noise cut off at three standard deviations (Huginn, arXiv 2502.05171).

    In evaluation it depends on the seed and the position of a token alone, so that a text has the
    same logits in every batch, with padding and with a cache; in training also on the step and on
    the row. Huginn draws its noise anew in every forward pass.

    Args:
        std: standard deviation before the cut; Huginn's by default.
        seed: seed of the noise.
    """

    draws = True

    def __init__(self, shape: BlockShape, std: float = sqrt(2 / 5), seed: int = 0) -> None:
        super().__init__(shape)
        number = isinstance(std, (int, float)) and not isinstance(std, bool)
        if not number or not 0 < std < float("inf"):
            raise InputError(f"std of random is a number above 0, not {shown(std)}")
        self.std, self.seed = float(std), whole("seed of random", seed, 0, 2**64 - 1)

    def begin(self, hidden: Tensor, places: Places | None) -> Tensor:
        """Return the noise of each token."""
        assert places is not None
        positions, width = places.positions, hidden.shape[-1]
        if places.step is not None:
            rows = enumerate(positions, start=places.first_row)
            noise = torch.stack(
                [initial_states(row, width, self.seed, places.step, n) for n, row in rows]
            )
        elif bool((positions == positions[:1]).all()):
            noise = initial_states(positions[0], width, self.seed).expand_as(hidden)
        else:
            noise = initial_states(positions.flatten(), width, self.seed).view(hidden.shape)
        return (self.std * noise).to(hidden)
