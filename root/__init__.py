"""Iterative computation in language models: reasoning primitives, evaluation, looping, growing.

One function for each job: :func:`generate` items of a primitive, :func:`load`, :func:`build`,
:func:`loop`, :func:`grow` and :func:`untie` models, :func:`evaluate` them, :func:`compare` two
evaluations, :func:`scan` for the layers worth repeating, :func:`train`, :func:`sft`, run a
:func:`study`, and read the :mod:`leaderboard`. docs/python.md has an example of each.

Names are imported when they are first used: ``import growloop`` loads neither torch nor numpy.

>>> import growloop
>>> growloop.Schedule.parse("4-4x4-4").effective_depth
24
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from . import leaderboard as leaderboard
    from . import models as models
    from . import primitives as primitives
    from . import studies as studies
    from . import tasks as tasks
    from .api.comparison import ComparisonResult as ComparisonResult
    from .api.comparison import compare as compare
    from .api.evaluation import evaluate as evaluate
    from .api.evaluation_result import EvaluationResult as EvaluationResult
    from .api.generation import GeneratedItems as GeneratedItems
    from .api.generation import generate as generate
    from .api.scanning import scan as scan
    from .api.studying import StudyResult as StudyResult
    from .api.studying import study as study
    from .api.training import SftResult as SftResult
    from .api.training import TrainResult as TrainResult
    from .api.training import sft as sft
    from .api.training import train as train
    from .core.errors import InputError as InputError
    from .core.schedule import Schedule as Schedule
    from .models.checkpoints import load as load
    from .models.checkpoints import load_tokenizer as load_tokenizer
    from .models.checkpoints import save as save
    from .models.costs import cost as cost
    from .models.growing.grow import grow as grow
    from .models.growing.grow import untie as untie
    from .models.looping.loop import loop as loop
    from .models.looping.recurrence import Recurrence as Recurrence
    from .models.presets import build as build
    from .models.presets import byte_tokenizer as byte_tokenizer
    from .studies.scan.result import ScanResult as ScanResult

    __version__: str

PACKAGES = "leaderboard", "models", "primitives", "studies", "tasks"

_names, _get, _ = lazy_exports(
    __name__,
    {
        "api.comparison": ["ComparisonResult", "compare"],
        "api.evaluation": ["evaluate"],
        "api.evaluation_result": ["EvaluationResult"],
        "api.generation": ["GeneratedItems", "generate"],
        "api.scanning": ["scan"],
        "api.studying": ["StudyResult", "study"],
        "api.training": ["SftResult", "TrainResult", "sft", "train"],
        "core.errors": ["InputError"],
        "core.schedule": ["Schedule"],
        "models": [
            "Recurrence", "build", "byte_tokenizer", "cost", "grow", "load", "load_tokenizer",
            "loop", "save", "untie",
        ],
        "studies.scan.result": ["ScanResult"],
    },
)  # fmt: skip
__all__ = ["__version__", *_names, *PACKAGES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("growloop")
    if name in PACKAGES:
        from importlib import import_module

        return import_module(f".{name}", __name__)
    return _get(name)


def __dir__() -> list[str]:
    return sorted(__all__)
