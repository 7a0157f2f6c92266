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
    norms,
    selective_gate,
    start,
    streams,
    time_step,
)
from .objective import LoopTrace, Objective
from .part import Between, Carry, Conditioning, End, Injection, Loop, Part, Places, Start
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
    "Between",
    "BlockShape",
    "Carry",
    "Conditioning",
    "End",
    "Injection",
    "Loop",
    "LoopTrace",
    "Objective",
    "Part",
    "PartSettings",
    "Places",
    "Start",
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
    "norms",
    "part_class",
    "register_part",
    "selective_gate",
    "start",
    "streams",
    "time_step",
]
