"""Studies of the paper on any checkpoint: a plan of cells, records of them, a table and a chart.

Names are imported when they are used, so that ``import growloop.studies`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .catalog import STUDIES as STUDIES
    from .catalog import find as find
    from .catalog import register_study as register_study
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

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "catalog": ["STUDIES", "find", "register_study"],
        "cells": ["StudyCell"],
        "checkpoints": ["StudyModel", "read_models"],
        "compare": ["PairedDifference", "compare_models"],
        "publish": ["leaderboard_records", "read_records"],
        "records": ["ModelFacts", "Row", "StudyRecord"],
        "runner": ["run_study"],
        "study": ["Measurement", "Study"],
    },
)
