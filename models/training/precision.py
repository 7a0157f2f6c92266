"""Precision of a run on a device: autocast, attention kernel and the dtype of matrix products."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from .runfile import Run

SHORT = 128  # tokens; up to this length the math kernel is faster on the CPU


@dataclass(frozen=True)
class Precision:
    """Precision of the forward and backward passes.

    Args:
        device: device of the model.
        dtype: dtype of matrix products: bfloat16 under autocast, or float32.
        short: whether sequences have at most ``SHORT`` tokens.
        recomputes: whether the backward pass recomputes activations (gradient checkpointing).
    """

    device: torch.device
    dtype: torch.dtype
    short: bool
    recomputes: bool

    @classmethod
    def of(cls, run: Run, device: torch.device) -> Precision:
        """Return the precision of a run file on a device."""
        dtype = torch.bfloat16 if run.precision == "bf16" else torch.float32
        return cls(device, dtype, run.data.seq_len <= SHORT, run.gradient_checkpointing)

    def autocast(self, sharded: bool) -> torch.autocast:
        """Return the autocast context of forward passes.

        Args:
            sharded: whether FSDP2 shards the weights. With recomputed layers, autocast's cache
                would then hold all weights at once, so it is off.
        """
        enabled = self.dtype == torch.bfloat16
        cached = not (sharded and self.recomputes)
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=enabled, cache_enabled=cached
        )

    def attention(self) -> contextlib.AbstractContextManager[None]:
        """Return the context that chooses the math kernel for short bfloat16 rows on the CPU.

        The fused kernel is far slower there.
        """
        use_math = self.short and self.dtype == torch.bfloat16 and self.device.type == "cpu"
        return sdpa_kernel(SDPBackend.MATH) if use_math else contextlib.nullcontext()
