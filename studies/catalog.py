"""Catalog of studies by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ..core.errors import unknown

if TYPE_CHECKING:
    from .study import Study

STUDIES = {
    # name: (question, figure or table of the paper)
    "trade-offs": ("What do parameters and FLOPs buy?", "Figure 4"),
    "inference-scaling": ("Does repeating a block without training help?", "Figures 2, 9, 14, 15"),
    "in-context-scaling": ("Do more examples in the prompt help?", "Figures 3, 13"),
    "sample-efficiency": ("How many examples does fine-tuning need?", "Figures 3, 12"),
    "cooldown": ("What does another mixture in the cooldown change?", "Tables 2, 4"),
    "retrofit": ("Does looping a block in the cooldown help?", "Table 2, Figures 2, 14, 15"),
    "swaps": ("Does the order of layers matter?", "Figures 1, 8"),
    "depth": ("Does the model use its late layers?", "Figure 5"),
    "contributions": ("How much does each sublayer add to the stream?", "Figures 6, 11"),
    "local-effects": ("Which layer depends on which earlier one?", "Figures 7, 10"),
    "loops-against-depth": ("Do more loops solve deeper assignments?", "beyond the paper"),
    "loop-extrapolation": ("Do more loops than in training help?", "beyond the paper"),
    "dynamics": ("Does a loop settle, cycle or drift?", "beyond the paper"),
    "adaptive-exit": ("How many steps can leaving early save?", "beyond the paper"),
    "recurrence-equivalence": ("What is a loop worth in new layers?", "beyond the paper"),
    "weight-similarity": ("Are layers one block apart alike?", "beyond the paper"),
}


def find(name: str) -> Study:
    """Return a study by name.

    Raises:
        InputError: an unknown name; the message has the nearest one.
    """
    if name not in STUDIES:
        raise unknown("study", name, STUDIES)
    module = importlib.import_module(f".paper.{name.replace('-', '_')}", __package__)
    study: Study = module.STUDY
    return study
