"""Tiny random models of every architecture, plain and physically unrolled.

An architecture is a function of the layers to build: ``at`` picks what the config says about each
layer, so ``config(kind, [0, 1, 1])`` describes a model with two copies of layer 1. Nothing here
imports growloop.
"""

from __future__ import annotations

from .building import (
    SCALED,
    SWITCH,
    architecture,
    config,
    copied,
    installed,
    layer_of,
    left_padded,
    plain,
    scaled,
    tokens,
    unrolled,
)
from .description import DEPTH, IRREGULAR, LOOPED, SCHEDULES
from .fully_checked import ARCHITECTURES
from .limits import KEPT, REFUSED
from .others import OTHERS

__all__ = [
    "ARCHITECTURES",
    "DEPTH",
    "IRREGULAR",
    "KEPT",
    "LOOPED",
    "OTHERS",
    "REFUSED",
    "SCALED",
    "SCHEDULES",
    "SWITCH",
    "architecture",
    "config",
    "copied",
    "installed",
    "layer_of",
    "left_padded",
    "plain",
    "scaled",
    "tokens",
    "unrolled",
]
