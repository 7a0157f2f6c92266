"""Looped and grown language models: layers gathered by index, shared or copied.

Importing this lets ``AutoModelForCausalLM.from_pretrained`` read looped checkpoints.
"""

from __future__ import annotations

from .checkpoints import load, save
from .costs import Cost, Stage, cost, growth_stages, training_flops
from .errors import ModelError, NotationError
from .exits import EarlyExit
from .growing import grow, untie
from .growth import OPERATORS, GrowthMap, growth_map, prop_schedule
from .looping import loop
from .presets import PRESETS, build, preset
from .recurrence import RandomLoops, Recurrence
from .schedule import Schedule, Section
from .similarity import block_similarity, layer_similarity

__all__ = [
    "OPERATORS",
    "PRESETS",
    "Cost",
    "EarlyExit",
    "GrowthMap",
    "ModelError",
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
    "save",
    "training_flops",
    "untie",
]
