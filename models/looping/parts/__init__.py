"""Parts of a looped block, each in a small file: what happens between its loops.

``register_part(kind, name)`` adds one; :class:`PartSettings` names one with its options.
"""

from __future__ import annotations

from . import (
    confidence,
    consistency,
    deep_supervision,
    diagonal,
    exit_gate,
    hyper,
    injections,
    loop_embedding,
    loop_gate,
    loop_lora,
    selective_gate,
    streams,
    time_step,
)
from .objective import LoopTrace, Objective
from .part import Carry, Conditioning, Injection, Loop, Part
from .registry import (
    DEFAULTS,
    KINDS,
    PARTS,
    BlockShape,
    PartSettings,
    build_part,
    part_class,
    register_part,
)

__all__ = [
    "DEFAULTS",
    "KINDS",
    "PARTS",
    "BlockShape",
    "Carry",
    "Conditioning",
    "Injection",
    "Loop",
    "LoopTrace",
    "Objective",
    "Part",
    "PartSettings",
    "build_part",
    "confidence",
    "consistency",
    "deep_supervision",
    "diagonal",
    "exit_gate",
    "hyper",
    "injections",
    "loop_embedding",
    "loop_gate",
    "loop_lora",
    "part_class",
    "register_part",
    "selective_gate",
    "streams",
    "time_step",
]
