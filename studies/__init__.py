"""Studies of the paper on any checkpoint: a plan of cells, records of them, a table and a chart.

Names are imported when they are used, so that ``import growloop.studies`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalog import STUDIES as STUDIES
    from .catalog import find as find
    from .cells import StudyCell as StudyCell
    from .checkpoints import StudyModel as StudyModel
    from .checkpoints import read_models as read_models
    from .compare import PairedDifference as PairedDifference
    from .compare import compare_models as compare_models
    from .publish import leaderboard_records as leaderboard_records
    from .publish import read_records as read_records
    from .records import ModelFacts as ModelFacts
    from .records import Row as Row
    from .records import StudyRecord as StudyRecord
    from .runner import run_study as run_study
    from .study import Measurement as Measurement
    from .study import Study as Study

EXPORTS = {
    # name: (module, name there)
    "STUDIES": ("catalog", "STUDIES"),
    "Measurement": ("study", "Measurement"),
    "ModelFacts": ("records", "ModelFacts"),
    "PairedDifference": ("compare", "PairedDifference"),
    "Row": ("records", "Row"),
    "Study": ("study", "Study"),
    "StudyCell": ("cells", "StudyCell"),
    "StudyModel": ("checkpoints", "StudyModel"),
    "StudyRecord": ("records", "StudyRecord"),
    "compare_models": ("compare", "compare_models"),
    "find": ("catalog", "find"),
    "leaderboard_records": ("publish", "leaderboard_records"),
    "read_models": ("checkpoints", "read_models"),
    "read_records": ("publish", "read_records"),
    "run_study": ("runner", "run_study"),
}

__all__ = sorted(EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = EXPORTS[name]
    return getattr(importlib.import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return __all__
