"""Looped and grown language models: layers gathered by index, shared or copied.

Importing this lets ``AutoModelForCausalLM.from_pretrained`` read looped checkpoints.
"""

from __future__ import annotations

from ..core.errors import InputError, NotationError
from ..core.schedule import Schedule, Section
from .checkpoints import load, load_tokenizer, save
from .costs import Cost, Stage, cost, growth_stages, training_flops
from .growing.grow import grow, untie
from .growing.maps import GrowthMap, growth_map
from .growing.prop_schedule import prop_schedule
from .growing.registry import OPERATORS, register_operator
from .looping.early_exit import EarlyExit
from .looping.loop import loop
from .looping.parts import (
    Carry,
    Conditioning,
    Injection,
    Objective,
    register_part,
)
from .looping.random_loops import RandomLoops
from .looping.recurrence import Recurrence
from .presets import PRESETS, build, byte_tokenizer, preset
from .similarity import block_similarity, layer_similarity

__all__ = [
    "OPERATORS",
    "PRESETS",
    "Carry",
    "Conditioning",
    "Cost",
    "EarlyExit",
    "GrowthMap",
    "Injection",
    "InputError",
    "NotationError",
    "Objective",
    "RandomLoops",
    "Recurrence",
    "Schedule",
    "Section",
    "Stage",
    "block_similarity",
    "build",
    "byte_tokenizer",
    "cost",
    "grow",
    "growth_map",
    "growth_stages",
    "layer_similarity",
    "load",
    "load_tokenizer",
    "loop",
    "preset",
    "prop_schedule",
    "register_operator",
    "register_part",
    "save",
    "training_flops",
    "untie",
]
