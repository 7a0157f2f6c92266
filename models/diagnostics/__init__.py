"""Diagnostics per step of a model: contributions, effects on later steps, lenses.

All of them work on one traced forward pass. Every step has the coordinate ``(layer, loop)``, so
plain, looped and grown models are measured alike.
"""

from __future__ import annotations

from .contributions import MEASURES, contributions
from .depth_score import depth_score, depth_shares, prediction_effects
from .dynamics import LayerDynamics, dynamics, layer_dynamics, loop_chains, returns
from .layer_effects import SKIP_FRONT, future_cuts, local_effects, propagated_effects
from .lens import Lens, exit_logits, exits
from .lens_fitting import fit_lens
from .replay import Replay
from .trace import Trace, trace

__all__ = [
    "MEASURES",
    "SKIP_FRONT",
    "LayerDynamics",
    "Lens",
    "Replay",
    "Trace",
    "contributions",
    "depth_score",
    "depth_shares",
    "dynamics",
    "exit_logits",
    "exits",
    "fit_lens",
    "future_cuts",
    "layer_dynamics",
    "local_effects",
    "loop_chains",
    "prediction_effects",
    "propagated_effects",
    "returns",
    "trace",
]
