"""Look of each model on the pages: one colour everywhere, a shape by family.

The colour follows from the model's name, the shape from its family. Models of a chart that share
both differ in the dash of their lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..entries import LeaderboardEntry
from ..model_identities import Key
from .theme import series_index


@dataclass(frozen=True)
class Look:
    """Colour and shape of a model.

    Args:
        colour: index of the series colour.
        family: model family, which decides the shape.
    """

    colour: int
    family: str


def model_looks(entries: Iterable[LeaderboardEntry]) -> dict[Key, Look]:
    """Return the look of each model of a site."""
    return {entry.key: Look(series_index(entry.name), entry.model.family) for entry in entries}
