"""Looped and grown language models: layers gathered by index, shared or copied.

Importing this lets ``AutoModelForCausalLM.from_pretrained`` read looped checkpoints.
"""

from __future__ import annotations

from ..core.errors import InputError, NotationError
from ..core.schedule import Schedule, Section
from .checkpoints import load, save
from .costs import Cost, Stage, cost, growth_stages, training_flops
from .growing.grow import grow, untie
from .growing.maps import GrowthMap, growth_map
from .growing.operators import OPERATORS, register_operator
from .growing.prop_schedule import prop_schedule
from .looping.early_exit import EarlyExit
from .looping.loop import loop
from .looping.recurrence import RandomLoops, Recurrence
from .presets import PRESETS, build, preset
from .similarity import block_similarity, layer_similarity

__all__ = [
    "OPERATORS",
    "PRESETS",
    "Cost",
    "EarlyExit",
    "GrowthMap",
    "InputError",
    "NotationError",
    "RandomLoops",
    "Recurrence",
    "Schedule",
    "Section",
    "Stage",
    "block_similarity",
    "build",
    "cost",
    "grow",
    "growth_map",
    "growth_stages",
    "layer_similarity",
    "load",
    "loop",
    "preset",
    "prop_schedule",
    "register_operator",
    "save",
    "training_flops",
    "untie",
]
