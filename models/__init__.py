"""Looped and grown language models: layers gathered by index, shared or copied.

Importing this lets ``AutoModelForCausalLM.from_pretrained`` read looped checkpoints.
"""

from __future__ import annotations

from .errors import ModelError, NotationError
from .exits import EarlyExit
from .looping import loop
from .recurrence import RandomLoops, Recurrence
from .schedule import Schedule, Section

__all__ = [
    "EarlyExit",
    "ModelError",
    "NotationError",
    "RandomLoops",
    "Recurrence",
    "Schedule",
    "Section",
    "loop",
]
