"""Recipes of loop variants: published ideas of what happens between loops, side by side.

All of one size have the same unique layers, the same data and the same training FLOPs: a variant
that costs more a step takes fewer steps. Their unique parameters differ by those of their parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """Variant of a looped model.

    Args:
        about: what it is after.
        recurrence: field ``recurrence`` of the run file.
        steps: steps at 360M and of the laptop's twin, for equal training FLOPs.
        whole: whether all layers loop, not only those in the middle.
    """

    about: str
    recurrence: dict[str, Any] = field(default_factory=dict)
    steps: tuple[int, int] = (200_000, 4000)
    whole: bool = False

    def schedule(self, laptop: bool) -> str:
        """Return the schedule: 12 unique layers, or 6 in the laptop's twin."""
        middle, whole = ("2-2x6-2", "6x3") if laptop else ("4-4x6-4", "12x3")
        return whole if self.whole else middle


def _random(mean: int, **more: Any) -> dict[str, Any]:
    return {"random_loops": {"mean": mean, **more}, "backward_loops": 4}


VARIANTS = {
    "plain": Variant("plain loop, which the others are compared with"),
    "random-loops": Variant(
        "random loops, truncated backward (Geiping 2025)", _random(6), (246_000, 4865)
    ),
    "huginn": Variant(
        "Huginn: random start, adapter in every loop, norm before the coda (Geiping 2025)",
        {
            "start": "random",
            "injection": {"name": "concat", "first": True},
            "end": "end_norm",
            **_random(6),
        },
        (226_200, 4370),
    ),
    "parcae": Variant(
        "Parcae: stable diagonal injection (arXiv 2604.12946)",
        {
            "start": "random",
            "injection": "diagonal",
            "end": "linear",
            **_random(6, distribution="poisson", per="sequence"),
        },
        (199_700, 3900),
    ),
    "ouro": Variant(
        "Ouro: all layers loop, norm between loops, exit gate (arXiv 2510.25741)",
        {"between": "norm", "objective": "exit_gate"},
        (153_100, 2890),
        whole=True,
    ),
    "hyperloop": Variant(
        "Hyperloop: hyper-connected streams (arXiv 2604.21254)",
        {"carry": "hyper", "conditioning": ["loop_embedding"]},
        (199_800, 3960),
    ),
    "loopus": Variant(
        "LoopUS: selective gate, deep supervision (arXiv 2605.11011)",
        {"carry": "selective_gate", "objective": "deep_supervision"},
        (165_100, 3200),
    ),
    "loopformer": Variant(
        "LoopFormer: time and step size, shortcut consistency (arXiv 2602.11451)",
        {
            "conditioning": [{"name": "time_step", "frequencies": 64, "hidden": 64}],
            "objective": "shortcut",
        },
        (129_200, 2550),
    ),
    "relaxed": Variant(
        "relaxed recursion: LoRA of each loop (arXiv 2410.20672)",
        {"conditioning": [{"name": "loop_lora", "rank": 4}]},
        (199_300, 3945),
    ),
}
"""Name -> variant; a recipe is ``360m-variant-NAME`` or ``laptop-variant-NAME``."""
